"""Taking gradients: the one place where Keras backends differ in training."""

from collections.abc import Callable, Sequence

import keras


def losses_and_gradients(compute: Callable[[], tuple], variables: Sequence[Sequence]) -> tuple:
    """Run `compute` once and differentiate each of its losses by its own variables.

    Args:
        compute: returns (losses, rest), `losses` a sequence of scalar tensors.
        variables: for each loss, the Keras variables to differentiate it by.
    Returns:
        (losses, rest, gradients); gradients[i] matches variables[i], zeros where a loss does not depend on one.
    Raises:
        NotImplementedError: on a backend other than TensorFlow and PyTorch.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=len(variables) > 1) as tape:
            losses, rest = compute()
        gradients = [tape.gradient(loss, [v.value for v in own], unconnected_gradients=tf.UnconnectedGradients.ZERO)
                     for loss, own in zip(losses, variables, strict=True)]
    elif backend == "torch":
        import torch

        losses, rest = compute()
        last = len(variables) - 1
        gradients = []
        for i, (loss, own) in enumerate(zip(losses, variables, strict=True)):
            values = [v.value for v in own]
            found = torch.autograd.grad(loss, values, retain_graph=i != last, allow_unused=True)
            gradients.append([torch.zeros_like(v) if g is None else g for v, g in zip(values, found, strict=True)])
    else:
        raise NotImplementedError(f"training runs on the TensorFlow and PyTorch backends; this is {backend!r}")
    return losses, rest, gradients


def apply_gradients(optimizer, gradients, variables) -> None:
    """One optimiser step, outside of any gradient graph."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            optimizer.apply(gradients, variables)
    else:
        optimizer.apply(gradients, variables)
