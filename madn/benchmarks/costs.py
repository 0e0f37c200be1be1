"""What calls cost: seconds, the most memory that they hold, and on PyTorch the multiply-adds that they make."""

import threading
import time
from collections.abc import Callable, Mapping

import keras

from madn.system import memory

LEAST = 3  # This many rounds are made, however long they take.
SAMPLE_SECONDS = 0.005


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each call in each round, by the calls' names.

    Every round runs all calls, one after the other, so that what else keeps the machine busy meets all of them. There
    are at most `repeats` rounds, and none starts after `seconds`, but for the first `LEAST`. A call returns when its
    result is there.
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
    """The most bytes that this process holds within a `with` block; after the block they are in `bytes`.

    On a GPU this is what the backend's allocator counts on the card; on JAX since the process began. Elsewhere it is
    the resident memory, read every 5 ms, less what it was when the object was made: make the object before the network,
    so that weights count.
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
    if keras.backend.backend() == "jax":
        import jax

        card = jax.devices()[0]
        if card.platform == "gpu":  # JAX cannot set its peak back.
            return (lambda: None, lambda: card.memory_stats()["peak_bytes_in_use"])
    return None


def run_with_macs(call: Callable[[], object]) -> int | None:
    """Run the call; returns its multiply-adds where the backend is PyTorch, and None elsewhere.

    On TensorFlow `madn.nn.macs` counts them in the graph.
    """
    if keras.backend.backend() == "torch":
        return torch_macs(call)
    call()
    return None


def torch_macs(call: Callable[[], object]) -> int:
    """Run the call; returns the multiply-adds of its convolutions, matrix products and their gradients.

    The formulas are those of torch.utils.flop_counter, whose own counter follows modules and so cannot run
    `torch.autograd.grad`. They count what `madn.nn.macs` counts, and the small products that resize images.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        flops = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs, formula = kwargs or {}, flop_registry.get(function._overloadpacket)
            if formula is None:
                with self:  # An operation that is made of others comes back here as those.
                    parts = function.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            result = function(*args, **kwargs)
            if formula:
                self.flops += formula(*args, **kwargs, out_val=result)
            return result

    with Counter() as counter:
        call()
    return counter.flops // 2
