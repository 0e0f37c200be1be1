"""Resizes and deconvolutions as convolutions, for ONNX: runtimes start sooner, and compute the same numbers sooner.

The networks write a resize as sums of shifted images (`madn.nn.layers.resize`), for a GPU may compute convolutions of
float32 images with fewer digits. Here the same weights are the kernels of two convolutions, one for each axis: a tenth
of the operations.

A deconvolution of stride s spreads each pixel over its kernel. Where the kernel's side is n times s, every pixel of the
result is the sum of n x n pixels, and which part of the kernel weighs them depends on the pixel's place in its s x s
block. So one convolution with n x n kernels makes all s x s places as channels, which are then put in their places.
onnxruntime computes this on CPUs in half the time, and the sizes of the result need not be computed.
"""

import keras
import numpy as np
from keras import layers, ops

from madn.nn.layers import Resize, enlarging_kernel, renormalised, shrinking_kernel, zero_padded
from madn.restoration.graph_optimisation import rewritten

FEW = 4  # With more channels than an image the convolution, whose channels stay by themselves, is mostly zeros.
ACROSS = (keras.activations.softmax, keras.activations.log_softmax)  # Activations that are not of each number alone.


def with_convolutions(generator: keras.Model) -> keras.Model:
    """The network with bicubic resizes and deconvolutions as convolutions; it shares all other layers, and all weights.

    Functional models inside are rewritten likewise. Returns `generator` itself where there is nothing to rewrite.
    """
    return rewritten(generator, _swaps)


def _swaps(model: keras.Model) -> dict:
    """The layers that are replaced, each with what takes its place."""
    swaps: dict = {}
    for layer in model.layers:
        if type(layer) is Resize and layer.method == "bicubic":
            swaps[layer] = ConvolvedResize.from_config(layer.get_config())
        elif ConvolvedDeconvolution.fits(layer):
            swaps[layer] = ConvolvedDeconvolution(layer)
    return swaps


class ConvolvedResize(Resize):
    """`madn.nn.layers.Resize`, bicubic, as one convolution for each axis."""

    def call(self, images):
        if images.shape[-1] > FEW:
            return super().call(images)
        for axis in (1, 2):
            images = renormalised(images, axis, self._along)
        return images

    def _along(self, images, axis: int):
        channels, times = images.shape[-1], round(max(self.scale, 1 / self.scale))
        if self.scale < 1:
            kernel, pad, strides = shrinking_kernel(times, self.method, self.antialias)[:, None], 2 * times, times
        else:
            kernel, pad, strides = enlarging_kernel(times, self.method).T, 2, 1
        # (taps, samples) and channels that stay by themselves: (taps, channels, samples, channels).
        kernel = kernel[:, None, :, None] * np.eye(channels)[:, None, :]
        kernel = kernel.reshape(len(kernel), channels, -1)[(slice(None), None) if axis == 1 else (None, slice(None))]
        steps = (strides, 1) if axis == 1 else (1, strides)
        kernel = ops.convert_to_tensor(kernel, images.dtype)
        made = ops.conv(zero_padded(images, axis, pad), kernel, steps, "valid", "channels_last")
        if self.scale < 1:
            return made
        batch, height, width = ops.shape(images)[:3]
        if axis == 1:
            made = ops.transpose(ops.reshape(made, [batch, height, width, times, channels]), [0, 1, 3, 2, 4])
            return ops.reshape(made, [batch, height * times, width, channels])
        return ops.reshape(made, [batch, height, width * times, channels])


class ConvolvedDeconvolution(layers.Layer):
    """`deconvolution`, with the weights that it has, as a convolution whose channels become places."""

    def __init__(self, deconvolution: layers.Conv2DTranspose):
        super().__init__(name=deconvolution.name, dtype=deconvolution.dtype_policy)
        self.deconvolution = deconvolution

    @staticmethod
    def fits(layer) -> bool:
        """Whether a layer is a deconvolution that this one can replace."""
        if type(layer) is not layers.Conv2DTranspose:
            return False
        (side, *others), (stride, *strides) = layer.kernel_size, layer.strides
        return (
            {side, *others} == {side}
            and {stride, *strides} == {stride}
            and side % stride == 0
            and layer.padding == "same"
            and layer.output_padding is None
            and layer.dilation_rate == (1, 1)
            and layer.data_format == "channels_last"
            and layer.activation not in ACROSS
        )

    def call(self, images):
        layer = self.deconvolution
        stride = layer.strides[0]
        taps = layer.kernel_size[0] // stride
        kernel = places_as_channels(layer.kernel, stride)
        padded = ops.pad(images, [[0, 0], [taps - 1, taps - 1], [taps - 1, taps - 1], [0, 0]])
        made = ops.conv(padded, ops.cast(kernel, images.dtype), 1, "valid", "channels_last")
        if layer.use_bias:
            made = made + ops.cast(ops.tile(layer.bias, [stride**2]), made.dtype)
        made = layer.activation(made)
        if stride > 1:
            made = ops.depth_to_space(made, stride, "channels_last")
        spare = (taps - 1) * stride
        inner = slice(spare // 2, spare // 2 - spare or None)
        return made[:, inner, inner]

    def compute_output_shape(self, shape):
        return self.deconvolution.compute_output_shape(shape)


def places_as_channels(kernel, stride: int):
    """A deconvolution's kernel, (side, side, outputs, inputs), as that of a convolution with side / stride taps.

    Its shape is (taps, taps, inputs, stride * stride * outputs). A side becomes (tap, place), with the taps in reverse.
    """
    side, _, outputs, inputs = kernel.shape
    taps = side // stride
    kernel = ops.flip(ops.reshape(kernel, [taps, stride, taps, stride, outputs, inputs]), axis=(0, 2))
    return ops.reshape(ops.transpose(kernel, [0, 2, 5, 1, 3, 4]), [taps, taps, inputs, stride**2 * outputs])
