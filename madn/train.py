"""Train a recipe: python -m madn.train --recipe madn --data GOPRO --run runs/madn"""

import argparse
import contextlib
import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from madn import recipes
from madn.data.fingerprint import fingerprints
from madn.data.sets import DataOptions, open_source
from madn.errors import UserError, one_line, run_command
from madn.system.commandline import parse_groups
from madn.system.json_files import convert
from madn.system.memory import shortage
from madn.system.startup import compute_deterministically, start_keras
from madn.system.tables import text_table
from madn.training.recipe import Recipe
from madn.training.runfolder import SETTINGS, RunFolder

if TYPE_CHECKING:  # Importing it starts Keras.
    from madn.training.distribution import Devices

PROG = "python -m madn.train"
# A resumed run keeps these, unless the command line says otherwise.
KEPT = ("round_steps", "minutes", "checkpoint_minutes", "deterministic", "strategy")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Run: what is trained, where, for how long"""

    recipe: str | None = None
    """Recipe to train (see --list); by default madn, or madn-sample where no images are named."""
    run: str = "runs/latest"
    """Run folder: settings, checkpoints, logs, pictures."""
    resume: bool = False
    """Go on from the run folder's last checkpoint, with its settings; start where there is none."""
    weights: str | None = None
    """Start from this generator's .weights.h5 file."""
    round_steps: int = 0
    """Steps between validations, checkpoints and log lines; 0: an epoch, but at least 100 steps or a tenth of all."""
    minutes: float | None = None
    """End after so many minutes of training, before the last step if need be; stages get their share of them."""
    checkpoint_minutes: float = 10.0
    """Save the state inside a round, too, when so many minutes have passed since it was saved; 0: never."""
    deterministic: bool = False
    """Compute the same bits in every run on the same machine; slower."""
    strategy: Literal["none", "mirrored", "multiworker"] = "none"
    """Devices that share each batch: one, all GPUs of this machine, or those of all machines that TF_CONFIG names."""
    list: bool = False
    """List the recipes, one line each with its paper, and stop."""


def main(argv: list[str]) -> int | None:
    """The command: 130 after a stop that saved, else 0."""
    asked = _first_look(argv)
    if asked.list:
        print(text_table((), [(name, each.summary) for name, each in recipes.named().items()]))
        return None
    recipes.check_name(asked.recipe)
    run = RunFolder(asked.run)
    stored = run.settings_to_go_on(asked.recipe, asked.resume)
    name, why = _which_recipe(asked, stored)
    recipe = recipes.from_fields(name, stored["fields"]) if stored else recipes.get(name)
    data = _data_options(stored["data"], run) if stored else DataOptions()
    options = _checked(stored.get("options", {}), RunOptions, run) if stored else RunOptions()
    before = {**recipe.fields(), **dataclasses.asdict(data)}
    options, data, recipe = parse_groups(
        [options, data, recipe],
        argv,
        PROG,
        f"Train {name}: {recipes.named()[name].summary}. --recipe NAME --help shows another recipe's settings.",
    )
    if stored:
        run.check_same(before, {**recipe.fields(), **dataclasses.asdict(data)})
    data.check_folders()
    if options.weights and not Path(options.weights).is_file() and not run.states():
        raise UserError(f"{options.weights}: no such weights file")
    start_keras(training=True)  # Keras starts late, so that a bad command line is reported at once.
    print(f"recipe {name}{why}: {recipes.named()[name].summary}")
    if options.resume and not stored:
        print(f"{run.path} holds no run yet: this starts one")
    with shortage(
        f"{run.path}: training ran out of memory: go on with --resume when other programs have ended, or start "
        "another --run with --precision mixed_bfloat16, --remat blocks, --accumulate 2 or a smaller --batch; a smaller "
        "--cache-gb needs no other run"
    ):
        return _train(name, recipe, options, data, run, stored, shlex.join([*PROG.split(), *argv]))


def _which_recipe(asked: argparse.Namespace, stored: dict | None) -> tuple[str, str]:
    """The recipe's name, and why it is this one where nobody named it."""
    if asked.recipe:
        return asked.recipe, ""
    if stored:
        return stored["recipe"], ", the run folder's"
    if asked.data not in (None, ["samples"]) or asked.blurred or asked.photos:
        return "madn", ", as no --recipe was named"
    return "madn-sample", ", for the samples"


def _data_options(stored: dict, run: RunFolder) -> DataOptions:
    """The options that a run folder keeps, those of earlier versions included."""
    stored = dict(stored)
    if "shrink" in stored:
        shrink = stored["shrink"]
        stored["shrink"] = tuple(shrink) if isinstance(shrink, list) else (stored.pop("least_shrink", 1.0), shrink)
    return _checked(stored, DataOptions, run)


def _checked(stored: dict, kind: type, run: RunFolder):
    """Options of a run folder, each of a known name and of the right type."""
    return convert(stored, kind, str(run.path / SETTINGS), "a run's settings", "choose another --run")


