"""A trained generator as a TensorFlow module and SavedModel that restore photographs of any size by themselves.

Padding, clipping and the way to and from uint8 are inside the graph, so that a caller needs neither madn nor Keras:

    import tensorflow as tf
    deblur = tf.saved_model.load("deblur").signatures["uint8"]
    restored = deblur(tf.io.decode_image(tf.io.read_file("photo.jpg"), channels=3)[None])["deblurred"]

Behind a server the signature `bytes` takes the files themselves, JPEG or PNG, and answers with PNG files.

madn.export.exporting writes it, checked, together with the other formats.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import skimage.data
import tensorflow as tf

from madn.errors import UserError
from madn.export.photo_bytes import decode_photo
from madn.export.warm_up import write_warm_up

SIGNATURES = {
    "serving_default": "blurred float32 (batch, height, width, 3) RGB in [0, 1] -> deblurred, the same",
    "uint8": "blurred uint8 (batch, height, width, 3) RGB -> deblurred, the same",
    "bytes": "blurred_bytes string (batch,), JPEG or PNG files of any sizes -> deblurred_bytes, PNG files",
}
WARM_UP_SIZE = 256  # The height and width of the photo in the warm-up file.


class ServingModule(tf.Module):
    """`generator` between uint8 or float images of any size: pads to a multiple of `multiple`, restores, crops, clips.

    `generator` is a Keras model on the TensorFlow backend, (batch, height, width, 3) in [0, 1] -> a tensor of that
    shape or a dictionary that holds it as `deblurred`.
    """

    def __init__(self, generator: keras.Model, multiple: int = 16):
        super().__init__()
        self._multiple = multiple
        self._generator = lambda images: generator(images, training=False)
        # The variables are kept without the Keras objects around them, for what is loaded must not need Keras.
        self.weights = [variable.value for variable in generator.variables]

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="blurred")])
    def restore(self, blurred: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restore float32 in [0, 1]: `deblurred` has the same type and shape."""
        shape = tf.shape(blurred)
        padded = tf.gather(blurred, reflected_indices(shape[1], self._multiple), axis=1)
        padded = tf.gather(padded, reflected_indices(shape[2], self._multiple), axis=2)
        outputs = self._generator(padded)
        deblurred = outputs["deblurred"] if isinstance(outputs, dict) else outputs
        deblurred = tf.cast(deblurred, tf.float32)[:, : shape[1], : shape[2]]
        return {"deblurred": tf.ensure_shape(tf.clip_by_value(deblurred, 0.0, 1.0), (None, None, None, 3))}

    def concrete_restore(self, size: tuple[int, int] | None = None) -> Any:
        """`restore` as one graph, for any batch and size or for one image of `size` (height, width)."""
        if size is None:
            return self.restore.get_concrete_function()
        spec = tf.TensorSpec((1, *size, 3), tf.float32, name="blurred")
        return tf.function(self.restore.python_function, input_signature=[spec]).get_concrete_function()

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="blurred")])
    def restore_uint8(self, blurred: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restore uint8: `deblurred` has the same type and shape, rounded half to even as by `numpy.round`."""
        deblurred = self.restore(tf.cast(blurred, tf.float32) / 255.0)["deblurred"]
        return {"deblurred": tf.cast(tf.round(deblurred * 255.0), tf.uint8)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="blurred_bytes")])
    def restore_bytes(self, blurred_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Restore files, JPEG or PNG, each of its own size: `deblurred_bytes` are PNG files, 8 bits, upright.

        One photo follows the other, so a batch takes no more memory than its largest photo. The names end as
        TensorFlow Serving's REST interface asks of bytes, which it then sends as base64.
        """

        def restore(contents: tf.Tensor) -> tf.Tensor:
            return tf.io.encode_png(self.restore_uint8(decode_photo(contents)[None])["deblurred"][0])

        files = tf.map_fn(restore, blurred_bytes, fn_output_signature=tf.string, parallel_iterations=1)
        return {"deblurred_bytes": files}


def reflected_indices(size: tf.Tensor, multiple: int = 16) -> tf.Tensor:
    """Indices that pad an axis of `size` at its end to a multiple of `multiple`, as `numpy.pad(mode="reflect")` does.

    Unlike `tf.pad` it reflects as often as it must, so an axis may be shorter than its padding; one pixel repeats.
    """
    period = tf.maximum(2 * (size - 1), 1)
    # Only numbers above zero are divided: ONNX rounds a quotient towards zero, TensorFlow down.
    steps = tf.range((size + multiple - 1) // multiple * multiple) % period
    return tf.minimum(steps, period - steps)


def write_savedmodel(module: ServingModule, folder: Path) -> None:
    """Write `module` into `folder` with the `SIGNATURES`, and the warm-up file for TensorFlow Serving."""
    functions = {"serving_default": module.restore, "uint8": module.restore_uint8, "bytes": module.restore_bytes}
    tf.saved_model.save(module, str(folder), functions)
    photo = np.asarray(skimage.data.astronaut()[:WARM_UP_SIZE, :WARM_UP_SIZE])
    floats = photo[None].astype(np.float32) / 255
    file = tf.io.encode_jpeg(photo)[None]
    inputs = [("serving_default", "blurred", floats), ("uint8", "blurred", photo[None])]
    write_warm_up(folder, [*inputs, ("bytes", "blurred_bytes", file)])


def load_savedmodel(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The SavedModel's `serving_default`, on the CPU: from float32 (batch, height, width, 3) to the same."""
    with tf.device("CPU"):
        loaded = tf.saved_model.load(str(folder))

    def restore(blurred: np.ndarray) -> np.ndarray:
        with tf.device("CPU"):
            return loaded.signatures["serving_default"](tf.constant(blurred))["deblurred"].numpy()

    return restore


def require_tensorflow() -> None:
    """Raise `UserError` when Keras runs on another backend: only TensorFlow's graphs can be exported."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"exports are made of TensorFlow graphs, and Keras runs on {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow (weights trained on any backend load there)"
        )
