"""HDF5 files of weights, from anybody: read by a process of their own, which may crash, hang or run out of memory.

The HDF5 library trusts its files. Damaged ones end the process or keep it for ever; an array may say that it has
gigabytes, or that it lies in other files of the machine. So a weights file is read by a child process with limits of
time and memory (`madn.system.hdf5_child`), which hands back the same groups, arrays and attributes as a new file. Files
are read directly whose SHA-256 is vouched for: the registry's, and what this very process wrote. Keras' own format,
`.weights.h5`, stays what is written and read: it is what users of Keras have and expect.
"""

import hashlib
import importlib.util
import io
import math
import os
import subprocess
import sys
from pathlib import Path

from madn.errors import UserError
from madn.system.reading import read_content
from madn.system.writing import WEIGHTS

CHILD = Path(__file__).with_name("hdf5_child.py")
MEMORY, SECONDS, PATIENCE = 900_000_000, 2, 60  # Of the child, beside what follows from a file's size.
KEPT = 64_000_000  # A file of no more bytes is kept until the next, for the same is asked for recipe and weights.

_vouched: set[str] = set()
_last: list[tuple[str, bytes]] = []


def vouch(digest: str) -> None:
    """From now on read files with this SHA-256, in hexadecimal digits, in this process itself."""
    _vouched.add(digest)


def whole(path: str | Path) -> io.BytesIO:
    """A weights file's content as an HDF5 file in memory, which h5py can read without danger.

    Raises `UserError` where it is no regular file, cannot be read within the limits, or holds anything but groups,
    arrays that are stored whole in it, and their attributes.
    """
    return whole_content(read_content(Path(path), math.inf), path)


def whole_content(content: bytes, name: str | Path) -> io.BytesIO:
    """The same of what has been read already; `name` is for the errors."""
    digest = hashlib.sha256(content).hexdigest()
    if digest in _vouched:
        return io.BytesIO(content)
    if not _last or _last[0][0] != digest:
        clean = _by_child(content, name)
        _last.clear()
        if len(clean) > KEPT:
            return io.BytesIO(clean)
        _last.append((digest, clean))
    return io.BytesIO(_last[0][1])


def values(content: io.BytesIO) -> int:
    """How many numbers the arrays of such a file have together."""
    import h5py

    count = 0

    def add(name: str, item: object) -> None:
        nonlocal count
        count += item.size if isinstance(item, h5py.Dataset) else 0

    with h5py.File(content) as file:
        file.visititems(add)
    return count


def _folders_of_h5py() -> list[str]:
    """Where this process has h5py and numpy from, which may be a folder that it alone has among its paths."""
    found = (importlib.util.find_spec(name) for name in ("h5py", "numpy"))
    return sorted({str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin})


def _by_child(content: bytes, name: str | Path) -> bytes:
    size = len(content)
    limits = [str(MEMORY + 5 * size), str(SECONDS + size // 30_000_000)]
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD), *limits, *_folders_of_h5py()],
            input=content,
            capture_output=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"},
            timeout=PATIENCE + size // 10_000_000,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{name}: not a readable {WEIGHTS} file (reading it does not end)") from None
    except OSError as problem:
        raise UserError(f"{name}: not read, as no process can be started for it ({problem.strerror})") from None
    if done.returncode:
        # A signal ends it where the library crashes, or the processor time is over.
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[-1] if said and done.returncode == 3 else "it is damaged: reading it crashes or does not end"
        raise UserError(f"{name}: not a readable {WEIGHTS} file ({why})")
    return done.stdout
