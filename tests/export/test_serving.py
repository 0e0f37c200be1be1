"""The SavedModel does what the Keras network does, at any size, where there is neither madn nor Keras."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from madn.models.madn.generator import build_generator

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf

from madn.export.serving import ServingModule, reflected_indices, write_savedmodel

SIZES = ((32, 48), (37, 53), (64, 80), (1, 1))

# What somebody who has TensorFlow alone would run; None in sys.modules makes an import fail.
ALONE = """
import sys
sys.modules["madn"] = sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
data = np.load(sys.argv[2])
served = {name: signatures[name.split("-")[0]](tf.constant(data[name]))["deblurred"].numpy() for name in data.files}
np.savez(sys.argv[3], **served)
"""


@pytest.fixture(scope="module")
def generator() -> keras.Model:
    """A tiny MADN whose untrained output lies within [0, 1], where clipping hides nothing."""
    keras.utils.set_random_seed(0)
    generator = build_generator(widths=(4, 8, 16), res_blocks=1)
    last = generator.get_layer("upblock").get_layer("image")
    kernel, bias = last.get_weights()
    probe = np.random.default_rng(0).random((2, 48, 64, 3), dtype=np.float32)
    largest = np.abs(generator(probe)["deblurred"].numpy()).max()
    last.set_weights([0.3 / largest * kernel, bias + 0.5])
    return generator


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "deblur"
    write_savedmodel(ServingModule(generator), folder)
    return folder


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported)).signatures


def keras_restores(generator, images):
    """The Keras path with NumPy's padding."""
    height, width = images.shape[1:3]
    padded = np.pad(images, [(0, 0), (0, -height % 16), (0, -width % 16), (0, 0)], mode="reflect")
    return np.clip(generator(padded)["deblurred"].numpy()[:, :height, :width], 0, 1)


@pytest.mark.process
@pytest.mark.slow
def test_agrees_with_keras_where_neither_madn_nor_keras_can_be_imported(generator, exported, tmp_path):
    random = np.random.default_rng(1)
    images = {f"serving_default-{h}x{w}": random.random((2, h, w, 3), dtype=np.float32) for h, w in SIZES}
    images["uint8-37x53"] = random.integers(0, 256, (1, 37, 53, 3), dtype=np.uint8)
    np.savez(tmp_path / "in.npz", **images)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", ALONE, exported, tmp_path / "in.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    served = np.load(tmp_path / "out.npz")
    for height, width in SIZES:
        name = f"serving_default-{height}x{width}"
        expected = keras_restores(generator, images[name])
        assert 0 < expected.min() and expected.max() < 1  # nothing is clipped
        assert served[name].shape == images[name].shape and served[name].dtype == np.float32
        np.testing.assert_allclose(served[name], expected, rtol=0, atol=1e-5)
    assert served["serving_default-37x53"].std() > 0.01  # and it is no constant
    expected = np.round(255 * keras_restores(generator, images["uint8-37x53"].astype(np.float32) / 255))
    assert served["uint8-37x53"].dtype == np.uint8
    assert np.abs(served["uint8-37x53"] - expected).max() <= 1  # a half may round either way after 1e-6
    assert (served["uint8-37x53"] == expected).mean() > 0.999


def test_uint8_signature_is_the_rounded_float_signature(signatures):
    images = np.random.default_rng(2).integers(0, 256, (2, 19, 30, 3), dtype=np.uint8)
    floats = signatures["serving_default"](tf.constant(images.astype(np.float32) / 255))["deblurred"].numpy()
    served = signatures["uint8"](tf.constant(images))["deblurred"].numpy()
    assert served.dtype == np.uint8 and len(np.unique(served)) > 20
    np.testing.assert_array_equal(served, np.round(floats * 255).astype(np.uint8))


def test_a_batch_equals_its_images_one_by_one(signatures):
    images = np.random.default_rng(3).random((2, 33, 20, 3), dtype=np.float32)
    both = signatures["serving_default"](tf.constant(images))["deblurred"].numpy()
    single = [signatures["serving_default"](tf.constant(images[i : i + 1]))["deblurred"].numpy() for i in (0, 1)]
    assert np.abs(both[0] - both[1]).max() > 0.01
    np.testing.assert_allclose(both, np.concatenate(single), rtol=0, atol=1e-6)


def test_outputs_are_clipped(tmp_path):
    bright = keras.Input((None, None, 3))
    # A network whose output is a plain tensor, 3 x - 1.
    network = keras.Model(bright, keras.layers.Rescaling(3.0, -1.0)(bright))
    write_savedmodel(ServingModule(network), tmp_path / "bright")
    serve = tf.saved_model.load(str(tmp_path / "bright")).signatures
    row = np.array([0, 85, 128, 170, 255], np.uint8)
    images = np.broadcast_to(row[None, None, :, None], (1, 1, 5, 3)).copy()
    np.testing.assert_array_equal(serve["uint8"](tf.constant(images))["deblurred"][0, 0, :, 0], [0, 0, 129, 255, 255])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 15, 16, 17, 31, 33])
def test_padding_is_numpys_reflection_at_any_size(size):
    expected = np.pad(np.arange(size), (0, -size % 16), mode="reflect")
    np.testing.assert_array_equal(reflected_indices(tf.constant(size)), expected)
