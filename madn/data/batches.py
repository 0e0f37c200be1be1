"""Batches for training, as a tf.data pipeline or as a NumPy generator of the same batches."""

import atexit
import contextlib
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from madn.data.crops import CropSource
from madn.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Shares:
    """The part of each batch that a process makes: of its `all` equal shares, `here` from share `first` on."""

    first: int = 0
    here: int = 1
    all: int = 1

    def crops(self, number: int, batch: int) -> list[int]:
        """The crops of this process's share `number` of the run."""
        step, share = number // self.here, self.first + number % self.here
        size = batch // self.all
        return [step * batch + share * size + k for k in range(size)]


def training_batches(
    source: CropSource, batch: int, first_step: int = 0, steps: int | None = None, shares: Shares = Shares()
) -> "tf.data.Dataset | Iterator[tuple[np.ndarray, np.ndarray]]":
    """The batches that a training takes: by tf.data, or by NumPy on JAX and where TensorFlow is not installed.

    The arguments are those of `training_dataset`; NumPy's batches are whole.
    """
    import keras

    if keras.backend.backend() == "jax":  # JAX has no use for TensorFlow, which would only take a part of its memory.
        return numpy_batches(source, batch, first_step, steps)
    try:
        return training_dataset(source, batch, first_step, steps, shares=shares)
    except ImportError:
        return numpy_batches(source, batch, first_step, steps)


def training_dataset(
    source: CropSource,
    batch: int,
    first_step: int = 0,
    steps: int | None = None,
    workers: int | None = None,
    shares: Shares = Shares(),
) -> "tf.data.Dataset":
    """Batches `first_step`, `first_step` + 1, ... of a run: `steps` of them, or without end.

    Yields (blurred, sharp), each float32 (batch, crop, crop, 3) RGB in [0, 1]. Where several devices share a batch, its
    `shares.here` shares come one after the other. `workers` threads, by default one per core, make several at a time,
    which come in order. What goes wrong inside arrives as a TensorFlow error: iterate within `input_errors`.
    """
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(RuntimeError):  # TensorFlow may be at work already.
            tf.config.set_visible_devices([], "GPU")  # The GPU's memory belongs to the other backend.
    workers = workers or os.cpu_count()
    shape = (batch // shares.all, source.crop, source.crop, 3)

    def numpy_draw(number):
        if _closing.is_set():
            raise RuntimeError("Python is closing")
        _drawing.add(threading.get_ident())
        try:
            return _draw(source, shares.crops(int(number), batch))
        finally:
            _drawing.discard(threading.get_ident())

    def draw(number):
        pair = tf.numpy_function(numpy_draw, [number], (tf.uint8, tf.uint8))
        return tuple(tf.cast(tf.ensure_shape(images, shape), tf.float32) / 255.0 for images in pair)

    atexit.unregister(_settle)
    atexit.register(_settle)
    dataset = tf.data.Dataset.counter(first_step * shares.here)
    if steps is not None:
        dataset = dataset.take(steps * shares.here)
    options = tf.data.Options()
    # There is nothing to tune, and the tuner's thread keeps several devices waiting at the end.
    options.autotune.enabled = False
    dataset = dataset.map(draw, num_parallel_calls=workers, deterministic=True).prefetch(2 * shares.here)
    return dataset.with_options(options)


def numpy_batches(
    source: CropSource, batch: int, first_step: int = 0, steps: int | None = None, workers: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of `training_dataset`, bit for bit, without TensorFlow. Raises `UserError` itself."""
    workers = workers or os.cpu_count()

    def draw(step: int) -> tuple[np.ndarray, np.ndarray]:
        blurred, sharp = _draw(source, Shares().crops(step, batch))
        return blurred.astype(np.float32) / np.float32(255.0), sharp.astype(np.float32) / np.float32(255.0)

    numbers = count(first_step) if steps is None else iter(range(first_step, first_step + steps))
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(draw, step) for step in islice(numbers, workers + 1))
        try:
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(draw, step) for step in islice(numbers, 1))
        finally:
            for waiting in ahead:
                waiting.cancel()


@contextlib.contextmanager
def input_errors() -> Iterator[None]:
    """A block in which the TensorFlow error that a `UserError` inside the pipeline became is that `UserError` again."""
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        if said := re.search(r"UserError: (.+)", str(problem)):
            raise UserError(said.group(1)) from None
        raise


_closing = threading.Event()
_drawing: set[int] = set()  # These threads of TensorFlow are inside Python.


def _settle() -> None:
    """Let TensorFlow's threads leave Python before Python ends.

    An iterator that is still referenced then (by the traceback of an uncaught error, by a notebook) would otherwise
    wait for a thread that waits for the interpreter, and the process would hang. The wait is short: the threads
    stop as soon as their buffers are full.
    """
    _closing.set()
    quiet = 0
    while quiet < 5:
        time.sleep(0.02)
        quiet = 0 if _drawing else quiet + 1


def _draw(source: CropSource, crops: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The crops of these numbers: two uint8 arrays (batch, crop, crop, 3)."""
    blurred, sharp = np.empty((2, len(crops), source.crop, source.crop, 3), np.uint8)
    for place, number in enumerate(crops):
        blurred[place], sharp[place] = source.crop_at(number)
    return blurred, sharp
