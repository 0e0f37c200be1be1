"""Graph optimisation: networks are rewritten for restoration, to give the same numbers, up to rounding, sooner."""

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from madn.nn.layers import Resize
from madn.system.keras_private import Functional
from madn.system.startup import device

FEW = 4  # With at most so many output channels a convolution is quicker for four pixels at once.


def optimised(generator: keras.Model, here: bool = True) -> keras.Model:
    """The network with its current weights, rewritten for `training=False`. It shares all other layers.

    - Batch normalisation behind a linear convolution without bias becomes part of this convolution, and a 1x1
      convolution with fewer channels part of the linear transposed convolution before it, on every backend.
    - `here`, for this process and not for an export: where TensorFlow computes on CPUs, convolutions with few output
      channels make four pixels at once, see `FourPixels`, and bilinear enlargements are TensorFlow's own.

    Functional models inside are rewritten likewise. Returns `generator` itself where there is nothing to rewrite.
    """
    return rewritten(generator, functools.partial(_swaps, here=here))


def rewritten(model: keras.Model, swaps_of: Callable[[keras.Model], dict]) -> keras.Model:
    """A model with some of its layers replaced, and of the functional models inside; `model` itself where none are.

    `swaps_of` a model are the layers that are replaced, each with what takes its place. All others are shared.
    """
    swaps = swaps_of(model)
    for layer in model.layers:
        if isinstance(layer, Functional) and (inside := rewritten(layer, swaps_of)) is not layer:
            swaps[layer] = inside
    if not swaps:
        return model
    return keras.models.clone_model(
        model, clone_function=lambda operation: swaps.get(operation, operation), call_function=_call
    )


def _call(operation, *args, mask=None, **kwargs):
    """Call without the mask, which batch normalisation takes, and what replaces it does not; for images it is None."""
    return operation(*args, **kwargs)


def _swaps(model: keras.Model, here: bool) -> dict:
    """The layers that are replaced, each with what takes its place."""
    swaps = {}
    for layer, after in _pairs(model):
        if _is_normalisation_of(after, layer):
            swaps[layer] = _merged(layer, after)
        elif _is_projection_of(after, layer):
            swaps[layer] = _projected(layer, after)
        if layer in swaps:
            swaps[after] = layers.Identity(dtype=after.dtype_policy, name=after.name)
    on_cpu = here and keras.backend.backend() == "tensorflow" and device().startswith("CPU")
    for layer in model.layers:
        if on_cpu and layer not in swaps and FourPixels.fits(layer):
            swaps[layer] = FourPixels.of(layer)
        elif on_cpu and type(layer) is Resize and layer.method == "bilinear" and layer.scale > 1:
            swaps[layer] = Enlargement.from_config(layer.get_config())
    return swaps


