"""Transposed convolutions that become ordinary ones give the same numbers, and cost nothing at each run."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import helper, numpy_helper

from madn.export.deconvolutions import as_convolutions


def deconvolution(kernel: int, stride: int, bias: bool = True, **attributes):
    """A model of one transposed convolution with 5 channels in and 3 out."""
    rng = np.random.default_rng(0)
    weights = {"kernel": rng.standard_normal((5, 3, kernel, kernel), np.float32)}
    if bias:
        weights["bias"] = rng.standard_normal(3, np.float32)
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, **attributes}
    node = helper.make_node("ConvTranspose", ["x", *weights], ["y"], **attributes)
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("batch", channels, "height", "width"))
        for name, channels in (("x", 5), ("y", 3))
    )
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph([node], "one", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def kinds(model):
    return [node.op_type for node in model.graph.node]


def made(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": images})[0]


@pytest.mark.parametrize("kernel, stride", [(4, 2), (2, 2), (6, 3), (3, 1), (5, 1)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("fold", [True, False])
def test_the_same_numbers(kernel, stride, bias, fold):
    model = deconvolution(kernel, stride, bias)
    images = np.random.default_rng(1).standard_normal((2, 5, 7, 4), np.float32)
    expected = made(model, images)
    as_convolutions(model, fold)
    if fold:
        assert len(model.graph.node) == (1 if stride == 1 else 2) and len(model.graph.initializer) == 1 + bias
    onnx.checker.check_model(model, full_check=True)
    assert "ConvTranspose" not in kinds(model) and "Conv" in kinds(model)
    np.testing.assert_allclose(made(model, images), expected, atol=1e-5)


def test_kernels_are_rearranged_as_the_file_is_loaded(tmp_path):
    model = deconvolution(4, 2)
    as_convolutions(model)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    # Its own layout of channels, which depends on the processor, is left out.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert kinds(onnx.load(options.optimized_model_filepath)) == ["Conv", "DepthToSpace"]


@pytest.mark.parametrize("fold", [True, False])
def test_a_kernel_that_two_take_is_rearranged_once(fold):
    model = deconvolution(4, 2)
    other = helper.make_node("ConvTranspose", ["x", "kernel", "bias"], ["z"], kernel_shape=[4, 4], strides=[2, 2])
    model.graph.node.append(other)
    model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ("b", 3, "h", "w")))
    as_convolutions(model, fold)
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model).count("Conv") == 2 and kinds(model).count("Reshape") == (0 if fold else 2)
    assert [tuple(each.dims) for each in model.graph.initializer].count((12, 5, 2, 2)) == (1 if fold else 0)


@pytest.mark.parametrize(
    "kernel, stride, attributes",
    [(3, 2, {}), (4, 2, {"pads": [1] * 4}), (4, 2, {"dilations": [2, 2]}), (4, 2, {"output_padding": [1, 1]})],
    ids=["no multiple", "padded", "dilated", "padded output"],
)
def test_others_stay(kernel, stride, attributes):
    model = deconvolution(kernel, stride, **attributes)
    before = model.SerializeToString()
    as_convolutions(model)
    assert model.SerializeToString() == before
