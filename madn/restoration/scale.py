"""The scale at which a photo's blur is what a network knows: measured on the photo, restored there, brought back.

The networks have learnt from frames of 720 rows. A phone's photo of the same shake is blurred over four times as many
pixels, and comes back unchanged. So the photo is shrunk until the network finds blur to remove (or a small one
enlarged), restored at that size, and what the network changed is enlarged and added to the photo's own pixels, which
keep all that they had.

How the scale is found: the smaller a photo, the more of a long blur the network sees, and the more it changes, up to
the size at which it sees all of it; from there on the change stays about the same. The largest scale whose change is
at least `PLATEAU` of the greatest is taken. On the four GoPro test pairs, their halves, and copies enlarged two and
three times, that scale gains about what the pair gains at its own size.

A photo no larger than those frames is restored at its own size first, for mostly that is the scale: where the network
finds blur in it, and no more of it one step smaller, nothing else is tried.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from madn.errors import UserError
from madn.imaging.colours import Colours
from madn.restoration.restorer import OnTile, Restorer, as_float, as_type
from madn.restoration.tiles import Plan

STEP = 2**-0.5  # Each scale that is tried is so many times the one before.
START = 448  # At the first and smallest scale the longer side has so many pixels.
WINDOW, MARGIN = 128, 16  # At each scale squares of so many pixels are compared, of which the network sees a margin.
# The centres of these squares are shares of height and width.
CENTRES = [(y / 4, x / 6) for y in (1, 3) for x in (1, 3, 5)]
PLATEAU = 0.95  # The change at the scale that is taken is at least so much of the greatest.
ENLARGED = 500_000  # Photos with fewer pixels are enlarged, up to twice, where their blur is too short.
SMALLEST = 96  # A shorter side of fewer pixels is not worth measuring.
FRAME = 1_300_000  # The networks have learnt from frames of 921,600 pixels; smaller photos than this are like them.
BLURRED = 1.1  # In such a photo they have found blur where the restored one has so many times the detail.
SHARPENED = 1.04  # Less than so many times the detail of before is no restoration to speak of.
DETAILED = 0.12  # A photo that is not blurred has so much of its contrast within a few pixels.
BLOCK = 2048  # Corrections are added in blocks with sides of so many pixels.


@dataclass(frozen=True)
class Measured:
    """The scale for a photo."""

    scale: float
    sharpening: float = float("inf")
    """How many times the detail of before the restored photo has at that scale."""
    detailed: bool = True
    """Whether the photo's own pixels have detail."""
    restored: np.ndarray | None = None
    """The photo as restored at that scale, float32, where it was restored as a whole to find the scale."""

    @property
    def note(self) -> str:
        if self.sharpening >= SHARPENED:
            return ""
        why = "no motion blur found" if self.detailed else "it may be blurred by more than this network handles"
        return f"hardly changed: {why}"


class ScaledRestorer(Restorer):
    """A `Restorer` that restores photos at a scale: `scale` times their size, or where it is None as they need it."""

    def __init__(self, *arguments, scale: float | None = None, **options):
        super().__init__(*arguments, **options)
        if scale is not None and not 0.01 <= scale <= 4:
            raise UserError(f"--scale must be auto or from 0.01 to 4; received {scale:g}")
        self.scale = scale

    def for_frames(self, pixels: np.ndarray) -> "Restorer":
        """A restorer for a video, which restores all frames at the scale that the first one needs."""
        same = object.__new__(type(self))
        same.__dict__.update(self.__dict__, scale=self._measured(pixels, None).scale)
        return same

    def __call__(
        self, pixels: np.ndarray, on_tile: OnTile = lambda done, count: None, colours: Colours | None = None
    ) -> tuple[np.ndarray, Plan]:
        """See `Restorer.__call__`; the plan is of the photo at its scale."""
        measured = self._measured(pixels, colours)
        if measured.restored is not None and not self.ensemble:
            height, width, channels = pixels.shape
            plan = self.plan(height, width, 4 * channels, pixels.nbytes)
            on_tile(plan.count, plan.count)
            return as_type(measured.restored, pixels.dtype), replace(plan, note=measured.note)
        if measured.scale == 1:
            restored, plan = super().__call__(pixels, on_tile, colours)
            return restored, replace(plan, note=measured.note)
        small = _resized(pixels, measured.scale)
        restored, plan = self.restored(small, on_tile, colours, 2 * pixels.nbytes)
        restored -= small  # In place, this leaves what the network changed.
        return _corrected(pixels, restored), replace(plan, scale=measured.scale, note=measured.note)

    def _measured(self, pixels: np.ndarray, colours: Colours | None) -> Measured:
        if self.scale is not None:
            return Measured(self.scale)

        def restored(image: np.ndarray) -> np.ndarray:
            return self.once(image, colours=colours, beside=pixels.nbytes)[0]

        return measure(restored, pixels)


