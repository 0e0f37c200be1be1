"""The ONNX file: standard operators, any size, and the same numbers as Keras."""

import keras
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
from baselines.egnet.position_attention import PositionAttention
from madn.export.serving import ServingModule
from madn.export.to_onnx import load_onnx, write_onnx


@pytest.fixture(scope="module")
def network():
    """With what conversions get wrong: a loop, remainders of negative numbers, division that rounds."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(4, 3, padding="same")(image)
    windows = PositionAttention("window", (5, 3))([features] * 3)
    blocks = PositionAttention("chunked", block=50)([windows] * 3)
    return keras.Model(image, {"deblurred": keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()([image, blocks]))})


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(ServingModule(network, 8), file)
    return file


def test_reads_as_the_contract_says(file):
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    for values, name in ((model.graph.input, "blurred"), (model.graph.output, "deblurred")):
        (value,) = values
        axes = value.type.tensor_type.shape.dim
        assert value.name == name and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", "height", "width", 3]


def test_weights_that_are_used_twice_are_stored_once(tmp_path):
    image = keras.Input((None, None, 3))
    shared = keras.layers.Conv2D(3, 5, padding="same")
    write_onnx(ServingModule(keras.Model(image, shared(shared(shared(image))))), tmp_path / "shared.onnx")
    stored = [tuple(each.dims) for each in onnx.load(tmp_path / "shared.onnx").graph.initializer]
    assert stored.count((3, 3, 5, 5)) == 1


@pytest.mark.parametrize("shape", [(1, 37, 53), (3, 16, 40), (1, 1, 1), (1, 5, 70)])
def test_agrees_with_keras_at_any_size(network, file, shape):
    images = np.random.default_rng(1).random((*shape, 3), dtype=np.float32)
    padding = [(0, 0), (0, -shape[1] % 8), (0, -shape[2] % 8), (0, 0)]
    expected = np.clip(network(np.pad(images, padding, mode="reflect"))["deblurred"].numpy(), 0, 1)
    restored = load_onnx(file)(images)
    assert restored.shape == images.shape and restored.dtype == np.float32
    np.testing.assert_allclose(restored, expected[:, : shape[1], : shape[2]], rtol=0, atol=1e-5)
