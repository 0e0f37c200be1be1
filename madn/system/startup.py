"""Starts Keras and its backend, without the notes that TensorFlow's libraries print before they can be stopped."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from madn.errors import UserError
from madn.system.standard_error import held_back, pass_on

TRAINING = ("tensorflow", "torch", "jax")  # Gradients are written for these backends.


@contextlib.contextmanager
def shown(text: str) -> Iterator[None]:
    """A block during which a line stands on the terminal, where standard error is one: for what takes seconds."""
    with tqdm(desc=text, bar_format="{desc}", leave=False, disable=None):
        yield


def start_keras(training: bool = False) -> None:
    """Import keras; what its backend says while loading is shown only where the import fails.

    Raises `UserError` where the backend is not installed, or for `training` one that only restores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet(), _without_matplotlib(), _no_new_settings():
            import keras
    except (ValueError, TypeError, AttributeError) as problem:  # Keras reads its file without much care.
        raise UserError(
            f"Keras cannot start ({' '.join(str(problem).split())[:160]}); look at KERAS_BACKEND and at "
            f"{_keras_folder() / 'keras.json'}"
        ) from None
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{missing.name} is not installed; install it, or set KERAS_BACKEND to a backend that is "
            "(tensorflow, torch, jax)"
        ) from None
    # A keras.json of the user's may say otherwise, and images here are NHWC and float32.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    backend = keras.backend.backend()
    if training and backend not in TRAINING:
        raise UserError(
            f"training runs on {', '.join(TRAINING[:-1])} and {TRAINING[-1]}, and KERAS_BACKEND is "
            f"{backend}, which only restores: set KERAS_BACKEND to one of the three"
        )
    if backend == "torch":
        from madn.system.keras_private import leave_images_channels_last

        leave_images_channels_last()
    if backend == "tensorflow" and not training:
        _one_operation_at_a_time()


def _keras_folder() -> Path:
    """Where Keras looks for keras.json, and keeps what it downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


@contextlib.contextmanager
def _without_matplotlib() -> Iterator[None]:
    """Keep Keras from importing matplotlib, which makes two folders in the home folder and takes its time.

    Keras wants it for plots of its own alone, which then say that it is missing. Who imported it before keeps it.
    """
    names = ("matplotlib", "matplotlib.pyplot")
    if names[0] in sys.modules:
        yield
        return
    sys.modules.update(dict.fromkeys(names))  # None is how Python is told of no module
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _no_new_settings() -> Iterator[None]:
    """Keep Keras from writing a keras.json with its defaults into the home folder when it is imported.

    One that is there is read. Downloads that a recipe needs still go to the folder that Keras has for them.
    """
    folder = _keras_folder()
    if "keras" in sys.modules or (folder / "keras.json").exists():
        yield
        return
    before = os.environ.get("KERAS_HOME")
    os.environ["KERAS_HOME"] = os.devnull  # Nothing can be written below it, and Keras goes on without.
    try:
        yield
    finally:
        if before is None:
            del os.environ["KERAS_HOME"]
        else:
            os.environ["KERAS_HOME"] = before
    from madn.system.keras_private import download_to

    download_to(folder)


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
        # Otherwise a chain of sums, such as the norm of all gradients, becomes one AddN, which begins with an input
        # whose memory it may take. Where two operations share the inputs, as the log's norm and the clipping's do, that
        # is another one from time to time, and with the order of the sum its last bit changes.
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
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
def quiet() -> Iterator[None]:
    """Hold back what C++ libraries print; give it out where the block fails."""
    said: list[bytes] = []
    try:
        with held_back(said.append):
            yield
    except ModuleNotFoundError:
        raise
    except Exception:
        pass_on(b"".join(said))
        raise
