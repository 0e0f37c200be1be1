"""Deblur photos and videos: python -m madn.deblur IN... -o OUT; or in Python, madn.deblur(image)"""

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn import __version__
from madn.commandline import parse
from madn.errors import UserError, run_door
from madn.imaging.decoding import MEGAPIXELS
from madn.imaging.jobs import find_jobs
from madn.startup import start_keras


@dataclass(frozen=True)
class Options:
    """Which files, and by what."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN...")]
    """Photos, videos, folders (everything below them) or glob patterns."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """A folder; for one file also a file, whose suffix says the format."""
    model: str = "madn"
    """A shipped name (python -m madn.weights), a run folder, a .weights.h5 file or a SavedModel folder."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    overwrite: bool = False
    """Restore again what is there already; by default an existing result is skipped, so that a stopped run goes on."""
    report: Path | None = None
    """Write an HTML page with before/after sliders here."""
    memory_gb: float | None = None
    """What the process may take, in GB; larger photos are cut into tiles. By default half of the free memory."""
    tile: int | None = None
    """Pixels of a tile's side, in place of what follows from the memory."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster on hardware that has it, and differs by a fraction of an 8-bit step."""
    max_megapixels: float = MEGAPIXELS
    """Larger photos are refused before they are decoded: a small file can claim any size."""


def main(argv: list[str]) -> int:
    """The door; 1 when some of the files could not be restored."""
    options = parse(Options, argv, "python -m madn.deblur", __doc__)
    if not options.inputs:
        raise UserError("no photos: python -m madn.deblur IN... -o OUT")
    jobs, unreadable = find_jobs(options.inputs, options.output)
    for line in unreadable:
        complain(line)
    start_keras()  # late: a missing photo is reported before
    from madn.imaging.report import Report
    from madn.imaging.video import NOTE
    from madn.loading import load_network
    from madn.restoration import deblur_files

    loaded = load_network(options.model, options.which, options.recipe, options.precision)
    restorer = loaded.restorer(options.memory_gb, options.tile)
    if any(job.is_video for job in jobs):
        print(NOTE)
    about = {"model": loaded.description, "precision": options.precision, "madn": __version__,
             "tiles": f"of {options.tile} x {options.tile} pixels at most" if options.tile else
             f"as {restorer.budget / 1e9:.1f} GB of memory allow"}
    report = Report(options.report, about) if options.report else None
    for line in unreadable if report else ():
        report.fail(*line.split(": ", 1))
    try:
        outcome = deblur_files(restorer, jobs, options.overwrite, options.max_megapixels, report, complain)
    except BaseException:
        if report:
            report.close(stopped=True)
        raise
    if report:
        report.close()
    skipped = f", {outcome.skipped} skipped that were there (--overwrite restores them again)" if outcome.skipped else ""
    print(f"{outcome.restored} of {len(jobs)} restored to {options.output}{skipped}, by {loaded.description}")
    if report:
        print(f"report: {options.report}")
    return 1 if outcome.failed or unreadable else 0


def complain(line: str) -> None:
    """One line on standard error."""
    print(f"madn: {'' if line.startswith('note: ') else 'error: '}{line}", file=sys.stderr)


class _Callable(types.ModuleType):
    """This module is the command and, called, the function: both are named madn.deblur."""

    def __call__(self, image, model="madn", **options):
        from madn.restoration import deblur

        return deblur(image, model, **options)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    run_door(main)
