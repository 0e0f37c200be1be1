"""Pairs on disk: find them in the GoPro, REDS or RealBlur layout or any two folders, and validate them by name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from madn.data.images import DecodedImages, in_threads
from madn.errors import UserError, one_line
from madn.imaging.finding import Found, below, is_housekeeping

MOST_LINES = 20


@dataclass(frozen=True)
class Pair:
    """A blurred image and its sharp partner; `name` is "scene/stem", or the stem alone without a scene.

    `frames` are all sharp images along the motion that blurred it, where a set has them (`madn.data.kohler`).
    """

    blurred: Path
    sharp: Path
    scene: str
    name: str
    frames: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PairIndex:
    """Pairs by name. `problems` has a line for each file that stays out, `notes` for files that were converted, and for
    what folders hold beside images."""

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]
    layout: str
    blur_kind: str | None
    root: str
    notes: tuple[str, ...] = ()


def find_pairs(root: str | Path, split: str = "train", blur_kind: str = "blur") -> PairIndex:
    """Find the pairs of a set below `root`.

    Layouts: GoPro, `[split/]scene/{blur_kind,sharp}/*` (Nah et al. 2017; REDS is often laid out so too);
    REDS as its archives unpack, `split_{blur_kind,sharp}/sequence/*` (Nah et al. 2019; its "val" serves as
    "test"); RealBlur (Rim et al. 2020), `RealBlur-J*/scene*/{blur/blur_N.png,gt/gt_N.png}`, split by
    `RealBlur_J_{split}_list.txt` in or beside that folder, where there are such lists, and else as GoPro is; one
    scene, `{blur_kind,sharp}/*`. `root` may be the set, its split folder or one scene; where both RealBlur-J and -R
    are unpacked, it must be the folder of one.
    Raises `UserError` where the folder or the blur kind is missing, and where there is no pair at all.
    """
    root = folder_that_is_there(root)
    found = _reds(root, split, blur_kind) or _realblur(root, split, blur_kind)
    if found:
        return found
    base = root / split if (root / split).is_dir() else root
    scenes = [base] if _kinds(base) else [entry for entry in _folders(base) if _kinds(entry)]
    kinds = sorted(set().union(*map(_kinds, scenes)) - {"sharp"})
    if not scenes:
        raise UserError(
            f"{root}: no pairs found; looked for {split}/SCENE/{{{blur_kind},sharp}}, SCENE/{{{blur_kind},sharp}}, "
            f"{{{blur_kind},sharp}}, {split}_{blur_kind}/SEQUENCE beside {split}_sharp/SEQUENCE, and SCENE/{{blur,gt}}"
        )
    if kinds and blur_kind not in kinds:
        raise UserError(f"{base}: no blur kind '{blur_kind}' here; there is {', '.join(kinds)}: choose one of these")
    pairs, problems, notes = [], [], []
    for scene in scenes:
        for kind in (blur_kind, "sharp"):
            if not (scene / kind).is_dir():
                problems.append(f"{scene}: the folder '{kind}' is missing; add it")
        found, lonely, others = _match(scene / blur_kind, scene / "sharp", scene.resolve().name)
        pairs += found
        problems += lonely
        notes += others
    return _index(pairs, problems, notes, "GoPro" if scenes != [base] else "one scene", blur_kind, str(base))


def pair_folders(blurred_dir: str | Path, sharp_dir: str | Path) -> PairIndex:
    """Pair the images of any two folders by path and stem below them; the subfolders are the scenes."""
    blurred, sharp = folder_that_is_there(blurred_dir), folder_that_is_there(sharp_dir)
    return _index(*_match(blurred, sharp), "two folders", None, f"{blurred} | {sharp}")


def check_pairs(index: PairIndex, images: DecodedImages, crop: int | None, skip_bad: bool = False) -> PairIndex:
    """Decode every file once, in parallel through the cache, and return the index without its bad pairs.

    Bad: unreadable or truncated files, also among the frames, sizes that differ, images smaller than `crop` pixels, a
    blurred image identical to its partner, and what `find_pairs` could not pair. Raises `UserError` with one line for
    each, unless `skip_bad`: then they are in `problems`.
    """

    def inspect(pair: Pair) -> list[str]:
        arrays, problems = {}, []
        for path in dict.fromkeys((pair.blurred, pair.sharp, *pair.frames)):
            try:
                image = images.read(path)
            except UserError as problem:
                problems.append(str(problem))
                continue
            if path in (pair.blurred, pair.sharp):
                arrays[path] = image
            elif image.shape != arrays.get(pair.sharp, image).shape:
                problems.append(f"{path}: {size(image)}, but {pair.sharp} is {size(arrays[pair.sharp])}")
        small = [too_small(path, array, crop) for path, array in arrays.items() if crop and min(array.shape[:2]) < crop]
        problems += small[:1]  # One line is enough for both images of a pair.
        if problems:
            return problems
        blurred, sharp = arrays[pair.blurred], arrays[pair.sharp]
        if blurred.shape != sharp.shape:
            return [f"{pair.blurred}: {size(blurred)}, but its partner {pair.sharp} is {size(sharp)}"]
        if np.array_equal(blurred, sharp):
            return [f"{pair.blurred}: identical to its partner {pair.sharp}"]
        return []

    found = in_threads(inspect, index.pairs, "checking pairs")
    problems = [*index.problems, *(line for lines in found for line in lines)]
    if problems and not skip_bad:
        raise UserError(*some_lines(f"{line} (or leave such pairs out: --skip-bad)" for line in problems))
    good = tuple(pair for pair, lines in zip(index.pairs, found) if not lines)
    if not good:
        raise UserError(*some_lines(problems), f"{index.root}: no usable pair is left")
    notes = (images.notes[path] for pair in good for path in (pair.blurred, pair.sharp) if path in images.notes)
    return replace(index, pairs=good, problems=tuple(problems), notes=(*index.notes, *notes))


def some_lines(lines: Iterable[str]) -> list[str]:
    """The first 20 of the lines, and one that says how many there are more; what does not print is escaped."""
    lines = [one_line(line) for line in lines]
    more = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return lines[:MOST_LINES] + more


def size(image: np.ndarray) -> str:
    """The size of an image as people write it, width x height."""
    return f"{image.shape[1]}x{image.shape[0]}"


def too_small(path: Path, image: np.ndarray, least: int) -> str:
    """The line for an image that a window of `least` pixels does not fit in."""
    return f"{path}: {size(image)} is smaller than {least}x{least}; choose a smaller --crop"


def folder_that_is_there(path: str | Path) -> Path:
    """The folder, `~` resolved; raises `UserError` where there is none."""
    path = Path(path).expanduser()
    if not path.is_dir():
        raise UserError(f"{path}: " + ("is a file, not a folder" if path.exists() else "no such folder"))
    return path


def _kinds(folder: Path) -> set[str]:
    """The kinds of images below a scene, such as sharp, blur and blur_gamma."""
    return {entry.name for entry in _folders(folder) if entry.name == "sharp" or entry.name.startswith("blur")}


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder that may hold images, sorted."""
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not is_housekeeping(entry.name)]


