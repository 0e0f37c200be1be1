"""Small layers that more than one network uses. Images are NHWC; every layer runs on any Keras backend."""

import keras
import numpy as np
from keras import layers, ops

from madn.nn.statistics import image_mean, image_moments

LUMA = (0.299, 0.587, 0.114)


def sobel_magnitude(images):
    """Gradient magnitude M(x) = sqrt(gx^2 + gy^2 + 1e-6) of each channel (MADN section 3.1, operator M).

    gx and gy are the responses to unnormalised 3x3 Sobel kernels; borders are reflected without repeating the edge, as
    `tf.image.sobel_edges` and OpenCV reflect them. For images in [0, 1] the result lies in [0.001, sqrt(20)]. The 1e-6
    keeps the derivative finite where the image is flat.

    Args:
        images: (batch, height, width, channels), height and width at least 2.
    Returns:
        A tensor of the same shape.
    """
    padded = ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    gx = rows[:, :, 2:] - rows[:, :, :-2]
    gy = columns[:, 2:] - columns[:, :-2]
    return ops.sqrt(ops.square(gx) + ops.square(gy) + 1e-6)


def luma(images):
    """(batch, height, width, 3) RGB -> (batch, height, width, 1) with the Rec. 601 weights."""
    return ops.sum(images * ops.convert_to_tensor(LUMA, images.dtype), axis=-1, keepdims=True)


def resize(images, scale: float, method: str = "bicubic", antialias: bool = True):
    """Resize by `scale` with half-pixel centres; bicubic is Keys' kernel with a = -0.5 (MADN section 4.1).

    It is written as sums of shifted images, the same on every backend and in memory that grows with the image alone:
    TensorFlow's own antialiased resize has no XLA kernel and no ONNX counterpart, and PyTorch's plain bicubic has
    a = -0.75. Samples outside the image are left out and the rest renormalised, as TensorFlow does. Bilinear
    enlargements, of wide feature maps in SIS-Net, mix neighbours instead.

    Args:
        images: (batch, height, width, channels); for `scale` 1/k both sizes are divided by k and rounded down.
        method: "bicubic", "bilinear", or "tf1": TensorFlow 1's bilinear resize, without half-pixel centres and without
            antialiasing, so that 1/k takes every k-th sample.
        antialias: whether the kernel is widened where the image becomes smaller.
    Returns:
        A tensor of the same type, of height and width times `scale`.
    """
    if method == "tf1":
        return _as_tensorflow_1(images, scale)
    if method == "bilinear" and scale > 1:
        return _enlarged(_enlarged(images, int(scale), axis=1), int(scale), axis=2)
    for axis in (1, 2):
        if scale >= 1:
            images = renormalised(images, axis, lambda x, axis: _enlarged_by_taps(x, int(scale), axis, method))
        else:
            images = renormalised(images, axis, lambda x, axis: _shrunk(x, round(1 / scale), axis, method, antialias))
    return images


