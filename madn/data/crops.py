"""Sources of training crops. Crop k is a function of (seed, k) alone, so that a resumed run goes on at crop k."""

import functools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from madn.data.images import DecodedImages
from madn.data.index import Pair, size, too_small
from madn.errors import UserError

Augment = Literal["none", "flips", "dihedral"]
ORDER, CROP = 0, 1  # Numbers for the order and for the crops are drawn with different keys.


class CropSource(Protocol):
    """What batches are made of: `len` is the number of crops in an epoch."""

    crop: int

    def __len__(self) -> int: ...

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""

    def name(self, k: int) -> str:
        """The file that crop k comes from."""


class PairCrops:
    """One random window of every pair in each epoch, the same in the blurred and the sharp image.

    The order is a new permutation in each epoch. `augment` is "none", "flips" (left-right and up-down, each for half
    the crops) or "dihedral" (the eight flips and 90-degree turns, equally often). Of `tries` windows the one that is
    blurred most is taken. A window is `shrink[0]` to `shrink[1]` times as large (log-uniformly, and no larger than its
    image) and shrunk to the crop. Raises `UserError` naming the file when one cannot be decoded.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        images: DecodedImages,
        crop: int,
        seed: int,
        augment: Augment = "none",
        tries: int = 1,
        shrink: tuple[float, float] = (1.0, 1.0),
    ):
        self.pairs, self.images, self.crop, self.seed, self.augment = tuple(pairs), images, crop, seed, augment
        self.tries, self.shrink = tries, shrink

    def __len__(self) -> int:
        return len(self.pairs)

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""
        pair = drawn(self.pairs, self.seed, k)
        rng = np.random.default_rng((self.seed, CROP, k))
        blurred, sharp = self.images.read(pair.blurred), self.images.read(pair.sharp)
        if blurred.shape != sharp.shape:
            raise UserError(f"{pair.blurred}: {size(blurred)}, but its partner {pair.sharp} is {size(sharp)}")
        side = self.crop
        least, most = self.shrink
        if most > 1:  # Without shrinking no number is drawn, so that such runs keep their crops.
            times = least * (most / least) ** rng.uniform()
            side = max(side, min(round(side * times), *sharp.shape[:2]))
        place = window(rng, pair.blurred, sharp, side, self.tries, blurred)
        return augmented(rng, shrunk(blurred[place], self.crop), shrunk(sharp[place], self.crop), self.augment)

    def name(self, k: int) -> str:
        """The blurred file of crop k."""
        return str(drawn(self.pairs, self.seed, k).blurred)


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
        self.share = Fraction(str(photo_share))  # A fraction is exact, where a product with a float would drift.

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


def drawn(items: Sequence, seed: int, k: int):
    """Item k of the run: all of them in each epoch, in a new order."""
    epoch, place = divmod(k, len(items))
    return items[_order(seed, epoch, len(items))[place]]


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, ORDER, epoch)).permutation(count)


def window(
    rng: np.random.Generator,
    path: Path,
    image: np.ndarray,
    length: int,
    tries: int = 1,
    blurred: np.ndarray | None = None,
) -> tuple[slice, slice]:
    """A random square window, or of `tries` of them the one that is blurred most, or without `blurred` has most detail.

    Skies and roads teach a network little: they look the same with and without blur.
    """
    if min(image.shape[:2]) < length:
        raise UserError(too_small(path, image, length))
    places = []
    for _ in range(tries):
        top, left = (int(rng.integers(side - length + 1)) for side in image.shape[:2])
        places.append((slice(top, top + length), slice(left, left + length)))
    if tries == 1:
        return places[0]
    if blurred is None:
        return max(places, key=lambda place: detail(image[place]))
    return max(places, key=lambda place: difference(blurred[place], image[place]))


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """A square image at `side` pixels or as it is, each pixel the mean of those it covers."""
    return image if len(image) == side else cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def detail(image: np.ndarray) -> float:
    """Mean absolute difference of neighbours, in green, at half the resolution, where noise counts less."""
    green = _half(image)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())


def difference(blurred: np.ndarray, sharp: np.ndarray) -> float:
    """Mean absolute difference of two images, in green, at half the resolution."""
    return float(np.abs(_half(blurred) - _half(sharp)).mean())


def _half(image: np.ndarray) -> np.ndarray:
    green = cv2.resize(np.ascontiguousarray(image[..., 1]), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return green.astype(np.float32)


def augmented(
    rng: np.random.Generator, blurred: np.ndarray, sharp: np.ndarray, augment: Augment
) -> tuple[np.ndarray, np.ndarray]:
    mirror, flip, turns = rng.integers((2, 2, 4))
    if augment == "none":
        return blurred, sharp
    if augment == "flips":
        moves = [(cv2.flip, 1)] * mirror + [(cv2.flip, 0)] * flip
    else:
        moves = [(cv2.flip, 1)] * mirror + [(cv2.rotate, turns - 1)] * int(turns > 0)
    for move, how in moves:  # OpenCV is ten times faster than a copy of a NumPy view with negative strides.
        blurred, sharp = move(blurred, int(how)), move(sharp, int(how))
    return blurred, sharp
