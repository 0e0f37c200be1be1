"""Restores photos of any size: whole, or in tiles where memory does not hold the whole."""

from collections.abc import Callable

import numpy as np
from skimage import data

from madn.errors import UserError
from madn.imaging.arrays import to_float
from madn.imaging.colours import Colours
from madn.restoration.ensemble import COUNT, ensembled
from madn.restoration.tiles import (
    PROBE,
    Network,
    Plan,
    Span,
    join,
    measured_reach,
    photo_statistics,
    plan_tiles,
    restore_batch,
)
from madn.system import memory

MOST_PIXELS = 2_250_000  # A tile has at most so many pixels: larger ones overlap less, but save no time.
# Several operations run at once and need scratch memory: measured, 1.2 to 2.2 times the peak of one by one.
SAFETY = 2.2
TILE_BYTES = 60  # A tile's copies on the way in and out take so many bytes a pixel.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

OnTile = Callable[[int, int], None]  # It is called with the tiles done and the tiles in all.


class Restorer:
    """A network, ready for photos of any size from 1x1 up in bounded memory.

    Args:
        network: see `madn.restoration.tiles.Network`.
        multiple: the network takes multiples of this size; photos are reflected at the bottom and right up to that.
        bytes_per_pixel: memory that the network works in, for each pixel of a tile.
        blend: pixels over which tiles fade into each other, for networks whose tiles differ from the whole.
        tile_pixels: the most pixels of a tile, where a photo needs tiles at all; by default as many as are of use.
        memory_gb: what the process may hold at its worst, 10^9 bytes; by default half of what is free.
        tile: pixels of a tile's side, in place of what follows from the memory; all photos with more are tiled.
        ensemble: restore each photo in its eight flips and turns and take the mean (`madn.restoration.ensemble`).
    Raises:
        UserError: for a memory or a tile that is not above 0.
    """

    def __init__(
        self,
        network: Network,
        multiple: int = 16,
        bytes_per_pixel: float = 4096,
        blend: int = 0,
        memory_gb: float | None = None,
        tile: int | None = None,
        tile_pixels: int | None = None,
        ensemble: bool = False,
    ):
        for name, value in (("--memory-gb", memory_gb), ("--tile", tile)):
            if value is not None and not value > 0:
                raise UserError(f"{name} must be above 0, not {value:g}")
        self.network, self.multiple, self.bytes_per_pixel, self.blend = network, multiple, bytes_per_pixel, blend
        self.tile, self.tile_pixels, self.ensemble = tile, tile_pixels or MOST_PIXELS, ensemble
        # It is taken once, for the backend uses a first photo's memory again for the next.
        self.base = memory.used()
        self.budget = memory_gb * 1e9 if memory_gb else self.base + memory.available() / 2
        self._reach: int | None = None

    def for_frames(self, pixels: np.ndarray) -> "Restorer":
        """What restores the frames of a video that begins with this one, all in the same way."""
        return self

    @property
    def reach(self) -> int:
        """How many pixels away a change shows in the output; measured on a photograph when it is first asked for."""
        if self._reach is None:
            side = PROBE if self.tile else int(min(PROBE, self._room(0) ** 0.5)) // self.multiple * self.multiple
            if side < 6 * self.multiple:
                raise self._too_little(f"tiles of {side} pixels")
            picture = np.pad(data.astronaut(), ((128, 128), (128, 128), (0, 0)), mode="reflect")[:side, :side]
            self._reach = measured_reach(self.network, self.multiple, picture / np.float32(255))
        return self._reach

    def _room(self, kept: float) -> float:
        """How many pixels of a tile there is memory for beside `kept` bytes."""
        return max(self.room - kept, 0) / (SAFETY * self.bytes_per_pixel + TILE_BYTES)

    def _too_little(self, what: str) -> UserError:
        return UserError(
            f"{what} do not fit into the {self.budget / 1e9:.2f} GB that the process may take "
            f"({self.base / 1e9:.2f} of them before any photo): give more --memory-gb"
        )

    @property
    def room(self) -> float:
        """Bytes that the process may take beside what it held before any photo."""
        return max(self.budget - self.base, 0)

    def plan(self, height: int, width: int, pixel_bytes: int = 3, beside: int = 0) -> Plan:
        """How a photo of height x width, whose pixels have `pixel_bytes`, is cut where `beside` bytes are kept, too.

        Raises `UserError` where the memory leaves no room for a tile.
        """
        height, width = (padded_size(n, self.multiple) for n in (height, width))
        if self.tile:
            largest = self.tile**2
        else:
            # Photo and result are kept; the ensemble keeps a turned one of each, too, and a sum of twice the size.
            kept = (6 if self.ensemble else 2) * height * width * pixel_bytes + beside
            if self.blend:  # At the worst these rows of tiles are not joined yet.
                kept += 2 * 12 * width * min(height, 2048)
            largest = min(self._room(kept), MOST_PIXELS)
            if largest < self.multiple**2:
                raise self._too_little(f"tiles of a photo of {width}x{height}")
        if height * width <= largest:
            return plan_tiles(height, width, self.multiple, height * width, 0)
        largest = largest if self.tile else min(largest, self.tile_pixels)
        return plan_tiles(height, width, self.multiple, largest, self.reach, self.blend)

    def __call__(
        self, pixels: np.ndarray, on_tile: OnTile = lambda done, count: None, colours: Colours | None = None
    ) -> tuple[np.ndarray, Plan]:
        """Restore one photo.

        Args:
            pixels: (H, W, 3) RGB or (H, W, 1) grey; uint8, uint16, or floats in [0, 1].
            on_tile: called after every tile.
            colours: of RGB pixels that are not sRGB: the network is given sRGB, and what it changes is added to the
                photo's own numbers, so that what it leaves alone comes back exactly.
        Returns:
            Pixels of the same shape and type, rounded and clipped to their range, and how the photo was cut (for the
            ensemble: in its first view). Grey is restored as RGB and made grey again (Rec. 601).
        Raises:
            UserError: too little memory, or a network that answers with values that are not numbers.
        """
        return self.restored(pixels, on_tile, colours)

    def restored(
        self, pixels: np.ndarray, on_tile: OnTile, colours: Colours | None, beside: int = 0
    ) -> tuple[np.ndarray, Plan]:
        """As a call, with `beside` bytes kept beside the pixels and their result."""
        if not self.ensemble:
            return self.once(pixels, on_tile, colours, beside)
        plans: list[Plan] = []

        def view(turned: np.ndarray) -> np.ndarray:
            restored, plan = self.once(
                turned, lambda done, count: on_tile(len(plans) * count + done, COUNT * count), colours, beside
            )
            plans.append(plan)
            return restored

        return ensembled(view, pixels), plans[0]

    def once(
        self,
        pixels: np.ndarray,
        on_tile: OnTile = lambda done, count: None,
        colours: Colours | None = None,
        beside: int = 0,
    ) -> tuple[np.ndarray, Plan]:
        """As `restored`, in one view of the photo even for the ensemble."""
        height, width, channels = pixels.shape
        plan = self.plan(height, width, pixels.dtype.itemsize * channels, beside)
        rows, columns = (reflected(n, padded_size(n, self.multiple)) for n in (height, width))
        restored = np.empty_like(pixels)
        done = 0

        def tile(row: Span, column: Span) -> np.ndarray:
            part = pixels[
                rows[row.start : row.start + plan.height, None], columns[None, column.start : column.start + plan.width]
            ]
            if channels == 1:
                return np.repeat(as_float(part), 3, axis=2)[None]
            return (colours.for_network(as_float(part)) if colours else as_float(part))[None]

        statistics = photo_statistics(self.network, plan, tile) if plan.count > 1 else None

        def restored_tile(row: Span, column: Span) -> np.ndarray:
            nonlocal done
            result = restore_batch(self.network, tile(row, column), statistics)[0]
            done += 1
            on_tile(done, plan.count)
            return result

        def store(top: int, left: int, part: np.ndarray) -> None:
            part = part[: max(height - top, 0), : max(width - left, 0)]
            if colours and channels == 3:
                before = pixels[top : top + part.shape[0], left : left + part.shape[1]]
                part = colours.corrected(as_float(before), part)
            part = as_type(part if channels == 3 else (part @ LUMA)[..., None], pixels.dtype)
            restored[top : top + part.shape[0], left : left + part.shape[1]] = part

        join(plan, restored_tile, store)
        return restored, plan


