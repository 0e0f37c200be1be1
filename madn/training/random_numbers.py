"""Stateless random numbers for training steps: they depend on the seed, the step of the stage and the image alone.

Keras' generators keep a state, and give other numbers on each backend. Without one, a resumed run draws the same, and
so do a batch that is cut into parts or shared by several devices, and every backend.
"""

import threading

import keras
from keras import ops

BITS = 0xFFFFFFFF
# The hash is of 32 bits, for JAX has no wider integers. Its uint32 wraps; PyTorch does not multiply uint32.
DTYPE = "uint32" if keras.backend.backend() == "jax" else "int64"


class RandomNumbers(threading.local):  # TensorFlow traces the devices of a machine in threads that take turns.
    """Draws uniform numbers in [0, 1), float32. `begin` is called before each update, whose draws are then numbered."""

    def __init__(self, seed: int):
        self.seed = seed
        self.begin(0)

    def begin(self, update, first_image=0) -> None:
        """Start update number `update` on the images `first_image`, ... of its batch; ints or integer tensors."""
        self.update, self.first_image, self.number = update, first_image, 0

    def uniform(self, count: int):
        """Draw `count` numbers that all images of the batch share."""
        return self._draw(ops.arange(count, dtype=DTYPE))

    def uniform_per_image(self, images):
        """Draw a number for each image of a batch (n, ...), as (n, 1, 1, 1)."""
        places = ops.arange(ops.shape(images)[0], dtype=DTYPE) + ops.cast(self.first_image, DTYPE)
        return ops.reshape(self._draw(places), (-1, 1, 1, 1))

    def _draw(self, places):
        self.number += 1
        hashed = ops.zeros_like(places)
        for key in (self.seed & BITS, self.seed >> 32 & BITS, self.update, self.number, places):
            hashed = _mixed(ops.bitwise_xor(hashed, ops.bitwise_and(ops.cast(key, DTYPE), _number(BITS))))
        return ops.cast(ops.right_shift(hashed, 8), "float32") * 2.0**-24


def _mixed(x):
    """A hash of 32 bits (the finaliser of MurmurHash3, after an odd constant is added)."""
    x = ops.bitwise_and(x + _number(0x9E3779B9), _number(BITS))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ops.bitwise_xor(x, ops.right_shift(x, shift))
        x = ops.bitwise_and(x * _number(factor), _number(BITS))
    return ops.bitwise_xor(x, ops.right_shift(x, 16))


def _number(value: int):
    return ops.convert_to_tensor(value, DTYPE)
