"""A generator is compiled for restoration, from NumPy to NumPy, in tiles that can share one photo's statistics."""

from collections.abc import Sequence

import keras
import numpy as np

from madn.nn import statistics
from madn.nn.graphs import peak_bytes, trace
from madn.restoration.graph_optimisation import optimised
from madn.restoration.loaded import ELSEWHERE

Statistics = Sequence[tuple[np.ndarray, ...]]  # They are those of each layer that takes any, in the order of the calls.


class Inference:
    """The `deblurred` output of a generator with the weights that it has by then, so give it one that is loaded.

    Its own network, `generator`, is rewritten for speed and holds copies of some weights
    (`madn.restoration.graph_optimisation`). Called with (batch, height, width, 3) float32 images in [0, 1], whose sizes
    are multiples of the recipe's, it returns images of the same shape, not clipped. On TensorFlow it is one graph for
    all sizes, without XLA, which on a CPU is slower for most networks (docs/measured.md) and compiles once more for
    each size. On JAX it is compiled for each size, and all tiles of a photo have one.
    """

    def __init__(self, generator: keras.Model):
        self.generator = optimised(keras.Model(generator.input, generator.output["deblurred"]))
        self._kinds: list[str] | None = None
        self._asked = False
        self._restore, self._measure = self._restored, self._measured
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self._restore, self._measure = (
                tf.function(call, reduce_retracing=True, jit_compile=False, autograph=False)
                for call in (self._restored, self._measured)
            )
        elif keras.backend.backend() == "torch":
            import torch

            self._restore, self._measure = (torch.inference_mode()(call) for call in (self._restored, self._measured))
        elif keras.backend.backend() == "jax":
            import jax

            # Statistics are measured uncompiled, for their cores have many sizes.
            compiled = jax.jit(self._restored_with)
            self._restore = lambda images, given: compiled([v.value for v in self.generator.variables], images, given)

    def __call__(self, images: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """Restore images, or tiles of a photo with that photo's `statistics` in place of their own."""
        return keras.ops.convert_to_numpy(self._restore(_tensor(images), _tensors(statistics)))

    def measure(self, tile: np.ndarray, core: Sequence[int], statistics: Statistics | None = None) -> Statistics:
        """The statistics of the core of one tile, (1, height, width, 3); see `madn.nn.statistics.Exchange`."""
        size = np.asarray([*core, *tile.shape[1:3]], np.int32)
        found = self._measure(_tensor(tile), _tensor(size), _tensors(statistics))
        return [tuple(keras.ops.convert_to_numpy(value) for value in values) for values in found]

    @property
    def kinds(self) -> list[str]:
        """The kinds of statistics over whole images that the network takes; [] for one that tiles do not change."""
        if self._kinds is None:
            self.measure(np.zeros((1, 128, 128, 3), np.float32), (0, 128, 0, 128))
        return self._kinds

    @property
    def knows_tiles(self) -> bool:
        """Whether tiles of a photo are restored in another way than images of their own."""
        return bool(self.kinds) or self._asked

    def bytes_per_pixel(self, side: int = 256) -> int:
        """The memory that the network works in at the worst moment, for each pixel of an image.

        Read from TensorFlow's graph of an image of `side` squared (`madn.nn.graphs.peak_bytes`).
        """
        if keras.backend.backend() != "tensorflow":
            return ELSEWHERE
        graph = trace(lambda images: self.generator(images, training=False), (1, side, side, 3))
        return -(-peak_bytes(graph) // side**2)

    def _restored(self, images, given):
        if given is None:
            return self.generator(images, training=False)
        with statistics.exchange(given=given):
            return self.generator(images, training=False)

    def _restored_with(self, values, images, given):
        """`_restored` with the generator's weights as arguments, for JAX would compile them in as constants."""
        with keras.StatelessScope(state_mapping=list(zip(self.generator.variables, values, strict=True))):
            return self._restored(images, given)

    def _measured(self, tile, core, given):
        with statistics.exchange([core[i] for i in range(6)], given) as taken:
            self.generator(tile, training=False)
        self._kinds, self._asked = taken.kinds, taken.asked
        return taken.found


def _tensor(values: np.ndarray):
    return keras.ops.convert_to_tensor(values)


def _tensors(values: Statistics | None):
    return None if values is None else [tuple(map(_tensor, each)) for each in values]
