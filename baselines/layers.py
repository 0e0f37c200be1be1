"""Small layers that more than one baseline uses. Tensors are NHWC; everything runs on any Keras backend.

Licence of this file: MIT.
"""

import keras
from keras import layers, ops


def normal() -> keras.initializers.Initializer:
    """N(0, 0.02), as pix2pix starts its networks; a new object each time, for one used twice gives the same numbers."""
    return keras.initializers.RandomNormal(stddev=0.02)


def padded_conv(x, width: int, kernel: int, strides: int = 1, padding: int | None = None, *, name: str, **options):
    """A convolution with `padding` zeros on all four sides, by default (kernel - 1) // 2.

    Keras' "same" pads bottom and right more than top and left where the stride is 2 or the kernel even. The papers'
    code (PyTorch) pads all sides alike, and their output sizes and pixel alignment follow from that.

    Args:
        x: (batch, height, width, channels).
        options: further arguments of `keras.layers.Conv2D`.
    Returns:
        (batch, floor((height + 2 padding - kernel) / strides) + 1, ..., width).
    """
    padding = (kernel - 1) // 2 if padding is None else padding
    if padding and (strides > 1 or 2 * padding != kernel - 1):
        x = layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
        return layers.Conv2D(width, kernel, strides, padding="valid", name=name, **options)(x)
    return layers.Conv2D(width, kernel, strides, padding="same" if padding else "valid", name=name, **options)(x)


def doubling_deconv(x, width: int, *, name: str, **options):
    """A 3x3 transposed convolution of stride 2 whose tap k of input i lands on output 2 i + k - 1.

    The exact mirror of `padded_conv` with kernel 3 and stride 2 (PyTorch: padding 1, output padding 1), while
    Keras' "same" lies one pixel further right and down.

    Returns:
        (batch, 2 height, 2 width, width).
    """
    x = layers.Conv2DTranspose(width, 3, 2, padding="valid", name=name, **options)(x)
    return layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)


@keras.saving.register_keras_serializable("madn")
class ClipImages(layers.Layer):
    """Clips images to [0, 1]; in training only where `when` is "always" and not "inference"."""

    def __init__(self, when: str = "inference", **kwargs):
        super().__init__(**kwargs)
        if when not in ("inference", "always"):
            raise ValueError(f"when must be 'inference' or 'always'; received {when!r}")
        self.when = when

    def call(self, images, training=False):
        return images if training and self.when == "inference" else ops.clip(images, 0.0, 1.0)


@keras.saving.register_keras_serializable("madn")
class LeakyReLUOfSum(layers.LeakyReLU):
    """LeakyReLU behind the sum of two convolutions.

    On CPUs with oneDNN, TensorFlow's graphs fuse a convolution, its bias, a sum and LeakyReLU into one operation, and
    lose the slope: it becomes 0.2 (seen in 2.21). What is written with a ReLU is left as it is.
    """

    def call(self, x):
        return self.negative_slope * x + (1 - self.negative_slope) * ops.relu(x)
