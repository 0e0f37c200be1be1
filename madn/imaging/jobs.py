"""Which photos and videos are restored, and to where."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from madn.errors import UserError
from madn.imaging.files import FORMATS, image_format
from madn.imaging.video import is_video

# Kinds of photos that are not read: in a folder they are named, so that nobody takes them for restored.
NOT_READ = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}


@dataclass(frozen=True)
class Job:
    """One file to read and the file to write."""

    source: Path
    target: Path

    @property
    def is_video(self) -> bool:
        return is_video(self.source)

    @property
    def is_done(self) -> bool:
        """Whether its result is there; results appear whole or not at all."""
        return os.path.isfile(self.target)


Problem = tuple[str, str]  # the name of a file or folder, and what is wrong with it
Found = tuple[Path, Path]  # a file, and its name relative to the input that it was found by


def find_jobs(inputs: Sequence[str], output: Path) -> tuple[list[Job], list[Problem]]:
    """The jobs of `inputs`, each a file, a folder (all photos and videos below it) or a glob pattern.

    One file may go to the file `output`; everything else goes below the folder `output`: a file under its name, those
    of a folder under their names relative to it, those of a pattern relative to the last folder before its wildcards.
    Photos and videos are told by their suffixes alone: a pipe or a broken link of such a name is refused when it is
    read. Hidden files and folders are left out, and so are links to folders, and `output` where it lies below an input
    or among several. Also returns what cannot be jobs: folders that cannot be read, photos of a kind that is not read
    (HEIC, raw) and, among several inputs, files that are neither photos nor videos.

    Raises `UserError` when there is nothing to restore, when an input or another result would be written over, when
    `output` cannot be written to, or when the suffix of the only result names no format.
    """
    found: list[Found] = []
    problems: list[Problem] = []
    inputs = list(dict.fromkeys(inputs))
    for name in inputs:
        if os.path.isdir(name):
            if len(inputs) > 1 and os.path.realpath(name) == os.path.realpath(output):
                continue  # the shell's * names earlier results, too
            files = _below(Path(name), output, problems)
        elif os.path.lexists(name):
            files = [(Path(name), Path(Path(name).name))]
        elif glob.has_magic(name):
            files = _matching(name, output)
        else:
            raise UserError(f"{name or repr(name)}: no such file or folder")
        found += files
    if not found and not problems:
        raise UserError(f"{', '.join(inputs)}: no photos or videos there ({', '.join(FORMATS)} and videos are read)")
    found = list(dict.fromkeys(found))  # what is named twice is restored once
    if len(inputs) == len(found) == 1 and found[0][0] == Path(inputs[0]):
        file, name = found[0]
        jobs = [Job(file, output if output.suffix and not os.path.isdir(output) else output / name)]
        if not is_video(jobs[0].target):
            image_format(jobs[0].target)
    else:
        problems += [(str(file), "its suffix is neither a photo's nor a video's")
                     for file, _ in found if not _is_read(file)]
        jobs = [Job(file, output / relative) for file, relative in found if _is_read(file)]
    _check(jobs)
    check_place(output.parent if [job.target for job in jobs] == [output] else output)
    return jobs, problems


def _below(folder: Path, output: Path, problems: list[Problem]) -> list[Found]:
    """Photos and videos below a folder, sorted; what lies in `output` are earlier results."""
    files, results = [], os.path.realpath(output)

    def unreadable(problem: OSError) -> None:
        problems.append((str(problem.filename), f"cannot be read ({problem.strerror})"))

    for place, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(place)
        folders[:] = sorted(name for name in folders
                            if not name.startswith(".") and os.path.realpath(here / name) != results)
        names = sorted(name for name in names if not name.startswith("."))
        files += [here / name for name in names if _is_read(Path(name))]
        problems += [(str(here / name), f"photos of this kind ({Path(name).suffix}) are not read; convert it to JPEG, "
                      "PNG or TIFF") for name in names if Path(name).suffix.lower() in NOT_READ]
    return [(file, file.relative_to(folder)) for file in files]


def _matching(pattern: str, output: Path) -> list[Found]:
    """Photos and videos that a pattern matches, sorted; brackets in the name of a folder that exists are its own."""
    folder = next(parent for parent in Path(pattern).parents if os.path.isdir(parent))
    names = map(Path, sorted(glob.glob(str(Path(pattern).relative_to(folder)), root_dir=folder, recursive=True)))
    here, results = (Path(os.path.realpath(path)) for path in (folder, output))
    files = [(folder / name, name) for name in names if _is_read(name) and not os.path.isdir(folder / name)
             and not any(os.path.islink(folder / parent) for parent in name.parents)
             and not (here in results.parents and results in (here / name).parents)]
    if not files:
        raise UserError(f"{pattern}: matches no photos or videos")
    return files


def _is_read(path: Path) -> bool:
    return path.suffix.lower() in FORMATS or is_video(path)


def _check(jobs: list[Job]) -> None:
    inputs = {os.path.realpath(job.source) for job in jobs}
    sources: dict[Path, Path] = {}
    for job in jobs:
        if is_video(job.source) != is_video(job.target):
            raise UserError(f"{job.target}: a video goes to a video's suffix, and a photo to a photo's")
        if os.path.realpath(job.target) in inputs or _is_same(job.target, job.source):
            raise UserError(f"{job.target}: the result would be written over an input; give another place")
        if (other := sources.setdefault(job.target, job.source)) != job.source:
            raise UserError(f"{job.target}: both {other} and {job.source} would go there; restore them one by one")


def _is_same(one: Path, other: Path) -> bool:
    """Also where the file system takes capitals for small letters."""
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def check_place(folder: Path) -> None:
    """Said before hours of work: that their results cannot be written."""
    place = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not os.path.isdir(place):
        raise UserError(f"{folder}: {place} is a file, and results go to a folder; for one photo also to a file with a "
                        "photo's suffix")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot be written to (permission denied for {place})")