def restore(network: Network, image: np.ndarray, multiple: int = 16) -> np.ndarray:
    """Restore one image whole, from 1x1 up: float32 (H, W, 3) RGB in [0, 1] -> the same.

    It is reflect-padded at the bottom and right to multiples of `multiple`, given to `network` as a batch of one,
    cropped back and clipped. Raises `UserError` when the network answers with values that are not numbers.
    """
    height, width = image.shape[:2]
    rows, columns = (reflected(n, padded_size(n, multiple)) for n in (height, width))
    batch = np.ascontiguousarray(image[rows][:, columns][None], np.float32)
    return restore_batch(network, batch)[0, :height, :width]


def padded_size(n: int, multiple: int = 16) -> int:
    """The smallest multiple of `multiple` that holds `n` pixels."""
    return -(-n // multiple) * multiple


def reflected(n: int, length: int) -> np.ndarray:
    """Indices 0 .. n-1, n-2 .. 0, 1 .. of reflect padding from `n` to `length` pixels, however short the row."""
    if n == 1:
        return np.zeros(length, int)
    position = np.arange(length) % (2 * n - 2)
    return np.minimum(position, 2 * n - 2 - position)


def as_float(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any type as float32 in [0, 1]."""
    return to_float(pixels) if np.issubdtype(pixels.dtype, np.integer) else pixels.astype(np.float32)


def as_type(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A float image in [0, 1] as pixels of `dtype`, clipped and rounded."""
    if np.issubdtype(dtype, np.integer):
        values = np.clip(image, 0, 1)
        # It works in place, for making new arrays would take longer than the sums.
        values *= np.float32(np.iinfo(dtype).max)
        return np.rint(values, out=values).astype(dtype)
    return np.clip(image, 0, 1).astype(dtype)  # Sums of weights may exceed 1 by a rounding.
