"""Sources of training crops. Crop k is a function of (seed, k) alone, so a resumed run goes on at crop k."""

import functools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from madn.data.images import DecodedImages, in_threads
from madn.data.index import Pair, size, some_lines, too_small
from madn.data.synthesis import blur_photo, camera_shake, reach
from madn.errors import UserError
from madn.imaging.files import image_files, to_uint8

Augment = Literal["none", "flips", "dihedral"]
ORDER, CROP = 0, 1  # the two uses of the seed
LONGEST, ROTATION = 24.0, 0.005  # of a synthesised camera shake: pixels and radians


class CropSource(Protocol):
    """What a pipeline draws from: `len` is the number of crops in an epoch."""

    crop: int

    def __len__(self) -> int: ...

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""

    def name(self, k: int) -> str:
        """The file that crop k comes from."""


class PairCrops:
    """One random window of every pair in each epoch, the same in the blurred and the sharp image.

    The order is a new permutation in each epoch. `augment`: "none"; "flips" (left-right and up-down, each for half
    the crops); "dihedral" (the eight flips and 90-degree turns, equally often). Raises `UserError` naming the file
    when one cannot be decoded.
    """

    def __init__(self, pairs: Sequence[Pair], images: DecodedImages, crop: int, seed: int,
                 augment: Augment = "none"):
        self.pairs, self.images, self.crop, self.seed, self.augment = tuple(pairs), images, crop, seed, augment

    def __len__(self) -> int:
        return len(self.pairs)

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""
        pair = _drawn(self.pairs, self.seed, k)
        rng = np.random.default_rng((self.seed, CROP, k))
        blurred, sharp = self.images.read(pair.blurred), self.images.read(pair.sharp)
        if blurred.shape != sharp.shape:
            raise UserError(f"{pair.blurred}: {size(blurred)}, but its partner {pair.sharp} is {size(sharp)}")
        window = _window(rng, pair.blurred, blurred, self.crop)
        return _augmented(rng, blurred[window], sharp[window], self.augment)

    def name(self, k: int) -> str:
        """The blurred file of crop k."""
        return str(_drawn(self.pairs, self.seed, k).blurred)


class PhotoCrops:
    """Crops of sharp photographs, each blurred by a camera shake of its own (`synthesis.camera_shake`).

    The length of the shake's path is uniform in [longest / 5, longest] pixels, its turn at most `rotation` radians;
    `noise` is the standard deviation of Gaussian noise on the blurred crop, in units of the [0, 1] range. A margin
    around the crop is blurred with it and cut off, so the photographs must be larger than the crop by two margins:
    `photo_side`. Raises `UserError` naming the file when one cannot be decoded or is smaller.
    """

    def __init__(self, photos: Sequence[Path], images: DecodedImages, crop: int, seed: int, augment: Augment = "none",
                 longest: float = LONGEST, rotation: float = ROTATION, noise: float = 0.0):
        self.photos, self.images, self.crop, self.seed, self.augment = tuple(photos), images, crop, seed, augment
        self.longest, self.rotation, self.noise = longest, rotation, noise
        self.margin = reach(longest, rotation, crop)

    def __len__(self) -> int:
        return len(self.photos)

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""
        path = _drawn(self.photos, self.seed, k)
        rng = np.random.default_rng((self.seed, CROP, k))
        photo = self.images.read(path)
        photo = photo[_window(rng, path, photo, self.crop + 2 * self.margin)]
        length = rng.uniform(0.2, 1.0) * self.longest
        poses = camera_shake(rng, 2 * int(np.ceil(length / 2)) + 1, length, self.rotation)  # at most 1 px apart
        inside = slice(self.margin, self.margin + self.crop)
        blurred, sharp = blur_photo(photo, poses)[inside, inside], photo[inside, inside]
        if self.noise:
            blurred = blurred + rng.normal(scale=self.noise, size=blurred.shape)
        return _augmented(rng, to_uint8(blurred), sharp, self.augment)

    def name(self, k: int) -> str:
        """The file of crop k."""
        return str(_drawn(self.photos, self.seed, k))


