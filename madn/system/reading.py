"""Files that may come from anybody, read within bounds."""

import hashlib
import stat
from pathlib import Path

from madn.errors import UserError

LARGEST_TEXT = 50_000_000  # The longest list of pairs that is kept as JSON has some 10 MB.


def check_regular(path: Path) -> int:
    """The size of a regular file, in bytes. Raises `UserError` for any other, for a pipe or a device has no end."""
    try:
        state = path.stat()
    except OSError as problem:
        raise UserError(f"{path}: cannot be read ({problem.strerror})") from None
    if not stat.S_ISREG(state.st_mode):
        kind = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
        raise UserError(f"{path}: cannot be read ({kind})")
    return state.st_size


def read_content(path: Path, largest: float = LARGEST_TEXT) -> bytes:
    """A file's content. Raises `UserError` where it is not regular, cannot be read, or has more bytes than that."""
    if check_regular(path) > largest:
        raise UserError(f"{path}: has more than the {largest / 1e6:g} MB that are read")
    try:
        return path.read_bytes()
    except OSError as problem:
        raise UserError(f"{path}: cannot be read ({problem.strerror})") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a whole regular file, in hexadecimal digits. Raises `UserError` where it cannot be read."""
    check_regular(path)
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise UserError(f"{path}: cannot be read ({problem.strerror})") from None
