"""The one finder of photos and videos in folders, for restoring, data sets and evaluation alike.

Told by names alone. Left out are hidden files, what file managers and systems keep beside photos (`HOUSEKEEPING`), and
files that are neither photos nor videos; all of them are counted. A linked folder is followed where its files are not
found under another name already: each real folder is taken once, and by its own name where it has one below the input.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from madn.imaging.formats import VIDEOS, is_read, refusal

# Beside hidden names these are left out: thumbnails of network drives, extras of macOS archives, and bins.
HOUSEKEEPING = {"@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "lost+found", "system volume information"}
HOUSEKEEPING |= {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
HIDDEN, LOOP = "hidden or housekeeping file", "looping link"  # These kinds are counted beside the suffixes.


@dataclass
class Found:
    """What lies below a folder."""

    photos: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Photos and videos, those of a folder before those of its subfolders."""
    refused: dict[str, list[Path]] = field(default_factory=dict)
    """Photos and videos of kinds that are not read here, by suffix in small letters."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Counts of all other files: by suffix, or `HIDDEN`; and of links to a folder that holds this one (`LOOP`)."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Folders that cannot be read, each with the reason."""

    def refusals(self) -> list[tuple[str, str]]:
        """A line for each kind of photo that is not read: (the first of them, how many there are and why)."""
        return [
            (
                str(files[0]),
                refusal(files[0])
                if len(files) == 1
                else f"one of {len(files)} {suffix} files: {refusal(files[0], many=True)}",
            )
            for suffix, files in sorted(self.refused.items())
        ]

    def remark(self) -> str:
        """What is not taken, in one line: "3 .nrw files, 2 .txt files"; empty where that is nothing."""
        return counted(Counter({suffix: len(files) for suffix, files in self.refused.items()}) + self.left_out)


def is_video(path: str | Path) -> bool:
    """Whether the suffix is a video's."""
    return Path(path).suffix.lower() in VIDEOS


def is_taken(path: str | Path) -> bool:
    """Whether the suffix is that of a photo or video that is read here."""
    return is_read(path) or is_video(path) and not refusal(path)


def is_housekeeping(name: str) -> bool:
    """Whether a file or folder of this name is no one's photo: hidden, or kept by a system beside the photos."""
    return name.startswith(".") or name.lower() in HOUSEKEEPING


def below(
    folder: str | Path, results: str | Path | None = None, wanted: Callable[[Path], bool] = lambda path: True
) -> Found:
    """Everything below a folder, of which files are `wanted`; what lies in `results`, earlier results, is left out."""
    found, top = Found(), os.path.realpath(folder)
    done = {top} | ({os.path.realpath(results)} - {top} if results is not None else set())
    places, links = [(Path(folder), False)], []  # Each place comes with whether it is hidden.
    while places or links:
        if not places:
            link, hidden = links.pop(0)
            real = os.path.realpath(link)
            if top.startswith(os.path.join(real, "")):
                found.left_out[LOOP] += 1
            elif real not in done:
                done.add(real)
                places.append((link, hidden))
            continue
        place, hidden = places.pop()
        try:
            with os.scandir(place) as entries:
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as problem:
            if not hidden:
                found.problems.append((str(place), f"cannot be read ({problem.strerror})"))
            continue
        inner = []
        for entry in entries:
            path, kept_from_view = place / entry.name, hidden or is_housekeeping(entry.name)
            if not _is_folder(entry):
                if wanted(path):
                    take(found, path, kept_from_view)
            elif entry.is_symlink():
                links += [] if kept_from_view else [(path, False)]
            elif (real := os.path.realpath(path)) not in done:
                done.add(real)
                inner.append((path, kept_from_view))
        places += reversed(inner)
    return found


def image_files(folder: str | Path) -> list[Path]:
    """All photos below a folder, sorted, as `below` has them."""
    return sorted(below(folder).photos)


def take(found: Found, path: Path, hidden: bool = False) -> None:
    """Put a file where its name says that it belongs."""
    suffix = path.suffix.lower()
    if hidden:
        found.left_out[HIDDEN] += 1
    elif is_taken(path):
        (found.videos if is_video(path) else found.photos).append(path)
        found.files.append(path)
    elif refusal(path):
        found.refused.setdefault(suffix, []).append(path)
    else:
        found.left_out[suffix] += 1


def counted(left_out: Counter[str]) -> str:
    """Counts as people say them: "3 .nrw files, 2 .txt files, 1 file without a suffix"."""

    def said(kind: str, count: int) -> str:
        s = "s" if count > 1 else ""
        if not kind:
            return f"{count} file{s} without a suffix"
        return f"{count} {kind}{s}" if kind in (HIDDEN, LOOP) else f"{count} {kind} file{s}"

    return ", ".join(said(kind, count) for kind, count in sorted(left_out.items()) if count)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link may lead in a circle.
        return False
