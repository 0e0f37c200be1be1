"""What a run was trained on, file by file, so that a resumed run can tell whether its images are still the same.

The whole content is hashed: a modification time changes when a set is copied, and says nothing on another machine.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from madn.data.images import cache_folder, in_threads
from madn.system.reading import sha256_of

NAMED = 8  # A message names so many files of each kind, and counts the rest.


def fingerprints(files: Iterable[Path]) -> dict[str, str]:
    """Path -> the first 32 digits of the SHA-256 of what the file holds.

    The built-in samples have the same paths whichever cache they lie in. Raises `UserError` for a file that cannot be
    read.
    """
    files = sorted(set(files))
    return dict(in_threads(_fingerprint, files, "hashing images"))


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which files were removed, added or changed, in words; empty where none was."""
    kinds = {
        "removed": [name for name in before if name not in now],
        "added": [name for name in now if name not in before],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    return "; ".join(f"{kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _fingerprint(file: Path) -> tuple[str, str]:
    cache = cache_folder()
    return (file.relative_to(cache) if file.is_relative_to(cache) else file).as_posix(), sha256_of(file)[:32]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
