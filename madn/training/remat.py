"""Rematerialisation: a generator's training pass that keeps few tensors and computes the rest again going backward.

A network is taken apart into its steps (layers and operations, those of nested networks too, at each of their calls).
They are cut into segments where few bytes are alive; going forward, only what crosses a cut is kept, and going
backward each segment is run once more, from what it took, before its gradients are taken (Chen et al. 2016,
"Training Deep Nets with Sublinear Memory Cost"). It costs one more forward pass of the generator.

`keras.remat` runs a segment so (`tf.recompute_grad`, `torch.utils.checkpoint`, `jax.checkpoint`). `keras.RematScope`
does it for single layers alone, and would keep what goes from layer to layer, which is what takes the memory here.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
from keras import ops, tree

from madn.system.keras_private import Functional

SEGMENT_SIZES = 64  # Segments of so many sizes are tried: the whole network, a half of it, a third, and so on.


@dataclass(frozen=True)
class Step:
    """One call of a layer or an operation. Its tensors are symbolic ones, which know shape and dtype."""

    run: Callable
    args: tuple
    kwargs: dict
    outputs: list[keras.KerasTensor]

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        return [x for x in tree.flatten((self.args, self.kwargs)) if isinstance(x, keras.KerasTensor)]


def rematerialised(generator: keras.Model) -> Callable:
    """Make the generator a function (images, training=True) -> outputs that computes again what it does not keep.

    Outputs and gradients are the network's own, and so are its weights: nothing is copied. It takes a functional model
    on any of the three backends. Raises `ValueError` for one that changes its state in training (batch
    normalisation, dropout), for a second run would change it once more.
    """
    plans = {}

    def call(images, training: bool = True):
        images = ops.convert_to_tensor(images, generator.inputs[0].dtype)
        key = (*images.shape, training)
        if key not in plans:
            plans[key] = _plan(generator, tuple(images.shape), training)
        source, outputs, segments = plans[key]
        values = {id(source): images}
        for steps, taken, given in segments:
            run = functools.partial(_run, steps, taken, given)
            results = keras.remat(run)(*[values[id(x)] for x in taken])
            values.update(zip(map(id, given), _together(results), strict=True))
        return tree.map_structure(lambda x: values[id(x)], outputs)

    return call


def _run(steps: Sequence[Step], taken, given, *tensors) -> list:
    """Run steps one after the other: the values of the symbolic tensors `given` from those of `taken`."""
    values = dict(zip(map(id, taken), tensors, strict=True))
    for step in steps:
        args, kwargs = tree.map_structure(
            lambda x: values[id(x)] if isinstance(x, keras.KerasTensor) else x, (step.args, step.kwargs)
        )
        values.update(zip(map(id, step.outputs), tree.flatten(step.run(*args, **kwargs)), strict=True))
    return [values[id(x)] for x in given]


def _together(tensors: list) -> list:
    """Give the tensors back, but let their gradients go on only when the last of them has come.

    TensorFlow runs what is ready: the gradient of an image that only the loss takes is ready at once, and would start
    the second run of its segment before there is room for it.
    """
    if keras.backend.backend() != "tensorflow":
        return tensors
    import tensorflow as tf

    @tf.custom_gradient
    def join(*values):
        def gradient(*gradients):
            with tf.control_dependencies(gradients):
                return [tf.identity(g) for g in gradients]

        return [tf.identity(v) for v in values], gradient

    return join(*tensors)


def _plan(model: keras.Model, shape: tuple, training: bool) -> tuple:
    """Plan the pass: (symbolic input, symbolic outputs, segments), a segment being (steps, tensors taken, given)."""
    source = keras.KerasTensor(shape, model.inputs[0].dtype)
    steps: list[Step] = []
    outputs = _take_apart(model, [source], training, steps)
    last = {id(x): i for i, step in enumerate(steps) for x in step.inputs}
    last.update({id(x): len(steps) for x in tree.flatten(outputs)})
    segments = []
    for start, end in _cut(steps, last):
        inside = steps[start:end]
        made = {id(x) for step in inside for x in step.outputs}
        taken = {id(x): x for step in inside for x in step.inputs if id(x) not in made}
        given = [x for step in inside for x in step.outputs if last.get(id(x), -1) >= end]
        segments.append((inside, list(taken.values()), given))
    return source, outputs, segments


def _take_apart(model: keras.Model, inputs: list, training: bool, steps: list[Step]):
    """Append the steps of a functional model to `steps`, in the order in which it runs; returns its outputs."""

    def note(run, args, kwargs, spec):
        outputs = tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), spec)
        steps.append(Step(run, args, kwargs, tree.flatten(outputs)))
        return outputs

    def call(operation, *args, **kwargs):
        if _is_functional(operation):
            return _take_apart(operation, tree.flatten(args), training, steps)
        if "training" in inspect.signature(operation.call).parameters:
            kwargs["training"] = training
        if training and getattr(operation, "trainable", False) and operation.non_trainable_variables:
            raise ValueError(f"layer {operation.name} changes in training and cannot be rematerialised")
        return note(operation, args, kwargs, operation.compute_output_spec(*args, **kwargs))

    training = training and not getattr(model, "as_at_inference", False)
    inputs = [
        x
        if x.dtype == own.dtype
        # A nested model casts its arguments to the types of its inputs.
        else note(functools.partial(ops.cast, dtype=own.dtype), (x,), {}, keras.KerasTensor(x.shape, own.dtype))
        for x, own in zip(inputs, model.inputs, strict=True)
    ]
    outputs = model._run_through_graph(inputs, lambda operation: functools.partial(call, operation))
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


def _is_functional(operation) -> bool:
    """Whether a model is functional and runs as its graph says, but perhaps for `training`, which it then declares."""
    return isinstance(operation, Functional) and (
        type(operation).call is Functional.call or getattr(operation, "as_at_inference", False)
    )


def _cut(steps: Sequence[Step], last: dict[int, int]) -> list[tuple[int, int]]:
    """The (start, end) of each segment. Of all sizes that are tried, the one with the fewest bytes is taken."""
    sizes = [sum(map(_bytes, step.outputs)) for step in steps]
    choices = (_cut_at(steps, last, sizes, sum(sizes) / n) for n in range(1, SEGMENT_SIZES + 1))
    return min(choices, key=lambda choice: choice[0])[1]


def _cut_at(steps, last, sizes, most: float) -> tuple[int, list[tuple[int, int]]]:
    """Cut into segments of at most `most` bytes, or of one step, that keep the fewest bytes: (bytes, segments).

    The bytes are those that are kept, and the largest segment's. The cut is exact, by dynamic programming: beside what
    the cut before keeps, a cut keeps what was made in between.
    """
    kept, before = [0], [0]
    for end in range(1, len(steps) + 1):
        inside = crossing = 0
        best = None
        for start in range(end - 1, -1, -1):
            inside += sizes[start]
            if inside > most and start < end - 1:
                break
            crossing += sum(_bytes(x) for x in steps[start].outputs if last.get(id(x), -1) >= end)
            if best is None or kept[start] + crossing < best[0]:
                best = kept[start] + crossing, start
        kept.append(best[0])
        before.append(best[1])
    segments, end = [], len(steps)
    while end:
        segments.insert(0, (before[end], end))
        end = before[end]
    return kept[-1] + max(sum(sizes[start:end]) for start, end in segments), segments


def _bytes(tensor: keras.KerasTensor) -> int:
    """The bytes of a symbolic tensor, in which an unknown size counts as 1."""
    bits = int("".join(filter(str.isdigit, tensor.dtype)) or 8)
    return math.prod(n or 1 for n in tensor.shape) * bits // 8
