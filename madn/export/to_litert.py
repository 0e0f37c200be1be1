"""A trained generator as a LiteRT (TensorFlow Lite) file of built-in operators, for any size or for a fixed one.

Input `blurred` and output `deblurred`, float32 (batch, height, width, 3) RGB in [0, 1]; padding, cropping and clipping
are inside the graph. Before its first image of a size, the runtime is told that size (`resize_tensor_input`). LiteRT
plans its memory only for sizes that the file has: at 1280x720 a file of that size takes 45 to 75 % of the memory.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from madn.export.serving import ServingModule


def write_litert(module: ServingModule, file: Path, size: tuple[int, int] | None = None) -> None:
    """Write `module.restore` to `file`: for any batch and size, or for one image of `size` (height, width).

    Raises ValueError for an operator that LiteRT has not built in.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.concrete_restore(size)], module)
    # Other operators would need TensorFlow beside LiteRT.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        file.write_bytes(converter.convert())
    except Exception as problem:  # TensorFlow's error fills pages, and its class has no public name.
        lacking = re.findall(r"^(?:TF Select|Custom) ops: (.*)$", str(problem), re.MULTILINE)
        raise ValueError(f"LiteRT has not built in: {', '.join(lacking)}") if lacking else problem from None


def load_litert(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as LiteRT runs it, on the CPU: it takes float32 (batch, height, width, 3), and gives the same."""
    interpreter = Interpreter(str(file), num_threads=2)
    blurred, deblurred = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def restore(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(blurred, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(blurred, images)
        interpreter.invoke()
        return interpreter.get_tensor(deblurred)

    return restore
