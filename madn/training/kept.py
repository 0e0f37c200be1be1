"""The two generators that a run keeps beside its states: found again, or written again from a state, on a resume."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from madn.system.seals import is_whole_file
from madn.training.checkpoint import is_damaged, load_state, read_recipe, save_generator
from madn.training.model import AdversarialModel
from madn.training.runfolder import RunFolder, best_row, step_of


def best_score(run: RunFolder, rows: Sequence[dict], first_step: int) -> float:
    """The PSNR on held-out crops that a generator must surpass to be the best of the stage after `first_step`.

    The file of the best generator says its score itself, so that a lost log does not matter; where that file is
    lost, too, the log is asked. Minus infinity where the stage has none.
    """
    file = run.generator("best")
    if file.is_file() and not is_damaged(file):
        facts = read_recipe(file) or {}
        if facts.get("step", 0) <= first_step:
            return -math.inf
        if "val_psnr" in facts:
            return -math.inf if facts["val_psnr"] is None else float(facts["val_psnr"])
    # A new stage may have another network, whose score is worse at first: it has a best of its own.
    best = best_row(row for row in rows if int(row["step"]) > first_step)
    return float(best["val_psnr"]) if best else -math.inf


def write_lost_generators(
    run: RunFolder,
    model: AdversarialModel,
    state: Path,
    facts: dict,
    first_step: int,
    validated: bool = True,
    inside_a_round: bool = False,
) -> None:
    """Write the last and, of a run that is validated, the best generator again where they are missing or damaged.

    `model` holds `state`, and does so at the end. The best is that of the state at the log's best step, where it is
    still kept; else that of `state`, without a score, so that the next round replaces it. Inside the first round there
    is neither yet. Prints a line for each. Raises `OSError` as `save_generator`.
    """
    rows = [row for row in run.rows() if int(row["step"]) > first_step]
    best = best_row(rows)
    kept = run.state(int(best["step"])) if best else state
    if not rows and inside_a_round:
        return
    for which in ("last", "best") if validated else ("last",):
        file = run.generator(which)
        lost = "missing" if not file.exists() else "damaged" if is_damaged(file) else ""
        if not lost:
            continue
        about: dict[str, Any] = {**facts, "step": step_of(state)}
        source = kept if which == "best" and kept in run.states() and is_whole_file(kept) else state
        if which == "best":
            known = best and source == kept
            about |= {"step": step_of(source), "val_psnr": float(best["val_psnr"]) if known else None}
        if source != state:
            load_state(model, source)
        save_generator(model.generator, file, **about)
        if source != state:
            load_state(model, state)
        print(f"note: {file} was {lost}: written again from {source.name}", flush=True)
