"""All measurements of `python -m madn.bench`, one process after the other, into two tables and a file."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from madn.benchmarks import tables
from madn.benchmarks.measurements import RestorationJob, TrainingJob
from madn.benchmarks.processes import in_own_process
from madn.system.writing import atomic


class Record:
    """What was measured so far, in a dictionary that is written to `file`, if there is one, after every change.

    `about`: what the figures were measured on.
    """

    def __init__(self, file: Path | None, command: str, about: dict):
        self.file = file
        self.found = {"command": command, "started": datetime.now(UTC).isoformat(timespec="seconds"), **about}
        self._write()

    def add(self, part: str, row: dict) -> None:
        """Append a row to the list `part`."""
        self.found.setdefault(part, []).append(row)
        self._write()

    def _write(self) -> None:
        if self.file:
            with atomic(self.file) as part:
                part.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")


def run(
    restorations: Sequence[RestorationJob], trainings: Sequence[tuple[TrainingJob, str]], record: Record
) -> Iterator[str]:
    """The lines of both tables, each as soon as it is measured; every row goes to the record, too.

    `trainings`: each job with its stage's name, "" for a recipe of one stage.
    """
    if restorations:
        yield tables.head(tables.RESTORATION)
    for job in restorations:
        row = {
            "recipe": job.source,
            "precision": job.precision,
            **in_own_process("madn.benchmarks.restoration", "measure", job),
        }
        record.add("restoration", row)
        yield tables.restoration_row(row)
    if restorations and trainings:
        yield ""
    if trainings:
        yield tables.head(tables.TRAINING)
    for job, stage in trainings:
        row = {
            "recipe": job.source,
            "stage": stage,
            "precision": job.precision,
            "jit": job.jit,
            **in_own_process("madn.benchmarks.training", "measure", job),
        }
        record.add("training", row)
        yield tables.training_row(row)