def _reds(root: Path, split: str, blur_kind: str) -> PairIndex | None:
    """The pairs of the official REDS archives, each of which may have unpacked into folders of its own."""
    split = {"test": "val"}.get(split, split)

    def sequences(kind: str) -> Path | None:
        for depth in ("", "*/", "*/*/"):
            for folder in sorted(root.glob(f"{depth}{split}_{kind}")):
                if any(map(is_housekeeping, folder.relative_to(root).parts)):
                    continue
                if any(photo.parent.parent == folder for photo in below(folder).photos):
                    return folder
        return None

    sharp, blurred = sequences("sharp"), sequences(blur_kind)
    if not sharp:
        return None
    if not blurred:
        raise UserError(
            f"{root}: there is {sharp.name}, but no {split}_{blur_kind}: unpack it here, "
            "or choose the blur kind that is here"
        )
    return _index(*_match(blurred, sharp), "REDS", blur_kind, str(root))


def _realblur(root: Path, split: str, blur_kind: str) -> PairIndex | None:
    """The pairs of RealBlur-J or RealBlur-R, which `root` is or holds; a single scene has no lists."""

    def scenes(folder: Path) -> list[Path]:
        return [
            entry
            for entry in (folder, *_folders(folder))
            if (entry / "gt").is_dir() and (entry / "blur").is_dir() and not (entry / "sharp").is_dir()
        ]

    bases = [folder for folder in (root / split, root) if folder.is_dir() and scenes(folder)][:1]
    bases = bases or [
        folder for folder in _folders(root) if folder.name.lower().startswith("realblur") and scenes(folder)
    ]
    if not bases:
        return None
    if len(bases) > 1:
        raise UserError(f"{root}: holds {' and '.join(base.name for base in bases)}; name one of them: {bases[0]}")
    if blur_kind != "blur":
        raise UserError(f"{bases[0]}: no blur kind '{blur_kind}' here; there is blur: choose this")
    base, found = bases[0], scenes(bases[0])
    lists = {} if base in found else _realblur_lists(base)
    if lists and split not in lists:
        raise UserError(f"{base}: there is {next(iter(lists.values())).name}, but no list of the {split} pairs; add it")
    pairs, problems, notes = [], [], []
    if lists:
        pairs, problems = _listed(lists[split], base)
    else:
        for scene in found:
            more = _match(scene / "blur", scene / "gt", scene.resolve().name, ("blur_", "gt_"))
            pairs += more[0]
            problems += more[1]
            notes += more[2]
    return _index(pairs, problems, notes, "RealBlur", blur_kind, str(lists.get(split, base)))


