"""Sharp photographs, blurred as they are read: crops to train on, of (seed, k) alone, and pairs to measure."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from madn.data.crops import CROP, Augment, augmented, drawn, window
from madn.data.images import DecodedImages, in_threads
from madn.data.index import Pair, some_lines
from madn.data.synthesis import (
    GAMMA,
    blob,
    blur_photo,
    blur_scene,
    camera_noise,
    camera_shake,
    jpeg,
    reach,
    short_exposure,
)
from madn.errors import UserError
from madn.imaging.arrays import save_picture, to_uint8
from madn.imaging.finding import below

LONGEST_NAME = 255  # A file's name has at most so many bytes.
PAIR = 2  # Numbers for measured pairs are drawn with this key, beside those of ORDER and CROP.
TRIES = 10  # A pair is drawn so many times until something moves in it; about a tenth of them show nothing.


@dataclass(frozen=True)
class Motion:
    """The most that a photograph is blurred by: the length of a path in pixels, and a turn in radians."""

    longest: float = 24.0
    rotation: float = 0.005

    def __post_init__(self):
        if not 0 < self.longest <= 256:
            raise UserError(f"--longest-shake must be above 0 and at most 256 pixels; received {self.longest:g}")

    def margin(self, crop: int) -> int:
        """Pixels around a crop that its blur looks at."""
        return reach(self.longest, self.rotation, crop)

    def photo_side(self, crop: int) -> int:
        """The least side of a photograph, in pixels, that a crop and the margin for its blur fit in."""
        return crop + 2 * self.margin(crop)


class PhotoCrops:
    """Crops of sharp photographs, each blurred by a camera shake of its own (`synthesis.camera_shake`).

    The length of the shake's path is uniform in [longest / 5, longest] pixels, its turn at most `rotation` radians.
    Of `tries` windows the one with the most detail is taken.
    A margin around the crop is blurred with it and cut off, so the photographs must be larger than the crop by two
    margins: `Motion.photo_side`. Raises `UserError` naming the file when one cannot be decoded or is smaller.
    """

    MOTION = Motion()
    SAYS = "blurred by synthesised camera shake"

    @classmethod
    def motion_up_to(cls, longest: float | None) -> Motion:
        """The motion of this kind of blur, its longest path `longest` pixels where that is given.

        Raises `UserError` for a length out of range.
        """
        return cls.MOTION if longest is None else replace(cls.MOTION, longest=longest)

    def __init__(
        self,
        photos: Sequence[Path],
        images: DecodedImages,
        crop: int,
        seed: int,
        augment: Augment = "none",
        motion: Motion | None = None,
        tries: int = 1,
    ):
        self.photos, self.images, self.crop, self.seed, self.augment = tuple(photos), images, crop, seed, augment
        self.tries = tries
        self.motion = motion or self.MOTION

    def __len__(self) -> int:
        return len(self.photos)

    def crop_at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop k of the run: (blurred, sharp), each uint8 (crop, crop, 3) RGB."""
        rng = np.random.default_rng((self.seed, CROP, k))
        blurred, sharp = self._pair(rng, self._surroundings(rng, drawn(self.photos, self.seed, k)))
        return augmented(rng, blurred, sharp, self.augment)

    def name(self, k: int) -> str:
        """The file of crop k."""
        return str(drawn(self.photos, self.seed, k))

    def pair_of(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A pair of photograph `number`, a function of (seed, number) alone: (blurred, sharp) as of `crop_at`.

        The pair is drawn anew while the two images are the same, as they are where nothing moves: their PSNR would be
        infinite, and so would be any mean with it. Raises `UserError` where no draw changes the photograph.
        """
        rng = np.random.default_rng((self.seed, PAIR, number))
        for _ in range(TRIES):
            blurred, sharp = self._pair(rng, self._surroundings(rng, self.photos[number]))
            if not np.array_equal(blurred, sharp):
                return blurred, sharp
        raise UserError(f"{self.photos[number]}: no blur changes it, as if it were of one colour; remove it")

    def _surroundings(self, rng: np.random.Generator, path: Path) -> np.ndarray:
        """A random window of a photograph: a crop and its margin."""
        photo = self.images.read(path)
        return photo[window(rng, path, photo, self.motion.photo_side(self.crop), self.tries)]

    def _inside(self, image: np.ndarray) -> np.ndarray:
        """The crop without its margin."""
        inside = slice(self.motion.margin(self.crop), self.motion.margin(self.crop) + self.crop)
        return image[inside, inside]

    def _pair(self, rng: np.random.Generator, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        length = rng.uniform(0.2, 1.0) * self.motion.longest
        poses = camera_shake(rng, _frames(length), length, self.motion.rotation)
        return to_uint8(self._inside(blur_photo(photo, poses))), self._inside(photo)


class CameraCrops(PhotoCrops):
    """Crops of photographs as a hand-held camera takes them, of scenes in which things move.

    Of the crops, a tenth is not blurred, six in ten by camera shake, three in ten show a thing (a part of another
    photograph) that moves, over a background that is still in half of these and shaken in the others. All of it is
    averaged in linear light. Half of the blurred crops carry sensor noise, and half, noisy or not, went through JPEG;
    the sharp ones are as they were. The rest is as in `PhotoCrops`.
    """

    MOTION = Motion(longest=32.0, rotation=0.008)
    SAYS = "blurred by synthesised camera shake and moving things, with sensor noise and JPEG"

    def _pair(self, rng, photo):
        blurred, sharp = self._scene(rng, photo, camera_shake, GAMMA)
        if rng.uniform() < 0.5:
            blurred = camera_noise(rng, blurred, shot=10 ** rng.uniform(-5, -3), read=rng.uniform(0, 0.003))
        blurred = to_uint8(blurred)
        if rng.uniform() < 0.5:
            blurred = jpeg(blurred, quality=int(rng.integers(70, 98)))
        return blurred, sharp

    def _scene(self, rng, photo, path, gamma):
        """(blurred, sharp), float32 in [0, 1] and uint8: camera and thing move along `path`s."""
        kind = rng.choice(("still", "shaken", "thing", "both"), p=(0.1, 0.6, 0.15, 0.15))
        lengths = rng.uniform(0.05, 1.0, 2) * self.motion.longest / (2 if kind == "both" else 1)
        frames = _frames(max(lengths))
        camera = np.zeros((frames, 3))
        if kind in ("shaken", "both"):
            camera = path(rng, frames, lengths[0], self.motion.rotation)
        if kind in ("still", "shaken"):
            return self._inside(blur_photo(photo, camera, gamma)), self._inside(photo)
        thing = self._surroundings(rng, self.photos[rng.integers(len(self.photos))])
        own = path(rng, frames, lengths[1], self.motion.rotation)
        blurred, sharp = blur_scene(photo, thing, blob(rng, len(photo)), camera, camera + own, gamma)
        return self._inside(blurred), to_uint8(self._inside(sharp))


class VideoCrops(CameraCrops):
    """Crops of photographs as the mean of a few frames of a video shows them, GoPro's `blur` for one.

    The scenes are those of `CameraCrops`. Cameras and things move smoothly (`synthesis.short_exposure`), the frames are
    averaged as they are stored, not in linear light, and there is no noise and no JPEG.
    """

    MOTION = Motion(longest=40.0, rotation=0.01)
    SAYS = "blurred as the mean of video frames is, by smoothly moving cameras and things"

    def _pair(self, rng, photo):
        blurred, sharp = self._scene(rng, photo, short_exposure, 1.0)
        return to_uint8(blurred), sharp


PHOTO_BLURS = {"shake": PhotoCrops, "camera": CameraCrops, "video": VideoCrops}
"""What --photo-blur chooses from."""


def _frames(length: float) -> int:
    """An odd number of frames, at most a pixel apart."""
    return 2 * int(np.ceil(length / 2)) + 1


def _longer(name: str) -> str:
    """A relative name with .png behind it, cut to the 255 bytes that a file's may have and told apart by its hash."""
    folder, _, file = name.rpartition("/")
    if len(os.fsencode(file)) > LONGEST_NAME - 4:
        start = os.fsencode(file)[: LONGEST_NAME - 24].decode(errors="ignore")
        file = f"{start}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}"
    return f"{folder}/{file}.png" if folder else f"{file}.png"


def find_photos(folder: str | Path) -> tuple[list[Path], tuple[str, ...]]:
    """All photographs below a folder, and notes on what there is else; raises `UserError` when there is none."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder")
    found = below(folder)
    remark = found.remark()
    if not found.photos:
        raise UserError(f"{folder}: no photographs found" + (f"; there: {remark}" if remark else ""))
    notes = [f"{place}: {reason}" for place, reason in found.problems]
    notes += [f"{folder}: left out: {remark}"] if remark else []
    return sorted(found.photos), tuple(notes)


def hold_out_photos(photos: Sequence[Path], count: int) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Split into (photographs to train on, `count` held out), the latter spread evenly over all in their order.

    Raises `UserError` where none would be left.
    """
    if not 0 <= count < len(photos):
        raise UserError(f"--held-photos {count}: of {len(photos)} photographs at least 1 must be left to train on")
    held = [photos[(2 * i + 1) * len(photos) // (2 * count)] for i in range(count)]
    return tuple(photo for photo in photos if photo not in held), tuple(held)


def check_photos(
    photos: Sequence[Path],
    images: DecodedImages,
    least: int,
    skip_bad: bool = False,
    remark: str = "",
    way_out: str = "choose a smaller --crop",
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Decode every photograph once, in parallel, and return those that can be used, and a line for each other.

    Bad are unreadable or truncated files, and sides below `least` pixels, about which `way_out` and `remark` say more.
    Raises `UserError` with the lines, unless `skip_bad`, and where no photograph is left.
    """

    def inspect(path: Path) -> str | None:
        try:
            height, width = images.size(path)
        except UserError as problem:
            return str(problem)
        if min(height, width) < least:
            return f"{path}: {width}x{height} is smaller than {least}x{least}; {way_out}{remark}"
        return None

    found = in_threads(inspect, photos, "checking photographs")
    problems = tuple(line for line in found if line)
    if problems and not skip_bad:
        raise UserError(*some_lines(f"{line} (or leave such photographs out: --skip-bad)" for line in problems))
    good = tuple(path for path, line in zip(photos, found) if not line)
    if not good:
        raise UserError(*some_lines(problems), "no usable photograph is left")
    return good, problems


def write_pairs(
    crops: PhotoCrops, numbers: Iterable[int], root: Path, folder: Path, skip_bad: bool = False
) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Write a pair (`PhotoCrops.pair_of`) of each numbered photograph; returns the pairs, and a line for each left out.

    They lie in `folder`/blurred and `folder`/sharp under the names that the photographs have below `root`. Raises
    `UserError` as `pair_of` does, unless `skip_bad`, and where no pair is left.
    """
    pairs, problems = [], []
    for number in numbers:
        try:
            images = crops.pair_of(number)
        except UserError as problem:
            if not skip_bad:
                raise UserError(f"{problem} (or leave such photographs out: --skip-bad)") from None
            problems.append(str(problem))
            continue
        name = crops.photos[number].relative_to(root).as_posix()
        # The suffix is kept, for a.jpg and a.png are two photographs.
        file = name if name.lower().endswith(".png") else _longer(name)
        pair = Pair(folder / "blurred" / file, folder / "sharp" / file, "", name)
        for path, image in zip((pair.blurred, pair.sharp), images, strict=True):
            save_picture(path, Image.fromarray(image))
        pairs.append(pair)
    if not pairs:
        raise UserError(*some_lines(problems), "no usable photograph is left")
    return tuple(pairs), tuple(problems)
