"""The machine, and the two rates that all is compared with: of a matrix product and of plain convolutions."""

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from madn.system.startup import device
from madn.training.precision import dtype_policy

LAYERS, CHANNELS = 10, 64  # The plain stack has so many layers and channels.
SIDES = {True: 8192, False: 2048}  # The matrices have such sides on a GPU, and on a CPU.


def on_gpu() -> bool:
    """Whether the backend computes on a GPU."""
    return not device().startswith("CPU")


def describe_machine() -> dict:
    """Processor, cores and device, as plain JSON values."""
    return {
        "device": device(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": on_gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "tf32": _tf32(),
    }


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:  # This is no Linux.
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _tf32() -> bool:
    """Whether float32 convolutions and products may use TF32 on a GPU; on PyTorch both are set to what convolutions do,
    so that the product is the peak of the same arithmetic."""
    if not on_gpu():
        return False
    if keras.backend.backend() == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        return torch.backends.cudnn.allow_tf32
    import tensorflow as tf

    return tf.config.experimental.tensor_float_32_execution_enabled()


def matrix_product(precision: str, side: int | None = None) -> tuple[Callable[[], None], int]:
    """A product of two square matrices that waits for its result, and its multiply-adds.

    `precision`: float32 or mixed_bfloat16, which multiplies in bfloat16. `side`: 2048 on a CPU, 8192 on a GPU.
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
    """A forward pass of ten 3x3 convolutions with ReLU, 64 channels each, that waits for its result, and its
    multiply-adds, border pixels counted as full ones."""
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
    return call


def _wait(result) -> None:
    """Let one number reach this side, which waits for all that was asked of the device."""
    float(keras.ops.convert_to_numpy(keras.ops.cast(result[(0,) * len(result.shape)], "float32")))


def _dtype(precision: str) -> str:
    return "bfloat16" if precision == "mixed_bfloat16" else "float32"
