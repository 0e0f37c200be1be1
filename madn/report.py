"""Draw the curves of a training into one HTML page: python -m madn.report RUN

madn.train does so at its end; this command does it at any time, while the training runs, too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from madn.errors import run_command
from madn.system.commandline import parse


@dataclass(frozen=True)
class ReportOptions:
    """Which run, and where its page goes."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder of madn.train."""
    out: Path | None = None
    """The HTML file; by default report.html in the run folder."""


def main(argv: list[str]) -> None:
    """The command."""
    options = parse(ReportOptions, argv, "python -m madn.report", __doc__)
    from madn.training.run_report import write_run_report
    from madn.training.runfolder import RunFolder

    print(f"wrote {write_run_report(RunFolder(options.run), options.out)}")


if __name__ == "__main__":
    run_command(main)
