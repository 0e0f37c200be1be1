"""The machine, and the two rates that all is compared with: those of a matrix product and of plain convolutions."""

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from madn.system.startup import device
from madn.system.versions import versions
from madn.training.precision import dtype_policy

LAYERS, CHANNELS = 10, 64  # The stack of plain convolutions has this many layers, of this many channels.
SIDES = {True: 8192, False: 2048}  # The matrices have these sides on a GPU (True) and on a CPU.


def on_gpu() -> bool:
    """Whether the backend computes on a GPU."""
    return not device().startswith("CPU")


def environment() -> dict:
    """What figures depend on, as plain JSON values: the machine, the backend, and the versions of packages."""
    machine = {
        "device": device(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": on_gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "tf32": _tf32(),
    }
    return {"machine": machine, "backend": keras.backend.backend(), "versions": versions()}


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:  # This is no Linux.
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _tf32() -> bool:
    """Whether float32 convolutions and products may use TF32 on a GPU.

    On PyTorch the product is set to what convolutions do, so that it is the peak of the same arithmetic.
    """
    if not on_gpu():
        return False
    if keras.backend.backend() == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        return torch.backends.cudnn.allow_tf32
    if keras.backend.backend() == "jax":
        import jax

        return jax.config.jax_default_matmul_precision in (None, "default", "fastest", "tensorfloat32")
    import tensorflow as tf

    return tf.config.experimental.tensor_float_32_execution_enabled()


def matrix_product(precision: str, side: int | None = None) -> tuple[Callable[[], None], int]:
    """A call that multiplies two square matrices and waits for the result, and its multiply-adds.

    `precision`: "float32", or "mixed_bfloat16", which multiplies in bfloat16. `side`: rows and columns; by default 2048
    on a CPU, 8192 on a GPU.
    """
    _tf32()
    side = side or SIDES[on_gpu()]
    rng = np.random.default_rng(0)
    left, right = (
        keras.ops.convert_to_tensor(rng.random((side, side), np.float32) - 0.5, dtype=_dtype(precision))
        for _ in range(2)
    )
    product = compiled(keras.ops.matmul)
    return lambda: _wait(product(left, right)), side**3


def convolution_stack(height: int, width: int, precision: str, batch: int = 1) -> tuple[Callable[[], None], int]:
    """A call that runs ten 3x3 convolutions with ReLU, 64 channels each, and waits for the result; its multiply-adds.

    Border pixels count as full ones. `precision` as in `matrix_product`; `height`, `width` and `batch` in pixels and
    images.
    """
    with dtype_policy(precision):
        features = keras.Input((None, None, CHANNELS))
        x = features
        for _ in range(LAYERS):
            x = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(x)
        stack = keras.Model(features, x)
    images = np.random.default_rng(0).random((batch, height, width, CHANNELS), np.float32)
    images = keras.ops.convert_to_tensor(images, dtype=_dtype(precision))
    forward = compiled(lambda x: stack(x, training=False))
    return lambda: _wait(forward(images)), LAYERS * batch * height * width * 9 * CHANNELS**2


def compiled(call: Callable) -> Callable:
    """The call as `madn.restoration.inference.Inference` compiles a network."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(call, jit_compile=False, autograph=False)
    if keras.backend.backend() == "torch":
        import torch

        return torch.inference_mode()(call)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(call)
    return call


def _wait(result) -> None:
    """Wait for all that was asked of the device, by fetching one number of its result."""
    float(keras.ops.convert_to_numpy(keras.ops.cast(result[(0,) * len(result.shape)], "float32")))


def _dtype(precision: str) -> str:
    return "bfloat16" if precision == "mixed_bfloat16" else "float32"
