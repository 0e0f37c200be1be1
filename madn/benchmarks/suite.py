"""The two tables of `python -m madn.bench` and their file: restoration, and a training step, of every recipe.

Each measurement has a process of its own, and so a memory of its own; one that dies leaves the others.
"""

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from madn.errors import UserError, one_line
from madn.system.startup import start_keras
from madn.system.tables import markdown_lines
from madn.system.writing import atomic

TIMING = "madn.benchmarks.timing"  # It is named, not imported: this process starts no backend.
RATES = ("s p50", "s p95", "of")
RESTORATION = ("recipe", "precision", "photo", *RATES, "megapixels/s", "GMACs", "GMAC/s")
RESTORATION += ("of convolutions", "of matrix peak", "peak GB")
TRAINING = ("recipe", "precision", "batch", *RATES, "crops/s", "GMACs", "GMAC/s", "of matrix peak", "peak GB")


class ResultFile:
    """Collects what is measured in the dictionary `found`, and writes it to `file`, if there is one, at every change.

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
    precisions: Sequence[str],
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

    `photo` and `step` are arguments of `madn.benchmarks.timing.measure_photo` and `measure_step`, `timing` those of
    both. Every measurement goes to the record `file`, too, if there is one. Raises `UserError` for a source that cannot
    be loaded or does not train.
    """
    about = in_own_process(TIMING, "about", sources, training)
    if "failed" in about:
        raise UserError(about["failed"])
    stages, machine = about.pop("stages"), about["machine"]
    versions = about["versions"].get(about["backend"], "")
    print(
        f"{machine['device']}, {machine['processor']}, {machine['cores']} cores, {about['backend']} {versions}\n",
        flush=True,
    )
    record = ResultFile(file, command, about)
    both = [{"source": source, "precision": each, **timing} for source in sources for each in precisions]

    def photos() -> Iterator[list[str]]:
        for each in both:
            found = in_own_process(TIMING, "measure_photo", **each, **photo)
            row = {"recipe": each["source"], "precision": each["precision"], **found}
            record.add("restoration", row)
            yield restoration_cells(row)

    def steps() -> Iterator[list[str]]:
        for each in both:
            for number, name in enumerate(stages[each["source"]]):
                found = in_own_process(TIMING, "measure_step", **each, **step, stage=number)
                stage = {"recipe": each["source"], "stage": name, "precision": each["precision"], "jit": step["jit"]}
                record.add("training", {**stage, **found})
                yield training_cells({**stage, **found})

    if restoration:
        _print_table(RESTORATION, photos())
    if restoration and training:
        print()
    if training:
        _print_table(TRAINING, steps())
    return int(any("failed" in row for part in ("restoration", "training") for row in record.found.get(part, ())))


def in_own_process(module: str, function: str, *arguments, **keywords) -> dict:
    """`function` of `module`, called there with a backend started; what it returns, or {"failed": why}."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_call, module, function, arguments, keywords).result()
        except BrokenProcessPool:
            return {"failed": "its process was killed; most likely the memory was not enough"}


def _call(module: str, function: str, arguments: tuple, keywords: dict) -> dict:
    start_keras()
    return guarded(lambda: getattr(importlib.import_module(module), function)(*arguments, **keywords))


def guarded(call: Callable[[], dict]) -> dict:
    """The call's result; for an exception, which may not survive the way between processes, {"failed": why}."""
    try:
        return call()
    except UserError as problem:
        return {"failed": str(problem)}
    except Exception as problem:  # A backend's out-of-memory error may be of many kinds.
        return {"failed": one_line(f"{type(problem).__name__}: {problem}")[:200]}


def _print_table(columns: Sequence[str], rows: Iterable[list[str]]) -> None:
    for line in markdown_lines(columns, rows, [number > 2 for number in range(len(columns))]):
        print(line, flush=True)


def restoration_cells(row: dict) -> list[str]:
    """The cells of a line of `RESTORATION`; for a failure, its reason."""
    first = [row["recipe"], row["precision"]]
    if "failed" in row:
        return [*first, f"failed: {row['failed']}", *[""] * (len(RESTORATION) - 3)]
    width, height = row["size"]
    where = f"{width}x{height}" + ("" if row["tiles"] == "whole" else f", {row['tiles']}")
    return [*first, where, *_times(row, row["megapixels"]), *_rates(row)]


def training_cells(row: dict) -> list[str]:
    """The cells of a line of `TRAINING`; for a failure, its reason."""
    recipe = f"{row['recipe']}: {row['stage']}" if row.get("stage") else row["recipe"]
    first = [recipe, row["precision"] + (", XLA" if row.get("jit") else "")]
    if "failed" in row:
        return [*first, f"failed: {row['failed']}", *[""] * (len(TRAINING) - 3)]
    batch = f"{row['crops_per_step']} of {row['crop']}"
    return [*first, batch, *_times(row, row["crops_per_step"]), *_rates(row)]


def _rates(row: dict) -> list[str]:
    """Operations, their rate, its shares and memory; all but memory are empty where the operations are unknown.

    The peak is the rate of the fastest matrix product of the row's process.
    """
    peak = row["matrix_product"]["macs"] / min(row["matrix_product"]["seconds"])
    share = [""] if "stack" in row else []
    cells = ["", "", *share, ""]
    if row["macs"]:
        rate = row["macs"] / _percentile(row["seconds"], 50)
        if "stack" in row:
            share = [f"{rate / (row['stack']['macs'] / _percentile(row['stack']['seconds'], 50)):.0%}"]
        cells = [f"{row['macs'] / 1e9:,.1f}", f"{rate / 1e9:,.1f}", *share, f"{rate / peak:.0%}"]
    return [*cells, f"{row['peak_memory_bytes'] / 1e9:.2f}"]


def _times(row: dict, amount: float) -> list[str]:
    middle = _percentile(row["seconds"], 50)
    return [
        f"{middle:.3g}",
        f"{_percentile(row['seconds'], 95):.3g}",
        str(len(row["seconds"])),
        f"{amount / middle:.3g}",
    ]


def _percentile(seconds: list[float], percent: float) -> float:
    """The percentile, interpolated between the two nearest times; of few times, p95 is close to the longest."""
    return float(np.percentile(seconds, percent))
