"""A trained generator as an ONNX file: one graph of standard operators for any batch, height and width.

NHWC: input `blurred` and output `deblurred`, float32 (batch, height, width, 3) RGB in [0, 1]. NCHW, as editors have it:
input `input` and output `output`, (batch, 3, height, width). Padding, cropping and clipping are inside the graph.

float16 halves the file: convolutions are computed in float16, with weights stored so. Everything else stays in float32:
images, resizing, normalisation and all other statistics, input and output.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from onnx import numpy_helper
from tf2onnx import optimizer, tf_loader
from tf2onnx.tfonnx import process_tf_graph

from madn.export.convolutions import with_convolutions
from madn.export.serving import ServingModule
from madn.restoration.graph_optimisation import optimised
from madn.restoration.onnx_network import FACTS

OPSET = 18  # tf2onnx writes no newer one; onnxruntime reads it from 1.14 on.
SIMPLIFICATIONS = ("fold_constants", "merge_duplication", "remove_identity")  # With these, weights are stored once.
AXES = ("batch", "height", "width")
TILES = ("recipe", "multiple", "bytes_per_pixel", "tile_pixels", "tile_blend", "reach")


@dataclass(frozen=True)
class Variant:
    """Which ONNX file is written; `size` is (height, width) of the only images that it takes, None for any."""

    layout: Literal["nhwc", "nchw"] = "nhwc"
    precision: Literal["float32", "float16"] = "float32"
    size: tuple[int, int] | None = None

    @property
    def tolerance(self) -> float:
        """How far it may be away from Keras."""
        return 1e-3 if self.precision == "float32" else 1e-2


def prepared(generator: keras.Model) -> keras.Model:
    """The network as ONNX runtimes start and compute it soonest: the same numbers, up to rounding, by fewer operations.

    It shares its layers with `generator`, but for those that are replaced (`madn.restoration.graph_optimisation`,
    `madn.export.convolutions`).
    """
    return with_convolutions(optimised(generator, here=False))


def write_onnx(module: ServingModule, file: Path, variant: Variant | None = None, facts: dict | None = None) -> None:
    """Write `module.restore` to `file`, with `facts` in its metadata.

    Raises whatever tf2onnx raises for an operator that ONNX lacks.
    """
    variant = variant or Variant()
    model = converted(module, variant.size)
    if variant.precision == "float16":
        _halve(model)
    if variant.layout == "nchw":
        _with_channels_first(model)
    describe(model, facts or {}, variant.layout)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def converted(module: ServingModule, size: tuple[int, int] | None = None) -> onnx.ModelProto:
    """`module.restore` for images of any size, or of one (height, width); float32, NHWC, standard operators alone."""
    restore = module.concrete_restore(size)
    inputs, outputs = [restore.inputs[0].name], [restore.outputs[0].name]
    # The steps of tf2onnx.convert.from_function, less what takes most of its minutes: a copy of the graph before each
    # simplification, and simplifications that onnxruntime makes as it loads, to the same speed.
    simplifications = {name: optimizer._get_optimizers()[name] for name in SIMPLIFICATIONS}
    tf2onnx.logging.set_level(tf2onnx.logging.ERROR)
    with warnings.catch_warnings(), tf.device("CPU"):
        warnings.simplefilter("ignore")
        frozen = tf_loader.from_function(restore, inputs, outputs)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = process_tf_graph(
                graph,
                opset=OPSET,
                input_names=inputs,
                output_names=outputs,
                tensors_to_rename={inputs[0]: "blurred", outputs[0]: "deblurred"},
                custom_op_handlers={"FloorMod": (_floor_mod, [])},
            )
            model = optimizer.optimize_graph(converted, False, simplifications).make_model("madn")
    for value in (model.graph.input[0], model.graph.output[0]):
        for i, axis in enumerate(value.type.tensor_type.shape.dim[:3]):
            if size:
                axis.dim_value = (1, *size)[i]
            else:
                axis.dim_param = AXES[i]
    standard = [opset for opset in model.opset_import if opset.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(standard)  # An operator outside the standard now fails the check.
    onnx.checker.check_model(model)
    return model


def _halve(model: onnx.ModelProto) -> None:
    """Compute all convolutions in float16, and store their weights so; what goes in and comes out is cast."""
    graph, half = model.graph, onnx.TensorProto.FLOAT16
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            nodes.append(node)
            continue
        for i, name in enumerate(node.input):
            node.input[i] = f"{name}/float16"
            if name not in stored:
                # A name that two convolutions take is cast for each of them, under names of their own.
                node.input[i] = f"{name}/float16/{node.output[0]}"
                nodes.append(onnx.helper.make_node("Cast", [name], [node.input[i]], to=half))
            elif node.input[i] not in stored:
                values = numpy_helper.to_array(stored[name]).astype(np.float16)
                stored[node.input[i]] = numpy_helper.from_array(values, node.input[i])
                graph.initializer.append(stored[node.input[i]])
        output = node.output[0]
        node.output[0] = f"{output}/float16"
        nodes += [node, onnx.helper.make_node("Cast", [node.output[0]], [output], to=onnx.TensorProto.FLOAT)]
    taken = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in taken]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _with_channels_first(model: onnx.ModelProto) -> None:
    """Turn input and output to (batch, 3, height, width), and name them as editors do."""
    graph = model.graph
    for value, name, order in ((graph.input[0], "input", (0, 2, 3, 1)), (graph.output[0], "output", (0, 3, 1, 2))):
        inner = value.name
        ends = ([name], [inner]) if name == "input" else ([inner], [name])
        graph.node.insert(
            0 if name == "input" else len(graph.node), onnx.helper.make_node("Transpose", *ends, perm=order)
        )
        axes = value.type.tensor_type.shape.dim
        batch, height, width, channels = (type(axis).FromString(axis.SerializeToString()) for axis in axes)
        del axes[:]
        axes.extend([batch, channels, height, width])
        value.name = name


def describe(model: onnx.ModelProto, facts: dict, layout: str = "nhwc") -> None:
    """Write what a caller goes by into the model's metadata.

    `layout`, `range`, `multiple` and `color_space` are for everybody; `madn` has what `madn.restoration.onnx_network`
    takes for tiles, as JSON.
    """
    tiles = {name: facts.get(name) for name in TILES if facts.get(name) is not None}
    about = {
        "description": str(facts.get("description", "")),
        "layout": layout.upper(),
        "range": "0..1",
        "color_space": "sRGB",
        "channels": "RGB",
        "multiple": "1",
        FACTS: json.dumps(tiles),
    }
    del model.metadata_props[:]
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)


def _floor_mod(context, node, name, arguments) -> None:
    """Integers' Mod has the divisor's sign, as TensorFlow's has; what tf2onnx makes of it has the dividend's."""
    node.type = "Mod"


def load_onnx(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as onnxruntime runs it, on the CPU: from float32 (batch, height, width, 3) to the same."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    if session.get_inputs()[0].name == "blurred":
        return lambda blurred: session.run(["deblurred"], {"blurred": blurred})[0]
    return lambda blurred: session.run(["output"], {"input": blurred.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
