"""A trained generator as an ONNX file: one graph of standard operators for any batch, height and width.

Input `blurred` and output `deblurred`, float32 (batch, height, width, 3) RGB in [0, 1]; padding, cropping and clipping
are inside the graph.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

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


def write_onnx(module: ServingModule, file: Path) -> None:
    """Write `module.restore` to `file`. Raises whatever tf2onnx raises for an operator that ONNX lacks."""
    restore = module.restore.get_concrete_function()
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
        for axis, name in zip(value.type.tensor_type.shape.dim, AXES, strict=False):
            axis.dim_param = name
    standard = [opset for opset in model.opset_import if opset.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(standard)  # An operator outside the standard now fails the check.
    onnx.checker.check_model(model)
    onnx.save(model, file)


def describe(model: onnx.ModelProto, facts: dict) -> None:
    """Write what a caller goes by into the model's metadata.

    `layout`, `range`, `multiple` and `color_space` are for everybody; `madn` has what `madn.restoration.onnx_network`
    takes for tiles, as JSON.
    """
    tiles = {name: facts.get(name) for name in TILES if facts.get(name) is not None}
    about = {
        "description": str(facts.get("description", "")),
        "layout": "NHWC",
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
    return lambda blurred: session.run(["deblurred"], {"blurred": blurred})[0]