def _first_look(argv: list[str]) -> argparse.Namespace:
    """Read what decides which options there are: the recipe, or the run folder that a resumed run takes it from."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--recipe", "--blurred", "--photos"):
        first.add_argument(option, nargs="?")
    first.add_argument("--data", nargs="*")
    first.add_argument("--run", nargs="?", default=RunOptions.run)
    first.add_argument("--resume", action="store_true")
    first.add_argument("--list", action="store_true")
    try:
        return first.parse_known_args(argv)[0]
    except argparse.ArgumentError as problem:
        raise UserError(f"{problem} (see {PROG} --help)") from None


def _train(
    name: str, recipe: Recipe, options: RunOptions, data: DataOptions, run: RunFolder, stored: dict | None, command: str
) -> int | None:
    from madn.training.distribution import Devices

    if options.round_steps < 0:
        raise UserError(f"--round-steps must be 0 or more; received {options.round_steps}")
    if options.minutes is not None and options.minutes <= 0:
        raise UserError(f"--minutes must be above 0; received {options.minutes:g}")
    if options.checkpoint_minutes < 0:
        raise UserError(f"--checkpoint-minutes must be 0 or more; received {options.checkpoint_minutes:g}")
    if options.minutes is not None and options.strategy == "multiworker":
        raise UserError("--minutes ends each machine by its own clock; give --steps with --strategy multiworker")
    if options.deterministic:
        compute_deterministically()
    devices = Devices(options.strategy)
    with run.held() if devices.chief else contextlib.nullcontext():
        if devices.chief and run.settings_to_go_on(name, options.resume) != stored:
            raise UserError(f"{run.path}: another training has just ended here; give the command again")
        return _train_held(name, recipe, options, data, run, stored, command, devices)


def _train_held(
    name: str,
    recipe: Recipe,
    options: RunOptions,
    data: DataOptions,
    run: RunFolder,
    stored: dict | None,
    command: str,
    devices: "Devices",
) -> int | None:
    """Train while no other process does in this run folder."""
    from madn.training.callbacks.safety import Stopped
    from madn.training.checkpoint import load_start
    from madn.training.loop import train
    from madn.training.settings import describe
    from madn.training.step_memory import check_memory

    started = bool(run.states())
    if started and options.weights not in (None, stored.get("weights")):
        raise UserError(f"{run.path}: this run has weights of its own to go on from; leave --weights out")
    options = dataclasses.replace(options, weights=options.weights or (stored or {}).get("weights"))
    weights = Path(options.weights) if options.weights else None
    first_stage = recipe.stages(recipe.steps or recipe.epochs)[0][0]
    if weights and not started:  # The weights are checked before anything is written.
        load_start(first_stage.build_generator(), weights, first_stage)
    elif first_stage.needs_weights and not started:
        raise UserError(f"recipe {name} starts from trained weights: give --weights FILE")
    prepared = recipe.prepare()
    # Earlier versions kept it beside the rest.
    kept = {**(stored or {}), **(stored or {}).get("prepared", {})}
    for key, facts in prepared.items():
        before = kept.get(key, facts)["weights"]
        if facts["weights"] != before:
            raise UserError(f"{run.path}: this run has other weights for its {key} loss: {before}")
    source, validation, summary = open_source(
        data, recipe.crop, recipe.multiple, recipe.seed, recipe.augment, recipe.blur_kind
    )
    for line in summary["left_out"] + summary["notes"]:
        print(one_line(line))
    files = fingerprints(summary.pop("files"))
    if started:
        run.check_data(files)
    check_memory(first_stage)
    settings = describe(
        name,
        recipe,
        command,
        {
            "data": dataclasses.asdict(data),
            "pairs": summary,
            "total_steps": recipe.total_steps(len(source)),
            "weights": options.weights,
            "options": {key: getattr(options, key) for key in KEPT},
            "prepared": prepared,
        },
        stored,
    )
    if devices.chief:
        run.write_settings(settings)
        run.write_data(files)
    print(f"{name} on {summary['train']} ({settings['device']}); run folder {run.path}", flush=True)
    try:
        with devices.lost_workers():
            train(
                name,
                recipe,
                source,
                run,
                validation,
                options.round_steps,
                weights,
                options.minutes,
                options.checkpoint_minutes,
                devices,
            )
    except Stopped:
        with contextlib.suppress(OSError):  # The terminal may have been closed.
            print(f"\nstopped and saved; go on with: {PROG} --run {run.path} --resume", flush=True)
        return 130
    if devices.chief:
        from madn.training.run_report import write_run_report

        print(run.result())
        if run.rows():
            try:
                print(f"curves {write_run_report(run)}")
            except UserError as problem:  # The training has ended well and is saved.
                print(f"no curves: {problem}")
    return None


if __name__ == "__main__":
    run_command(main)
