"""Batches for training, as a tf.data pipeline or as a NumPy generator of the same batches.

`python -m madn.data.pipeline --data DIR` measures it: crops per second in the first epoch and from the cache.
"""

import atexit
import contextlib
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from madn.commandline import parse
from madn.data.crops import CropSource, PairCrops
from madn.data.images import DecodedImages
from madn.data.index import find_pairs
from madn.errors import UserError, run_door

if TYPE_CHECKING:
    import tensorflow as tf


def training_dataset(source: CropSource, batch: int, first_step: int = 0, steps: int | None = None,
                     workers: int | None = None) -> "tf.data.Dataset":
    """Batches `first_step`, `first_step` + 1, ... of a run: `steps` of them, or without end.

    Yields (blurred, sharp), each float32 (batch, crop, crop, 3) RGB in [0, 1]. Several batches are made at a time
    by `workers` threads (default: one per core), and come in order. What goes wrong inside arrives as a TensorFlow
    error: iterate within `input_errors`.
    """
    import tensorflow as tf

    workers = workers or os.cpu_count()
    shape = (batch, source.crop, source.crop, 3)

    def numpy_draw(step):
        if _closing.is_set():
            raise RuntimeError("Python is closing")
        _drawing.add(threading.get_ident())
        try:
            return _draw(source, batch, step)
        finally:
            _drawing.discard(threading.get_ident())

    def draw(step):
        pair = tf.numpy_function(numpy_draw, [step], (tf.uint8, tf.uint8))
        return tuple(tf.cast(tf.ensure_shape(images, shape), tf.float32) / 255.0 for images in pair)

    atexit.unregister(_settle)
    atexit.register(_settle)
    dataset = tf.data.Dataset.counter(first_step)
    if steps is not None:
        dataset = dataset.take(steps)
    return dataset.map(draw, num_parallel_calls=workers, deterministic=True).prefetch(2)


def numpy_batches(source: CropSource, batch: int, first_step: int = 0, steps: int | None = None,
                  workers: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of `training_dataset`, bit for bit, without TensorFlow. Raises `UserError` itself."""
    workers = workers or os.cpu_count()

    def draw(step: int) -> tuple[np.ndarray, ...]:
        return tuple(images.astype(np.float32) / np.float32(255.0) for images in _draw(source, batch, step))

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
    """Turn the TensorFlow error that a `UserError` inside the pipeline has become back into that `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        if said := re.search(r"UserError: (.+)", str(problem)):
            raise UserError(said.group(1)) from None
        raise


_closing = threading.Event()
_drawing: set[int] = set()  # TensorFlow's threads that are inside Python


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


def _draw(source: CropSource, batch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Batch number `step`: two uint8 arrays (batch, crop, crop, 3)."""
    blurred, sharp = np.empty((2, batch, source.crop, source.crop, 3), np.uint8)
    for place in range(batch):
        blurred[place], sharp[place] = source.crop_at(int(step) * batch + place)
    return blurred, sharp


@dataclass(frozen=True)
class Measure:
    """Measure the training pipeline over a set of pairs."""

    data: str
    """Folder of the pairs."""
    crops: tuple[int, ...] = (64, 256)
    """Crop sizes in pixels."""
    batch: int = 16
    """Crops in a batch."""
    seconds: float = 5.0
    """How long to read from the cache."""


def measure(options: Measure, crop: int) -> tuple[float, float]:
    """Crops per second in the first epoch (decoding every file) and after it (from the memory cache)."""
    source = PairCrops(find_pairs(options.data).pairs, DecodedImages("memory"), crop, seed=0, augment="dihedral")
    epoch = max(1, len(source) // options.batch)
    rates = []
    for first_step, seconds in ((0, np.inf), (epoch, options.seconds)):
        dataset = training_dataset(source, options.batch, first_step, epoch if first_step == 0 else None)
        steps, start = 0, time.perf_counter()
        for _ in dataset:
            steps += 1
            if time.perf_counter() - start > seconds:
                break
        rates.append(steps * options.batch / (time.perf_counter() - start))
        for pair in source.pairs:  # what the first epoch's last, incomplete batch left out
            source.images.read(pair.blurred), source.images.read(pair.sharp)
    return tuple(rates)


def main(argv: list[str]) -> None:
    """Print one line per crop size."""
    options = parse(Measure, argv, "python -m madn.data.pipeline")
    print(f"{len(find_pairs(options.data).pairs)} pairs of {options.data}, batches of {options.batch}, "
          f"{os.cpu_count()} cores")
    for crop in options.crops:
        first, cached = measure(options, crop)
        print(f"crop {crop}: first epoch {first:.0f} crops/s, cached {cached:.0f} crops/s ({cached / first:.0f}x)")


if __name__ == "__main__":
    run_door(main, sys.argv[1:])