def _pairs(model: keras.Model) -> list[tuple]:
    """Linear convolutions, each with the layer that alone takes its result; both are called once."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    calls, takers = {}, {}
    for node in nodes:
        calls.setdefault(node.operation, []).append(node)
        for x in node.input_tensors:
            takers.setdefault(id(x), []).append(node.operation)
    for x in model.outputs:
        takers.setdefault(id(x), []).append(None)
    pairs = []
    for layer, (node, *more) in calls.items():
        if (
            more
            or type(layer) not in (layers.Conv2D, layers.Conv2DTranspose)
            or layer.data_format != "channels_last"
            or layer.activation is not keras.activations.linear
        ):
            continue
        after, *others = takers[id(node.outputs[0])]
        if after is not None and not others and len(calls[after]) == 1:
            pairs.append((layer, after))
    return pairs


def _is_normalisation_of(after, layer) -> bool:
    return (
        type(layer) is layers.Conv2D
        and not layer.use_bias
        and type(after) is layers.BatchNormalization
        and after.axis in (-1, 3)
        and after.compute_dtype == layer.compute_dtype
    )


def _is_projection_of(after, layer) -> bool:
    return (
        type(layer) is layers.Conv2DTranspose
        and type(after) is layers.Conv2D
        and (after.kernel_size, after.strides, after.groups) == ((1, 1), (1, 1), 1)
        and after.data_format == "channels_last"
        and after.filters < layer.filters
        and after.compute_dtype == layer.compute_dtype
    )


def _projected(deconvolution: layers.Conv2DTranspose, projection: layers.Conv2D) -> layers.Conv2DTranspose:
    """One transposed convolution that takes the place of both."""
    weights = projection.kernel[0, 0]
    # The axes of a transposed convolution's kernel are height, width, outputs and inputs.
    kernel = ops.einsum("hwoi,of->hwfi", deconvolution.kernel, weights)
    bias = ops.zeros(projection.filters, kernel.dtype)
    if deconvolution.use_bias:
        bias = bias + ops.matmul(deconvolution.bias, weights)
    if projection.use_bias:
        bias = bias + projection.bias
    config = {**deconvolution.get_config(), "filters": projection.filters, "use_bias": True}
    config["activation"] = projection.get_config()["activation"]
    return _filled(layers.Conv2DTranspose, config, kernel, bias, inputs=kernel.shape[3])


def _merged(convolution: layers.Conv2D, normalization: layers.BatchNormalization) -> layers.Conv2D:
    """One convolution with bias that takes the place of both."""
    scale = ops.rsqrt(normalization.moving_variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * normalization.gamma
    bias = -normalization.moving_mean * scale
    if normalization.center:
        bias = bias + normalization.beta
    config = {**convolution.get_config(), "use_bias": True}
    return _filled(layers.Conv2D, config, convolution.kernel * scale, bias)


def _filled(cls, config: dict, kernel, bias=None, inputs: int | None = None):
    """A convolution of the class `cls` with these weights, of so many input channels."""
    layer = cls.from_config({**config, "kernel_initializer": "zeros"})
    layer.build((None, None, None, inputs or kernel.shape[2] * layer.groups))
    layer.kernel.assign(kernel)
    if bias is not None:
        layer.bias.assign(bias)
    return layer


class FourPixels(layers.Conv2D):
    """A convolution of stride 1 that computes 2 x 2 pixels at once.

    oneDNN computes 16 output channels at a time, so that 3 take as long as 16. Here a kernel larger by one, with stride
    2, makes the channels of four neighbouring pixels, which are then put in their places. For 3 channels and kernels of
    3 to 7 this is two to three times as fast. Sizes may be odd: "same" padding adds the line that is cut off again.
    """

    @staticmethod
    def fits(layer) -> bool:
        """Whether a layer is a convolution that this one can replace, and is quicker than."""
        return (
            type(layer) is layers.Conv2D
            and layer.filters <= FEW
            and layer.strides == (1, 1)
            and layer.dilation_rate == (1, 1)
            and layer.groups == 1
            and layer.padding == "same"
            and layer.data_format == "channels_last"
            and all(n >= 3 and n % 2 for n in layer.kernel_size)
        )

    @classmethod
    def of(cls, layer: layers.Conv2D) -> "FourPixels":
        """The same convolution, with the layer's current weights."""
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        shifted = [np.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i in (0, 1) for j in (0, 1)]
        bias = np.tile(keras.ops.convert_to_numpy(layer.bias), 4) if layer.use_bias else None
        config = {
            **layer.get_config(),
            "filters": 4 * layer.filters,
            "strides": 2,
            "kernel_size": [n + 1 for n in layer.kernel_size],
        }
        return _filled(cls, config, np.concatenate(shifted, axis=3), bias)

    def call(self, images):
        height, width = ops.shape(images)[1:3]
        return ops.depth_to_space(super().call(images), 2)[:, :height, :width]

    def compute_output_shape(self, shape):
        return (*shape[:3], self.filters // 4)


class Enlargement(Resize):
    """Bilinear enlargement by TensorFlow's operation, on CPUs four times as fast as `madn.nn.layers.resize`."""

    def call(self, images):
        import tensorflow as tf

        height, width = ops.shape(images)[1:3]
        enlarged = tf.image.resize(images, (height * int(self.scale), width * int(self.scale)), "bilinear")
        return ops.cast(enlarged, images.dtype)  # TensorFlow's result is float32, whatever the images are.
