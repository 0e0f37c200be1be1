"""All measurements of `python -m madn.bench`, one process after the other, into two tables and a file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from madn.benchmarks import tables
from madn.benchmarks.measurements import RestorationJob, TrainingJob
from madn.benchmarks.processes import in_own_process
from madn.system.tables import markdown_lines
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
        yield from _table(tables.RESTORATION, (_restoration_cells(job, record) for job in restorations))
    if restorations and trainings:
        yield ""
    if trainings:
        yield from _table(tables.TRAINING, (_training_cells(job, stage, record) for job, stage in trainings))


def _table(columns: Sequence[str], rows: Iterable[list[str]]) -> Iterator[str]:
    return markdown_lines(columns, rows, [number > 2 for number in range(len(columns))])


def _restoration_cells(job: RestorationJob, record: Record) -> list[str]:
    found = in_own_process("madn.benchmarks.restoration", "measure", job)
    row = {"recipe": job.source, "precision": job.precision, **found}
    record.add("restoration", row)
    return tables.restoration_row(row)


def _training_cells(job: TrainingJob, stage: str, record: Record) -> list[str]:
    found = in_own_process("madn.benchmarks.training", "measure", job)
    row = {"recipe": job.source, "stage": stage, "precision": job.precision, "jit": job.jit, **found}
    record.add("training", row)
    return tables.training_row(row)
