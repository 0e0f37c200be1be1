"""Images that another system restored, each beside the pair that it is of: scored by the same protocol as a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from madn.data.images import DecodedImages, in_threads
from madn.data.index import Pair, some_lines
from madn.errors import UserError
from madn.imaging.arrays import read_image
from madn.imaging.finding import below

KINDS = ("blur", "blur_gamma", "sharp")  # Folders between scene and frame, where a data set's own tree was restored.


@dataclass(frozen=True)
class RestoredElsewhere:
    """A folder of restored images, and the file of each pair.

    `pairs`: those whose image is there, can be read and has their size; `problems`: a line for each other pair;
    `notes`: lines on files that are no pair's.
    """

    folder: Path
    files: dict[str, Path]
    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def read(self, pair: Pair) -> np.ndarray:
        """A pair's restored image, float32 (H, W, 3) in [0, 1]."""
        return read_image(self.files[pair.name])


def find_restored(
    folder: Path, pairs: Sequence[Pair], whole_set: Sequence[Pair], images: DecodedImages, skip_bad: bool = False
) -> RestoredElsewhere:
    """Find the restored image of each of the pairs, and decode each once.

    A pair SCENE/FRAME has its image, of any format that is read, in SCENE/FRAME, in SCENE/blur/FRAME, or in one folder
    as SCENE-FRAME or SCENE_FRAME. Images of `whole_set` that are not asked for now are no strangers.
    Raises `UserError` where the folder is missing or holds no image, where a pair has two images, and, with a line for
    each, where pairs have none, an unreadable one, or one of another size, unless such pairs are to be left out.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --restored names the folder of the restored images")
    found = below(folder)
    if found.problems:
        raise UserError(*some_lines(f"{place}: {reason}" for place, reason in found.problems))
    if not found.photos:
        raise UserError(f"{folder}: holds no images" + (f"; there is {found.remark()}" if found.remark() else ""))
    names = _spellings(whole_set)
    files: dict[str, Path] = {}
    extra = []
    for path in sorted(found.photos):
        relative = path.relative_to(folder).with_suffix("").parts
        if len(relative) > 1 and relative[-2] in KINDS:
            relative = (*relative[:-2], relative[-1])
        name = names.get("/".join(relative))
        if name is None:
            extra.append(path)
        elif name in files:
            raise UserError(f"{path}: of the same pair as {files[name]}; remove one of them")
        else:
            files[name] = path

    def inspect(pair: Pair) -> str | None:
        path = files.get(pair.name)
        if path is None:
            return f"{pair.name}: no image of it below {folder}; add {pair.name}.png"
        try:
            image = images.read(path)
        except UserError as problem:
            return str(problem)
        wanted = images.size(pair.sharp)
        if image.shape[:2] != wanted:
            mine, theirs = (f"{width}x{height}" for height, width in (image.shape[:2], wanted))
            return f"{path}: {mine}, but its sharp partner {pair.sharp} is {theirs}"
        return None

    lines = in_threads(inspect, pairs, "checking restored images")
    problems = tuple(line for line in lines if line)
    good = tuple(pair for pair, line in zip(pairs, lines, strict=True) if not line)
    if problems and (not skip_bad or not good):
        way_out = "no usable image is left" if skip_bad else "leave such pairs out with --skip-bad"
        raise UserError(
            *some_lines(problems), f"{folder}: {len(problems)} of {len(pairs)} pairs have no usable image; {way_out}"
        )
    notes = []
    if extra:
        notes = some_lines(f"{path}: of no pair of the set" for path in extra)
        notes.append(f"{folder}: {len(extra)} of {len(found.photos)} images are of no pair, and are not scored")
    if found.remark():
        notes.append(f"{folder}: left out: {found.remark()}")
    return RestoredElsewhere(folder, files, good, problems, tuple(notes))


def _spellings(pairs: Sequence[Pair]) -> dict[str, str]:
    """What an image's path without its suffix may be -> the name of the pair; a spelling of two pairs is of none."""
    found: dict[str, str | None] = {}
    for pair in pairs:
        for spelling in {pair.name, pair.name.replace("/", "-"), pair.name.replace("/", "_")}:
            found[spelling] = pair.name if found.get(spelling, pair.name) == pair.name else None
    return {spelling: name for spelling, name in found.items() if name}
