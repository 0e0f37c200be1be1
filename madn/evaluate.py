"""Measure a trained network, or a traditional reference, on pairs: python -m madn.evaluate MODEL --data DIR

Or print the papers' tables beside what was measured: python -m madn.evaluate --table
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn.errors import UserError, run_command
from madn.evaluation.measuring import measure
from madn.evaluation.selection import Selection
from madn.papers.published import report
from madn.restoration.runtimes import RuntimeOptions
from madn.system.commandline import parse

PROG = "python -m madn.evaluate"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(RuntimeOptions, Selection):
    """What to measure, on which pairs."""

    model: Annotated[str | None, tyro.conf.Positional] = None
    """A published name (python -m madn.weights), a run folder, a .weights.h5 file, a SavedModel folder or an ONNX
    file; or, without a network, deconvolution-fitted (an oracle: it is given the sharp image) or
    deconvolution-blind."""
    out: Path | None = None
    """Folder for JSON and pictures; by default below the run folder, or in runs/evaluation for any other model."""
    pictures: int = 12
    """Side-by-side pictures (blurred, restored, sharp) of the first N pairs; 0 for none."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    ensemble: bool = False
    """Restore each image in its eight flips and turns and measure the mean of these."""
    table: tuple[str, ...] | None = None
    """Measure nothing: print the tables of these papers (by default all) beside the results that there are."""
    results: tuple[Path, ...] | None = None
    """Folders or JSON files of the results for --table; by default runs."""


def main(argv: list[str]) -> None:
    """The command: table on the screen; JSON and pictures in the output folder."""
    options = parse(EvaluateOptions, argv, PROG, __doc__)
    if options.table is not None:
        _check_nothing_is_measured(options)
        return print(report(options.table, options.results))
    if options.results is not None:
        raise UserError("--results is of --table; add --table, or leave it out")
    if options.model is None:
        raise UserError(f"missing MODEL: name what to measure, or print what was measured with --table ({PROG} --help)")
    measure(
        options.model,
        options,
        which=options.which,
        recipe=options.recipe,
        runtime=options,
        ensemble=options.ensemble,
        out=options.out,
        pictures=options.pictures,
        command=shlex.join([*PROG.split(), *argv]),
    )


def _check_nothing_is_measured(options: EvaluateOptions) -> None:
    idle = [
        field.name
        for field in fields(options)
        if field.name not in ("table", "results") and getattr(options, field.name) != field.default
    ]
    if idle:
        names = ", ".join(sorted(name.upper() if name == "model" else f"--{name.replace('_', '-')}" for name in idle))
        raise UserError(f"--table measures nothing and takes --results alone; leave out {names}")


if __name__ == "__main__":
    run_command(main)
