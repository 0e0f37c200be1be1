"""What things cost: the input pipeline against training, python -m madn.bench --data DIR; the recipes' operations,
python -m madn.bench --counts; ways of restoring a photo, python -m madn.bench --restore PHOTO"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from madn import published, recipes
from madn.commandline import parse
from madn.data.crops import PairCrops
from madn.data.images import DecodedImages
from madn.data.sets import open_pairs
from madn.errors import UserError, run_door
from madn.imaging.restore import padded_size
from madn.startup import start_keras

RECOMMENDED = ("madn", "sisnet", "structure_guided", "msr2b", "egnet-backbone", "egnet-nosen", "egnet")
SIZES = ((256, 256), (1280, 720))  # width x height


@dataclass(frozen=True)
class Options:
    """--data: crops a second in the first epoch, which decodes; from the cache; and what the smallest training run
    consumes. --counts: parameters and multiply-adds of the recipes, beside what their papers claim. --restore: seconds
    a megapixel of a photo, plain, compiled, in bfloat16 and in tiles, and how far their results differ."""

    data: str | None = None
    """Folder of the pairs, or samples, to measure the input on."""
    crops: tuple[int, ...] = (64, 256)
    """Crop sizes in pixels, multiples of 32."""
    batch: int = 16
    """Crops in a batch."""
    seconds: float = 5.0
    """How long to read from the cache, and to train."""
    counts: bool = False
    """Print the table of parameters and multiply-adds."""
    recipes: tuple[str, ...] = ()
    """Recipes to count; by default each paper's recommended one, and those for equal compute (-budget)."""
    restore: Path | None = None
    """Photo to restore."""
    model: str = "madn"
    """With --restore: a shipped name, a run folder or a .weights.h5 file."""
    tile: int = 512
    """With --restore: pixels of a tile's side."""
    out: Path | None = None
    """With --restore: folder for the restored photo, and for what tiles change in it."""


def main(argv: list[str]) -> None:
    """The tables that are asked for: counts, ways of restoring a photo, and a line of rates per crop size."""
    options = parse(Options, argv, "python -m madn.bench", __doc__)
    if not (options.data or options.counts or options.restore):
        raise UserError("give --data DIR to measure the input, --counts to count operations, or --restore PHOTO")
    if options.recipes and not options.counts:
        raise UserError("--recipes chooses what --counts counts; add --counts")
    if not options.restore and (options.model, options.tile, options.out) != ("madn", 512, None):
        raise UserError("--model, --tile and --out are of --restore; add --restore PHOTO")
    for name in options.recipes:
        recipes.check_name(name)
    pairs = open_pairs(options.data).pairs if options.data else ()
    start_keras()
    if options.counts:
        for line in count_table(options.recipes or default_recipes()):
            print(line, flush=True)
    if options.restore:
        from madn.restoration_bench import restoration_table

        for line in restoration_table(options.model, options.restore, options.tile, out=options.out):
            print(line, flush=True)
    if not options.data:
        return
    print(f"{len(pairs)} pairs of {Path(options.data).name}, batches of {options.batch}, {os.cpu_count()} cores")
    for crop in options.crops:
        source = PairCrops(pairs, DecodedImages("memory", 16.0), crop, seed=0, augment="dihedral")
        first, cached = input_rates(source, options.batch, options.seconds)
        training = training_rate(source, options.batch, options.seconds)
        print(f"crop {crop}: first epoch {first:.0f} crops/s, cached {cached:.0f} crops/s; the smallest training run "
              f"takes {training:.1f} crops/s, cached input gives {cached / training:.0f} times that", flush=True)


def default_recipes() -> list[str]:
    """Each paper's recommended configuration, and the narrow ones for equal compute."""
    return [*RECOMMENDED, *(name for name in recipes.RECIPES if name.endswith("-budget"))]


def count_table(names: Sequence[str]) -> Iterator[str]:
    """A Markdown table: parameters, and multiply-adds (`madn.counting.macs`) of one image in billions.

    An image is padded to the recipe's multiple: the size that is counted stands beside the number.
    """
    from madn.counting import macs

    claims = published.load()["claims"]
    yield "| recipe | generator | critics | " + " | ".join(f"GMACs {w}x{h}" for w, h in SIZES) + " | its paper says |"
    yield "|---|---:|---:|" + "---:|" * len(SIZES) + "---|"
    for name in names:
        recipe = recipes.get(name)
        generator = recipe.build_generator()
        cells = [name, f"{generator.count_params():,}", _critics(recipe.build_critics()) or "none"]
        for size in SIZES:
            width, height = (padded_size(n, recipe.multiple) for n in size)
            billions = macs(generator, height, width).total / 1e9
            cells.append(f"{billions:,.3f}" + (f" ({width}x{height})" if (width, height) != size else ""))
        claim = claims.get(name)
        cells.append(f"{claim['claim']} ({claim['source']})" if claim else "")
        yield f"| {' | '.join(cells)} |"


def _critics(critics: dict) -> str:
    """Parameters of each critic, one that judges several domains named once."""
    domains = defaultdict(list)
    for domain, critic in critics.items():
        domains[id(critic), critic.count_params()].append(domain)
    return ", ".join(f"{' and '.join(names)} {count:,}" for (_, count), names in domains.items())


def input_rates(source: PairCrops, batch: int, seconds: float) -> tuple[float, float]:
    """Crops per second in the first epoch (decoding every file) and after it (from the memory cache)."""
    from madn.data.pipeline import training_dataset

    epoch = -(-len(source) // batch)
    rates = []
    for first_step, steps, limit in ((0, epoch, float("inf")), (epoch, None, seconds)):
        drawn, start = 0, time.perf_counter()
        for _ in training_dataset(source, batch, first_step, steps):
            drawn += 1
            if time.perf_counter() - start > limit:
                break
        rates.append(drawn * batch / (time.perf_counter() - start))
    return tuple(rates)


def training_rate(source: PairCrops, batch: int, seconds: float) -> float:
    """Crops per second of the narrowest MADN that the tests train (widths 4/8/16, one residual block, no critic)."""
    from madn.data.pipeline import training_dataset
    from madn.recipe import MADN

    recipe = replace(MADN, widths=(4, 8, 16), res_blocks=1, adversarial_domains="none", crop=source.crop, batch=batch)
    model = recipe.build_model(1_000_000)
    batches = iter(training_dataset(source, batch))
    model.train_on_batch(*next(batches))  # traces the step
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or steps < 3:
        model.train_on_batch(*next(batches), return_dict=True)  # returns numbers: the step has ended
        steps += 1
    return steps * batch / (time.perf_counter() - start)


if __name__ == "__main__":
    run_door(main)
