"""The command that restores photos and videos: `python -m madn.deblur IN... -o OUT`."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from madn.errors import UserError, one_line, say
from madn.imaging.decoding import MEGAPIXELS
from madn.imaging.finding import counted
from madn.imaging.video import NOTE
from madn.restoration import runtimes
from madn.restoration.model_source import find_model
from madn.restoration.runtimes import RuntimeOptions
from madn.restoration.targets import Job, Scope, find_jobs
from madn.system.commandline import parse
from madn.system.startup import shown
from madn.system.writing import remove_leftovers
from madn.version import __version__
from madn.weights.registry import DEFAULT

if TYPE_CHECKING:
    from madn.restoration.loaded import Loaded

FEW = 8  # The start of the runtime counts for at most so many photos.


NOTHING_GIVEN = (
    "nothing to restore: give photos, videos or folders of them, and a folder for the results: "
    "python -m madn.deblur IN... -o OUT (--help shows all options)"
)


@dataclass(frozen=True)
class DeblurOptions(RuntimeOptions):
    """Which files, and by what."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN...")]
    """Photos, videos, folders (everything below them) or glob patterns."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """A folder; for one file also a file, whose suffix says the format."""
    model: str = DEFAULT
    """A published name (python -m madn.weights), a run folder, a .weights.h5 file, a SavedModel folder or an ONNX
    file."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    trust_model: bool = False
    """Load a SavedModel that madn.export did not write: it is a program, and may do whatever its maker wants."""
    overwrite: bool = False
    """Restore again what is there already; by default an existing result is skipped, so that a stopped run goes on."""
    report: Path | None = None
    """Write an HTML page with before/after sliders of what this run restores."""
    memory_gb: float | None = None
    """What the process may take, in GB; larger photos are cut into tiles. By default half of the free memory."""
    tile: int | None = None
    """Pixels of a tile's side, in place of what follows from the memory."""
    scale: float | Literal["auto"] = "auto"
    """Restore photos at so many times their size, and add what that changes to their own pixels. Auto: at the size at
    which the network sees a photo's blur best, measured on the photo; full-size photos of phones need a smaller one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster on hardware that has it, and differs by a fraction of an 8-bit step."""
    ensemble: bool = False
    """Restore each photo in its eight flips and turns and take the mean: a little closer, in eight times the time."""
    max_megapixels: float = MEGAPIXELS
    """Larger photos are refused before they are decoded: a small file can claim any size."""


def main(argv: list[str]) -> int:
    """The command; 1 when some of the files could not be restored."""
    if not argv:
        raise UserError(NOTHING_GIVEN)
    options = parse(
        DeblurOptions, argv, "python -m madn.deblur", "Deblur photos and videos. In Python: madn.deblur(image)"
    )
    if not options.inputs:
        raise UserError(NOTHING_GIVEN)
    if options.report and options.report.suffix.lower() not in (".html", ".htm"):
        # With another suffix the report could replace a photo.
        raise UserError(f"{options.report}: a report is an .html file")
    find_model(options.model, options.which)  # A misspelt name is said before anything is read.
    jobs, problems, left_out = find_jobs(options.inputs, options.output)
    for name, reason in problems:
        complain(f"{name}: {reason}")
    remove_leftovers(job.target for job in jobs)
    done = set() if options.overwrite else {job for job in jobs if job.is_done}
    todo = [job for job in jobs if job not in done]
    skipped = [str(job.source) for job in jobs if job in done]
    # With what is left out, the numbers add up to those of the folder.
    scope = Scope(len(jobs), tuple(skipped), tuple(problems), counted(left_out))
    restored = failed = 0
    by = ""
    if todo:
        few = len(todo) <= FEW and not any(job.is_video for job in todo)
        try:
            with shown(f"loading {options.model}"):  # The runtime starts late, so that a missing photo is told at once.
                loaded = runtimes.load(
                    options.model,
                    options.which,
                    options.recipe,
                    options.precision,
                    options,
                    few,
                    options.trust_model,
                )
            restored, failed = restore_files(loaded, todo, options, scope)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_way_on(todo, options)) from None
        by = f", by {loaded.description}" + (f", on {loaded.runtime}" if loaded.runtime else "")
    elif options.report:
        print(f"no report: nothing was restored, and {options.report} is left as it is")
    first, *others = scope.counts(restored, failed)
    print("; ".join([f"{first} to {options.output}{by}", *others]))
    return 1 if failed or problems else 0


def _way_on(todo: list[Job[Path]], options: DeblurOptions) -> str:
    """How a stopped run goes on."""
    if options.overwrite:
        return "what is restored stays; the same command begins anew"
    done = sum(job.is_done for job in todo)
    if not done:
        return "nothing is restored yet; the same command begins again"
    return f"{done} of {len(todo)} restored, which stay; the same command goes on with the rest"


def restore_files(loaded: "Loaded", jobs: list[Job[Path]], options: DeblurOptions, scope: Scope) -> tuple[int, int]:
    """Restore, with the report that is asked for; returns how many files were restored, and how many failed."""
    from madn.restoration.deblurring import deblur_files

    restorer = loaded.restorer(
        options.memory_gb, options.tile, options.ensemble, None if options.scale == "auto" else options.scale
    )
    if any(job.is_video for job in jobs):
        print(NOTE)
    if not options.report:
        return deblur_files(restorer, jobs, options.max_megapixels, None, complain)
    from madn.restoration.report import Report

    tiles = (
        f"of {options.tile} x {options.tile} pixels at most"
        if options.tile
        else f"as {restorer.budget / 1e9:.1f} GB of memory allow"
    )
    ensemble = {"ensemble": "mean of eight flips and turns"} if options.ensemble else {}
    report = Report(
        options.report,
        {
            "model": loaded.description,
            "runtime": loaded.runtime,
            "precision": options.precision,
            "tiles": tiles,
            "scale": str(options.scale),
            **ensemble,
            "madn": __version__,
        },
        scope,
    )
    try:
        counts = deblur_files(restorer, jobs, options.max_megapixels, report, complain)
    except BaseException:
        with contextlib.suppress(UserError):  # Where the disk is full, the first error is the one to report.
            report.close(stopped=True)
        raise
    report.close()
    print(f"report: {options.report}")
    return counts


def complain(line: str) -> None:
    """Print one line on standard error."""
    say(f"{'' if line.startswith('note: ') else 'error: '}{one_line(line)}")
