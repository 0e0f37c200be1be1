"""The command that restores photos and videos: `python -m madn.deblur IN... -o OUT`."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from madn.errors import UserError, one_line
from madn.imaging.decoding import MEGAPIXELS
from madn.imaging.finding import counted
from madn.imaging.video import NOTE
from madn.restoration import runtimes
from madn.restoration.runtimes import RuntimeOptions
from madn.restoration.targets import Failure, Job, find_jobs
from madn.system.commandline import parse
from madn.system.writing import remove_leftovers
from madn.version import __version__
from madn.weights.registry import DEFAULT

if TYPE_CHECKING:
    from madn.restoration.loaded import Loaded

FEW = 8  # The start of the runtime counts for at most so many photos.


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
    options = parse(
        DeblurOptions, argv, "python -m madn.deblur", "Deblur photos and videos. In Python: madn.deblur(image)"
    )
    if not options.inputs:
        raise UserError("no photos: python -m madn.deblur IN... -o OUT")
    if options.report and options.report.suffix.lower() not in (".html", ".htm"):
        # With another suffix the report could replace a photo.
        raise UserError(f"{options.report}: a report is an .html file")
    jobs, problems, left_out = find_jobs(options.inputs, options.output)
    for name, reason in problems:
        complain(f"{name}: {reason}")
    remove_leftovers(job.target for job in jobs)
    todo = [job for job in jobs if options.overwrite or not job.is_done]
    restored = failed = 0
    by = ""
    if todo:
        few = len(todo) <= FEW and not any(job.is_video for job in todo)
        # The runtime starts late, so that a missing photo is reported at once.
        loaded = runtimes.load(options.model, options.which, options.recipe, options.precision, options, few)
        restored, failed = restore_files(loaded, todo, options, problems)
        by = f", by {loaded.description}" + (f", on {loaded.runtime}" if loaded.runtime else "")
    counts = [f"{restored} of {len(jobs)} restored to {options.output}{by}"]
    if failed:
        counts.append(f"{failed} failed")
    if options.report and not todo:
        print(f"no report: nothing was restored, and {options.report} is left as it is")
    if skipped := len(jobs) - len(todo):
        counts.append(f"{skipped} skipped that were there (--overwrite restores them again)")
    if left_out:  # With these the numbers add up to those of the folder.
        counts.append(f"left out: {counted(left_out)}")
    print("; ".join(counts))
    return 1 if failed or problems else 0


def restore_files(
    loaded: "Loaded", jobs: list[Job[Path]], options: DeblurOptions, problems: list[Failure]
) -> tuple[int, int]:
    """Restore, with the report that is asked for; returns how many files were restored, and how many failed."""
    from madn.restoration.deblurring import deblur_files
    from madn.restoration.report import Report

    restorer = loaded.restorer(
        options.memory_gb, options.tile, options.ensemble, None if options.scale == "auto" else options.scale
    )
    if any(job.is_video for job in jobs):
        print(NOTE)
    if not options.report:
        return deblur_files(restorer, jobs, options.max_megapixels, None, complain)
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
    )
    for name, reason in problems:
        report.fail(name, reason)
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
    print(f"madn: {'' if line.startswith('note: ') else 'error: '}{one_line(line)}", file=sys.stderr)
