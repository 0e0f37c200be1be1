"""Checksums at the end of files: what was written is told from what a disk, a copy or a cut made of it.

A seal is a mark and the SHA-256 of all bytes before it. HDF5 and NumPy pass over what follows their own content.
"""

import hashlib
import math
from pathlib import Path

from madn.errors import UserError
from madn.system.reading import read_content

MARK = b"madn-sha256:"
LENGTH = len(MARK) + hashlib.sha256().digest_size


def seal(content: bytes | memoryview) -> bytes:
    """The seal that belongs behind `content`."""
    return MARK + hashlib.sha256(content).digest()


def is_sealed(content: bytes | memoryview) -> bool:
    """Whether there is a seal at the end, that of this content or another."""
    return bytes(content[-LENGTH:][: len(MARK)]) == MARK


def is_whole(content: bytes | memoryview) -> bool:
    """Whether the content ends with its own seal."""
    end = max(len(content) - LENGTH, 0)
    return bytes(content[end:]) == seal(memoryview(content)[:end])


def is_whole_file(path: Path) -> bool:
    """Whether a file can be read and is whole; the disk may have a bad sector."""
    try:
        return is_whole(read_content(path, math.inf))
    except UserError:
        return False
