"""PyTorch's operations, counted as they run, against hand counts."""

import pytest

from madn.benchmarks.operations import run_with_macs, torch_macs


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