def _as_tensorflow_1(images, scale: float):
    """The result's sample i lies at i / scale of the image; the last sample is repeated past its end."""
    if scale < 1:
        step = round(1 / scale)
        height, width = (size // step * step for size in ops.shape(images)[1:3])
        return images[:, :height:step, :width:step]
    shape = list(ops.shape(images))
    for axis in (1, 2):
        along = (slice(None),) * axis
        later = ops.concatenate([images[(*along, slice(1, None))], images[(*along, slice(-1, None))]], axis)
        shares = [i / int(scale) for i in range(int(scale))]
        shape[axis] = shape[axis] * int(scale)
        images = ops.reshape(ops.stack([(1 - share) * images + share * later for share in shares], axis + 1), shape)
    return images


def _enlarged(images, times: int, axis: int):
    """Enlarge along one axis: a new sample is a weighted mean of the two around it; borders are repeated."""
    shape = list(ops.shape(images))
    size = shape[axis]
    padded = ops.concatenate([_cut(images, axis, 0, 1), images, _cut(images, axis, size - 1, 1)], axis)
    earlier, later = _cut(padded, axis, 0, size), _cut(padded, axis, 2, size)
    phases = []
    for i in range(times):
        place = (i + 0.5) / times - 0.5
        share = place % 1
        first, second = (earlier, images) if place < 0 else (images, later)
        phases.append((1 - share) * first + share * second)
    shape[axis] = size * times
    return ops.reshape(ops.stack(phases, axis + 1), shape)


def renormalised(images, axis: int, resized):
    """Weighted means along an axis, of the sums that `resized(images, axis)` makes with samples outside as zeros.

    Those of an image of ones say by what to divide.
    """
    # By its shape and not as a slice of the images: on JAX the slice [:1] of an unknown size is of no known size.
    shape = [size if n == axis else 1 for n, size in enumerate(ops.shape(images))]
    ones = ops.ones(shape, images.dtype)
    return resized(images, axis) / resized(ones, axis)


def _shrunk(images, times: int, axis: int, method: str, antialias: bool):
    """Sums around the centres of each `times` samples along one axis: of them, and of two such blocks on each side."""
    blocks = ops.shape(images)[axis] // times
    padded = _cut(zero_padded(images, axis, 2 * times), axis, 0, (blocks + 4) * times)
    shape = list(ops.shape(padded))
    padded = ops.reshape(padded, [*shape[:axis], blocks + 4, times, *shape[axis + 1 :]])
    total = 0
    for i, weights in enumerate(shrinking_kernel(times, method, antialias).reshape(5, times)):
        if weights.any():
            weights = ops.convert_to_tensor(
                weights.reshape([times if n == axis + 1 else 1 for n in range(5)]), images.dtype
            )
            total = total + ops.sum(_cut(padded, axis, i, blocks) * weights, axis + 1)
    return total


def _enlarged_by_taps(images, times: int, axis: int, method: str):
    """Sums of the four samples around each of the new samples along one axis, which are `times` as many."""
    shape = list(ops.shape(images))
    padded = zero_padded(images, axis, 2)
    phases = []
    for shares in enlarging_kernel(times, method):
        taps = [float(n) * _cut(padded, axis, k, shape[axis]) for k, n in enumerate(shares) if n]
        phases.append(sum(taps[1:], taps[0]))
    shape[axis] = shape[axis] * times
    return ops.reshape(ops.stack(phases, axis + 1), shape)


def shrinking_kernel(times: int, method: str = "bicubic", antialias: bool = True) -> np.ndarray:
    """The weights of the 5 `times` samples from two blocks before a block of `times` to two behind it, (5 times,)."""
    distance = np.abs(np.arange(-2 * times, 3 * times) + 0.5 - times / 2) / (times if antialias else 1)
    return _kernel(distance, method)


def enlarging_kernel(times: int, method: str = "bicubic") -> np.ndarray:
    """For each of the `times` new samples the weights of the five samples around it, (times, 5)."""
    places = (np.arange(times)[:, None] + 0.5) / times - 0.5
    return _kernel(np.abs(np.arange(-2, 3) - places), method)


def _kernel(distance: np.ndarray, method: str) -> np.ndarray:
    """The weights of samples at distances from a new sample."""
    if method == "bilinear":
        return np.maximum(1 - distance, 0)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def zero_padded(images, axis: int, count: int):
    """Images with `count` zeros before and behind them along one axis."""
    return ops.pad(images, [[count, count] if n == axis else [0, 0] for n in range(len(images.shape))])


def _cut(x, axis: int, start, length):
    """`length` samples from `start` along one axis."""
    # The gradient of brackets is slow on TensorFlow. Where a size is not known yet, it would forget the others here.
    if keras.backend.backend() == "tensorflow" and isinstance(start, int) and isinstance(length, int):
        axes = range(len(x.shape))
        return ops.slice(x, [start if n == axis else 0 for n in axes], [length if n == axis else -1 for n in axes])
    return x[(slice(None),) * axis + (slice(start, start + length),)]


@keras.saving.register_keras_serializable("madn")
class SobelMagnitude(layers.Layer):
    """`sobel_magnitude` as a layer."""

    def call(self, images):
        return sobel_magnitude(images)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("madn")
class Resize(layers.Layer):
    """`resize` as a layer, for any height and width."""

    def __init__(self, scale: float, method: str = "bicubic", antialias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.method, self.antialias = scale, method, antialias

    def call(self, images):
        return resize(images, self.scale, self.method, self.antialias)

    def compute_output_shape(self, shape):  # Keras would find it by a call, half of the time of building a network.
        def resized(size):
            if size is None:
                return None
            return size * int(self.scale) if self.scale >= 1 else size // round(1 / self.scale)

        return (shape[0], resized(shape[1]), resized(shape[2]), shape[3])


@keras.saving.register_keras_serializable("madn")
class RequireMultiple(layers.Layer):
    """Returns its images; raises `ValueError` where a known height or width is not a multiple of `multiple`."""

    def __init__(self, multiple: int, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, images):
        height, width = images.shape[1], images.shape[2]
        if any(n is not None and n % self.multiple for n in (height, width)):
            raise ValueError(
                f"This network takes heights and widths that are multiples of {self.multiple}; "
                f"received {height} x {width}. madn.restoration.restorer pads any size."
            )
        return images

    def compute_output_shape(self, shape):  # Keras would find it by a call with sizes that may be no multiples.
        return shape


@keras.saving.register_keras_serializable("madn")
class StopGradient(layers.Layer):
    """Returns its input, and stops its gradient."""

    def call(self, values):
        return ops.stop_gradient(values)


@keras.saving.register_keras_serializable("madn")
def leaky_relu(x, negative_slope: float = 0.2):
    """Keras' function, with the negative side's derivative at 0 on every backend.

    JAX would take the positive side's, and the first training step would differ: its inputs are 0 where a gradient map
    is 0, for biases start at 0.
    """
    if keras.backend.backend() == "jax":
        return ops.where(x > 0, x, negative_slope * x)
    return ops.leaky_relu(x, negative_slope)


@keras.saving.register_keras_serializable("madn")
class LeakyReLU(layers.LeakyReLU):
    """Keras' layer with `leaky_relu`."""

    def call(self, x):
        return leaky_relu(x, self.negative_slope)


@keras.saving.register_keras_serializable("madn")
class InstanceNormalization(layers.GroupNormalization):
    """Normalises each channel of each image by its own mean and variance (Ulyanov et al., arXiv:1607.08022).

    This is Keras' group normalisation with one channel a group and moments of our own (see `image_moments`); epsilon is
    1e-5, as in PyTorch and the papers' code. It is computed in float32.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs):
        kwargs.pop("groups", None)
        super().__init__(groups=-1, epsilon=epsilon, **kwargs)

    def call(self, images):
        x = ops.cast(images, "float32")
        mean, variance = image_moments(x)
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * ops.cast(self.gamma, x.dtype)
        x = (x - mean) * scale  # Both factors are multiplied first: that saves a pass over the image.
        if self.center:
            x = x + ops.cast(self.beta, x.dtype)
        return ops.cast(x, images.dtype)


@keras.saving.register_keras_serializable("madn")
class ImageMean(layers.Layer):
    """(batch, height, width, channels) -> (batch, 1, 1, channels): the mean over the image, of all tiles if tiled."""

    def call(self, x):
        return image_mean(x)


def residual_block(x, name: str, kernel: int = 3, last_init: str = "glorot_uniform"):
    """x + Conv(ReLU(Conv(x))), width preserving (MADN section 3.3.3, Fig. 4b).

    There is no normalisation, and no activation after the addition. Arguments as in `nested_residual_group`.
    """
    width = x.shape[-1]
    y = layers.Conv2D(width, kernel, padding="same", activation="relu", name=f"{name}_conv1")(x)
    y = layers.Conv2D(width, kernel, padding="same", kernel_initializer=last_init, name=f"{name}_conv2")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def nested_residual_group(x, blocks: int, name: str, kernel: int = 3, last_init: str = "glorot_uniform"):
    """The nested residual link of MADN Eq. 9, extended to `blocks` blocks.

    The sum is P + R1(P) + R2(P + R1(P)) + ..., with R the residual branch F of a block x + F(x). Term by term that is
    an ordinary chain of residual blocks, and is built so; a test compares both. `name` is the prefix of the layers'
    names, `kernel` the kernels' side in pixels, `last_init` the start of each block's second kernel.
    """
    for k in range(1, blocks + 1):
        x = residual_block(x, f"{name}_res{k}", kernel, last_init)
    return x
