"""The measurements that `madn.benchmarks.suite` makes in processes of their own: a photo, and a training step.

Both take `source`, the name of a recipe (random weights), a run folder or a .weights.h5 file; `precision`, "float32" or
"mixed_bfloat16"; and `repeats` and `seconds` as in `in_turns`. They return plain JSON values. The reference, a matrix
product, has its turns between theirs, so that noise of the machine meets both.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from madn import recipes
from madn.benchmarks.costs import PeakMemory, in_turns, run_with_macs
from madn.benchmarks.reference_rates import convolution_stack, environment, matrix_product, on_gpu
from madn.errors import UserError
from madn.nn.macs import network_macs, step_macs
from madn.restoration.inference import Inference
from madn.restoration.loading import Loaded, load_network
from madn.restoration.restorer import reflected
from madn.training.perceptual import PerceptualRecipe
from madn.training.precision import dtype_policy
from madn.training.recipe import Recipe

CPU_BATCH, CPU_CROP = 2, 128  # On a CPU a step is no larger by default: it would take minutes.


def about(sources: Sequence[str], train: bool) -> dict:
    """The environment, and as `stages` the names of each source's stages, [""] where there is one.

    Raises `UserError` for a source that cannot be loaded or, with `train`, does not train.
    """
    names = {}
    for source in sources if train else ():
        every = stages(source)
        names[source] = [stage.stage_name if len(every) > 1 else "" for stage in every]
    return {**environment(), "stages": names}


def measure_photo(
    source: str,
    precision: Literal["float32", "mixed_bfloat16"],
    repeats: int,
    seconds: float,
    size: tuple[int, int] | None = None,
    tile: int | None = None,
    memory_gb: float | None = None,
) -> dict:
    """Time a photo's way through `madn.restoration.restorer.Restorer`, as `madn.deblur` takes it, uint8 to uint8.

    `size`: width and height in pixels; by default 1280x720 on a GPU, 640x360 on a CPU. `tile` and `memory_gb` as in
    `madn.deblur`. Plain convolutions have their turns, too. The first photo, which compiles, is not timed; it is the
    one whose memory is taken. The operations of a photo in tiles are those of its tiles, once; PyTorch's counter also
    sees the passes that gather a photo's statistics.
    """
    memory = PeakMemory()
    loaded = _load_or_random(source, precision)
    width, height = size or ((1280, 720) if on_gpu() else (640, 360))
    restorer = loaded.restorer(memory_gb, tile, scale=1.0)
    plan, pixels = restorer.plan(height, width), sample_photo(height, width)
    with memory:
        macs = run_with_macs(lambda: restorer(pixels))
    for _ in range(2 if on_gpu() else 0):
        restorer(pixels)
    stack, stack_macs = convolution_stack(plan.height, plan.width, precision)
    product, product_macs = matrix_product(precision)
    stack(), product()
    times = in_turns({"photo": lambda: restorer(pixels), "stack": stack, "product": product}, repeats, seconds)
    if keras.backend.backend() == "tensorflow" and loaded.model is not None:
        macs = plan.count * network_macs(loaded.model, plan.height, plan.width).total
    return {
        "weights": "random" if source in recipes.named() else loaded.description,
        "size": [width, height],
        "tiles": str(plan),
        "tile_size": [plan.width, plan.height],
        "megapixels": width * height / 1e6,
        "seconds": times["photo"],
        "macs": macs,
        "peak_memory_bytes": memory.bytes,
        "stack": {"seconds": times["stack"], "macs": stack_macs},
        "matrix_product": {"seconds": times["product"], "macs": product_macs},
    }


def measure_step(
    source: str,
    precision: Literal["float32", "mixed_bfloat16"],
    repeats: int,
    seconds: float,
    stage: int = 0,
    batch: int | None = None,
    crop: int | None = None,
    jit: bool = False,
    vgg_weights: Sequence[str] = (),
) -> dict:
    """Time the `train_step` of a recipe's stage by `train_on_batch`, which returns numbers: the step has ended.

    `batch` crops of `crop` pixels squared; by default the recipe's own, on a CPU at most 2 of 128. `jit`: compiled with
    XLA. `vgg_weights` as in `with_vgg`. The first step, which compiles, is not timed; its memory is taken, weights and
    optimisers included. Every stage starts from random weights, which cost the same. The input pipeline is left out:
    see `madn.benchmarks.inputs`.
    """
    memory = PeakMemory()
    recipe = stages(source)[stage]
    recipe = replace(
        recipe,
        precision=precision,
        jit=jit,
        accumulate=1,
        batch=batch or (recipe.batch if on_gpu() else min(recipe.batch, CPU_BATCH)),
        crop=crop or (recipe.crop if on_gpu() else min(recipe.crop, CPU_CROP)),
    )
    with tempfile.TemporaryDirectory() as folder:
        model = with_vgg(recipe, vgg_weights, Path(folder)).build_model(1000)
    blurred, sharp = sample_crops(recipe.batch, recipe.crop)

    def step() -> None:
        model.train_on_batch(blurred, sharp, return_dict=True)

    with memory:
        step()
    macs = run_with_macs(step)
    for _ in range(2 if on_gpu() else 0):
        step()
    product, product_macs = matrix_product(precision)
    product()
    times = in_turns({"step": step, "product": product}, repeats, seconds)
    if keras.backend.backend() == "tensorflow":
        macs = step_macs(model, recipe.batch, recipe.crop).total
    return {
        "batch": recipe.batch,
        "crop": recipe.crop,
        "crops_per_step": recipe.batch,
        "jit": recipe.jit,
        "seconds": times["step"],
        "macs": macs,
        "peak_memory_bytes": memory.bytes,
        "matrix_product": {"seconds": times["product"], "macs": product_macs},
    }


def stages(source: str) -> list[Recipe]:
    """The stages that a source's recipe trains in, each a recipe of its own; a backbone starts from random weights.

    Raises `UserError` for a SavedModel, and where the source cannot be loaded.
    """
    recipe = recipes.get(source) if source in recipes.named() else load_network(source).recipe
    if recipe is None:
        raise UserError(f"{source}: a SavedModel does not train; give --only restoration")
    return [stage for stage, _ in recipe.without_downloads().stages(1000)]


def with_vgg(recipe: Recipe, files: Sequence[str], folder: Path) -> Recipe:
    """The recipe with VGG weights for its perceptual loss, if it has one.

    They are those of the file in `files` whose name says vgg16 or vgg19; where there is none, random ones, which take
    the same time, are written to `folder`.
    """
    if not isinstance(recipe, PerceptualRecipe):
        return recipe
    network = recipe.vgg_network
    file = next((file for file in files if network in Path(file).name.lower()), None)
    if file is None:
        build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[network]
        file = str(folder / f"{network}.weights.h5")
        build(include_top=False, weights=None).save_weights(file)
    return replace(recipe, vgg_weights=file)


def sample_photo(height: int, width: int) -> np.ndarray:
    """A photo, uint8 (height, width, 3): scikit-image's astronaut, mirrored as often as needed."""
    from skimage.data import astronaut

    picture = astronaut()
    for axis, (side, has) in enumerate(zip((height, width), picture.shape)):
        picture = np.take(picture, reflected(has, max(side, has))[:side], axis)
    return picture


def sample_crops(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(blurred, sharp), float32 (count, side, side, 3) in [0, 1]: parts of the photo, blurred sideways."""
    picture = sample_photo(side + 8 * count, side + 8) / np.float32(255)
    blurred = (picture[:, :-8] + picture[:, 4:-4] + picture[:, 8:]) / 3
    places = [slice(8 * i, 8 * i + side) for i in range(count)]
    return np.stack([blurred[place] for place in places]), np.stack([picture[place, 4:-4] for place in places])


def _load_or_random(source: str, precision: str) -> Loaded:
    """A recipe by name, with random weights, or whatever `load_network` takes."""
    if source not in recipes.named():
        return load_network(source, precision="bfloat16" if precision == "mixed_bfloat16" else "float32")
    recipe = recipes.get(source).without_downloads()
    with dtype_policy(precision):
        generator = recipe.build_generator()
    return Loaded(Inference(generator), f"{source}, random weights", recipe, generator, source)
