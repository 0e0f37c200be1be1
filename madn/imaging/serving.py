"""A trained generator as a SavedModel that restores photographs of any size with TensorFlow alone.

Padding, clipping and the way to and from uint8 are inside the graph, so that a caller needs neither madn nor Keras:

    import tensorflow as tf
    deblur = tf.saved_model.load("deblur").signatures["uint8"]
    restored = deblur(tf.io.decode_image(tf.io.read_file("photo.jpg"), channels=3)[None])["deblurred"]
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from madn.errors import UserError

TOLERANCE = 1e-5
CHECKED_SIZES = ((32, 48), (37, 53), (64, 80))
SIGNATURES = {
    "serving_default": "blurred float32 (batch, height, width, 3) RGB in [0, 1] -> deblurred, the same",
    "uint8": "blurred uint8 (batch, height, width, 3) RGB -> deblurred, the same",
}


class ServingModule(tf.Module):
    """`generator` between uint8 or float images of any size: pads to a multiple of `multiple`, restores, crops, clips.

    `generator` is a Keras model on the TensorFlow backend, (batch, height, width, 3) in [0, 1] -> a tensor of that
    shape or a dictionary that holds it as `deblurred`.
    """

    def __init__(self, generator: keras.Model, multiple: int = 16):
        super().__init__()
        self._multiple = multiple
        self._generator = lambda images: generator(images, training=False)
        # The variables alone, not the Keras objects around them: what is loaded must not need Keras.
        self.weights = [variable.value for variable in generator.variables]

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="blurred")])
    def restore(self, blurred: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 in [0, 1] -> {"deblurred": float32 in [0, 1] of the same shape}."""
        shape = tf.shape(blurred)
        padded = tf.gather(blurred, reflected_indices(shape[1], self._multiple), axis=1)
        padded = tf.gather(padded, reflected_indices(shape[2], self._multiple), axis=2)
        outputs = self._generator(padded)
        deblurred = outputs["deblurred"] if isinstance(outputs, dict) else outputs
        deblurred = tf.cast(deblurred, tf.float32)[:, : shape[1], : shape[2]]
        return {"deblurred": tf.ensure_shape(tf.clip_by_value(deblurred, 0.0, 1.0), (None, None, None, 3))}

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="blurred")])
    def restore_uint8(self, blurred: tf.Tensor) -> dict[str, tf.Tensor]:
        """uint8 -> {"deblurred": uint8 of the same shape}, rounded half to even as `numpy.round` does."""
        deblurred = self.restore(tf.cast(blurred, tf.float32) / 255.0)["deblurred"]
        return {"deblurred": tf.cast(tf.round(deblurred * 255.0), tf.uint8)}


def reflected_indices(size: tf.Tensor, multiple: int = 16) -> tf.Tensor:
    """Indices that pad an axis of `size` at its end to a multiple of `multiple`, as `numpy.pad(mode="reflect")` does.

    Unlike `tf.pad` it reflects as often as it must, so an axis may be shorter than its padding; one pixel repeats.
    """
    period = tf.maximum(2 * (size - 1), 1)
    steps = tf.range(-(-size // multiple) * multiple) % period
    return tf.minimum(steps, period - steps)


def export_savedmodel(generator: keras.Model, folder: str | Path, facts: dict | None = None,
                      overwrite: bool = False, multiple: int = 16) -> float:
    """Write `generator` to `folder` as a SavedModel with the signatures `serving_default` and `uint8`.

    `facts` go into madn.json inside the folder. The SavedModel is loaded again and compared with the Keras model
    before it takes its place, so `folder` holds a checked one or what it held before. Returns the largest
    difference found.

    Raises `UserError` when Keras does not run on TensorFlow, and when `folder` is in use: an existing SavedModel
    gives way only with `overwrite`, anything else never. `RuntimeError` when the comparison fails.
    """
    require_tensorflow()
    folder = Path(folder)
    check_free(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        fresh, old = Path(temporary, "fresh"), Path(temporary, "old")
        module = ServingModule(generator, multiple)
        tf.saved_model.save(module, str(fresh), {"serving_default": module.restore, "uint8": module.restore_uint8})
        difference = largest_difference(generator, fresh, multiple)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"The SavedModel differs from the Keras model by {difference:.1e} (at most "
                               f"{TOLERANCE:.0e} is allowed), so {folder} was not written.")
        about = {**(facts or {}), "signatures": SIGNATURES, "largest_difference_from_keras": difference}
        (fresh / "madn.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    return difference


def largest_difference(generator: keras.Model, folder: str | Path, multiple: int = 16) -> float:
    """max |SavedModel - Keras| over random images at three sizes, one odd, padded here by NumPy.

    Keras is compiled for any size, as it is for inference: TensorFlow reorders float32 sums in such a graph, which
    moves an untrained full-width network by a few 1e-5 where its outputs reach 20. On the CPU, because a GPU may
    choose other convolution kernels, or TF32, for either side.
    """
    random = np.random.default_rng(0)
    compiled = tf.function(lambda images: generator(images, training=False),
                           input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    differences = []
    with tf.device("CPU"):
        serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
        for height, width in CHECKED_SIZES:
            images = random.random((2, height, width, 3), dtype=np.float32)
            padding = [(0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)]
            expected = compiled(tf.constant(np.pad(images, padding, mode="reflect")))
            expected = expected["deblurred"] if isinstance(expected, dict) else expected
            expected = np.clip(tf.cast(expected, tf.float32).numpy()[:, :height, :width], 0, 1)
            differences.append(np.abs(serve(tf.constant(images))["deblurred"].numpy() - expected).max())
    return float(np.max(differences))


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise `UserError` unless `folder` is absent, empty, or a SavedModel that may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; a SavedModel is a folder: give another name")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / "saved_model.pb").is_file():
        raise UserError(f"{folder} holds other files and is left as it is: give an empty or a new folder")
    if not overwrite:
        raise UserError(f"{folder} already holds a SavedModel: add --overwrite to replace it, or give another folder")


def require_tensorflow() -> None:
    """Raise `UserError` when Keras runs on another backend: only TensorFlow's graphs can become a SavedModel."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"a SavedModel is written by TensorFlow, and Keras runs on {keras.backend.backend()}: "
                        "set KERAS_BACKEND=tensorflow (weights trained on any backend load there)")
