"""Makes the measurements of `python -m madn.bench`, one process after the other, for two tables and a file."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from madn.benchmarks.measurements import Precision, RestorationJob, TrainingJob
from madn.benchmarks.processes import in_own_process
from madn.benchmarks.timing_cells import RESTORATION, TRAINING, restoration_cells, training_cells
from madn.errors import UserError
from madn.system.tables import markdown_lines
from madn.system.writing import atomic


class ResultFile:
    """Collects what is measured in a dictionary, which is written to `file`, if there is one, after every change.

    `about` says what the figures were measured on.
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


def run_suite(
    sources: Sequence[str],
    precisions: Sequence[Precision],
    *,
    restoration: bool,
    training: bool,
    timing: dict,
    photo: dict,
    step: dict,
    file: Path | None,
    command: str,
) -> int:
    """Print both tables, or the one that is asked for, each line as soon as it is measured; 1 where something failed.

    `timing`, `photo` and `step` are the fields that all jobs have, those of the restorations, and those of the training
    steps. Every measurement goes to the record `file`, too, if there is one.
    """
    if os.environ.get("KERAS_BACKEND") == "jax":
        raise UserError("madn.bench times TensorFlow and PyTorch; set KERAS_BACKEND to one of the two")
    about = in_own_process("madn.benchmarks.about", "about", sources, training)
    if "failed" in about:
        raise UserError(about["failed"])
    stages, machine = about.pop("stages"), about["machine"]
    versions = about["versions"].get(about["backend"], "")
    print(
        f"{machine['device']}, {machine['processor']}, {machine['cores']} cores, {about['backend']} {versions}\n",
        flush=True,
    )
    record = ResultFile(file, command, about)
    jobs = [{"source": source, "precision": each, **timing} for source in sources for each in precisions]
    rows = (_measured_photo(RestorationJob(**job, **photo), record) for job in jobs)
    for line in _table(RESTORATION, rows) if restoration else ():
        print(line, flush=True)
    if restoration and training:
        print()
    rows = (
        _measured_step(TrainingJob(**job, **step, stage=number), name, record)
        for job in jobs
        for number, name in enumerate(stages.get(job["source"], ()))
    )
    for line in _table(TRAINING, rows) if training else ():
        print(line, flush=True)
    return int(any("failed" in row for part in ("restoration", "training") for row in record.found.get(part, ())))


def _table(columns: Sequence[str], rows: Iterable[list[str]]) -> Iterator[str]:
    return markdown_lines(columns, rows, [number > 2 for number in range(len(columns))])


def _measured_photo(job: RestorationJob, record: ResultFile) -> list[str]:
    found = in_own_process("madn.benchmarks.photo_timing", "measure_photo", job)
    row = {"recipe": job.source, "precision": job.precision, **found}
    record.add("restoration", row)
    return restoration_cells(row)


def _measured_step(job: TrainingJob, stage: str, record: ResultFile) -> list[str]:
    found = in_own_process("madn.benchmarks.step_timing", "measure_step", job)
    row = {"recipe": job.source, "stage": stage, "precision": job.precision, "jit": job.jit, **found}
    record.add("training", row)
    return training_cells(row)
