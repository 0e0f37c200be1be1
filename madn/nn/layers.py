"""Small layers that more than one network uses. Images are NHWC; every layer runs on any Keras backend."""

import keras
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

    It is two small matrix products, the same on every backend: TensorFlow's own antialiased resize has no XLA kernel
    and no ONNX counterpart, and PyTorch's plain bicubic has a = -0.75. Samples outside the image are left out and the
    rest renormalised, as TensorFlow does. Bilinear enlargements, of wide feature maps in SIS-Net, mix neighbours
    instead.

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
    height, width = ops.shape(images)[1], ops.shape(images)[2]
    rows = _resize_weights(height, scale, method, antialias, images.dtype)
    columns = _resize_weights(width, scale, method, antialias, images.dtype)
    return ops.einsum("oh,bhwc,pw->bopc", rows, images, columns)


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

    def along(x, start, stop):
        return x[(slice(None),) * axis + (slice(start, stop),)]

    padded = ops.concatenate([along(images, None, 1), images, along(images, -1, None)], axis)
    earlier, later = along(padded, None, -2), along(padded, 2, None)
    phases = []
    for i in range(times):
        place = (i + 0.5) / times - 0.5
        share = place % 1
        first, second = (earlier, images) if place < 0 else (images, later)
        phases.append((1 - share) * first + share * second)
    shape[axis] = shape[axis] * times
    return ops.reshape(ops.stack(phases, axis + 1), shape)


def _resize_weights(size, scale: float, method: str, antialias: bool, dtype):
    """A matrix (resized, size), each row of which holds the weights of one resized sample."""
    resized = size * int(scale) if scale >= 1 else size // round(1 / scale)
    centres = (ops.arange(resized, dtype="float32") + 0.5) / scale
    widening = 1 / scale if antialias and scale < 1 else 1.0
    distance = ops.abs(ops.arange(size, dtype="float32")[None, :] + 0.5 - centres[:, None]) / widening
    if method == "bilinear":
        weights = ops.maximum(1 - distance, 0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = ops.where(distance < 1, near, ops.where(distance < 2, far, ops.zeros_like(distance)))
    return ops.cast(weights / ops.sum(weights, axis=1, keepdims=True), dtype)


@keras.saving.register_keras_serializable("madn")
class SobelMagnitude(layers.Layer):
    """`sobel_magnitude` as a layer."""

    def call(self, images):
        return sobel_magnitude(images)


@keras.saving.register_keras_serializable("madn")
class Resize(layers.Layer):
    """`resize` as a layer, for any height and width."""

    def __init__(self, scale: float, method: str = "bicubic", antialias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.method, self.antialias = scale, method, antialias

    def call(self, images):
        return resize(images, self.scale, self.method, self.antialias)


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
