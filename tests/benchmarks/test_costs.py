"""Times in turns, the most memory of a block, and PyTorch's operations, counted as they run, against hand counts."""

import numpy as np
import pytest

from madn.benchmarks.costs import LEAST, PeakMemory, in_turns, run_with_macs, torch_macs


def test_every_round_runs_each_call_in_order():
    said = []
    times = in_turns({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, repeats=5, seconds=60)
    assert said == ["a", "b"] * 5 and {name: len(each) for name, each in times.items()} == {"a": 5, "b": 5}
    assert min(times["a"] + times["b"]) >= 0


def test_no_round_starts_after_the_time_is_up_but_for_the_first_three():
    assert len(in_turns({"a": lambda: None}, repeats=50, seconds=-1)["a"]) == LEAST
    assert len(in_turns({"a": lambda: None}, repeats=2, seconds=-1)["a"]) == 2


def test_memory_that_is_given_back_within_the_block_counts():
    memory = PeakMemory()
    with memory:
        held = np.ones(10_000_000)
        held.sum()
        del held
    assert 60e6 < memory.bytes < 400e6


def test_other_backends_run_the_call_and_count_elsewhere():
    said = []
    assert run_with_macs(lambda: said.append(1)) is None and said == [1]


@pytest.mark.torch
@pytest.mark.parametrize("inference", [True, False])
def test_forward_and_backward(inference):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(4, 6, 3, padding=1)
    images, one = torch.zeros(2, 4, 8, 10, requires_grad=not inference), 2 * 8 * 10 * 9 * 4 * 6

    def backward():
        (gradient,) = torch.autograd.grad(layer(images).square().sum(), images, create_graph=True)
        torch.autograd.grad(gradient.square().sum(), list(layer.parameters()))

    if inference:
        assert torch_macs(torch.inference_mode()(lambda: layer(images))) == one
        assert torch_macs(lambda: torch.zeros(3, 5) @ torch.zeros(5, 7)) == 3 * 5 * 7
    else:
        # forward; its gradient; of that, by its input (a convolution) and by the weights; then back to the weights
        assert torch_macs(backward) >= 5 * one
        assert torch_macs(backward) % one == 0
