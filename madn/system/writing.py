"""Files that are written whole or not at all, and the remains of processes that were killed while they wrote."""

import contextlib
import os
import platform
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from madn.errors import UserError

WEIGHTS = ".weights.h5"  # Keras wants the name of every weights file to end so.
# On a shared disk, processes of other machines may have the same numbers.
HOST = re.sub(r"\W", "", platform.node())[:24]


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder that takes `path`'s place when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_part_start(path)}.{HOST}-{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
    probe = place / f".madn.{HOST}-{os.getpid()}.part"
    try:
        probe.touch()
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


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
                match = re.fullmatch(rf"(\..+)\.{HOST}-(\d{{1,9}})\.part", name)
                if match and match[1] in known and not psutil.pid_exists(int(match[2])):
                    (folder / name).unlink()


def _part_start(path: Path) -> str:
    name = os.fsencode(path.name)[:200].decode(errors="ignore")  # A file's name has at most 255 bytes.
    return f".{name}"
