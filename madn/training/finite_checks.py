"""Finite checks: a training step notes on the device what was not finite, and which batch was empty; nothing waits."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import ops

from madn.nn import replicas


@dataclass(frozen=True)
class Fault:
    """The first step with values that are not finite, counted from 1 over all stages, and the names of these values."""

    step: int
    what: str


class FiniteChecks:
    """Remembers the first step at which each of the named float scalars was not finite, and the last empty batch."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self.first = _counter((len(self.names),))
        self.empty = _counter(())

    @property
    def variables(self) -> list[keras.Variable]:
        return [self.first, self.empty]

    def note_values(self, step, values: dict) -> None:
        """Note which of the `values`, some of the names or all, are not finite in `step` on any device."""
        found = [~ops.isfinite(ops.cast(values[name], "float32")) if name in values else False for name in self.names]
        share = replicas.mean(ops.cast(ops.stack([ops.cast(each, "bool") for each in found]), "float32"))
        fresh = ops.logical_and(self.first.value == 0, share > 0)
        self.first.assign(ops.where(fresh, ops.cast(step, "int32"), self.first.value))

    def note_images(self, step, images) -> None:
        """Note whether every image of a batch (batch, height, width, channels) is of one colour."""
        flat = ops.all(ops.max(images, axis=(1, 2)) == ops.min(images, axis=(1, 2)))
        share = replicas.mean(ops.cast(flat, "float32"))
        self.empty.assign(ops.where(share == 1, ops.cast(step, "int32"), self.empty.value))

    def fault(self) -> Fault | None:
        """The first step in which something was not finite, if there was one. Waits for the device."""
        first = ops.convert_to_numpy(self.first)
        if not first.any():
            return None
        step = int(first[first > 0].min())
        return Fault(step, ", ".join(name for name, when in zip(self.names, first, strict=True) if when == step))

    def last_empty(self) -> int:
        """The last step whose images were all of one colour; 0 where there was none. Waits for the device."""
        return int(ops.convert_to_numpy(self.empty))


def _counter(shape: tuple[int, ...]) -> keras.Variable:
    return keras.Variable(ops.zeros(shape, "int32"), dtype="int32", trainable=False, aggregation="only_first_replica")
