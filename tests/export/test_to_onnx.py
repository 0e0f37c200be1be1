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
from madn.export.exporting import export
from madn.export.serving import ServingModule
from madn.export.to_onnx import Variant, load_onnx, write_onnx
from madn.nn.layers import InstanceNormalization
from madn.restoration.onnx_network import OnnxNetwork


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


@pytest.fixture(scope="module")
def normalising():
    """Convolutions with instance normalisation between them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, 2, padding="same")(image)
    x = keras.layers.ReLU()(InstanceNormalization()(x))
    x = keras.layers.Conv2DTranspose(3, 4, 2, padding="same", kernel_initializer="zeros")(x)
    network = keras.Model(image, keras.layers.Add()([image, x]))
    network.layers[-2].kernel.assign(0.05 * keras.random.normal((4, 4, 3, 8)))
    return network


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("size", [None, (24, 37)])
def test_every_variant_agrees_with_keras_and_is_read_back(normalising, tmp_path, layout, precision, size):
    file, photo = tmp_path / "model.onnx", np.random.default_rng(2).random((1, 24, 37, 3), dtype=np.float32)
    write_onnx(ServingModule(normalising, 2), file, Variant(layout, precision, size), {"multiple": 2, "tile_blend": 0})
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, given.name) == (("input", "output") if layout == "nchw" else ("blurred", "deblurred"))
    for value in (taken, given):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        axes = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        expected = ["batch", "height", "width", 3] if size is None else [1, *size, 3]
        assert axes == (expected if layout == "nhwc" else [expected[i] for i in (0, 3, 1, 2)])
    kernels = [each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[-1] in (3, 4)]
    half = onnx.TensorProto.FLOAT16 if precision == "float16" else onnx.TensorProto.FLOAT
    assert kernels and {kernel.data_type for kernel in kernels} == {half}
    padded = np.pad(photo, [(0, 0), (0, 0), (0, 1), (0, 0)], mode="reflect")
    expected = np.clip(normalising(padded).numpy()[:, :, :37], 0, 1)
    for restore in (load_onnx(file), network := OnnxNetwork(file)):
        np.testing.assert_allclose(restore(photo), expected, rtol=0, atol=1e-5 if precision == "float32" else 2e-3)
    assert network.size == size and f"{layout.upper()} float32, range 0..1" in network.description


def test_an_nchw_export_is_a_folder_that_darktable_reads(normalising, tmp_path):
    import json

    export(normalising, tmp_path / "out", ["onnx"], {"recipe": "a_b"}, multiple=2, onnx={"layout": "nchw"})
    about = json.loads((tmp_path / "out/config.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "config.json", "madn.json"}
    assert about["id"] == "denoise-a-b" and (about["task"], about["backend"], about["num_inputs"]) == (
        "denoise",
        "onnx",
        1,
    )
