"""The memory of a training step, computed from the graph of the step itself, which is traced and not run."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from madn.benchmarks.step_timing import stages, with_vgg
from madn.errors import UserError
from madn.nn.graphs import peak_bytes, trace
from madn.system.tables import markdown_lines
from madn.training.recipe import Recipe

COMBINATIONS = [
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

    The graph of `train_step` is traced, and gone through in the order of the trace (`madn.nn.graphs.peak_bytes`):
    forward, then backward, part by part. Weights and moments are held once, in float32, and counted apart. Parts of a
    batch are alike: two of them are traced, whatever their number, and the whole batch beside them.
    Not counted: the scratch memory of the convolutions, what an allocator loses between its blocks, the program itself.
    Six combinations of a narrow MADN (batch 2, crop 128, TensorFlow 2.21, CPU), against the most that TensorFlow's
    allocator gave out in a step: 1.02 to 1.27 times that. TensorFlow runs what is ready, such as a discriminator's
    backward pass before the generator's, and so frees some of it earlier than the trace does.
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
    return Memory(sum(4 * math.prod(v.shape) for v in variables), peak_bytes(graph) + images)


def memory_table(
    names: Sequence[str], batch: int | None = None, crop: int | None = None, vgg_weights: Sequence[str] = ()
) -> Iterator[str]:
    """A Markdown table, in GiB: each recipe's step (its first stage's) in each precision, with and without
    rematerialisation, in 1, 2 and 4 parts; None for the recipe's own batch and crop."""
    header = ["recipe", "batch, crop", "precision", "remat"]
    header += ["accumulate", "weights, moments", "the step's own", "peak"]
    return markdown_lines(header, _rows(names, batch, crop, vgg_weights), [number > 3 for number in range(8)])


def _rows(names: Sequence[str], batch: int | None, crop: int | None, vgg_weights: Sequence[str]) -> Iterator[list[str]]:
    for name in names:
        recipe = stages(name)[0]
        recipe = replace(recipe, batch=batch or recipe.batch, crop=crop or recipe.crop)
        with tempfile.TemporaryDirectory() as folder:
            recipe = with_vgg(recipe, vgg_weights, Path(folder))
            for precision, remat, accumulate in COMBINATIONS:
                if recipe.batch % accumulate:
                    continue
                found = training_memory(replace(recipe, precision=precision, remat=remat, accumulate=accumulate))
                sizes = [f"{n / 2**30:.1f}" for n in (found.state, found.step, found.peak)]
                yield [f"`{name}`", f"{recipe.batch}, {recipe.crop}", precision, remat, str(accumulate), *sizes]
                keras.backend.clear_session()
