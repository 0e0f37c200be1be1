"""Which photos and videos are restored, and to where."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from madn.errors import UserError
from madn.imaging.files import FORMATS, image_format
from madn.imaging.video import is_video


@dataclass(frozen=True)
class Job:
    """One file to read and the file to write."""

    source: Path
    target: Path

    @property
    def is_video(self) -> bool:
        return is_video(self.source)


def find_jobs(inputs: Sequence[str], output: Path) -> tuple[list[Job], list[str]]:
    """The jobs of `inputs`, each a file, a folder (all photos and videos below it) or a glob pattern.

    One file may go to the file `output`; everything else goes below the folder `output`: a file under its name, those
    of a folder under their names relative to it, those of a pattern relative to its part before the first wildcard.
    Hidden files and folders are left out, and so is `output` where it lies below an input. Also returns one line for
    each folder that could not be read.

    Raises `UserError` when there is nothing to restore, when an input or another result would be written over, or when
    a suffix names no image format.
    """
    found: list[tuple[Path, Path]] = []  # files with their relative names
    problems: list[str] = []
    inside = output.resolve()
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = _below(path, inside, problems)
            if not files and not problems:
                raise UserError(f"{name}: no photos or videos in it ({', '.join(FORMATS)} and videos are read)")
        elif glob.has_magic(name) and not os.path.lexists(name):
            files = _matching(name, inside)
        elif os.path.lexists(name):
            files = [(path, Path(path.name))]
        else:
            raise UserError(f"{name}: no such file or folder")
        found += files
    single = len(found) == 1 and Path(inputs[0]) == found[0][0]
    if single and output.suffix and not output.is_dir():
        jobs = [Job(found[0][0], output)]
    elif output.is_file():
        raise UserError(f"{output}: is a file; several photos go to a folder")
    else:
        jobs = [Job(source, output / relative) for source, relative in found]
    _check(jobs)
    return jobs, problems


def _below(folder: Path, inside: Path, problems: list[str]) -> list[tuple[Path, Path]]:
    """Photos and videos below a folder, sorted, with their relative names; what lies in `inside` are earlier results."""
    files = []

    def unreadable(problem: OSError) -> None:
        problems.append(f"{problem.filename}: cannot be read ({problem.strerror})")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != inside)
        files += [here / name for name in sorted(names) if _is_read(Path(name))]
    return [(file, file.relative_to(folder)) for file in files]


def _matching(pattern: str, inside: Path) -> list[tuple[Path, Path]]:
    parts = Path(pattern).parts
    fixed = Path(*parts[:next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    files = [path for path in map(Path, sorted(glob.glob(pattern, recursive=True)))
             if _is_read(path) and not path.is_dir() and inside not in path.resolve().parents]
    if not files:
        raise UserError(f"{pattern}: matches no photos or videos")
    return [(file, file.relative_to(fixed)) for file in files]


def _is_read(path: Path) -> bool:
    return (path.suffix.lower() in FORMATS or is_video(path)) and not path.name.startswith(".")


def _check(jobs: list[Job]) -> None:
    sources: dict[Path, Path] = {}
    for job in jobs:
        if is_video(job.source) != is_video(job.target):
            raise UserError(f"{job.target}: a video goes to a video's suffix, and a photo to a photo's")
        if not job.is_video:
            image_format(job.target)
        if job.target.exists() and job.source.exists() and job.target.samefile(job.source):
            raise UserError(f"{job.target}: the result would be written over its input; give another place")
        if (other := sources.setdefault(job.target, job.source)) != job.source:
            raise UserError(f"{job.target}: both {other} and {job.source} would go there; restore them one by one")
