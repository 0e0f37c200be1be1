"""The two generators that a run keeps beside its states: found again, or written again from a state, on a resume."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from madn.errors import UserError
from madn.training.checkpoint import is_damaged, load_state, newest_whole, read_recipe, save_generator
from madn.training.model import AdversarialModel
from madn.training.runfolder import RunFolder, step_of


def best_score(run: RunFolder, rows: Sequence[dict], score: str, first_step: int) -> float:
    """The score that a generator has to surpass to become the best of the stage that began after `first_step`.

    The file of the best generator says its score itself, so that a log that was lost does not matter; files of earlier
    versions do not, and the log is asked. Minus infinity where the stage has none.
    """
    file = run.generator("best")
    if file.is_file() and not is_damaged(file):
        facts = read_recipe(file) or {}
        if facts.get("step", 0) <= first_step:
            return -math.inf
        if score in facts:
            return float(facts[score])
    # A new stage may have another network, whose score is worse at first: it has a best of its own.
    scores = [float(row[score]) for row in rows if row.get(score) and int(row["step"]) > first_step]
    return max(scores, default=-math.inf)


def write_lost_generators(run: RunFolder, model: AdversarialModel, state: Path, facts: dict, first_step: int) -> None:
    """Write the best and the last generator again where they are missing or damaged, and say from which state.

    `model` holds `state`, and does so at the end. The best is that of the state at the log's best step, where it is
    still kept; else that of `state`, without a score, so that the next round replaces it. Raises `OSError` as
    `save_generator`.
    """
    rows = [row for row in run.rows() if int(row["step"]) > first_step]
    for which in ("last", "best"):
        file = run.generator(which)
        lost = "missing" if not file.exists() else "damaged" if is_damaged(file) else ""
        if not lost or not rows:  # No round has ended, after which both are written.
            continue
        source, row = state, {}
        if which == "best":
            score = "val_psnr" if rows[-1].get("val_psnr") else "psnr"
            top = max((row for row in rows if row.get(score)), key=lambda row: float(row[score]))
            try:
                source, row = newest_whole([path for path in run.states() if step_of(path) == int(top["step"])]), top
            except UserError:  # It is no longer kept.
                pass
        if source != state:
            load_state(model, source)
        about: dict[str, Any] = {**facts, "step": step_of(source)}
        about |= {name: float(row[name]) for name in ("psnr", "val_psnr", "val_blurred_psnr") if row.get(name)}
        save_generator(model.generator, file, **about)
        if source != state:
            load_state(model, state)
        print(f"note: {file} was {lost}: written again from {source.name}", flush=True)