class MixedCrops:
    """Crops of pairs and of photographs: of any n crops in a row, `photo_share` * n, to within one, are photographs'.

    Crop k is a photograph's where floor(k * photo_share) grows at k; the crops that come before it from either source
    are counted in closed form, and it is the next crop of its own source. `photo_share` is above 0 and below 1.
    An epoch makes one pass over the pairs: len(pairs) / (1 - photo_share) crops, rounded up.
    """

    def __init__(self, pairs: CropSource, photos: CropSource, photo_share: float):
        if not 0 < photo_share < 1:
            raise UserError(f"--photo-share must be above 0 and below 1; received {photo_share}")
        self.pairs, self.photos, self.crop = pairs, photos, pairs.crop
        self.share = Fraction(str(photo_share))  # exact, where a product with a float would drift

    def __len__(self) -> int:
        return int(-(-len(self.pairs) // (1 - self.share)))

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""
        source, number = self._own(k)
        return source.crop_at(number)

    def name(self, k: int) -> str:
        """The file that crop k comes from."""
        source, number = self._own(k)
        return source.name(number)

    def _own(self, k: int) -> tuple[CropSource, int]:
        """The source of crop k, and the number that the crop has there."""
        before, after = int(k * self.share), int((k + 1) * self.share)
        return (self.photos, before) if after > before else (self.pairs, k - before)


def find_photos(folder: str | Path) -> list[Path]:
    """All photographs below a folder; raises `UserError` when there is none."""
    photos = image_files(folder)
    if not photos:
        raise UserError(f"{folder}: no photographs found" if Path(folder).is_dir() else f"{folder}: no such folder")
    return photos


def photo_side(crop: int, longest: float = LONGEST, rotation: float = ROTATION) -> int:
    """The least side of a photograph, in pixels, that a crop and the margin for its blur fit in."""
    return crop + 2 * reach(longest, rotation, crop)


def check_photos(photos: Sequence[Path], images: DecodedImages, least: int,
                 skip_bad: bool = False) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Decode every photograph once, in parallel through the cache: (those that can be used, a line for each other).

    Bad: unreadable or truncated files, and sides below `least` pixels. Raises `UserError` with the lines, unless
    `skip_bad`, and where no photograph is left.
    """
    def inspect(path: Path) -> str | None:
        try:
            photo = images.read(path)
        except UserError as problem:
            return str(problem)
        if min(photo.shape[:2]) < least:
            return too_small(path, photo, least) + " (a margin for the blur is added to it)"
        return None

    found = in_threads(inspect, photos, "checking photographs")
    problems = tuple(line for line in found if line)
    if problems and not skip_bad:
        raise UserError(some_lines(f"{line} (or leave such photographs out: --skip-bad)" for line in problems))
    good = tuple(path for path, line in zip(photos, found) if not line)
    if not good:
        raise UserError(some_lines(problems) + "\nno usable photograph is left")
    return good, problems


def _drawn(items: Sequence, seed: int, k: int):
    """Item k of the run: all of them in each epoch, in a new order."""
    epoch, place = divmod(k, len(items))
    return items[_order(seed, epoch, len(items))[place]]


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, ORDER, epoch)).permutation(count)


def _window(rng: np.random.Generator, path: Path, image: np.ndarray, length: int) -> tuple[slice, slice]:
    """A random square window."""
    if min(image.shape[:2]) < length:
        raise UserError(too_small(path, image, length))
    top, left = (int(rng.integers(side - length + 1)) for side in image.shape[:2])
    return slice(top, top + length), slice(left, left + length)


def _augmented(rng: np.random.Generator, blurred: np.ndarray, sharp: np.ndarray,
               augment: Augment) -> tuple[np.ndarray, np.ndarray]:
    mirror, flip, turns = rng.integers((2, 2, 4))
    if augment == "none":
        return blurred, sharp
    if augment == "flips":
        moves = [(cv2.flip, 1)] * mirror + [(cv2.flip, 0)] * flip
    else:
        moves = [(cv2.flip, 1)] * mirror + [(cv2.rotate, turns - 1)] * int(turns > 0)
    for move, how in moves:  # OpenCV's are ten times faster than copying a NumPy view with negative strides
        blurred, sharp = move(blurred, int(how)), move(sharp, int(how))
    return blurred, sharp
