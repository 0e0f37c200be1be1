"""A trained generator as an ONNX file: one graph of standard operators for any batch, height and width.

NHWC: input `blurred` and output `deblurred`, float32 (batch, height, width, 3) RGB in [0, 1]. NCHW, as editors have it:
input `input` and output `output`, (batch, 3, height, width). Padding, cropping and clipping are inside the graph.

float16 halves the file: convolutions and what lies directly between them are computed in float16. Images, resizing,
normalisation and all other statistics stay in float32, and so do input and output.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from tf2onnx import optimizer, tf_loader
from tf2onnx.tfonnx import process_tf_graph

from madn.export.serving import ServingModule
from madn.restoration.onnx_network import FACTS

OPSET = 18  # tf2onnx writes no newer one; onnxruntime reads it from 1.14 on.
SIMPLIFICATIONS = ("fold_constants", "merge_duplication", "remove_identity")  # With these, weights are stored once.
AXES = ("batch", "height", "width")
TILES = ("recipe", "multiple", "bytes_per_pixel", "tile_pixels", "tile_blend", "reach")


HALVED = {"Conv", "ConvTranspose", "Relu", "LeakyRelu", "Transpose", "Concat"}  # These are computed in float16.


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


def write_onnx(module: ServingModule, file: Path, variant: Variant | None = None, facts: dict | None = None) -> None:
    """Write `module.restore` to `file`, with `facts` in its metadata.

    Raises whatever tf2onnx raises for an operator that ONNX lacks.
    """
    variant = variant or Variant()
    function = module.restore
    if variant.size:
        function = tf.function(
            function.python_function, input_signature=[tf.TensorSpec((1, *variant.size, 3), tf.float32, name="blurred")]
        )
    restore = function.get_concrete_function()
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
        for axis, name, fixed in zip(value.type.tensor_type.shape.dim, AXES, (1, *(variant.size or (1, 1)))):
            if variant.size:
                axis.dim_value = fixed
            else:
                axis.dim_param = name
    if variant.precision == "float16":
        model = _halved(model)
    if variant.layout == "nchw":
        _with_channels_first(model)
    describe(model, facts or {}, variant.layout)
    standard = [opset for opset in model.opset_import if opset.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(standard)  # An operator outside the standard now fails the check.
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with `HALVED` in float16; what they share with others is cast where it passes."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    others = sorted({node.op_type for node in model.graph.node} - HALVED)
    model = convert_float_to_float16(model, keep_io_types=True, op_block_list=others, disable_shape_infer=True)
    OnnxModel(model).topological_sort()  # Casts were put behind the nodes that take them.
    return model


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
