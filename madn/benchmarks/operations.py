"""MACs of a call where there is no graph of TensorFlow's: by PyTorch's formulas, call by call."""

from collections.abc import Callable

import keras


def run_with_macs(call: Callable[[], object]) -> int | None:
    """Run the call, and return its multiply-adds where the backend is PyTorch, None elsewhere."""
    if keras.backend.backend() == "torch":
        return torch_macs(call)
    call()
    return None


def torch_macs(call: Callable[[], object]) -> int:
    """Run the call; the multiply-adds of its convolutions, matrix products and their gradients.

    By the formulas of torch.utils.flop_counter, whose own counter follows modules and so cannot run
    `torch.autograd.grad`. What `madn.nn.macs` counts, and the small products that resize images.
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
