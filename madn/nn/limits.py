"""Networks that a file describes are built no larger than what the file holds."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from madn.errors import UserError

_one_at_a_time = threading.RLock()  # The block puts its own counting in the place of a method of all layers.


@contextmanager
def weights_at_most(count: int, name: object) -> Iterator[None]:
    """A block in which Keras' layers make weights of `count` values together, and no more.

    What is more is refused before its memory is taken: raises `UserError`, which names the file `name`. Layers that
    other threads make meanwhile are not counted; other blocks wait for the end of this one.
    """
    with _one_at_a_time, _counted(count, name):
        yield


@contextmanager
def _counted(count: int, name: object) -> Iterator[None]:
    made, add_weight, here = 0, keras.layers.Layer.add_weight, threading.get_ident()

    def counted(layer, shape=None, *arguments, **options):
        nonlocal made
        if threading.get_ident() == here:
            made += math.prod(shape or ())
            if made > count:
                raise UserError(
                    f"{name}: describes a larger network than it has weights for, {count:,}; take another copy"
                )
        return add_weight(layer, shape, *arguments, **options)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight
