"""Resizing as convolutions, for exported graphs: a tenth of the operations, which a runtime starts and computes sooner.

The networks write a resize as sums of shifted images (`madn.nn.layers.resize`), for a GPU may compute convolutions of
float32 images with fewer digits. Here the same weights are the kernels of two convolutions, one for each axis.
"""

import keras
import numpy as np
from keras import ops

from madn.nn.layers import Resize, enlarging_kernel, shrinking_kernel
from madn.system.keras_private import Functional


def with_convolutions(generator: keras.Model) -> keras.Model:
    """The network with bicubic resizes as convolutions; it shares all other layers, and all weights.

    Functional models inside are rewritten likewise. Returns `generator` itself where there is nothing to rewrite.
    """
    swaps: dict = {}
    for layer in generator.layers:
        if isinstance(layer, Functional):
            if (inside := with_convolutions(layer)) is not layer:
                swaps[layer] = inside
        elif type(layer) is Resize and layer.method == "bicubic":
            swaps[layer] = ConvolvedResize.from_config(layer.get_config())
    if not swaps:
        return generator
    return keras.models.clone_model(generator, clone_function=lambda operation: swaps.get(operation, operation))


class ConvolvedResize(Resize):
    """`madn.nn.layers.Resize`, bicubic, as one convolution for each axis."""

    def call(self, images):
        for axis in (1, 2):
            # Samples outside the image count as zero; an image of ones, resized likewise, says by what to divide.
            shape = [size if n == axis else 1 for n, size in enumerate(ops.shape(images))]
            images = self._along(images, axis) / self._along(ops.ones(shape, images.dtype), axis)
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
        padded = ops.pad(images, [[pad, pad] if n == axis else [0, 0] for n in range(4)])
        steps = (strides, 1) if axis == 1 else (1, strides)
        made = ops.conv(padded, ops.convert_to_tensor(kernel, images.dtype), steps, "valid", "channels_last")
        if self.scale < 1:
            return made
        batch, height, width = ops.shape(images)[:3]
        if axis == 1:
            made = ops.transpose(ops.reshape(made, [batch, height, width, times, channels]), [0, 1, 3, 2, 4])
            return ops.reshape(made, [batch, height * times, width, channels])
        return ops.reshape(made, [batch, height, width * times, channels])
