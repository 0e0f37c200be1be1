"""The memory of a training step, computed from the graph of the step itself, which is traced and not run."""

import gc
import math
from dataclasses import dataclass, replace

import keras

from madn.errors import UserError
from madn.nn.graphs import peak_bytes, trace
from madn.system import memory
from madn.training.recipe import Recipe
from madn.training.settings import device

WORTH_TRACING = 2**18  # Of fewer pixels a part of a batch takes a few gigabytes in any of the papers' networks.
MARGIN = 1.3  # The most by which the computed memory was above what TensorFlow took.


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


def check_memory(recipe: Recipe) -> None:
    """Raise `UserError` where a step of `recipe` cannot fit into this machine's memory, before the system ends the run.

    It takes some twenty seconds, so it is done for large steps alone, and where TensorFlow computes on the processor: a
    GPU's own memory ends a step with an error that says so.
    """
    pixels = recipe.batch // recipe.accumulate * recipe.crop**2
    if keras.backend.backend() != "tensorflow" or not device().startswith("CPU") or pixels < WORTH_TRACING:
        return
    needed, free = training_memory(recipe).peak, memory.available()
    gc.collect()
    if needed / MARGIN > free:
        raise UserError(
            f"a training step takes about {needed / 1e9:.0f} GB and {free / 1e9:.0f} GB are free. Less memory take "
            "--remat blocks (about a third), --precision mixed_bfloat16 (half), --accumulate N (an N-th; N divides the "
            "batch), or a smaller --batch or --crop"
        )
