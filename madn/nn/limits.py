"""Networks that a file describes are built no larger than what the file holds."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from madn.errors import UserError


@contextmanager
def weights_at_most(count: int, name: object) -> Iterator[None]:
    """A block in which Keras' layers make weights of `count` values together, and no more.

    What is more is refused before its memory is taken: raises `UserError`, which names the file `name`.
    """
    made, add_weight = 0, keras.layers.Layer.add_weight

    def counted(layer, shape=None, *arguments, **options):
        nonlocal made
        made += math.prod(shape or ())
        if made > count:
            raise UserError(f"{name}: describes a larger network than it has weights for, {count:,}; take another copy")
        return add_weight(layer, shape, *arguments, **options)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = add_weight
