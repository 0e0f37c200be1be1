"""Which photos and videos are restored, and to where; `madn.restoration.places` says it for buckets."""

import fnmatch
import glob
import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from madn.errors import UserError
from madn.imaging.finding import Found, below, counted, is_housekeeping, is_taken, is_video, take
from madn.imaging.formats import FORMATS, image_format, refusal

NO_PHOTO = "its suffix is neither a photo's nor a video's"


Place = TypeVar("Place", Path, str)


class Job(NamedTuple, Generic[Place]):
    """One file to read and the file to write: local paths, or names of files in a bucket."""

    source: Place
    target: Place

    @property
    def is_video(self) -> bool:
        return is_video(self.source)

    @property
    def is_done(self) -> bool:
        """Whether its result is there; results appear whole or not at all."""
        return os.path.isfile(self.target)


class Failure(NamedTuple):
    """A file or folder that is not restored, and why."""

    source: str
    reason: str


class Work(NamedTuple):
    """What inputs amount to: every file in them is in one of these."""

    jobs: list[Job[Path]]
    problems: list[Failure]
    """Files that cannot be jobs, photos of kinds that are not read, and folders that cannot be read."""
    left_out: Counter[str]
    """Counts of what is neither photo nor video, as in `finding.Found`, and of the photos among the problems."""


@dataclass(frozen=True)
class Scope:
    """What a run was given: the screen and the page have the same numbers of it."""

    jobs: int
    """How many files could be restored."""
    skipped: tuple[str, ...] = ()
    """Those of them whose results were there."""
    refused: tuple[tuple[str, str], ...] = ()
    """Files and folders that are not read, with the reasons."""
    left_out: str = ""
    """How many files of which kinds are no jobs, in one line."""

    def counts(self, restored: int, failed: int) -> list[str]:
        """What became of all files, with how many were restored first."""
        said = [f"{restored} of {self.jobs} restored"]
        if failed:
            said.append(f"{failed} failed")
        if self.skipped:
            said.append(f"{len(self.skipped)} skipped that were there (--overwrite restores them again)")
        if self.left_out:
            said.append(f"left out: {self.left_out}")
        return said


def find_jobs(inputs: Sequence[str], output: Path) -> Work:
    """The jobs of `inputs`, each a file, a folder (all photos and videos below it) or a glob pattern.

    One file may go to the file `output`; everything else goes below the folder `output`: a file under its name, those
    of a folder under their names relative to it, those of a pattern relative to the last folder before its wildcards.
    Photos and videos are told by their suffixes alone: a pipe or a broken link of such a name is refused when it is
    read. What is left out of folders, and which links are followed, is for `finding.below` to say; the same holds of
    patterns. `output` is left out where it lies below an input or among several.

    Raises `UserError` when there is nothing to restore, when an input or another result would be written over, when
    `output` cannot be written to or is named as a photo where a folder is meant, or when the suffix of the only result
    names no format.
    """
    files: list[tuple[Path, Path]] = []  # Each file comes with its name relative to the input that it was found by.
    problems: list[Failure] = []
    left_out: Counter[str] = Counter()
    inputs = list(dict.fromkeys(inputs))
    for name in inputs:
        if os.path.isdir(name):
            if len(inputs) > 1 and os.path.realpath(name) == os.path.realpath(output):
                continue  # A shell's * names earlier results, too.
            root, found = Path(name), below(name, output)
        elif os.path.lexists(name):
            files.append((Path(name), Path(Path(name).name)))
            continue
        elif glob.has_magic(name):
            root, found = _matching(name, output)
        else:
            raise nothing_there(name)
        files += [(file, file.relative_to(root)) for file in found.files]
        problems += [Failure(*problem) for problem in found.problems + found.refusals()]
        left_out += found.left_out + Counter({suffix: len(group) for suffix, group in found.refused.items()})
    if not files and not problems:
        others = _remark(left_out)
        raise UserError(
            f"{', '.join(inputs)}: no photos or videos there ({', '.join(FORMATS)} and videos are read){others}"
        )
    files = list(dict.fromkeys(files))  # A file that is named twice is restored once.
    if len(inputs) == len(files) == 1 and files[0][0] == Path(inputs[0]):
        file, name = files[0]
        if reason := refusal(file):
            raise UserError(f"{file}: {reason}")
        jobs = [Job(file, output if output.suffix and not os.path.isdir(output) else output / name)]
        if not is_video(jobs[0].target):
            image_format(jobs[0].target)
    elif is_taken(output) and not os.path.isdir(output):
        raise UserError(
            f"{output}: folders, patterns and several files are restored to a folder; name one without a photo's suffix"
        )
    else:
        others = [file for file, _ in files if not is_taken(file)]
        problems += [Failure(str(file), refusal(file) or NO_PHOTO) for file in others]
        left_out += Counter(file.suffix.lower() for file in others)
        jobs = [Job(file, output / relative) for file, relative in files if is_taken(file)]
    _check(jobs)
    check_place(output.parent if [job.target for job in jobs] == [output] else output)
    return Work(jobs, problems, left_out)


def nothing_there(name: str) -> UserError:
    """The error for an input that is neither a file nor a folder, nor a pattern."""
    return UserError(f"{name or repr(name)}: no such file or folder")


def pattern_folder(pattern: str) -> Path:
    """The folder that a pattern is relative to: brackets in the name of a folder that exists are its own."""
    return next(parent for parent in Path(pattern).parents if os.path.isdir(parent))


def _matching(pattern: str, output: Path) -> tuple[Path, Found]:
    """What a pattern matches, and the folder that it is relative to."""
    folder = pattern_folder(pattern)
    wanted = Path(pattern).relative_to(folder)
    if "**" in wanted.parts:  # Python's glob would follow links in circles.
        found = below(folder, output, lambda path: _fits(path.relative_to(folder).parts, wanted.parts))
    else:
        found = _in_folders(folder, wanted, output)
    if not found.files and not found.refused:
        raise UserError(f"{pattern}: matches no photos or videos{_remark(found.left_out)}")
    found.files.sort()
    return folder, found


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _in_folders(folder: Path, pattern: Path, output: Path) -> Found:
    """What a pattern without ** matches. Of several names for a file, the one with the fewest links is taken."""
    here, results = (Path(os.path.realpath(path)) for path in (folder, output))

    def links(name: Path) -> list[Path]:
        return [folder / parent for parent in name.parents if os.path.islink(folder / parent)]

    names = [Path(name) for name in glob.glob(str(pattern), root_dir=folder)]
    found, done = Found(), set()
    for name in sorted(names, key=lambda name: (len(links(name)), name)):
        place = Path(os.path.realpath(folder / name.parent))
        is_result = here in results.parents and results in (place, *place.parents)
        loops = any(Path(os.path.realpath(link)) in (here, *here.parents) for link in links(name))
        if not (os.path.isdir(folder / name) or is_result or loops or (place, name.name) in done):
            done.add((place, name.name))
            take(found, folder / name, any(map(is_housekeeping, name.parts)))
    return found


def _remark(left_out: Counter[str]) -> str:
    return f"; there: {counted(left_out)}" if left_out else ""


def _check(jobs: list[Job[Path]]) -> None:
    inputs = {os.path.realpath(job.source) for job in jobs}
    sources: dict[Path, Path] = {}
    alike: dict[str, Job[Path]] = {}
    for job in jobs:
        if is_video(job.source) != is_video(job.target):
            raise UserError(f"{job.target}: a video goes to a video's suffix, and a photo to a photo's")
        if os.path.realpath(job.target) in inputs or _is_same(job.target, job.source):
            raise UserError(f"{job.target}: the result would be written over an input; give another place")
        if (other := sources.setdefault(job.target, job.source)) != job.source:
            raise UserError(f"{job.target}: both {other} and {job.source} would go there; restore them one by one")
        twin = alike.setdefault(unicodedata.normalize("NFC", str(job.target)).casefold(), job)
        if twin.target != job.target and _is_one_name(twin.target, job.target):
            raise UserError(
                f"{job.target}: {twin.source} and {job.source} would both go there, for the file system "
                "takes their names for one; rename one of them, or choose another place"
            )


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, also where the file system takes capitals for small letters."""
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _is_one_name(one: Path, other: Path) -> bool:
    """Whether the file system of the output takes two names for one, as with capitals in Windows and macOS.

    It is tried out by a file in a folder that is made for that and removed, for it depends on the place.
    """
    place = next(parent for parent in one.parents if os.path.isdir(parent) and parent in other.parents)
    try:
        with tempfile.TemporaryDirectory(prefix=".madn-", dir=place) as folder:
            first, second = (Path(folder, path.relative_to(place)) for path in (one, other))
            first.parent.mkdir(parents=True, exist_ok=True)
            first.touch()
            return os.path.exists(second)
    except OSError:  # The place cannot be written to, or refuses the name: that is reported when the result is written.
        return False


def check_place(folder: Path) -> None:
    """Raises `UserError` where results cannot be written, before hours of work are done for them."""
    place = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not os.path.isdir(place):
        raise UserError(
            f"{folder}: {place} is a file, and results go to a folder; for one photo also to a file with a "
            "photo's suffix"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: cannot be written to (permission denied for {place})")
