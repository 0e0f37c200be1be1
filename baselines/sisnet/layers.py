"""Layers that only SIS-Net uses. Images are NHWC; every layer runs on any Keras backend. Licence of this file: MIT."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("madn")
class StoredStatistics(keras.Model):
    """A functional model that always runs as at inference, also inside one that trains (its weights still learn)."""

    as_at_inference = True  # madn.training.remat reads this, for it does not run `call`.

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


@keras.saving.register_keras_serializable("madn")
class ReflectPad(layers.Layer):
    """Reflects `before` pixels at the top and left and `after` at the bottom and right; the edge is not repeated."""

    def __init__(self, before: int, after: int, **kwargs):
        super().__init__(**kwargs)
        self.before, self.after = before, after

    def call(self, x):
        pad = (self.before, self.after)
        return ops.pad(x, ((0, 0), pad, pad, (0, 0)), mode="reflect")

    def compute_output_shape(self, shape):  # JAX cannot tell it for images of unknown size.
        height, width = (None if n is None else n + self.before + self.after for n in shape[1:3])
        return shape[0], height, width, shape[3]


@keras.saving.register_keras_serializable("madn")
class GrowTo(layers.Layer):
    """Reflects images at the bottom and right until height and width are `minimum` pixels or more."""

    def __init__(self, minimum: int, **kwargs):
        super().__init__(**kwargs)
        self.minimum = minimum

    def call(self, images):
        for axis in (1, 2):
            known, size = images.shape[axis], ops.shape(images)[axis]
            if known is None or known < self.minimum:
                length = (
                    ops.maximum(size, self.minimum) if known is None else self.minimum
                )  # JAX takes no tensor for a length.
                period = ops.maximum(2 * (size - 1), 1)
                places = ops.arange(length) % period
                images = ops.take(images, ops.minimum(places, period - places), axis=axis)
        return images

    def compute_output_shape(self, shape):
        height, width = (None if n is None else max(n, self.minimum) for n in shape[1:3])
        return shape[0], height, width, shape[3]


@keras.saving.register_keras_serializable("madn")
class CropLike(layers.Layer):
    """The top left part of the first images, of the size of the second."""

    def call(self, images):
        image, like = images
        _, height, width, _ = ops.shape(like)
        return image[:, :height, :width]

    def compute_output_shape(self, shapes):
        return (*shapes[1][:3], shapes[0][3])
