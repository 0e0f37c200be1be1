"""Weights on their way: files in parts that small transfers take, and whole again.

python -m gpu.parts join FOLDER OUT.weights.h5      the weights that a call left in FOLDER, checked and whole
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu import KitError

MIB = 2**20
PART = 16 * MIB  # the most that a file on its way back has
FILES = 8  # the most that come back from a call
SMALL = ("job.json", "log.csv", "output.txt", "latest.png")  # of these files, those that are no weights
SMALL_BYTES = 2 * MIB  # of all of them, about
PARTS = FILES - len(SMALL)
SENT = PARTS * PART - SMALL_BYTES  # the most bytes of weights that come back, so that all is at most 64 MiB


def sha256_of(file: Path) -> str:
    """Of the whole file, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def split(file: Path, folder: Path, name: str, size: int = PART) -> list[Path]:
    """Write `file` into `folder` in parts of at most `size` bytes: NAME.part1of3, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    count = max(1, -(-file.stat().st_size // size))
    paths = [folder / f"{name}.part{number}of{count}" for number in range(1, count + 1)]
    with open(file, "rb") as stream:
        for path in paths:
            path.write_bytes(stream.read(size))
    return paths


def join(parts: Sequence[Path], target: Path, sha256: str | None = None) -> None:
    """Make `target` of its parts. Raises `KitError` where one is missing, or the whole has another sha256."""
    missing = [path.name for path in parts if not path.is_file()]
    if missing:
        raise KitError(f"{target.name}: {missing[0]} is missing ({len(missing)} of {len(parts)} parts)")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.part")
    with open(unfinished, "wb") as stream:
        for path in parts:
            stream.write(path.read_bytes())
    if sha256 and sha256_of(unfinished) != sha256:
        unfinished.unlink()
        raise KitError(f"{target.name}: its parts are damaged, or not of one file: its sha256 is another than was sent")
    unfinished.replace(target)


def fitting(sizes: Sequence[int], first: int = 1) -> list[int]:
    """The numbers, from 1, of the parts from `first` on that one call sends: by count and by bytes."""
    numbers, total = [], 0
    for number in range(first, len(sizes) + 1):
        total += sizes[number - 1]
        if len(numbers) == PARTS or total > SENT:
            break
        numbers.append(number)
    return numbers


def deal(files: Sequence[Path], limit: int) -> list[list[Path]]:
    """The files in packs of at most `limit` bytes, in their order; one that is larger by itself has its own."""
    packs, total = [], 0
    for file in files:
        size = file.stat().st_size
        if not packs or total + size > limit:
            packs.append([])
            total = 0
        packs[-1].append(file)
        total += size
    return packs


def generator_step(file: Path) -> int:
    """The step that a generator's weights file says it is of."""
    import h5py

    with h5py.File(file) as weights:
        return int(json.loads(weights.attrs["madn_recipe"])["step"])


def write_json(path: Path, facts: dict) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def copy(source: Path, target: Path) -> None:
    """Whole or not at all."""
    unfinished = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, unfinished)
    unfinished.replace(target)


def join_sent(folder: Path, target: Path) -> str:
    """Join the weights that `folder`'s job.json names; returns "generator" or "state"."""
    try:
        sent = json.loads((folder / "job.json").read_text(encoding="utf-8"))["sent"]
        names, kind, digest = [part["name"] for part in sent["parts"]], sent["kind"], sent["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise KitError(f"{folder}: no job.json here that names weights") from None
    join([folder / name for name in names], target, digest)
    return kind


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "join":
        sys.exit(__doc__)
    try:
        print(f"wrote {sys.argv[3]}: the {join_sent(Path(sys.argv[2]), Path(sys.argv[3]))}")
    except KitError as problem:
        sys.exit(f"gpu-kit: error: {problem}")
