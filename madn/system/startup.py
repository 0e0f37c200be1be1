"""Starts Keras and its backend, without the notes that TensorFlow's libraries print before they can be stopped."""

import contextlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator

from madn.errors import UserError

TRAINING = ("tensorflow", "torch", "jax")  # Gradients are written for these backends.


def start_keras(training: bool = False) -> None:
    """Import keras; what its backend says while loading is shown only where the import fails.

    Raises `UserError` where the backend is not installed, or for `training` one that only restores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with held_back():
            import keras
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{missing.name} is not installed; install it, or set KERAS_BACKEND to a backend that is "
            "(tensorflow, torch, jax)"
        ) from None
    backend = keras.backend.backend()
    if training and backend not in TRAINING:
        raise UserError(
            f"training runs on {', '.join(TRAINING[:-1])} and {TRAINING[-1]}, and KERAS_BACKEND is "
            f"{backend}, which only restores: set KERAS_BACKEND to one of the three"
        )
    if backend == "tensorflow" and not training:
        _one_operation_at_a_time()


def _one_operation_at_a_time() -> None:
    """Have TensorFlow give all cores to one operation after the other: two convolutions side by side disturb each
    other, and networks with parallel branches restore by up to a tenth slower."""
    with contextlib.suppress(ImportError, RuntimeError):  # TensorFlow may be missing, or at work already.
        import tensorflow as tf

        tf.config.threading.set_inter_op_parallelism_threads(1)


def compute_deterministically() -> None:
    """Have the backend compute the same bits each time, from now on in this process; slower."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif keras.backend.backend() == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it.
        torch.use_deterministic_algorithms(True)
    # JAX reads this when it first looks for its devices; processors are deterministic anyway.
    elif keras.backend.backend() == "jax":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()


def device() -> str:
    """The accelerator that the backend computes on, or the processor."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            return ", ".join(tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in gpus)
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    if keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "gpu":
            return jax.devices()[0].device_kind
    return processor()


def processor() -> str:
    """The kind of processor."""
    return f"CPU {platform.processor() or platform.machine()}"


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold back the process's standard error, C++ libraries' included; give it out after an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException as problem:
            if isinstance(problem, ModuleNotFoundError):
                raise
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
