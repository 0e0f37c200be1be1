"""Operation counts: the multiply-adds of a network's convolutions and matrix products, read from its graph."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from madn.errors import UserError

if TYPE_CHECKING:  # importing it starts a backend
    import keras

CONVOLUTIONS = {"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput"}
PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}


@dataclass(frozen=True)
class Counts:
    """Multiply-adds (1 multiply-add = 2 FLOPs) of one image."""

    convolutions: int
    products: int

    @property
    def total(self) -> int:
        return self.convolutions + self.products


def macs(model: "keras.Model", height: int, width: int, channels: int = 3) -> Counts:
    """Multiply-adds of `model` for one image of height x width x channels, the size that the network takes.

    The network is traced, not run, so no size needs memory, and traced as in training, where an attention that works
    in chunks to save memory takes its dense form. A layer called several times counts at every call.
    - convolution: output pixels x kernel area x input channels of a group x output channels;
    - depthwise convolution: output pixels x kernel area x input channels x depth multiplier;
    - transposed convolution: *input* pixels x kernel area x input channels x output channels, which is what the
      convolution that it transposes costs (each input pixel is spread over one kernel; counted at the output pixels,
      a stride of 2 would cost four times that, three quarters of it products with zero);
    - matrix product, dense layer: rows x columns x inner length, for each matrix of a batch.
    Border pixels count as full ones. Not counted: biases, normalisation, activations, additions, and `einsum`, with
    which `madn.layers.resize` resizes images.

    Raises `ValueError` for a convolution or product inside a loop or a branch, whose number of runs the graph does
    not tell, or of unknown size; `UserError` on another backend than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError("operations are counted in TensorFlow's graph; set KERAS_BACKEND=tensorflow "
                        f"(here {keras.backend.backend()})")
    graph = _trace(model, (1, height, width, channels))
    counts = {"convolutions": 0, "products": 0}
    for operation in graph.get_operations():
        if operation.type in CONVOLUTIONS:
            counts["convolutions"] += _convolution(operation)
        elif operation.type in PRODUCTS:
            counts["products"] += _product(operation)
    _check_functions(graph)
    return Counts(**counts)


def _trace(model, shape: tuple[int, ...]):
    """The graph of the model for one input shape, the functions that it calls in line."""
    import tensorflow as tf

    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # the functions inside are traced with the model, not called from its graph
    try:
        traced = tf.function(lambda x: model(x, training=True), autograph=False)
        return traced.get_concrete_function(tf.TensorSpec(shape, "float32")).graph
    finally:
        tf.config.run_functions_eagerly(eagerly)


def _convolution(operation) -> int:
    if operation.type == "Conv2DBackpropInput":  # inputs: the output's size, kernel, images
        kernel, pixels = _shape(operation, operation.inputs[1]), _shape(operation, operation.inputs[2])
    else:
        kernel, pixels = _shape(operation, operation.inputs[1]), _shape(operation, operation.outputs[0])
    rows, columns = ((2, 3) if operation.get_attr("data_format") == b"NCHW" else (1, 2))
    return pixels[0] * pixels[rows] * pixels[columns] * math.prod(kernel)


def _product(operation) -> int:
    left = _shape(operation, operation.inputs[0])
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return math.prod(_shape(operation, operation.outputs[0])) * left[-2 if transposed else -1]


def _shape(operation, tensor) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"cannot count {operation.name}: {tensor.name} has the unknown size {tensor.shape}")
    return tensor.shape.as_list()


def _check_functions(graph) -> None:
    """What is still a function of its own is the body of a loop or a branch."""
    for function in graph.as_graph_def().library.function:
        kinds = {node.op for node in function.node_def} & (CONVOLUTIONS | PRODUCTS)
        if kinds:
            raise ValueError(f"cannot count {', '.join(sorted(kinds))} inside a loop or a branch of the graph "
                             f"({function.signature.name}): build the network without it")