def measure(restored: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> Measured:
    """The scale at which a photo is to be restored.

    Args:
        restored: restores float32 (H, W, 1 or 3) in [0, 1] of any size, in the photo's own colours.
        pixels: the photo, (H, W, 1 or 3), uint8, uint16 or floats in [0, 1].
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        return Measured(1.0)
    detailed = bool(np.mean([_detail(image) for image in _windows(pixels, 1.0)]) >= DETAILED)
    level = max(0, int(np.ceil(np.log(START / max(height, width)) / np.log(STEP))))
    last = -2 if height * width < ENLARGED else 0
    whole = None
    tried: dict[int, list[_Found]] = {}
    if level > 0 and ENLARGED <= height * width <= FRAME:
        image = as_float(pixels)
        whole = restored(image)
        tried[0] = [_Found(*pair) for pair in zip(_windows(image, 1.0), _windows(whole, 1.0), strict=True)]
        tried[1] = _restored_windows(restored, pixels, STEP)
        larger, smaller = (
            sum(window.inner(side) for window in tried[i]) for i, side in enumerate((WINDOW, WINDOW * STEP))
        )
        sharpening = float(np.mean([window.sharpening for window in tried[0]]))
        if sharpening >= BLURRED and PLATEAU * smaller <= larger:
            return Measured(1.0, sharpening, detailed, whole)
    image = _resized(pixels, STEP**level)
    found = _Found(image, restored(image))
    changes, sharpenings = {level: 1.0}, {level: found.sharpening}
    before = [found.around(y, x, WINDOW * STEP) for y, x in CENTRES]
    while level > last:
        level -= 1
        windows = tried.get(level) or _restored_windows(restored, pixels, STEP**level)
        after = [window.inner(WINDOW) for window in windows]
        changes[level] = changes[level + 1] * sum(after) / max(sum(before), 1e-12)
        sharpenings[level] = float(np.mean([window.sharpening for window in windows]))
        before = [window.inner(WINDOW * STEP) for window in windows]
        if changes[level] < 0.7 * max(changes.values()):
            break  # At larger scales the network changes less and less.
    level = min(level for level, change in changes.items() if change >= PLATEAU * max(changes.values()))
    scale = 1.0 if level == 0 else STEP**level
    return Measured(scale, sharpenings[level], detailed, whole if level == 0 else None)


class _Found:
    """What a network changed in an image."""

    def __init__(self, image: np.ndarray, restored: np.ndarray):
        self.change = np.abs(restored - image).mean(axis=2)
        self.sharpening = float(_gradients(restored) / max(_gradients(image), 1e-9))

    def around(self, y: float, x: float, side: float) -> float:
        """Mean change in a square around a centre."""
        (top, bottom), (left, right) = (_span(n, c, side) for n, c in zip(self.change.shape, (y, x), strict=True))
        return float(self.change[top:bottom, left:right].mean())

    def inner(self, side: float) -> float:
        """Mean change in the middle square."""
        return self.around(0.5, 0.5, side)


def _restored_windows(restored: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, scale: float) -> list[_Found]:
    """What the network changes in the squares of a photo at a scale."""
    return [_Found(image, restored(image)) for image in _windows(pixels, scale)]


def _windows(pixels: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    """The squares of a photo that are compared at a scale, with their margins."""
    for centre in CENTRES:
        side = (WINDOW + 2 * MARGIN) / scale
        rows, columns = (slice(*_span(n, c, side)) for n, c in zip(pixels.shape[:2], centre, strict=True))
        yield _resized(pixels[rows, columns], scale)


def _span(length: int, centre: float, side: float) -> tuple[int, int]:
    """`side` pixels around a centre, or as many as there are, moved inside."""
    side = min(length, max(1, round(side)))
    start = min(max(0, round(centre * length - side / 2)), length - side)
    return start, start + side


def _gradients(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, axis=0)).mean() + np.abs(np.diff(image, axis=1)).mean())


def _detail(image: np.ndarray) -> float:
    """The part of an image's contrast that lies within a few pixels."""
    return float(np.std(image - cv2.GaussianBlur(image, (0, 0), 2).reshape(image.shape)) / max(np.std(image), 1e-6))


def _resized(pixels: np.ndarray, scale: float) -> np.ndarray:
    """A photo at a scale, float32 in [0, 1]: shrunk by means of pixels, or enlarged by bicubic interpolation."""
    if scale == 1:
        return as_float(pixels)
    size = [max(1, round(n * scale)) for n in pixels.shape[1::-1]]
    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.clip(as_float(resized.reshape(size[1], size[0], -1)), 0, 1, dtype=np.float32)


def _corrected(pixels: np.ndarray, correction: np.ndarray) -> np.ndarray:
    """A photo with a correction of another size added to it, block by block."""
    height, width, channels = pixels.shape
    if correction.shape[0] > height:  # The photo was enlarged.
        correction = cv2.resize(correction, (width, height), interpolation=cv2.INTER_AREA).reshape(pixels.shape)
    ratios = [small / large for small, large in zip(correction.shape[:2], (height, width), strict=True)]
    result = np.empty_like(pixels)
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            part = pixels[top : top + BLOCK, left : left + BLOCK]
            (down, across), rows, columns = ratios, *part.shape[:2]
            matrix = np.array([[across, 0, (left + 0.5) * across - 0.5], [0, down, (top + 0.5) * down - 0.5]])
            change = cv2.warpAffine(
                correction,
                matrix,
                (columns, rows),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ).reshape(rows, columns, channels)
            change += as_float(part)
            result[top : top + rows, left : left + columns] = as_type(change, pixels.dtype)
    return result