def _realblur_lists(base: Path) -> dict[str, Path]:
    """The list file of each split, in the set's folder or beside it; of J or R, as the folder's name says."""
    named = re.search(r"realblur[-_]?([jr])(?![a-z])", base.resolve().name, re.IGNORECASE)
    lists = {}
    for folder in (base, base.resolve().parent):
        for file in sorted(folder.glob("RealBlur_[JR]_*_list.txt")):
            which, split = re.fullmatch(r"RealBlur_([JR])_(.+)_list\.txt", file.name).groups()
            if named and which != named.group(1).upper():
                continue
            if lists.setdefault(split, file).name != file.name:
                raise UserError(f"{base}: {lists[split].name} or {file.name}? Call the folder RealBlur-J or RealBlur-R")
    return lists


def _listed(file: Path, base: Path) -> tuple[list[Pair], list[str]]:
    """The pairs of a RealBlur list, "gt_path blur_path" in each line, their last three parts below `base`."""
    pairs, problems = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        parts = [Path(word).parts[-3:] for word in line.split()]
        if len(parts) != 2 or [part[1:2] for part in parts] != [("gt",), ("blur",)]:
            raise UserError(f"{file}: line {number} is not 'SCENE/gt/FILE SCENE/blur/FILE': {line.strip()}")
        sharp, blurred = (base.joinpath(*part) for part in parts)
        missing = [path for path in (blurred, sharp) if not path.is_file()]
        problems += [f"{path}: is in {file.name} but not here; add it" for path in missing]
        if not missing:
            scene = parts[1][0]
            pairs.append(Pair(blurred, sharp, scene, f"{scene}/{blurred.stem.removeprefix('blur_')}"))
    return sorted(pairs, key=lambda pair: pair.blurred), problems


def _match(
    blurred: Path, sharp: Path, scene: str | None = None, prefixes: tuple[str, str] = ("", "")
) -> tuple[list[Pair], list[str], list[str]]:
    """Pair files by relative path without suffix and without the `prefixes` of blurred and sharp names; the scene is
    `scene`, or else the relative folder. Returns the pairs, what has no partner, and notes on what is no image."""
    sides, problems, notes = [], [], []
    for folder, prefix in zip((blurred, sharp), prefixes):
        files = {}
        found = below(folder) if folder.is_dir() else Found()
        problems += [f"{place}: {reason}" for place, reason in found.problems]
        notes += [f"{folder}: left out: {found.remark()}"] if found.remark() else []
        for path in sorted(found.photos):
            key = path.relative_to(folder).with_suffix("")
            key = key.with_name(key.name.removeprefix(prefix))
            if key in files:
                problems.append(f"{path}: the same name as {files[key].name}; remove one of them")
            files.setdefault(key, path)
        sides.append(files)
    for files, others, where in ((sides[0], sides[1], sharp), (sides[1], sides[0], blurred)):
        problems += [
            f"{path}: no partner {key} in {where}; add it or remove the file"
            for key, path in files.items()
            if key not in others
        ]
    pairs = []
    for key in sorted(sides[0].keys() & sides[1].keys()):
        name = scene if scene is not None else key.parent.as_posix().removeprefix(".")
        pairs.append(Pair(sides[0][key], sides[1][key], name, f"{name}/{key.name}" if name else key.name))
    return pairs, problems, notes


def _index(
    pairs: list[Pair], problems: list[str], notes: list[str], layout: str, blur_kind: str | None, root: str
) -> PairIndex:
    if not pairs:
        raise UserError(*some_lines(problems or [f"{root}: no images found ({layout} layout)", *notes]))
    return PairIndex(tuple(pairs), tuple(problems), layout, blur_kind, root, tuple(notes))
