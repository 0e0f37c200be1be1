"""MACs: the multiply-adds of a network's convolutions and matrix products, read from its graph."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from madn.errors import UserError
from madn.nn.graphs import needed, trace

if TYPE_CHECKING:  # Importing Keras starts a backend.
    import keras

CONVOLUTIONS = {"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput"}
KERNEL_GRADIENTS = {"Conv2DBackpropFilter", "DepthwiseConv2dNativeBackpropFilter"}
PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}


@dataclass(frozen=True)
class Macs:
    """Multiply-adds (1 multiply-add = 2 FLOPs) of one image, or of one training step."""

    convolutions: int
    products: int

    @property
    def total(self) -> int:
        return self.convolutions + self.products


def network_macs(model: "keras.Model", height: int, width: int, channels: int = 3) -> Macs:
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
    which `madn.nn.layers.resize` resizes images.

    Raises `ValueError` for a convolution or product inside a loop or a branch, whose number of runs the graph does
    not tell, or of unknown size; `UserError` on another backend than TensorFlow.
    """
    return _graph_macs(lambda images: model(images, training=True), (1, height, width, channels))


def step_macs(model: "keras.Model", crops: int, crop: int) -> Macs:
    """Multiply-adds of one training step of `model`, a `madn.training.model.AdversarialModel`, on `crops` crops of
    `crop` squared.

    Everything that `train_step` does is in the graph, and counts as in `network_macs`: the generator, the
    discriminators and the networks of the losses, forward and backward, each as often as it runs, and the second
    derivatives of a gradient penalty. Layers that are frozen and need no gradient cost nothing. A convolution's
    gradients by its input and by its kernel each cost what it costs itself: *its* output's pixels x kernel area x input
    channels x output channels.

    Raises as `network_macs` does.
    """
    return _graph_macs(lambda blurred, sharp: model.train_step((blurred, sharp)), *[(crops, crop, crop, 3)] * 2)


def _graph_macs(call: Callable, *shapes: tuple[int, ...]) -> Macs:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "operations are counted in TensorFlow's graph; set KERAS_BACKEND=tensorflow "
            f"(here {keras.backend.backend()})"
        )
    graph = trace(call, *shapes)
    convolutions = products = 0
    for operation in needed(graph):
        if operation.type in CONVOLUTIONS | KERNEL_GRADIENTS:
            convolutions += _convolution(operation)
        elif operation.type in PRODUCTS:
            products += _product(operation)
    _check_functions(graph)
    return Macs(convolutions, products)


def _convolution(operation) -> int:
    if operation.type in KERNEL_GRADIENTS:  # The inputs are images, the kernel's size and the output's gradient.
        kernel, pixels = _shape(operation, operation.outputs[0]), _shape(operation, operation.inputs[2])
    # The inputs are the images' size, the kernel, and what takes the output's place.
    elif operation.type.endswith("BackpropInput"):
        kernel, pixels = _shape(operation, operation.inputs[1]), _shape(operation, operation.inputs[2])
    else:
        kernel, pixels = _shape(operation, operation.inputs[1]), _shape(operation, operation.outputs[0])
    rows, columns = (2, 3) if operation.get_attr("data_format") == b"NCHW" else (1, 2)
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
    """Raises `ValueError` for operations in a loop or a branch: only their bodies are still functions of their own."""
    for function in graph.as_graph_def().library.function:
        kinds = {node.op for node in function.node_def} & (CONVOLUTIONS | KERNEL_GRADIENTS | PRODUCTS)
        if kinds:
            raise ValueError(
                f"cannot count {', '.join(sorted(kinds))} inside a loop or a branch of the graph "
                f"({function.signature.name}): build the network without it"
            )
