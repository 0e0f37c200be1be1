"""Files that are written whole or not at all, and the remains of processes that were killed while they wrote."""

import contextlib
import hashlib
import os
import platform
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from madn.errors import UserError

try:
    import fcntl
except ImportError:  # Windows removes no file that somebody has open.
    fcntl = None

WEIGHTS = ".weights.h5"  # Keras wants the name of every weights file to end so.
# On a shared disk, processes of other machines may have the same numbers.
HOST = re.sub(r"\W", "", platform.node())[:24]
LONGEST_START = 80  # Some file systems hold names of 143 bytes only.


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give the path of a new, empty file in the same folder that takes `path`'s place when the block ends well.

    Nobody else has that name, not even a process of the same number in another container, and nobody removes the file
    while this process has it locked (`remove_leftovers`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_part_start(path)}.{HOST}-{os.getpid()}.{secrets.token_hex(4)}.part")
    lock = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        if fcntl:
            with contextlib.suppress(OSError):  # Some file systems have no locks.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.close(lock)  # Windows renames no file that somebody has open.
        yield part
        os.replace(part, path)
    finally:
        if fcntl:
            os.close(lock)
        part.unlink(missing_ok=True)


def folder_name(path: str | Path) -> Path:
    """A name for results that are about a file or folder, another one for each: its path from here, in folders.

    Of a place that is not below the current folder it is the last part of the path, and a number made of the whole.
    """
    place, here = Path(path).resolve(), Path.cwd()
    return place.relative_to(here) if here in place.parents else Path(_numbered(place))


def one_name(path: str | Path) -> str:
    """As `folder_name`, in one part: of a place deeper than the current folder it has the number, too."""
    place = Path(path).resolve()
    return place.name if place.parent == Path.cwd() else _numbered(place)


def _numbered(place: Path) -> str:
    return f"{place.name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"


def write_durably(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, and have the disk keep it: after a power loss it is the old or the new one.

    Raises `OSError` where the disk refuses, and leaves nothing behind then.
    """
    with atomic(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(Path(path).parent)


def check_new_weights(path: Path) -> None:
    """Raises `UserError` where `path` cannot be the name of a weights file, or there is such a file already."""
    if not path.name.endswith(WEIGHTS):
        raise UserError(f"{path}: the name must end in {WEIGHTS}")
    if path.exists():
        raise UserError(f"{path}: is there already; remove it, or give another name")


def takes_other_names(path: Path) -> bool:
    """Whether a file of a plain name can be written where `path` could not: then it is its name that is refused."""
    place = next((parent for parent in path.parents if parent.is_dir()), None)
    if place is None or not any(re.search(r"[^\w .-]", part, re.ASCII) for part in path.relative_to(place).parts):
        return False
    try:
        with tempfile.TemporaryFile(prefix=".madn-", dir=place):
            return True
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names of a folder's files, too, where the system knows how."""
    with contextlib.suppress(OSError):  # Windows opens no folders.
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what processes of this machine that no longer live left of `atomic`: `.NAME.HOST-PID.part`."""
    starts: dict[Path, set[str]] = {}
    for path in paths:
        starts.setdefault(path.parent, set()).add(_part_start(path))
    for folder, known in starts.items():
        # A folder that is not there yet, or another user's, holds nothing to remove.
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                match = re.fullmatch(rf"(\..+?)\.{HOST}-(\d{{1,9}})(\.[0-9a-f]{{8}})?\.part", name)
                if match and match[1] in known and not psutil.pid_exists(int(match[2])) and _is_free(folder / name):
                    (folder / name).unlink()


def _is_free(path: Path) -> bool:
    """Whether no process has the file locked: one in another container has a number that is none here."""
    if not fcntl:
        return True
    file = os.open(path, os.O_WRONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # This file system has no locks.
        return True
    finally:
        os.close(file)
    return True


def _part_start(path: Path) -> str:
    return f".{os.fsencode(path.name)[:LONGEST_START].decode(errors='ignore')}"
