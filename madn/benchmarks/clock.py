"""Times of repeated calls, and the most memory that they hold."""

import threading
import time
from collections.abc import Callable, Mapping

import keras

from madn.system import memory

LEAST = 3  # So many rounds are made, however long they take.
SAMPLE_SECONDS = 0.005


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each call, all of them run one after the other in every round, so that they share what the machine is
    busy with besides.

    At most `repeats` rounds; no new one after `seconds`, but `LEAST` in all. The calls wait for their results.
    """
    taken = {name: [] for name in calls}
    start = time.perf_counter()
    for done in range(repeats):
        if done >= LEAST and time.perf_counter() - start > seconds:
            break
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - before)
    return taken


class PeakMemory:
    """Bytes that this process holds at its worst within a `with` block, `bytes` after it.

    On a GPU: what the backend's allocator gave out on the card, from its own count. Elsewhere: resident memory above
    that at the object's making, looked at every 5 ms; make the object before the network, so that weights count.
    """

    def __init__(self):
        self.bytes = 0
        self._start = memory.used()
        self._gpu = _gpu_allocator()

    def __enter__(self) -> "PeakMemory":
        if self._gpu:
            self._gpu[0]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *problem) -> None:
        self._ended.set()
        self._thread.join()
        if self._gpu:
            self.bytes = int(self._gpu[1]())

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, memory.used() - self._start)
            if self._ended.wait(SAMPLE_SECONDS):
                return


def _gpu_allocator() -> tuple[Callable[[], None], Callable[[], int]] | None:
    """How to reset and to read the peak that the backend counts on its GPU; None where it has none."""
    if keras.backend.backend() == "torch":
        import torch

        return (
            (torch.cuda.reset_peak_memory_stats, torch.cuda.max_memory_allocated) if torch.cuda.is_available() else None
        )
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return (
                lambda: tf.config.experimental.reset_memory_stats("GPU:0"),
                lambda: tf.config.experimental.get_memory_info("GPU:0")["peak"],
            )
    return None
