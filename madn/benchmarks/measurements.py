"""The measurements to make, in plain values that go to a process of their own; what the fields mean there is said in
`madn.benchmarks.photo_timing` and `step_timing`."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "mixed_bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """`source`: the name of a recipe, with random weights; a run folder; or a .weights.h5 file.

    At most `repeats` are timed, no new one after `seconds`, and at least three.
    """

    source: str
    precision: Precision = "float32"
    repeats: int = 20
    seconds: float = 20.0


@dataclass(frozen=True, kw_only=True)
class RestorationJob(Measurement):
    """A photo of `size`, width and height; None: 1280x720 on a GPU, 640x360 on a CPU."""

    size: tuple[int, int] | None = None
    tile: int | None = None
    memory_gb: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Measurement):
    """A step of the recipe's stage number `stage`.

    `batch`, `crop`: None for the recipe's own, on a CPU at most 2 crops of 128. `vgg_weights`: files of VGG weights,
    whose names say vgg16 or vgg19; random ones, which take the same time, for a network without one.
    """

    stage: int = 0
    batch: int | None = None
    crop: int | None = None
    jit: bool = False
    vgg_weights: tuple[str, ...] = ()
