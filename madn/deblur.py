"""Restore photos: python -m madn.deblur IN OUT --model MODEL"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn.commandline import parse
from madn.errors import run_door
from madn.imaging.restore import output_files, restore_files
from madn.startup import start_keras


@dataclass(frozen=True)
class Options:
    """Which photos, and by what."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """A photo, or a folder: all photos below it are restored."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """A file, whose suffix says the format, or a folder."""
    model: str
    """A run folder, a .weights.h5 file or a SavedModel folder."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""


def main(argv: list[str]) -> int:
    """The door; 1 when some of the photos could not be read."""
    options = parse(Options, argv, "python -m madn.deblur", __doc__)
    jobs = output_files(options.source, options.target)
    start_keras()  # late: a missing photo is reported before
    from madn.loading import load_network

    model = load_network(options.model, options.which, options.recipe)
    problems = restore_files(model.network, jobs, model.multiple)
    for line in problems:
        print(f"madn: error: {line}", file=sys.stderr)
    print(f"{len(jobs) - len(problems)} of {len(jobs)} photos restored to {options.target} by {model.description}")
    return 1 if problems else 0


if __name__ == "__main__":
    run_door(main)
