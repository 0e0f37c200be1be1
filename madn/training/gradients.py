"""Taking gradients: the one place where Keras backends differ in training."""

import contextlib
from collections.abc import Callable, Sequence

import keras
from keras import ops, tree

from madn import replicas


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


def in_parts(compute: Callable, batch, parts: int):
    """The mean of what `compute` returns for `parts` equal parts of a batch, computed one after the other.

    Args:
        compute: (part, its first image's place in the batch) -> nested float tensors.
        batch: nested tensors, images first; None stays None.
    """
    if parts == 1:
        return compute(batch, 0)
    total = None
    for i in range(parts):
        with _after(total):
            part, first = _part(batch, i, parts)
            found = compute(part, first)
            total = found if total is None else tree.map_structure(lambda a, b: a + b, total, found)
    return tree.map_structure(lambda x: x / parts, total)


def _part(batch, i: int, parts: int):
    sizes = [ops.shape(x)[0] // parts for x in tree.flatten(batch) if x is not None]
    first = i * sizes[0]
    return tree.map_structure(lambda x: None if x is None else x[first:first + sizes[0]], batch), first


def _after(total):
    """A context whose operations wait for `total`: TensorFlow would compute independent parts at the same time."""
    if total is None or keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies(tree.flatten(total))


def apply_gradients(optimizer, gradients, variables) -> None:
    """One optimiser step, outside of any gradient graph. `gradients` are the same on all devices.

    Keras adds those of several devices up, which undoes the division here.
    """
    devices = replicas.count()
    if devices > 1:
        gradients = [g / devices for g in gradients]
    with without_gradients():
        optimizer.apply(gradients, variables)


def input_gradient(score: Callable, images):
    """d score(images) / d images, of the shape of `images`; itself differentiable by the weights behind `score`.

    `score` returns a scalar. Raises `NotImplementedError` as `losses_and_gradients` does.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(images)
            total = score(images)
        return tape.gradient(total, images)
    if backend == "torch":
        import torch

        images = images.detach().requires_grad_(True)
        return torch.autograd.grad(score(images), images, create_graph=True)[0]
    raise NotImplementedError(f"training runs on the TensorFlow and PyTorch backends; this is {backend!r}")


def without_gradients():
    """A context in which nothing is kept for gradients; TensorFlow keeps nothing outside of a tape anyway."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()
