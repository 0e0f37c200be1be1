"""Operations of a call where TensorFlow's graph is not to be had: PyTorch's own counter."""

from collections.abc import Callable

import keras


def run_counted(call: Callable[[], object]) -> int | None:
    """Run the call, and return its multiply-adds where the backend is PyTorch, None elsewhere.

    torch.utils.flop_counter counts what `madn.counting` counts (convolutions, matrix products and their gradients)
    and, because it sees them as matrix products, the small ones that resize images.
    """
    if keras.backend.backend() != "torch":
        call()
        return None
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2
