"""Transposed convolutions of an ONNX file as ordinary ones, which onnxruntime computes sooner on CPUs.

A transposed convolution of stride s spreads each pixel over its kernel. Where the kernel's side is n times s, every
pixel of the result is the sum of n x n pixels, and which part of the kernel weighs them depends on the pixel's place in
its s x s block. So one convolution with n x n kernels makes all s x s places as channels, and DepthToSpace puts them in
their places. That is the same arithmetic. Kernels are rearranged inside the graph, from the same stored values, which
onnxruntime does once, as it loads the file; or here.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def as_convolutions(model: onnx.ModelProto, fold: bool = False) -> None:
    """Rewrite the transposed convolutions of a model whose kernels' sides are multiples of their strides.

    Those with padding, groups or dilation stay as they are; tf2onnx crops the result in place of padding. A kernel that
    several of them take is rearranged once. With `fold` the rearranged kernels are stored, and not the operations that
    rearrange them.
    """
    nodes: list[onnx.NodeProto] = []
    rearranged: dict[tuple, list[str]] = {}
    for node in model.graph.node:
        fits = _fitting(node)
        if fits is None:
            nodes.append(node)
            continue
        weights = (*node.input[1:], *fits)
        if weights not in rearranged:
            made, rearranged[weights] = _rearranged(model, node, *fits)
            if fold:
                _store(model, made, rearranged[weights])
            else:
                nodes += made
        nodes += _convolution(node, rearranged[weights], *fits)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    taken = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in taken]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _store(model: onnx.ModelProto, nodes: list[onnx.NodeProto], names: list[str]) -> None:
    """Store what `nodes` make of a model's stored tensors under `names`."""
    taken = {name for node in nodes for name in node.input}
    stored = [tensor for tensor in model.graph.initializer if tensor.name in taken]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(nodes, "kernels", [], outputs, stored)
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    for name, values in zip(names, ReferenceEvaluator(alone).run(None, {}), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, name))


def _fitting(node: onnx.NodeProto) -> tuple[int, int] | None:
    """The stride of a transposed convolution and how many times the stride its kernel is, where it can be rewritten."""
    if node.op_type != "ConvTranspose":
        return None
    about = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    kernel, strides = about.pop("kernel_shape", ()), about.pop("strides", [1, 1])
    plain = about.pop("group", 1) == 1 and about.pop("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    plain = plain and set(about) <= {"dilations", "pads"}
    plain = plain and set(about.get("dilations", [1])) == {1} and set(about.get("pads", [0])) == {0}
    if not plain or len({*kernel}) != 1 or len(strides) != 2 or len({*strides}) != 1 or kernel[0] % strides[0]:
        return None
    return strides[0], kernel[0] // strides[0]


def _rearranged(
    model: onnx.ModelProto, node: onnx.NodeProto, stride: int, taps: int
) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that rearrange a kernel, and its bias if it has one; and the names of what they make."""
    made: list[onnx.NodeProto] = []

    def add(kind: str, inputs: list[str], suffix: str, **attributes) -> str:
        made.append(helper.make_node(kind, inputs, [f"{node.output[0]}/{suffix}"], **attributes))
        return made[-1].output[0]

    def constant(values, suffix: str) -> str:
        model.graph.initializer.append(
            numpy_helper.from_array(np.array(values, np.int64), f"{node.output[0]}/{suffix}")
        )
        return f"{node.output[0]}/{suffix}"

    # The kernel is (in, out, side, side). A side becomes (tap, place), with the taps in reverse.
    least = np.iinfo(np.int64).min
    shape = constant([0, 0, taps, stride, taps, stride], "split_shape")
    kernel = add("Reshape", [node.input[1], shape], "split")
    ranges = [constant(v, s) for v, s in (([-1, -1], "from"), ([least] * 2, "to"), ([2, 4], "axes"), ([-1, -1], "by"))]
    kernel = add("Slice", [kernel, *ranges], "reversed")
    kernel = add("Transpose", [kernel], "turned", perm=[3, 5, 1, 0, 2, 4])
    # (place, place, out, in, tap, tap): the first three are the new kernel's outputs, in the order of DepthToSpace.
    kernel = add("Flatten", [kernel], "flat", axis=3)
    names = [add("Reshape", [kernel, constant([0, -1, taps, taps], "kernel_shape")], "kernel")]
    if len(node.input) > 2:
        names.append(add("Tile", [node.input[2], constant([stride**2], "places")], "bias"))
    return made, names


def _convolution(node: onnx.NodeProto, weights: list[str], stride: int, taps: int) -> list[onnx.NodeProto]:
    """The nodes that take a transposed convolution's place; `taps` is the side of the new kernels."""
    (name,) = node.output
    places = name if stride == 1 else f"{name}/places_as_channels"
    made = [helper.make_node("Conv", [node.input[0], *weights], [places], kernel_shape=[taps] * 2, pads=[taps - 1] * 4)]
    if stride > 1:
        made.append(helper.make_node("DepthToSpace", [places], [name], blocksize=stride, mode="DCR"))
    return made
