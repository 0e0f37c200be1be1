"""The LiteRT file: any size or a fixed one, and the same numbers as Keras, without TensorFlow beside it."""

import subprocess
import sys

import keras
import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
from ai_edge_litert.interpreter import Interpreter
from narrow import narrow

from madn.export.serving import ServingModule
from madn.export.to_litert import load_litert, write_litert


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return narrow("msr2b").build_generator()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    file = tmp_path_factory.mktemp("litert") / "model.tflite"
    write_litert(ServingModule(network, 4), file)
    return file


def keras_restores(network, images):
    height, width = images.shape[1:3]
    padding = [(0, 0), (0, -height % 4), (0, -width % 4), (0, 0)]
    return np.clip(network(np.pad(images, padding, mode="reflect"))["deblurred"].numpy(), 0, 1)[:, :height, :width]


@pytest.mark.parametrize("shape", [(1, 37, 53), (3, 16, 40), (1, 1, 1), (1, 5, 70)])
def test_agrees_with_keras_at_any_size(network, file, shape):
    images = np.random.default_rng(1).random((*shape, 3), dtype=np.float32)
    restored = load_litert(file)(images)
    assert restored.shape == images.shape and restored.dtype == np.float32
    np.testing.assert_allclose(restored, keras_restores(network, images), rtol=0, atol=1e-5)


def test_has_named_ends_and_dynamic_sizes(file):
    interpreter = Interpreter(str(file))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["blurred"], "outputs": ["deblurred"]}}
    assert list(interpreter.get_input_details()[0]["shape_signature"]) == [-1, -1, -1, 3]


def test_a_fixed_size_is_in_the_file(network, tmp_path):
    write_litert(ServingModule(network, 4), tmp_path / "fixed.tflite", (21, 30))
    interpreter = Interpreter(str(tmp_path / "fixed.tflite"))
    assert list(interpreter.get_input_details()[0]["shape_signature"]) == [1, 21, 30, 3]
    images = np.random.default_rng(2).random((1, 21, 30, 3), dtype=np.float32)
    restored = load_litert(tmp_path / "fixed.tflite")(images)
    np.testing.assert_allclose(restored, keras_restores(network, images), rtol=0, atol=1e-5)


@pytest.mark.process
def test_runs_without_tensorflow(file):
    script = (
        "import sys; sys.modules['tensorflow'] = None; from ai_edge_litert.interpreter import Interpreter; "
        "Interpreter(sys.argv[1]).allocate_tensors()"
    )
    subprocess.run([sys.executable, "-c", script, file], check=True, timeout=60)
