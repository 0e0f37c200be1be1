"""A twin reads its weights from the .weights.h5 file beside it, whatever the graph has made of them."""

import h5py
import keras
import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
from madn.errors import UserError
from madn.export.serving import ServingModule
from madn.export.to_onnx import converted, load_onnx, prepared
from madn.export.twins import take_weights_from


@pytest.fixture(scope="module")
def network():
    """A network whose weights are numbers of float16, with deconvolutions of strides 2 and 1."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(12, 3, 2, padding="same", activation="relu")(image)
    x = keras.layers.Conv2DTranspose(10, 4, 2, padding="same", activation="relu")(x)
    network = keras.Model(image, keras.layers.Conv2DTranspose(3, 5, padding="same")(x))
    for variable in network.weights:
        variable.assign(np.asarray(variable).astype(np.float16))
    return network


def stored(network, file):
    with h5py.File(file, "w") as opened:
        for number, variable in enumerate(network.weights):
            opened.create_dataset(f"layer/{number}", data=np.asarray(variable).astype(np.float16))
    return file


def test_kernels_are_found_also_as_those_of_convolutions(network, tmp_path):
    weights, file = stored(network, tmp_path / "some.weights.h5"), tmp_path / "some.onnx"
    model = converted(ServingModule(prepared(network)))
    assert "ConvTranspose" not in {node.op_type for node in model.graph.node}
    take_weights_from(model, weights)
    onnx.save(model, file)
    kept = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    assert max((int(np.prod(each.dims)) for each in kept), default=0) < 100
    photo = np.random.default_rng(1).random((1, 24, 37, 3), dtype=np.float32)
    padded = np.pad(photo, [(0, 0), (0, 8), (0, 11), (0, 0)], mode="reflect")
    expected = np.clip(network(padded).numpy()[:, :24, :37], 0, 1)
    np.testing.assert_allclose(load_onnx(file)(photo), expected, atol=1e-5)


def test_compressed_weights_are_refused(network, tmp_path):
    weights = tmp_path / "small.weights.h5"
    with h5py.File(weights, "w") as opened:
        opened.create_dataset("kernel", data=np.zeros((3, 3, 3, 12), np.float16), compression="gzip")
    with pytest.raises(UserError, match="ONNX cannot read them there"):
        take_weights_from(converted(ServingModule(prepared(network))), weights)
