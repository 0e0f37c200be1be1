"""A generator compiled for restoration: from NumPy to NumPy, in tiles that share one photo's statistics if need be."""

from collections.abc import Sequence

import keras
import numpy as np

from madn.nn import statistics
from madn.restoration.graph_optimisation import folded

Statistics = Sequence[tuple[np.ndarray, ...]]  # of each layer that takes any, in the order of their calls
IN_PLACE = {
    "Identity",
    "Reshape",
    "BiasAdd",
    "Relu",
    "LeakyRelu",
    "Tanh",
    "Sigmoid",
    "AddV2",
    "Add",
    "Sub",
    "Mul",
    "Maximum",
    "Minimum",
    "RealDiv",
    "Sqrt",
    "Rsqrt",
    "Square",
    "SelectV2",
    "ExpandDims",
    "Squeeze",
}
ELSEWHERE = 4096  # bytes a pixel where there is no TensorFlow graph to read them from: plenty for the full widths


class Inference:
    """The `deblurred` output of a generator, with the weights that it has by then: give it one that is loaded.

    Its own network, `generator`, is rewritten for speed and holds copies of some weights, see
    `madn.restoration.graph_optimisation`. Called with (batch, height, width, 3) float32 images in [0, 1], sizes
    multiples of the recipe's, it returns images of the same shape, not clipped. On TensorFlow it is one graph for all
    sizes, compiled without XLA, which on a CPU is slower for most of the networks (README) and compiles once more for
    each size. On JAX it is compiled for each size, and that of tiles is the same.
    """

    def __init__(self, generator: keras.Model):
        self.generator = folded(keras.Model(generator.input, generator.output["deblurred"]))
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

            compiled = jax.jit(self._restored_with)  # statistics are measured as written: their cores are of many sizes
            self._restore = lambda images, given: compiled([v.value for v in self.generator.variables], images, given)

    def __call__(self, images: np.ndarray, statistics: Statistics | None = None) -> np.ndarray:
        """Restore; with `statistics` of the photo that the images are tiles of, in place of their own."""
        return keras.ops.convert_to_numpy(self._restore(_tensor(images), _tensors(statistics)))

    def measure(self, tile: np.ndarray, core: Sequence[int], statistics: Statistics | None = None) -> Statistics:
        """The statistics of the core of one tile, (1, height, width, 3); see `madn.nn.statistics.Exchange`."""
        size = np.asarray([*core, *tile.shape[1:3]], np.int32)
        found = self._measure(_tensor(tile), _tensor(size), _tensors(statistics))
        return [tuple(keras.ops.convert_to_numpy(value) for value in values) for values in found]

    @property
    def kinds(self) -> list[str]:
        """What kinds of statistics of whole images the network takes; [] for one that tiles do not change."""
        if self._kinds is None:
            self.measure(np.zeros((1, 128, 128, 3), np.float32), (0, 128, 0, 128))
        return self._kinds

    @property
    def knows_tiles(self) -> bool:
        """Whether tiles of a photo are restored otherwise than images of their own."""
        return bool(self.kinds) or self._asked

    def bytes_per_pixel(self, side: int = 256) -> int:
        """Memory that the network works in, for each pixel of an image, at the worst moment.

        From TensorFlow's graph of an image of `side` squared: results live from the operation that makes them to the
        last that takes them, and those that can be written over their input are.
        """
        if keras.backend.backend() != "tensorflow":
            return ELSEWHERE
        import tensorflow as tf

        traced = tf.function(lambda x: self.generator(x, training=False), autograph=False)
        graph = traced.get_concrete_function(tf.TensorSpec((1, side, side, 3), "float32")).graph
        return -(-_peak_bytes(graph) // side**2)

    def _restored(self, images, given):
        if given is None:
            return self.generator(images, training=False)
        with statistics.exchange(given=given):
            return self.generator(images, training=False)

    def _restored_with(self, values, images, given):
        """`_restored` with the generator's weights as arguments: JAX would compile them in as constants."""
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


def _peak_bytes(graph) -> int:
    """The most bytes alive at once if the operations ran one by one, in the order in which they were traced."""
    operations = graph.get_operations()
    last = {tensor.ref(): i for i, operation in enumerate(operations) for tensor in operation.inputs}
    alive = peak = 0
    for i, operation in enumerate(operations):
        made = sum(map(_bytes, operation.outputs))
        ending = {tensor.ref(): _bytes(tensor) for tensor in operation.inputs if last[tensor.ref()] == i}
        over = max((n for n in ending.values() if n >= made), default=0) if operation.type in IN_PLACE else 0
        peak = max(peak, alive + made - min(over, made))
        alive += made - sum(ending.values())
    return peak


def _bytes(tensor) -> int:
    """Size of a tensor; 0 for what is no result of the network: weights, sizes and unknown shapes."""
    if tensor.op.type in ("Const", "Placeholder", "ReadVariableOp") or not tensor.shape.is_fully_defined():
        return 0
    return tensor.shape.num_elements() * tensor.dtype.size if tensor.dtype.size else 0
