"""Photos of any size in bounded memory: cut into overlapping tiles of one size, restored one by one and joined.

A tile's pixels near its edges lack a part of what the network looks at. So tiles overlap by at least the network's
reach on both sides of the line at which they are joined, where the result is then that of the whole photo. Tiles lie on
multiples of what the network's strides ask for, so that its grids are those of the whole photo, too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from madn.errors import UserError
from madn.nn.statistic_kinds import MOMENTS, RANGE

TOLERANCE = 1 / 1020  # Influences below a quarter of a step of 8 bits count as none.
PROBE = 768  # The reach is measured in a picture with sides of so many pixels.
SAMPLED = 24  # A photo's statistics are taken from at most so many tiles.
PASSES, SETTLED = 6, 1e-6  # So many passes are made at most; they end when a tile changes by less than 60 dB.


class Network(Protocol):
    """Takes float32 (batch, height, width, 3) in [0, 1], in multiples of its size, and gives the same, not clipped.

    A network that does something else with tiles says so by `knows_tiles`. It then takes the photo's statistics, and
    has their `kinds` and `measure`, as `madn.restoration.inference.Inference` has.
    """

    def __call__(self, images: np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Span:
    """One tile along one axis: where it starts, and the part from `first` to `last` that it gives to the photo."""

    start: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Tiles of height x width at every pair of `rows` and `columns`; `blend` pixels around each joint are blended."""

    height: int
    width: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    blend: int = 0
    scale: float = 1.0
    """The size at which a photo is restored, as a share of its own."""
    note: str = ""
    """What a user should know of the result."""

    @property
    def count(self) -> int:
        return len(self.rows) * len(self.columns)

    def __str__(self) -> str:
        tiles = "whole" if self.count == 1 else f"{self.count} tiles of {self.width}x{self.height}"
        return tiles if self.scale == 1 else f"{tiles}, at {self.scale:.2g} of its size"


