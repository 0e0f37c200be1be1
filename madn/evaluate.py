"""Measure a trained network, or a traditional reference, on pairs: python -m madn.evaluate MODEL --data DIR

Or print the papers' tables beside what was measured: python -m madn.evaluate --table
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn.errors import UserError, run_command
from madn.evaluation.measuring import measure, measure_restored
from madn.evaluation.selection import Selection
from madn.papers.published import report
from madn.papers.tables import canonical_method
from madn.system.commandline import parse
from madn.system.memory import shortage

PROG = "python -m madn.evaluate"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Selection):
    """What to measure, on which pairs."""

    model: Annotated[str | None, tyro.conf.Positional] = None
    """A published name (python -m madn.weights), a run folder, a .weights.h5 file or a SavedModel folder; or, without a
    network, deconvolution-fitted (an oracle: it is given the sharp image) or deconvolution-blind."""
    out: Path | None = None
    """Folder for JSON and pictures; by default below the run folder, or in runs/evaluation for any other model."""
    pictures: int = 12
    """Side-by-side pictures (blurred, restored, sharp) of the first N pairs; 0 for none."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder; of a run that held no images out (--validation none) the best is the last."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    trust_model: bool = False
    """Load a SavedModel that madn.export did not write: it is a program, and may do whatever its maker wants."""
    ensemble: bool = False
    """Restore each image in its eight flips and turns and measure the mean of these."""
    restored: Path | None = None
    """Instead of a model: the folder of images that another system restored, named as the pairs are (SCENE/FRAME.png,
    or SCENE-FRAME.png in one folder)."""
    name: str | None = None
    """What restored them: the papers' tables find the result by it (Nah, SRN, DeblurGAN, ...)."""
    table: tuple[str, ...] | None = None
    """Measure nothing: print the tables of these papers (by default all) beside the results that there are."""
    results: tuple[Path, ...] | None = None
    """Folders or JSON files of the results for --table; by default runs."""
    images: tuple[str, ...] = ()
    """Images of MADN's Table 3 for --table, such as store=SCENE/FRAME: the paper names none of its four."""


def main(argv: list[str]) -> None:
    """The command: table on the screen; JSON and pictures in the output folder."""
    options = parse(EvaluateOptions, argv, PROG, __doc__)
    if options.table is not None:
        _check_nothing_is_measured(options)
        return print(report(options.table, options.results, _images(options.images)))
    if options.results is not None or options.images:
        name = "--images" if options.results is None else "--results"
        raise UserError(f"{name} is of --table; add --table, or leave it out")
    if options.restored is not None or options.name is not None:
        return _restored_elsewhere(options, shlex.join([*PROG.split(), *argv]))
    if options.model is None:
        raise UserError(f"missing MODEL: name what to measure, or print what was measured with --table ({PROG} --help)")
    with shortage(f"{options.model}: measuring ran out of memory: give --protocol crop, or a smaller --crop"):
        _measure(options, argv)


def _measure(options: EvaluateOptions, argv: list[str]) -> None:
    measure(
        options.model,
        options,
        which=options.which,
        recipe=options.recipe,
        trust_model=options.trust_model,
        ensemble=options.ensemble,
        out=options.out,
        pictures=options.pictures,
        command=shlex.join([*PROG.split(), *argv]),
    )


def _restored_elsewhere(options: EvaluateOptions, command: str) -> None:
    if options.restored is None or not (options.name or "").strip():
        raise UserError("--restored DIR and --name NAME go together: the images, and what restored them")
    if options.model is not None or options.which != "best" or options.recipe or options.ensemble:
        raise UserError("--restored takes the place of a model; leave MODEL, --which, --recipe and --ensemble out")
    name = canonical_method(options.name.strip())
    measure_restored(options.restored, name, options, out=options.out, pictures=options.pictures, command=command)


def _images(said: tuple[str, ...]) -> dict[str, str]:
    """--images as column -> SCENE/FRAME."""
    parts = [each.partition("=") for each in said]
    for column, equals, image in parts:
        if not (column and equals and image):
            raise UserError(f"--images {column}{equals}{image}: give COLUMN=SCENE/FRAME, such as store=SCENE/000001")
    return {column: image for column, _, image in parts}


def _check_nothing_is_measured(options: EvaluateOptions) -> None:
    idle = [
        field.name
        for field in fields(options)
        if field.name not in ("table", "results", "images") and getattr(options, field.name) != field.default
    ]
    if idle:
        names = ", ".join(sorted(name.upper() if name == "model" else f"--{name.replace('_', '-')}" for name in idle))
        raise UserError(f"--table measures nothing and takes --results and --images alone; leave out {names}")


if __name__ == "__main__":
    run_command(main)
