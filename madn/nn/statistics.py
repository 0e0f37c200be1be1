"""Statistics over a whole image, in a network that may see only a tile of it.

Instance normalisation, channel attention and a gradient map's range depend on every pixel of an image, so a tile alone
gives another result than the image that it was cut from. Layers take such statistics from here. Usually they are those
of the current image. Inside `exchange` they are recorded, and replaced by those that are given: a photo's tiles pass
through the network once to find the photo's statistics, and once more to be restored with them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from keras import ops

from madn.nn.statistic_kinds import MEAN, MOMENTS, RANGE

_current: ContextVar["Exchange | None"] = ContextVar("statistics", default=None)


@dataclass
class Exchange:
    """The statistics that layers take of one tile, in the order of their calls, and those that replace them.

    `core`: the pixels of a tile that no other tile has, as (top, bottom, left, right, height, width), integers or a
    tensor of six; maps are cut in proportion. None: the whole tile. `given`: for each call one or two arrays
    (batch or 1, 1, 1, channels); None: each layer takes its own. `kinds` (of `statistic_kinds`) and `found` (tuples of
    arrays) have an entry for each call.
    """

    core: Sequence | None = None
    given: Sequence[Sequence] | None = None
    kinds: list[str] = field(default_factory=list)
    found: list[tuple] = field(default_factory=list)
    asked: bool = False
    """Whether a layer asked `is_tile`."""

    def replace(self, kind: str, x, statistics) -> tuple:
        """Record the statistics of the core of `x`, and return those that are given in their place."""
        part = x
        if self.core is not None:
            sides = ops.shape(x)[1:3]
            top, bottom, left, right = (self.core[i] * sides[i // 2] // self.core[4 + i // 2] for i in range(4))
            part = x[:, top:bottom, left:right]
        self.kinds.append(kind)
        self.found.append(statistics(part))
        return (
            self.found[-1]
            if self.given is None
            else tuple(ops.cast(value, x.dtype) for value in self.given[len(self.found) - 1])
        )


@contextlib.contextmanager
def exchange(core: Sequence | None = None, given: Sequence[Sequence] | None = None) -> Iterator[Exchange]:
    """A block in which the statistics of a network, called or traced, go through the `Exchange` that it yields."""
    this = Exchange(core, given)
    token = _current.set(this)
    try:
        yield this
    finally:
        _current.reset(token)


def is_tile() -> bool:
    """Whether the current images are tiles of a photo, for layers that then do something else."""
    this = _current.get()
    if this is not None:
        this.asked = True
    return this is not None


def image_mean(x):
    """Mean over height and width of (batch, height, width, channels): (batch, 1, 1, channels)."""
    return _statistic(MEAN, x, lambda x: (_mean(x),))[0]


def image_moments(x) -> tuple:
    """Mean and population variance over height and width, each (batch, 1, 1, channels).

    `ops.moments` would not do: on TensorFlow it hides the mean from second derivatives, which a gradient penalty takes,
    and on PyTorch it computes E[x^2] - E[x]^2, which is too coarse in float32.
    """

    def moments(x):
        mean = _mean(x)
        return mean, _mean(ops.square(x - mean))

    return _statistic(MOMENTS, x, moments)


def image_range(x) -> tuple:
    """Minimum and maximum over height and width, each (batch, 1, 1, channels)."""
    return _statistic(
        RANGE, x, lambda x: (ops.min(x, axis=(1, 2), keepdims=True), ops.max(x, axis=(1, 2), keepdims=True))
    )


def _mean(x):
    """The mean of one axis after the other: TensorFlow on CPUs is then up to twice as fast, and loses fewer digits."""
    return ops.mean(ops.mean(x, axis=2, keepdims=True), axis=1, keepdims=True)


def _statistic(kind: str, x, statistics) -> tuple:
    this = _current.get()
    return statistics(x) if this is None else this.replace(kind, x, statistics)
