"""Measure what things cost. python -m madn.bench times the training step and the restoration of every recipe against
the machine's own rates; --data DIR the input; --counts shows the recipes' MACs, --memory the memory of a training step,
and --restore PHOTO ways of restoring a photo."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from madn import recipes
from madn.benchmarks.suite import run_suite
from madn.data.sets import open_pairs
from madn.errors import UserError, run_command
from madn.papers.published import PAPERS
from madn.restoration.model_source import find_model
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.weights.registry import DEFAULT

PROG = "python -m madn.bench"
COUNTED = (*(name for name in PAPERS if name != "egnet"), "egnet-backbone", "egnet-nosen", "egnet")


@dataclass(frozen=True)
class BenchOptions:
    """By default, two tables: restoration and a training step of each recipe, p50 and p95 of the seconds, operations,
    and their rate's shares of what plain convolutions and a matrix product reach in the same process. --data: crops a
    second in the first epoch, which decodes; from the cache; and what the smallest training run consumes. --counts:
    parameters and multiply-adds of the recipes, beside what their papers claim. --memory: what a training step of madn,
    or of --recipes, takes, computed. --restore: seconds a megapixel of a photo, plain, compiled, in bfloat16 and in
    tiles, and how far their results differ."""

    recipes: tuple[str, ...] = ()
    """Recipes to measure (random weights), run folders or .weights.h5 files; by default each paper's. With --counts,
    recipes to count; by default those, EGNet's parts, and the ones for equal compute (-budget)."""
    only: Literal["restoration", "training"] | None = None
    """One of the two tables."""
    precision: tuple[Literal["float32", "mixed_bfloat16"], ...] = ("float32",)
    """What the networks compute in; one line of the tables for each."""
    size: str | None = None
    """Width and height of the photo, such as 1280x720, which is the default on a GPU; 640x360 on a CPU."""
    tile: int | None = None
    """Pixels of a tile's side, in place of what follows from the memory; with --restore 512 by default."""
    memory_gb: float | None = None
    """Memory that restoration may take, as in madn.deblur."""
    batch: int | None = None
    """Crops in a batch: of the training step, by default the recipe's own, on a CPU at most 2; of --data, 16."""
    crop: int | None = None
    """Side of the training step's crops; by default the recipe's own, on a CPU at most 128."""
    jit: bool = False
    """Compile the training step with XLA."""
    vgg_weights: tuple[str, ...] = ()
    """Files of VGG weights, their names with vgg16 or vgg19 in them; by default random ones, which are as fast."""
    repeats: int = 20
    """Times that each call is timed, at most."""
    seconds: float = 20.0
    """After so long no new round of timed calls starts, but three there are; of --data, how long to read and train."""
    json: Path | None = None
    """File for the figures with each single time, the machine and the versions; written anew after each line."""
    data: str | None = None
    """Folder of the pairs, or samples, to measure the input on."""
    crops: tuple[int, ...] = (64, 256)
    """With --data: crop sizes in pixels, multiples of 32."""
    counts: bool = False
    """Print the table of parameters and multiply-adds."""
    memory: bool = False
    """Print the table of a training step's memory, for each precision, with and without --remat and --accumulate."""
    restore: Path | None = None
    """Photo to restore in different ways."""
    model: str = DEFAULT
    """With --restore: a published name, a run folder or a .weights.h5 file."""
    out: Path | None = None
    """With --restore: folder for the restored photo, and for what tiles change in it."""

    def __post_init__(self):
        for name in ("tile", "memory_gb", "batch", "crop", "repeats", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0; received {value:g}")
        if self.size is not None and not re.fullmatch(r"[1-9]\d{0,5}x[1-9]\d{0,5}", self.size):
            raise UserError(f"--size is width x height, such as 1280x720; received {self.size}")
        if not self.precision:
            raise UserError("--precision takes at least one; received none")
        if self.json and (self.counts or self.memory or self.restore):
            raise UserError("--json holds what is timed by default and by --data; leave it out with the other tables")
        if self.recipes and (self.data or self.restore) and not (self.counts or self.memory):
            raise UserError("--recipes chooses what is measured by default or counted; leave --data and --restore out")
        if not self.restore and (self.model, self.out) != (DEFAULT, None):
            raise UserError("--model and --out are of --restore; add --restore PHOTO")
        for source in self.recipes:
            if self.counts or self.memory or Path(source).name == source and not Path(source).exists():
                recipes.check_name(source)
            elif not Path(source).exists():
                raise UserError(f"{source}: no such run folder or .weights.h5 file")
        for file in self.vgg_weights:
            if not Path(file).is_file():
                raise UserError(f"{file}: no such file; --vgg-weights takes VGG weights of keras.applications")


def main(argv: list[str]) -> int | None:
    """The command: prints the tables asked for. Returns 1 where a measurement failed, after the others."""
    options = parse(BenchOptions, argv, PROG, __doc__)
    command = shlex.join([*PROG.split(), *argv])
    if not (options.data or options.counts or options.memory or options.restore):
        size = tuple(map(int, options.size.split("x"))) if options.size else None
        return run_suite(
            options.recipes or PAPERS,
            options.precision,
            restoration=options.only != "training",
            training=options.only != "restoration",
            timing={"repeats": options.repeats, "seconds": options.seconds},
            photo={"size": size, "tile": options.tile, "memory_gb": options.memory_gb},
            step={name: getattr(options, name) for name in ("batch", "crop", "jit", "vgg_weights")},
            file=options.json,
            command=command,
        )
    pairs = open_pairs(options.data).pairs if options.data else ()
    if options.restore:
        find_model(options.model)
        if not options.restore.exists():
            raise UserError(f"{options.restore}: no such file")
    start_keras()
    if options.counts:
        from madn.benchmarks.tables import cost_table

        _print(cost_table(options.recipes or default_recipes()))
    if options.memory:
        from madn.benchmarks.tables import memory_table

        _print(memory_table(options.recipes or ("madn",), options.batch, options.crop, options.vgg_weights))
    if options.restore:
        from madn.benchmarks.tables import restoration_table

        _print(restoration_table(options.model, options.restore, options.tile or 512, options.out))
    if options.data:
        from madn.benchmarks.inputs import input_lines

        name = Path(options.data).name
        _print(input_lines(pairs, name, options.crops, options.batch or 16, options.seconds, options.json, command))
    return None


def default_recipes() -> list[str]:
    """Each paper's recommended configuration, and the narrow ones for equal compute."""
    return [*COUNTED, *(name for name in recipes.named() if name.endswith("-budget"))]


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    run_command(main)
