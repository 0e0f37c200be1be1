"""Tables that `madn.bench` prints: what recipes cost, what their training steps hold, ways of restoring a photo."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np

from madn import recipes
from madn.benchmarks.costs import in_turns
from madn.benchmarks.timing import stages, with_vgg
from madn.errors import UserError
from madn.imaging.arrays import read_image, write_image
from madn.nn.macs import network_macs
from madn.papers import published
from madn.restoration.loading import Loaded, load_network
from madn.restoration.restorer import padded_size, restore
from madn.system.tables import markdown_lines, markdown_table
from madn.training.step_memory import training_memory

SIZES = ((256, 256), (1280, 720))  # These are widths and heights.
ROUNDS = 3  # Ways of restoring a photo are timed this often.
PLAIN = "plain Keras call"


def cost_table(names: Sequence[str]) -> Iterator[str]:
    """A Markdown table: parameters, and multiply-adds (`madn.nn.macs.network_macs`) of one image in billions.

    An image is padded to the recipe's multiple: the size that was taken stands beside the number.
    """
    sizes = [f"GMACs {width}x{height}" for width, height in SIZES]
    header = ["recipe", "generator", "discriminators", *sizes, "its paper says"]
    return markdown_lines(header, map(_costs, names), [False, True, True, *[True] * len(sizes), False])


def _costs(name: str) -> list[str]:
    recipe, claim = recipes.get(name), published.load()["claims"].get(name)
    generator = recipe.build_generator()
    cells = [name, f"{generator.count_params():,}", _discriminators(recipe.build_critics()) or "none"]
    for size in SIZES:
        width, height = (padded_size(n, recipe.multiple) for n in size)
        billions = network_macs(generator, height, width).total / 1e9
        cells.append(f"{billions:,.3f}" + (f" ({width}x{height})" if (width, height) != size else ""))
    return [*cells, f"{claim['claim']} ({claim['source']})" if claim else ""]


def _discriminators(critics: dict) -> str:
    """Parameters of each discriminator; one that judges several domains is named once."""
    domains = defaultdict(list)
    for domain, critic in critics.items():
        domains[id(critic), critic.count_params()].append(domain)
    return ", ".join(f"{' and '.join(names)} {count:,}" for (_, count), names in domains.items())


def memory_table(
    names: Sequence[str], batch: int | None = None, crop: int | None = None, vgg_weights: Sequence[str] = ()
) -> Iterator[str]:
    """A Markdown table of the GiB that each recipe's training step (its first stage's) takes, computed.

    There is a line for each precision, with and without rematerialisation, in 1, 2 and 4 parts. `batch` and `crop`: by
    default the recipe's own; `vgg_weights` as in `madn.benchmarks.timing.with_vgg`.
    """
    header = ["recipe", "batch, crop", "precision", "remat"]
    header += ["accumulate", "weights, moments", "the step's own", "peak"]
    return markdown_lines(header, _memory(names, batch, crop, vgg_weights), [number > 3 for number in range(8)])


def _memory(names: Sequence[str], batch: int | None, crop: int | None, vgg_weights: Sequence[str]) -> Iterator[list]:
    combinations: list[tuple[Any, Any, int]] = [*product(("float32", "mixed_bfloat16"), ("none", "blocks"), (1, 2, 4))]
    for name in names:
        recipe = stages(name)[0]
        recipe = replace(recipe, batch=batch or recipe.batch, crop=crop or recipe.crop)
        with tempfile.TemporaryDirectory() as folder:
            recipe = with_vgg(recipe, vgg_weights, Path(folder))
            for precision, remat, accumulate in combinations:
                if recipe.batch % accumulate:
                    continue
                found = training_memory(replace(recipe, precision=precision, remat=remat, accumulate=accumulate))
                sizes = [f"{n / 2**30:.1f}" for n in (found.state, found.step, found.peak)]
                yield [f"`{name}`", f"{recipe.batch}, {recipe.crop}", precision, remat, str(accumulate), *sizes]
                keras.backend.clear_session()


def restoration_table(model: str, photo: Path, tile: int, out: Path | None = None) -> Iterator[str]:
    """A Markdown table: seconds a megapixel, the ratio to the plain call, PSNR and largest difference against it.

    Every way is run once to compile and `ROUNDS` times in turn with the others; the fastest counts. `tile`: a tile's
    side in pixels. `out`: folder for the restored photo and the tiles' difference from it, 32 times enlarged about
    grey. Raises `UserError` for a SavedModel, and where model or photo cannot be read.
    """
    image = read_image(photo)
    loaded = load_network(model)
    if loaded.model is None:
        raise UserError(f"{model} is a SavedModel: give the run folder, which is run in more than one way")
    ways = _ways(loaded, model, image, tile)
    results = {name: way() for name, way in ways.items()}
    seconds = in_turns(ways, ROUNDS, float("inf"))
    plain, megapixels = min(seconds[PLAIN]), image.shape[0] * image.shape[1] / 1e6
    yield f"{loaded.description}, {photo.name}, {image.shape[1]}x{image.shape[0]}"
    rows = []
    for name, times in seconds.items():
        difference = results[name] - results[PLAIN]
        error = float(np.square(difference).mean())
        closeness = "equal" if error == 0 else f"{-10 * np.log10(error):.1f} dB"
        ratio, largest = f"{plain / min(times):.2f}", f"{np.abs(difference).max() * 255:.2f}"
        rows.append([name, f"{min(times) / megapixels:.2f}", ratio, closeness, largest])
    header = ["way", "s/megapixel", "plain / this", "PSNR to the plain call", "largest difference, of 255"]
    yield markdown_table(header, rows, [False, True, True, True, True])
    if out:
        write_image(out / f"{photo.stem}_whole.png", results["compiled"])
        tiled = next(name for name in results if name.startswith("tiles"))
        write_image(
            out / f"{photo.stem}_{tile}_difference_x32.png",
            np.clip(0.5 + 32 * (results[tiled] - results["compiled"]), 0, 1),
        )


def _ways(loaded: Loaded, model: str, image: np.ndarray, tile: int) -> dict[str, Callable[[], np.ndarray]]:
    """The ways by name: calls that restore the photo, wait for the result and clip it to [0, 1]."""
    half, restorer = load_network(model, precision="bfloat16").network, loaded.restorer(tile=tile, scale=1.0)

    def whole(network) -> Callable[[], np.ndarray]:
        return lambda: restore(lambda batch: keras.ops.convert_to_numpy(network(batch)), image, loaded.multiple)

    ways = {
        PLAIN: whole(lambda images: loaded.model(images, training=False)["deblurred"]),
        "compiled": whole(loaded.network),
        "compiled, bfloat16": whole(half),
        f"tiles: {restorer.plan(*image.shape[:2])}": lambda: restorer(image)[0],
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        generator = loaded.network.generator
        ways["compiled with XLA"] = whole(
            tf.function(lambda images: generator(images, training=False), jit_compile=True, autograph=False)
        )
    return ways
