"""Gradients: how they are taken is the one thing in which Keras' backends differ in training."""

import contextlib
import functools
from collections.abc import Callable, Sequence

import keras
from keras import ops, tree

from madn.nn import replicas
from madn.system.keras_private import get_stateless_scope

BACKENDS = "training runs on the TensorFlow, PyTorch and JAX backends"


def losses_and_gradients(compute: Callable[[], tuple], variables: Sequence[Sequence]) -> tuple:
    """Run `compute` once and differentiate each of its losses by its own variables.

    Args:
        compute: returns (losses, rest), `losses` a sequence of scalar tensors.
        variables: for each loss, the Keras variables to differentiate it by.
    Returns:
        (losses, rest, gradients); gradients[i] matches variables[i], zeros where a loss does not depend on one.
    Raises:
        NotImplementedError: on another backend than these three.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(persistent=len(variables) > 1) as tape:
            losses, rest = compute()
        gradients = [
            tape.gradient(loss, [v.value for v in own], unconnected_gradients=tf.UnconnectedGradients.ZERO)
            for loss, own in zip(losses, variables, strict=True)
        ]
    elif backend == "torch":
        import torch

        losses, rest = compute()
        last = len(variables) - 1
        gradients = []
        for i, (loss, own) in enumerate(zip(losses, variables, strict=True)):
            values = [v.value for v in own]
            found = torch.autograd.grad(loss, values, retain_graph=i != last, allow_unused=True)
            gradients.append([torch.zeros_like(v) if g is None else g for v, g in zip(values, found, strict=True)])
    elif backend == "jax":
        losses, rest, gradients = _differentiated_by_jax(compute, variables)
    else:
        raise NotImplementedError(f"{BACKENDS}; this is {backend!r}")
    return losses, rest, gradients


def _differentiated_by_jax(compute: Callable[[], tuple], variables: Sequence[Sequence]) -> tuple:
    """Trace `compute` once as a function of the variables' values, and differentiate it loss by loss.

    Each loss is differentiated by its own variables alone, so that no zeros go back through the other's graph. XLA
    computes only once what the losses share.
    """
    import jax
    from jax.extend.core import jaxpr_as_fun

    every = {id(v): v for own in variables for v in own}
    pure = _Pure(compute, list(every.values()))
    values = [v.value for v in every.values()]
    written, shapes = jax.make_jaxpr(pure, return_shape=True)(values)
    run, structure = jaxpr_as_fun(written), jax.tree.structure(shapes)

    def nth(own_values, i):
        given = dict(zip(every, values, strict=True)) | dict(zip(map(id, variables[i]), own_values, strict=True))
        results = jax.tree.unflatten(structure, run(*given.values()))
        return results[0][0][i], results

    found = [
        jax.value_and_grad(functools.partial(nth, i=i), has_aux=True)([v.value for v in own])
        for i, own in enumerate(variables)
    ]
    (losses, rest), changes = found[0][0][1]
    pure.keep(changes)
    return losses, rest, [gradients for _, gradients in found]


class _Pure:
    """Makes a function that reads and assigns Keras variables a pure one, as JAX needs it.

    Called with (values of `variables`, ...), it returns (result, changes); `keep` then assigns these changes to the
    variables that the function assigned.
    """

    def __init__(self, function: Callable, variables: Sequence = ()):
        self.function, self.variables, self.changed = function, variables, []

    def __call__(self, values, *arguments):
        with _Scope(zip(self.variables, values, strict=True)) as scope:
            result = self.function(*arguments)
        self.changed = list(scope.changed.values())
        return result, [scope.get_current_value(v) for v in self.changed]

    def keep(self, changes: Sequence) -> None:
        for variable, value in zip(self.changed, changes, strict=True):
            variable.assign(value)


class _Scope(keras.StatelessScope):
    """A scope with some values replaced, whose assignments end with it; `changed` has the assigned variables."""

    def __init__(self, pairs):
        super().__init__(pairs)
        around = get_stateless_scope()
        self.state_mapping = {**(around.state_mapping if around else {}), **self.state_mapping}
        self.changed = {}

    def add_update(self, update):
        super().add_update(update)
        self.changed[id(update[0])] = update[0]


def in_parts(compute: Callable, batch, parts: int):
    """The mean of what `compute` returns for `parts` equal parts of a batch, computed one after the other.

    Args:
        compute: (part, its first image's place in the batch) -> nested float tensors.
        batch: nested tensors whose first axis is the images'; None stays None.
    """
    if parts == 1:
        return compute(batch, 0)
    total = None
    for i in range(parts):
        with _after(total):
            part, first = _part(batch, i, parts)
            part, total = _held_back(part, total)
            found = compute(part, first)
            total = found if total is None else tree.map_structure(lambda a, b: a + b, total, found)
    return tree.map_structure(lambda x: x / parts, total)


def _part(batch, i: int, parts: int):
    sizes = [ops.shape(x)[0] // parts for x in tree.flatten(batch) if x is not None]
    first = i * sizes[0]
    return tree.map_structure(lambda x: None if x is None else x[first : first + sizes[0]], batch), first


def _after(total):
    """A context whose operations wait for `total`, for TensorFlow would compute independent parts at the same time."""
    if total is None or keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies(tree.flatten(total))


def _held_back(part, total):
    """Give both back; on JAX, operations on the part then wait for `total`."""
    if total is None or keras.backend.backend() != "jax":
        return part, total
    import jax

    return jax.lax.optimization_barrier((part, total))


def apply_gradients(optimizer, gradients, variables) -> None:
    """Take one optimiser step, outside of any gradient graph. `gradients` are the same on all devices.

    Keras adds up those of several devices, so they are divided first.
    """
    devices = replicas.count()
    if devices > 1:
        gradients = [g / devices for g in gradients]
    with without_gradients():
        optimizer.apply(gradients, variables)


def input_gradient(score: Callable, images):
    """The gradient of score(images) by the images, which is itself differentiable by the weights behind `score`.

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
    if backend == "jax":
        import jax

        pure = _Pure(score)
        gradient, changes = jax.grad(functools.partial(pure, ()), has_aux=True)(images)
        pure.keep(changes)
        return gradient
    raise NotImplementedError(f"{BACKENDS}; this is {backend!r}")


def without_gradients():
    """A context in which PyTorch keeps nothing for gradients; the other backends keep nothing unasked anyway."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return contextlib.nullcontext()


def global_norm(gradients: Sequence):
    """The Euclidean norm of all gradients together, float32."""
    return ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients))