def plan_tiles(height: int, width: int, multiple: int, largest: float, reach: int, blend: int = 0) -> Plan:
    """Plan the least work: tiles of at most `largest` pixels that cover height x width and overlap as they must.

    Args:
        height, width: the size of the padded photo, in multiples of `multiple`.
        reach: pixels on either side of a joint (and of its `blend`) that both tiles must have.
    Raises:
        UserError: where a tile of `largest` pixels has no room for the overlap.
    """
    best = None
    for count in range(1, height // multiple + 1):
        tall = _size(height, count, multiple, reach, blend)
        across = _fewest(width, largest / tall, multiple, reach, blend) if tall else None
        if across is None:
            continue
        wide = _size(width, across, multiple, reach, blend)
        if best is None or (count * across * tall * wide, count * across) < best[0]:
            best = (count * across * tall * wide, count * across), (tall, count), (wide, across)
    if best is None:
        raise UserError(
            f"tiles of {largest / 1e6:.2f} megapixels have no room for the {2 * reach + blend} pixels by "
            "which they must overlap: give more --memory-gb or a larger --tile"
        )
    (tall, count), (wide, across) = best[1:]
    return Plan(tall, wide, _spans(height, tall, count, multiple), _spans(width, wide, across, multiple), blend)


def fixed_tiles(height: int, width: int, tall: int, wide: int, blend: int) -> Plan:
    """Tiles of exactly tall x wide pixels, spread evenly over at least as many, that overlap by twice `blend`.

    Tiles of fewer than eight times `blend` overlap by a quarter of their size. Neighbours fade into each other over
    half of what they overlap by.
    """
    overlaps = [min(2 * blend, size // 4) for size in (tall, wide)]
    counts = [
        max(1, -(-(length - overlap) // (size - overlap)))
        for length, size, overlap in zip((height, width), (tall, wide), overlaps, strict=True)
    ]
    rows, columns = _spans(height, tall, counts[0], 1), _spans(width, wide, counts[1], 1)
    return Plan(tall, wide, rows, columns, max(1, min(overlaps) // 2))


def join(
    plan: Plan, restored: Callable[[Span, Span], np.ndarray], store: Callable[[int, int, np.ndarray], None]
) -> None:
    """Ask for each tile, (height, width, 3), row by row, and hand finished pixels to `store(top, left, pixels)`."""
    if not plan.blend:
        for row in plan.rows:
            for column in plan.columns:
                tile = restored(row, column)
                store(
                    row.first,
                    column.first,
                    tile[
                        row.first - row.start : row.last - row.start,
                        column.first - column.start : column.last - column.start,
                    ],
                )
        return
    width = plan.columns[-1].last
    carried, top = np.zeros((0, width, 3), np.float32), 0
    for i, row in enumerate(plan.rows):
        band = np.zeros((plan.height, width, 3), np.float32)
        band[: len(carried)] = carried
        vertical = _weights(plan.rows, i, plan.height, plan.blend)[:, None, None]
        for j, column in enumerate(plan.columns):
            weights = vertical * _weights(plan.columns, j, plan.width, plan.blend)[None, :, None]
            band[:, column.start : column.start + plan.width] += weights * restored(row, column)
        following = plan.rows[i + 1].start if i + 1 < len(plan.rows) else row.start + plan.height
        for left in range(0, width, plan.width):  # Parts keep the copies small that are made of them.
            store(top, left, band[: following - top, left : left + plan.width])
        carried, top = band[following - top :].copy(), following
        del band  # Its memory is free before the next one is made.


def measured_reach(network: Network, multiple: int, picture: np.ndarray) -> int:
    """How far, in pixels, a change of the input shows in the output by more than a quarter of a step of 8 bits.

    The middle third of `picture`, a float32 square, is inverted, as harsh a change as there is; statistics over the
    image are held. A multiple of `multiple`, at most a third of the picture's side.
    """
    side = len(picture)
    first, last = side // 3, side - side // 3
    before, after = picture[None], picture[None].copy()
    after[:, first:last, first:last] = 1 - after[:, first:last, first:last]
    whole = plan_tiles(side, side, multiple, side**2, 0)
    statistics = photo_statistics(network, whole, lambda row, column: before)
    change = np.abs(restore_batch(network, before, statistics) - restore_batch(network, after, statistics))
    changed = np.argwhere(change[0].max(axis=2) > TOLERANCE)
    distance = max(first - changed.min(), changed.max() - last + 1, 1) if len(changed) else 1
    return min(-(-int(distance) // multiple) * multiple, first // multiple * multiple)


def probe_picture(side: int) -> np.ndarray:
    """A square of at most `PROBE` pixels a side in which a reach is measured: float32 (side, side, 3) in [0, 1].

    The photograph is scikit-image's. A light installation lacks it, and takes noise with the spectrum of photographs
    (amplitudes fall with the frequency: Field, "Relations between the statistics of natural images and the response
    properties of cortical cells", 1987).
    """
    try:
        from skimage import data
    except ImportError:
        spectrum = np.fft.rfft2(np.random.default_rng(0).standard_normal((PROBE, PROBE, 3)), axes=(0, 1))
        rows, columns = np.fft.fftfreq(PROBE)[:, None, None], np.fft.rfftfreq(PROBE)[None, :, None]
        spectrum /= np.maximum(np.hypot(rows, columns), 1 / PROBE)
        noise = np.fft.irfft2(spectrum, axes=(0, 1))
        return np.clip(0.5 + noise / (4 * noise.std()), 0, 1).astype(np.float32)[:side, :side]
    photo = np.pad(data.astronaut(), ((128, 128), (128, 128), (0, 0)), mode="reflect")
    return photo[:side, :side] / np.float32(255)


def restore_batch(network: Any, images: np.ndarray, statistics: Sequence | None = None) -> np.ndarray:
    """The network's images, clipped to [0, 1]. Raises `UserError` when it answers with values that are not numbers."""
    restored = np.asarray(network(images) if statistics is None else network(images, statistics), np.float32)
    if not np.isfinite(restored).all():
        raise UserError(
            "the network's output holds values that are not numbers: its weights are damaged, or its "
            "training diverged; choose another checkpoint"
        )
    return np.clip(restored, 0.0, 1.0)


def photo_statistics(network: Any, plan: Plan, tile: Callable[[Span, Span], np.ndarray]) -> Sequence | None:
    """A photo's statistics, from those of its tiles' own parts; None for a network to which tiles are just images.

    The statistics of a layer depend on the layers before it, so several passes are made over the tiles. In the first
    each tile takes its own, later those that the pass before has found, until a tile's restoration changes by less than
    60 dB. Of more than 24 tiles, 24 that are spread evenly stand for all. `tile` gives (1, height, width, 3).
    """
    if not getattr(network, "knows_tiles", False):
        return None
    if not network.kinds:
        return []
    spans = [(row, column) for row in plan.rows for column in plan.columns]
    if len(spans) > SAMPLED:
        spans = [spans[i] for i in np.linspace(0, len(spans) - 1, SAMPLED).round().astype(int)]
    cores = [[edge - span.start for span in pair for edge in (span.first, span.last)] for pair in spans]
    areas = [(bottom - top) * (right - left) for top, bottom, left, right in cores]
    witness = tile(*spans[len(spans) // 2])
    statistics = before = None
    for _ in range(PASSES if len(spans) > 1 else 1):
        found = [network.measure(tile(*pair), core, statistics) for pair, core in zip(spans, cores, strict=True)]
        statistics = combine(network.kinds, found, areas)
        after = restore_batch(network, witness, statistics)
        if before is not None and np.square(after - before).mean() < SETTLED:
            break
        before = after
    return statistics


def combine(kinds: Sequence[str], found: Sequence[Sequence[tuple]], areas: Sequence[float]) -> list[tuple]:
    """The statistics of a photo from those of its tiles' cores, which have `areas`; computed in float64.

    Args:
        kinds: the kind of each call.
        found: one or two arrays for each tile and each call.
    """
    weights = np.asarray(areas, np.float64) / np.sum(areas)
    return [
        _combine(kind, [np.stack(values).astype(np.float64) for values in zip(*tiles, strict=True)], weights)
        for kind, *tiles in zip(kinds, *found, strict=True)
    ]


def _combine(kind: str, values: list[np.ndarray], weights: np.ndarray) -> tuple:
    if kind == RANGE:
        combined = (values[0].min(axis=0), values[1].max(axis=0))
    else:
        mean = np.tensordot(weights, values[0], 1)
        combined = (mean,)
        if kind == MOMENTS:  # The variance is the mean of the variances and the variance of the means.
            combined = (mean, np.tensordot(weights, values[1] + (values[0] - mean) ** 2, 1))
    return tuple(value.astype(np.float32) for value in combined)


def _overlap(multiple: int, reach: int, blend: int) -> int:
    """How many units of `multiple` neighbours have in common."""
    return 2 * math.ceil((reach + blend / 2) / multiple)


def _size(length: int, count: int, multiple: int, reach: int, blend: int) -> int | None:
    """The smallest size of `count` tiles that cover `length`; None where one would have no part of its own."""
    units, overlap = length // multiple, _overlap(multiple, reach, blend)
    if count == 1:
        return length
    size = -(-(units + (count - 1) * overlap) // count)
    return size * multiple if size < units and (size - overlap) * multiple > blend else None


def _fewest(length: int, longest: float, multiple: int, reach: int, blend: int) -> int | None:
    """How many tiles no longer than `longest` cover `length`; None where none can."""
    if length <= longest:
        return 1
    overlap = _overlap(multiple, reach, blend)
    room = int(longest / multiple) - overlap
    count = -(-(length // multiple - overlap) // room) if room > 0 else 0
    return count if count and _size(length, count, multiple, reach, blend) else None


def _spans(length: int, size: int, count: int, multiple: int) -> tuple[Span, ...]:
    """`count` tiles of `size` spread evenly over `length`; starts and joints are multiples of `multiple`."""
    if count == 1:
        return (Span(0, 0, length),)
    units, size = length // multiple, size // multiple
    starts = [i * (units - size) // (count - 1) for i in range(count)]
    joints = [(before + size + after) // 2 for before, after in zip(starts, starts[1:], strict=False)]
    return tuple(
        Span(*(unit * multiple for unit in each)) for each in zip(starts, [0, *joints], [*joints, units], strict=True)
    )


def _weights(spans: Sequence[Span], i: int, size: int, blend: int) -> np.ndarray:
    """The share of tile `i` in each of its pixels: 1 in its own part, and a ramp of `blend` pixels about each joint."""
    span, place = spans[i], np.arange(size, dtype=np.float32) + spans[i].start + 0.5
    weights = np.ones(size, np.float32)
    if i > 0:
        weights *= np.clip((place - span.first) / blend + 0.5, 0, 1)
    if i + 1 < len(spans):
        weights *= np.clip((span.last - place) / blend + 0.5, 0, 1)
    return weights
