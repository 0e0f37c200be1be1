"""From what a user names (sets, two folders, photographs, the samples) to checked pairs and training crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from madn.data.crops import Augment, CropSource, MixedCrops, PairCrops
from madn.data.images import DecodedImages
from madn.data.index import Pair, PairIndex, check_pairs, find_pairs, folder_that_is_there, pair_folders
from madn.data.kohler import find_kohler
from madn.data.scenes import hold_out
from madn.data.synthetic import PHOTO_BLURS, Motion, check_photos, find_photos, hold_out_photos
from madn.errors import UserError

VALIDATION_CROP = 256


@dataclass(frozen=True)
class FixedCrops:
    """Crops that never change, to score a run on: uint8 (n, height, width, 3), blurred and sharp."""

    blurred: np.ndarray
    sharp: np.ndarray

    @classmethod
    def of(cls, source: CropSource, count: int) -> "FixedCrops":
        """The first crops of a source."""
        crops = [source.crop_at(k) for k in range(count)]
        return cls(*(np.stack(images) for images in zip(*crops, strict=True)))

    @classmethod
    def centres(cls, pairs: tuple[Pair, ...], images: DecodedImages, multiple: int) -> "FixedCrops":
        """The middle of every pair, of 256 pixels or of as many as the smallest image has."""
        shapes = [images.read(pair.sharp).shape for pair in pairs]
        smallest = min(min(shape[:2]) for shape in shapes)
        side = min(VALIDATION_CROP, smallest // multiple * multiple)
        if not side:
            raise UserError(f"held-out images must be at least {multiple} pixels; the smallest has {smallest}")

        def middle(image):
            top, left = ((n - side) // 2 for n in image.shape[:2])
            return image[top : top + side, left : left + side]

        return cls(
            np.stack([middle(images.read(pair.blurred)) for pair in pairs]),
            np.stack([middle(images.read(pair.sharp)) for pair in pairs]),
        )

    @classmethod
    def joined(cls, *parts: "FixedCrops | None") -> "FixedCrops | None":
        """The crops of all parts, which have one size; None where there is none."""
        parts = [part for part in parts if part]
        return (
            cls(*(np.concatenate([getattr(part, kind) for part in parts]) for kind in ("blurred", "sharp")))
            if parts
            else None
        )

    def floats(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first `count` crops as float32 in [0, 1]."""
        return self.blurred[:count].astype("float32") / 255, self.sharp[:count].astype("float32") / 255


def open_pairs(
    data: str | Sequence[str] | None,
    blurred: str | Path | None = None,
    sharp: str | Path | None = None,
    split: str = "train",
    blur_kind: str = "blur",
) -> PairIndex:
    """The unchecked pairs of one or several sets ("samples": the built-in one) or of two folders.

    Raises `UserError` where both or neither are named, and as `find_pairs` does.
    """
    sets = _names(data)
    if bool(sets) == (blurred is not None) or (blurred is None) != (sharp is None):
        raise UserError("give --data DIR, or --blurred DIR and --sharp DIR")
    if blurred is not None:
        return pair_folders(blurred, sharp)
    if len({Path(name).resolve() for name in sets}) < len(sets):
        raise UserError(f"--data {' '.join(sets)}: the same set twice; name it once")
    indices = [_open_set(name, split, blur_kind) for name in sets]
    return indices[0] if len(indices) == 1 else _joined(indices)


def _names(data: str | Sequence[str] | None) -> tuple[str, ...]:
    return (data,) if isinstance(data, str) else tuple(data or ())


def _open_set(name: str, split: str, blur_kind: str) -> PairIndex:
    if name == "samples":
        from madn.data.samples import sample_folder

        name = str(sample_folder())
    return find_kohler(name, split) or find_pairs(name, split, blur_kind)


