"""Reads the tensors of a PyTorch checkpoint without PyTorch, and without running anything in the file.

A checkpoint is a pickle, and a pickle may call any function. `torch.load(weights_only=True)` restricts that as well,
but asks for an installation of PyTorch, and for a recent one (it could be got round before 2.6: CVE-2025-32434). Here
Python's own unpickler may make ordered dictionaries, and tensors that are nothing but NumPy arrays; every other name
in the file ends the reading. Both formats are read: the zip archive, and the one before PyTorch 1.6, in which many
published weights still are. (safetensors, the safe successor, is not what the authors published.)

Licence of this file: MIT.
"""

import collections
import math
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from madn.errors import UserError

DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
HEAVIEST = 100_000  # A tuple holds no more; those of a tensor hold ten.
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_checkpoint(path: Path):
    """The object saved in a `.pt` or `.pth` file, its tensors as NumPy arrays; dictionaries and lists as they are.

    Raises `UserError` where the file is missing, no checkpoint, damaged, or names anything but tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return _arrays(_read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path))
    except OSError as problem:
        raise UserError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except _Refused as problem:
        asked = ascii(str(problem))[1:-1]
        raise UserError(
            f"{path}: asks for {asked}, which MPRNet's weights do not need; nothing of it was run"
        ) from None
    except Exception as problem:  # Python's unpickler fails in any way that a file leads it to.
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:160]
        raise UserError(f"{path}: not a PyTorch checkpoint that can be read, or a damaged one ({reason})") from None


class _Refused(Exception):
    """A pickle names something that it may not use; the message is that name."""


class _Sealed:
    """The base of objects that a pickle may make, but not change."""

    def __setstate__(self, state):
        raise _Refused("a change of an object's insides")


@dataclass
class _Storage(_Sealed):
    """Numbers of one type, in a row; filled when their bytes have been read."""

    dtype: np.dtype
    count: int
    numbers: np.ndarray | None = None

    def fill(self, data: bytes) -> None:
        if len(data) != self.count * self.dtype.itemsize:
            raise ValueError(f"{len(data)} bytes for {self.count} numbers of {self.dtype}")
        self.numbers = np.frombuffer(data, self.dtype)


@dataclass
class _Tensor(_Sealed):
    """A view of a storage, as the pickle describes it."""

    storage: _Storage
    offset: int
    size: tuple
    stride: tuple

    def array(self) -> np.ndarray:
        numbers = self.storage.numbers
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if min((self.offset, *self.size, *self.stride)) < 0 or max(math.prod(self.size), last + 1) > len(numbers):
            raise ValueError(f"a tensor of {self.size} reaches outside of its {len(numbers)} numbers")
        steps = [step * numbers.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, steps, writeable=False)


def _rebuild_tensor(storage, offset, size, stride, *rest) -> _Tensor:
    """What `torch._utils._rebuild_tensor_v2` is called with; gradients and hooks are left."""
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


@dataclass
class _StorageType(_Sealed):
    """Stands for a class such as torch.FloatStorage; it cannot be called."""

    dtype: str


@dataclass
class _Storages:
    """The storages that a pickle names, by their keys."""

    byteorder: str = "<"
    known: dict[str, _Storage] = field(default_factory=dict)

    def named(self, name) -> _Storage:
        """The storage of a persistent id ("storage", type, key, device, count, ...)."""
        kind, storage_type, key, _, count, *view = name
        if not (
            isinstance(kind, str)
            and kind == "storage"
            and isinstance(storage_type, _StorageType)
            and isinstance(key, str | int)
        ) or any(view):
            raise ValueError("a persistent object that is no storage")
        dtype = np.dtype(self.byteorder + storage_type.dtype)
        return self.known.setdefault(str(key), _Storage(dtype, int(count)))


class _Unpickler(pickle._Unpickler):
    """An unpickler that knows ordered dictionaries and tensors, and refuses every other name.

    It is Python's own, slower one: the one in C reserves as much memory as a number in the file asks for. Tuples that
    hold one another several times are refused: forty of them, as the key of a dictionary, would take a day to hash.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # what is done for each operation of a pickle
    stack: list

    def __init__(self, file, storages: _Storages):
        super().__init__(file, encoding="utf-8")
        self.storages = storages
        self.tuples: dict[int, tuple[int, tuple]] = {}  # By identity: how much a tuple holds, and itself, to keep it.

    def weigh(self) -> None:
        """Raise `ValueError` where the tuple that was just made holds too much, counted as often as it is held."""
        made = self.stack[-1]
        weight = 1 + sum(self.tuples[id(each)][0] if id(each) in self.tuples else 1 for each in made)
        if weight > HEAVIEST:
            raise ValueError("tuples in tuples without end")
        self.tuples[id(made)] = weight, made

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *description: _rebuild_tensor(
                *description
            )  # A new one each time, for a pickle may change it.
        if module == "torch" and name in DTYPES:
            return _StorageType(DTYPES[name])
        raise _Refused(f"{module}.{name}")

    def persistent_load(self, name):
        return self.storages.named(name)


def _weighed(load: Callable[[Any], None]) -> Callable[[_Unpickler], None]:
    def loaded(unpickler: _Unpickler) -> None:
        load(unpickler)
        unpickler.weigh()

    return loaded


for _code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    _Unpickler.dispatch[_code[0]] = _weighed(_Unpickler.dispatch[_code[0]])


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickled = [name for name in names if name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise ValueError("a zip archive without data.pkl")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("a compressed archive, which PyTorch does not write")
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts lie in one place, and are larger than it")
        root = pickled[0].removesuffix("data.pkl")
        big = f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() == b"big"
        storages = _Storages(">" if big else "<")
        with archive.open(pickled[0]) as file:
            found = _Unpickler(file, storages).load()
        for key, storage in storages.known.items():
            storage.fill(archive.read(f"{root}data/{key}"))
    return found


def _read_legacy(path: Path):
    """Five pickles (magic number, protocol, facts of the system, object, storage keys), then each storage's bytes."""
    with path.open("rb") as file:
        storages = _Storages()
        if _Unpickler(file, storages).load() != LEGACY_MAGIC or _Unpickler(file, storages).load() != LEGACY_PROTOCOL:
            raise ValueError("neither a zip archive nor PyTorch's older format")
        if not _Unpickler(file, storages).load().get("little_endian", True):
            storages.byteorder = ">"
        found = _Unpickler(file, storages).load()
        for key in _Unpickler(file, storages).load():
            if not isinstance(key, str | int):
                raise ValueError("a storage without a name")
            storage = storages.known[str(key)]
            if not 0 <= storage.count * storage.dtype.itemsize <= path.stat().st_size:
                raise ValueError("a storage that is larger than the file")
            if int.from_bytes(file.read(8), "little" if storages.byteorder == "<" else "big") != storage.count:
                raise ValueError("a storage of another length than announced")
            storage.fill(file.read(storage.count * storage.dtype.itemsize))
    return found


def _arrays(found, done: dict | None = None):
    """The same with every tensor as its array; what occurs several times stays one object."""
    done = {} if done is None else done
    if id(found) not in done:
        if isinstance(found, _Tensor):
            done[id(found)] = found.array()
        elif isinstance(found, dict):
            done[id(found)] = {key: _arrays(value, done) for key, value in found.items()}
        elif isinstance(found, list | tuple):
            done[id(found)] = [_arrays(value, done) for value in found]
        else:
            return found
    return done[id(found)]
