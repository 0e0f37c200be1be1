"""How much memory a training step takes, computed from the graph of the step itself, which is traced and not run."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from madn.benchmarks.training import stages, with_vgg
from madn.errors import UserError
from madn.nn.macs import needed, trace
from madn.training.recipe import Recipe

VIEWS = {"Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient", "Snapshot"}
IN_PLACE = {
    "BiasAdd",
    "Relu",
    "LeakyRelu",
    "Tanh",
    "Sigmoid",
    "Softplus",
    "AddV2",
    "Add",
    "AddN",
    "Sub",
    "Mul",
    "Neg",
    "Abs",
    "Maximum",
    "Minimum",
    "RealDiv",
    "Sqrt",
    "Rsqrt",
    "Square",
    "Exp",
    "SelectV2",
    "ReluGrad",
    "LeakyReluGrad",
    "TanhGrad",
    "SigmoidGrad",
    "SoftplusGrad",
    "SqrtGrad",
    "RsqrtGrad",
}
SIZES_ONLY = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
COMBINATIONS: list[tuple[Any, Any, int]] = [
    (precision, remat, accumulate)
    for precision in ("float32", "mixed_bfloat16")
    for remat in ("none", "blocks")
    for accumulate in (1, 2, 4)
]


@dataclass(frozen=True)
class Memory:
    """Bytes of one training step.

    state: weights of all networks, those of the losses too, and the optimisers' moments.
    step: the most that there is at once beside the state: activations, gradients and the batch.
    """

    state: int
    step: int

    @property
    def peak(self) -> int:
        return self.state + self.step


def training_memory(recipe: Recipe) -> Memory:
    """The memory of a step of `recipe`, by its own batch, crop, precision, remat and accumulate.

    The graph of `train_step` is traced, and gone through in the order of the trace: forward, then backward, part by
    part. The rules:
    - a result lives from the operation that makes it to the last that takes it;
    - reshaping and passing on (`VIEWS`) make none; element by element (`IN_PLACE`) it is written over an input of its
      size that nobody needs any more;
    - weights and moments are held once, in float32, and counted apart;
    - parts of a batch are alike: two of them are traced, whatever their number, and the whole batch beside them.
    Not counted: the scratch memory of the convolutions, what an allocator loses between its blocks, the program itself.
    Six combinations of a narrow MADN (batch 2, crop 128, TensorFlow 2.21, CPU), against the most that TensorFlow's
    allocator gave out in a step: 1.02 to 1.27 times that. TensorFlow runs what is ready, such as a critic's backward
    pass before the generator's, and so frees some of it earlier than the trace does.
    Raises `UserError` on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"memory is computed from TensorFlow's graph; set KERAS_BACKEND=tensorflow (here {keras.backend.backend()})"
        )
    traced = recipe
    if recipe.accumulate > 2:
        traced = replace(recipe, batch=2 * recipe.batch // recipe.accumulate, accumulate=2)
    model = traced.build_model(1000)
    crops, crop = traced.batch, traced.crop
    graph = trace(lambda blurred, sharp: model.train_step((blurred, sharp)), *[(crops, crop, crop, 3)] * 2)
    images = 2 * (recipe.batch - crops) * crop**2 * 3 * 4
    loss = getattr(model.objective, "perceptual", None)
    variables = [
        *model.generator.variables,
        *{id(v): v for c in model.critics.values() for v in c.variables}.values(),
        *(loss.extractor.variables if loss else ()),
        *model.optimizer.variables,
        *(model.d_optimizer.variables if model.d_optimizer else ()),
    ]
    return Memory(sum(_size(v.shape, 4) for v in variables), _most_alive(graph) + images)


def memory_table(
    names: Sequence[str], batch: int | None = None, crop: int | None = None, vgg_weights: Sequence[str] = ()
) -> Iterator[str]:
    """A Markdown table, in GiB: each recipe's step (its first stage's) in each precision, with and without
    rematerialisation, in 1, 2 and 4 parts; None for the recipe's own batch and crop."""
    yield "| recipe | batch, crop | precision | remat | accumulate | weights, moments | the step's own | peak |"
    yield "|---|---|---|---|---:|---:|---:|---:|"
    for name in names:
        recipe = stages(name)[0]
        recipe = replace(recipe, batch=batch or recipe.batch, crop=crop or recipe.crop)
        with tempfile.TemporaryDirectory() as folder:
            recipe = with_vgg(recipe, vgg_weights, Path(folder))
            for precision, remat, accumulate in COMBINATIONS:
                if recipe.batch % accumulate:
                    continue
                found = training_memory(replace(recipe, precision=precision, remat=remat, accumulate=accumulate))
                sizes = " | ".join(f"{n / 2**30:.1f}" for n in (found.state, found.step, found.peak))
                yield f"| `{name}` | {recipe.batch}, {recipe.crop} | {precision} | {remat} | {accumulate} | {sizes} |"
                keras.backend.clear_session()


def _most_alive(graph) -> int:
    """The most bytes alive at once in a graph that runs in the order of its trace."""
    operations = needed(graph)
    holder = {}  # tensor -> the tensor whose memory it is in
    uses = Counter()
    for operation in operations:
        for i, tensor in enumerate(operation.outputs):
            view = operation.type in VIEWS and i < len(operation.inputs)
            holder[tensor.ref()] = holder[operation.inputs[i].ref()] if view else tensor.ref()
        uses.update(holder[tensor.ref()] for tensor in _read(operation))
    held = [t for o in operations if o.type == "Placeholder" for t in o.outputs]  # the batch, which the caller holds
    uses.update(holder[t.ref()] for t in (*held, *graph.outputs))
    alive = {}
    now = most = 0
    for operation in operations:
        made = {t.ref(): _bytes(t) for t in operation.outputs if holder[t.ref()] == t.ref() and _bytes(t)}
        taken = Counter(holder[tensor.ref()] for tensor in _read(operation))
        ending = {ref: alive[ref] for ref, n in taken.items() if ref in alive and uses[ref] == n}
        reused = 0
        if operation.type in IN_PLACE and made:
            reused = max((n for n in ending.values() if n == sum(made.values())), default=0)
        most = max(most, now + sum(made.values()) - reused)
        uses.subtract(taken)
        for ref in ending:
            now -= alive.pop(ref)
        for ref, n in made.items():
            if uses[ref]:
                alive[ref] = n
                now += n
    return most


def _read(operation) -> Sequence:
    """The inputs whose values are read: TensorFlow puts in constants for sizes that are known."""
    return () if operation.type in SIZES_ONLY else operation.inputs


def _bytes(tensor) -> int:
    """Size of a result; 0 for what is no memory of the step: weights, constants and resources."""
    if tensor.op.type in ("Const", "ReadVariableOp") or not tensor.dtype.size:
        return 0
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has the unknown size {tensor.shape}")
    return _size(tensor.shape, tensor.dtype.size)


def _size(shape, item: int) -> int:
    for n in shape:
        item *= n
    return item
