"""The benchmark of Köhler et al. (2012): 4 images, each blurred by 12 recorded camera motions, with the sharp frames.

Its archives, `BlurryImages.zip` and `GroundTruth_pngs_Image1.zip` to `..._Image4.zip`, hold `Blurry1_2.png` for image 1
and motion 2, and `Image1/Kernel2/GroundTruth1_2_3.png` for its third frame; there are 198 to 200 frames along a motion.
Each blurred image is compared with all frames of its motion, of which `madn.evaluation.kohler` takes the best.
"""

import re
from collections import defaultdict
from pathlib import Path

from madn.data.index import Pair, PairIndex, some_lines
from madn.errors import UserError
from madn.imaging.finding import is_housekeeping

FEWEST = 197  # Each motion has 198 to 200 frames in the archives, of which one may be passed over.
# The benchmark's own script passes over these frames of image 1, motion 3: "ground truth image of (1,3) is missing".
# It reads them from .mat files; that the .png files have the same numbers is assumed.
PASSED_OVER = {(1, 3): {30, 199, 200}}


def find_kohler(root: str | Path, split: str = "test") -> PairIndex | None:
    """The 48 blurred images below `root`, each with its frames; None where `root` holds no `Blurry*_*` image.

    A pair's `sharp` is the middle frame of the motion, its `frames` are all of them by number. Raises `UserError` where
    the part asked for is another one than "test", which is all that there is, and where no image has a frame.
    """
    root = Path(root).expanduser()
    blurred, problems = _numbered(root, ("", "*/"), "Blurry", 2)
    if not blurred:
        return None
    if split != "test":
        raise UserError(f"{root}: Köhler's benchmark has no {split} part; it is for --split test of madn.evaluate")
    found, doubles = _numbered(root, ("**/",), "GroundTruth", 3)
    problems += doubles
    frames = defaultdict(dict)
    for (image, motion, frame), path in found.items():
        if frame not in PASSED_OVER.get((image, motion), ()):
            frames[image, motion][frame] = path
    problems += [
        f"{path}: no sharp frames GroundTruth{image}_{motion}_*.png below {root}; unpack "
        f"GroundTruth_pngs_Image{image}.zip there (its .mat files are not read)"
        for (image, motion), path in blurred.items()
        if (image, motion) not in frames
    ]
    problems += [
        f"{root}: Blurry{image}_{motion}.png is missing, whose {len(frames[image, motion])} frames are here; add it"
        for image, motion in sorted(frames.keys() - blurred.keys())
    ]
    pairs = []
    for (image, motion), path in blurred.items():
        if (image, motion) in frames:
            ordered = tuple(frames[image, motion][number] for number in sorted(frames[image, motion]))
            middle = ordered[(len(ordered) - 1) // 2]
            pairs.append(Pair(path, middle, f"Image{image}", f"Image{image}/Blurry{image}_{motion}", ordered))
    if not pairs:
        raise UserError(*some_lines(problems))
    short = [
        f"{pair.blurred.name}: {len(pair.frames)} frames, and at least {FEWEST} were published: the benchmark's scores "
        "are the best over more"
        for pair in pairs
        if len(pair.frames) < FEWEST
    ]
    return PairIndex(tuple(pairs), tuple(problems), "Köhler", None, str(root), tuple(short))


def _numbered(root: Path, depths: tuple[str, ...], word: str, numbers: int) -> tuple[dict[tuple, Path], list[str]]:
    """The files WORD1_2... by their numbers, in order, and a line for each that has the numbers of another one."""
    name = re.compile(word + "_".join([r"(\d+)"] * numbers) + r"\.(png|tiff?|bmp|jpe?g)", re.IGNORECASE)
    files, problems = {}, []
    for depth in depths:
        for path in sorted(root.glob(f"{depth}{word}*_*.*")):
            match = name.fullmatch(path.name)
            if not match or any(map(is_housekeeping, path.relative_to(root).parts)):
                continue
            key = tuple(map(int, match.groups()[:numbers]))
            if key in files:
                problems.append(f"{path}: there is {files[key]} as well; remove one of them")
            files.setdefault(key, path)
    return dict(sorted(files.items())), problems