def _joined(indices: Sequence[PairIndex]) -> PairIndex:
    """Several sets as one. Scenes of the same name are one scene, as those of RealBlur-J and RealBlur-R are."""
    return PairIndex(
        sum((index.pairs for index in indices), ()),
        sum((index.problems for index in indices), ()),
        " and ".join(dict.fromkeys(index.layout for index in indices)),
        " and ".join(dict.fromkeys(index.blur_kind for index in indices if index.blur_kind)) or None,
        " and ".join(index.root for index in indices),
        sum((index.notes for index in indices), ()),
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Images: which ones, and how they are kept"""

    data: str | list[str] | None = None
    """Folder of pairs in the GoPro, REDS or RealBlur layout, or several; by default samples, the built-in set."""
    blurred: str | None = None
    """Folder of blurred images, with --sharp, instead of --data."""
    sharp: str | None = None
    """Folder of their sharp partners, under the same names."""
    photos: str | None = None
    """Folder of sharp photographs to blur; the pairs, if any are named, are mixed with them."""
    photo_share: float | None = None
    """Share of photographs' crops where pairs are named as well; by default one half."""
    photo_blur: Literal["shake", "camera", "video"] = "shake"
    """Shake: camera shake alone. Camera: moving things and unblurred photographs, too, with noise and JPEG.
    Video: those along smooth paths, averaged as a video's frames are stored, without noise and JPEG."""
    longest_shake: float | None = None
    """Longest path of the synthesised motion, in pixels: about three times the blur's extent for shake and camera,
    little more than it for video; by default 24, or 32 with --photo-blur camera, 40 with video."""
    held_photos: int | None = None
    """Photographs held out to score the run, spread over their names; by default a tenth, or none beside pairs."""
    validation: str = "auto"
    """Scenes held out to score the run: names with commas between, auto (a small scene) or none."""
    crop_tries: int = 1
    """Windows drawn for each training crop, of which the one that is blurred most is taken, of photographs the one with
    the most detail: fewer skies."""
    shrink: tuple[float, float] = (1.0, 1.0)
    """Windows of pairs are between so many and so many times as large as the crop, where their image is, and shrunk to
    it: shorter blurs, learnt first."""
    skip_bad: bool = False
    """Leave bad pairs and photographs out and name them, instead of stopping."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Where decoded images are kept."""
    cache_gb: float = 16.0
    """Bound of that cache, in 10^9 bytes; what does not fit is decoded each time."""

    def check_folders(self) -> None:
        """Raises `UserError` for a folder that is not there; whatever else may be wrong shows when they are read."""
        named = [name for name in _names(self.data) if name != "samples"]
        for folder in (*named, self.blurred, self.sharp, self.photos):
            if folder is not None:
                folder_that_is_there(folder)


def open_source(
    options: DataOptions, crop: int, multiple: int, seed: int, augment: Augment, blur_kind: str
) -> tuple[CropSource, FixedCrops | None, dict]:
    """Training crops, held-out crops and a summary of both, everything decoded and checked.

    The summary says in words what there is (`train`, `validation`, `left_out`, `notes`), and lists the `files`.

    Pairs and photographs together are mixed (`MixedCrops`), and of the photographs those are held out that
    `held_photos` asks for. Raises `UserError` naming every bad file, before any training.
    """
    if options.crop_tries < 1:
        raise UserError(f"--crop-tries must be at least 1; received {options.crop_tries}")
    least, most = options.shrink
    if not 1 <= least <= most <= 16:
        raise UserError(f"--shrink takes two factors from 1 to 16, the smaller one first; received {least:g} {most:g}")
    images = DecodedImages(options.cache, options.cache_gb)
    pairs_named = options.data is not None or options.blurred or options.sharp
    if options.photo_share is not None and not (options.photos and pairs_named):
        raise UserError("--photo-share needs both photographs (--photos DIR) and pairs (--data DIR)")
    if options.photos is None and (
        options.held_photos is not None or options.photo_blur != "shake" or options.longest_shake is not None
    ):
        raise UserError("--held-photos, --photo-blur and --longest-shake need photographs: --photos DIR")
    motion = PHOTO_BLURS[options.photo_blur].motion_up_to(options.longest_shake)
    if options.photos is not None and not pairs_named:
        if most > 1:
            raise UserError("--shrink is for pairs; the blur of photographs is set by --longest-shake")
        if options.validation not in ("auto", "none"):
            raise UserError(f"--validation {options.validation}: photographs have no scenes; give auto or none")
        if options.validation == "none" and options.held_photos:
            raise UserError(f"--held-photos {options.held_photos} and --validation none: leave one of them out")
        count = 0 if options.validation == "none" else options.held_photos
        return _open_photos(options, motion, images, crop, crop, seed, augment, count)
    named = ["samples"] if not pairs_named else _names(options.data)
    index = check_pairs(
        open_pairs(named, options.blurred, options.sharp, "train", blur_kind), images, crop, options.skip_bad
    )
    train, held = hold_out(index.pairs, options.validation)
    fixed = FixedCrops.centres(held, images, multiple) if held else None
    source = PairCrops(train, images, crop, seed, augment, options.crop_tries, options.shrink)
    kind = f", blur kind {index.blur_kind}" if index.blur_kind else ""
    summary: dict[str, Any] = {
        "train": f"{len(train)} pairs of {' and '.join(named) or index.root} ({index.layout}{kind})",
        "validation": [pair.name for pair in held],
        "left_out": list(index.problems),
        "notes": list(index.notes),
        "files": [path for pair in index.pairs for path in (pair.blurred, pair.sharp)],
    }
    if options.photos is not None:
        share = 0.5 if options.photo_share is None else options.photo_share
        side = fixed.sharp.shape[1] if fixed else crop
        count = options.held_photos or 0
        photos, held_photos, also = _open_photos(options, motion, images, crop, side, seed, augment, count)
        source, fixed = MixedCrops(source, photos, share), FixedCrops.joined(fixed, held_photos)
        summary["train"] += f" and, for a share of {share:g} of the crops, {also.pop('train')}"
        summary = {key: [*summary[key], *also[key]] if key in also else summary[key] for key in summary}
    return source, fixed, summary


def _open_photos(
    options: DataOptions,
    motion: Motion,
    images: DecodedImages,
    crop: int,
    held_crop: int,
    seed: int,
    augment: Augment,
    count: int | None,
) -> tuple[CropSource, FixedCrops | None, dict]:
    """What `open_source` returns, for photographs, of which `count` or a tenth are held out."""
    kind = PHOTO_BLURS[options.photo_blur]
    least = motion.photo_side(max(crop, held_crop if count != 0 else 0))
    paths, notes = find_photos(options.photos)
    photos, problems = check_photos(
        paths,
        images,
        least,
        options.skip_bad,
        " (a margin for the blur is added to it, half of --longest-shake on each side)",
    )
    train, held = hold_out_photos(photos, len(photos) // 10 if count is None else count)
    fixed = FixedCrops.of(kind(held, images, held_crop, seed, motion=motion), len(held)) if held else None
    about = {
        "train": f"{len(train)} photographs of {options.photos}, {kind.SAYS}",
        "validation": [photo.name for photo in held],
        "left_out": list(problems),
        "notes": [*notes, *(images.notes[path] for path in photos if path in images.notes)],
        "files": list(photos),
    }
    return kind(train, images, crop, seed, augment, motion, options.crop_tries), fixed, about
