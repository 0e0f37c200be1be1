"""A training step of a recipe, with everything that belongs to it, is timed in turns with a matrix product."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras

from madn import recipes
from madn.benchmarks.clock import PeakMemory, in_turns
from madn.benchmarks.measurements import TrainingJob
from madn.benchmarks.operations import run_with_macs
from madn.benchmarks.reference_rates import matrix_product, on_gpu
from madn.benchmarks.sample_images import crops
from madn.errors import UserError
from madn.nn.macs import step_macs
from madn.restoration.loading import load_network
from madn.training.perceptual import PerceptualRecipe
from madn.training.recipe import Recipe

CPU_BATCH, CPU_CROP = 2, 128  # A CPU's step is no larger, unless asked for, so that it ends.


def stages(source: str) -> list[Recipe]:
    """The recipe's stages, each a recipe of its own; a backbone starts from random weights."""
    recipe = recipes.get(source) if source in recipes.named() else load_network(source).recipe
    if recipe is None:
        raise UserError(f"{source}: a SavedModel does not train; give --only restoration")
    return [stage for stage, _ in recipe.without_downloads().stages(1000)]


def measure_step(job: TrainingJob) -> dict:
    """Time the recipe's `train_step` by `train_on_batch`, which returns numbers: the step has ended.

    The first step, which compiles, is not timed; its memory is taken, weights and optimisers included. Every stage
    starts from random weights, which cost the same. The input pipeline is left out: see --data.
    """
    memory = PeakMemory()
    recipe = stages(job.source)[job.stage]
    recipe = replace(
        recipe,
        precision=job.precision,
        jit=job.jit,
        accumulate=1,
        batch=job.batch or (recipe.batch if on_gpu() else min(recipe.batch, CPU_BATCH)),
        crop=job.crop or (recipe.crop if on_gpu() else min(recipe.crop, CPU_CROP)),
    )
    with tempfile.TemporaryDirectory() as folder:
        model = with_vgg(recipe, job.vgg_weights, Path(folder)).build_model(1000)
    count = recipe.batch
    blurred, sharp = crops(count, recipe.crop)

    def step() -> None:
        model.train_on_batch(blurred, sharp, return_dict=True)

    with memory:
        step()
    macs = run_with_macs(step)
    for _ in range(2 if on_gpu() else 0):
        step()
    product, product_macs = matrix_product(job.precision)
    product()
    times = in_turns({"step": step, "product": product}, job.repeats, job.seconds)
    if keras.backend.backend() == "tensorflow":
        macs = step_macs(model, count, recipe.crop).total
    return {
        "batch": recipe.batch,
        "crop": recipe.crop,
        "crops_per_step": count,
        "jit": recipe.jit,
        "seconds": times["step"],
        "macs": macs,
        "peak_memory_bytes": memory.bytes,
        "matrix_product": {"seconds": times["product"], "macs": product_macs},
    }


def with_vgg(recipe: Recipe, files: Sequence[str], folder: Path) -> Recipe:
    """The recipe with the VGG weights of its perceptual loss, if it has one: a file that is named, or a random one."""
    if not isinstance(recipe, PerceptualRecipe):
        return recipe
    network = recipe.vgg_network
    file = next((file for file in files if network in Path(file).name.lower()), None)
    if file is None:
        build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[network]
        file = str(folder / f"{network}.weights.h5")
        build(include_top=False, weights=None).save_weights(file)
    return replace(recipe, vgg_weights=file)
