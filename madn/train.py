"""Train a recipe: python -m madn.train --recipe madn --data GOPRO --run runs/madn"""

import argparse
import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from madn import recipes
from madn.commandline import parse
from madn.data.sets import DataOptions, open_source
from madn.errors import UserError, run_door
from madn.startup import compute_deterministically, start_keras
from madn.training.runfolder import RunFolder

PROG = "python -m madn.train"
# What a run keeps where --resume says nothing else.
KEPT = ("round_steps", "minutes", "checkpoint_minutes", "deterministic", "strategy")


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The run: what to train, on which images, into which folder."""

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
    """The door: 130 after a stop that saved, else 0."""
    asked = _first_look(argv)
    if asked.list:
        width = max(map(len, recipes.RECIPES))
        print("\n".join(f"{name:{width}}  {entry.summary}" for name, entry in recipes.RECIPES.items()))
        return None
    recipes.check_name(asked.recipe)
    run = RunFolder(asked.run)
    stored = run.settings_to_go_on(asked.recipe, asked.resume)
    named = asked.data or asked.blurred or asked.photos
    name = asked.recipe or (stored["recipe"] if stored else "madn" if named else "madn-sample")
    start_keras(training=True)
    recipe = recipes.from_fields(name, stored["fields"]) if stored else recipes.get(name)
    options = Options(**stored["data"], **stored.get("options", {})) if stored else Options()
    command = dataclasses.make_dataclass("Command", [
        ("training", Options, dataclasses.field(default=options)),
        ("recipe", type(recipe), dataclasses.field(default=recipe))])
    parsed = parse(command, argv, PROG, f"Train {name}: {recipes.RECIPES[name].summary}. --recipe NAME --help shows "
                                        "another recipe's settings.")
    if stored:
        run.check_same({**recipe.fields(), **data_options(options)},
                       {**parsed.recipe.fields(), **data_options(parsed.training)})
    return _train(name, parsed.recipe, parsed.training, run, stored, shlex.join([*PROG.split(), *argv]))


def data_options(options: DataOptions) -> dict:
    """The options that say which images, as settings.json keeps them."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}


def _first_look(argv: list[str]) -> argparse.Namespace:
    """What decides which options there are: the recipe, and the run folder that a resumed run takes it from."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--recipe", "--data", "--blurred", "--photos"):
        first.add_argument(option, nargs="?")
    first.add_argument("--run", nargs="?", default=Options.run)
    first.add_argument("--resume", action="store_true")
    first.add_argument("--list", action="store_true")
    try:
        return first.parse_known_args(argv)[0]
    except argparse.ArgumentError as problem:
        raise UserError(f"{problem} (see {PROG} --help)") from None


def _train(name: str, recipe, options: Options, run: RunFolder, stored: dict | None, command: str) -> int | None:
    from madn.training.checkpoint import load_start
    from madn.training.distribution import Devices
    from madn.training.loop import train
    from madn.training.safety import Stopped
    from madn.training.settings import describe

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
    started = bool(run.states())
    if started and options.weights not in (None, stored.get("weights")):
        raise UserError(f"{run.path}: this run has weights of its own to go on from; leave --weights out")
    options = dataclasses.replace(options, weights=options.weights or (stored or {}).get("weights"))
    weights = Path(options.weights) if options.weights else None
    first_stage = recipe.stages(recipe.steps or recipe.epochs)[0][0]
    if weights and not started:  # all of this before anything is written
        load_start(first_stage.build_generator(), weights, first_stage)
    elif first_stage.needs_weights and not started:
        raise UserError(f"recipe {name} starts from trained weights: give --weights FILE")
    prepared = recipe.prepare()
    for key, facts in prepared.items():
        before = (stored or {}).get(key, facts)["weights"]
        if facts["weights"] != before:
            raise UserError(f"{run.path}: this run has other weights for its {key} loss: {before}")
    source, validation, summary = open_source(options, recipe.crop, recipe.multiple, recipe.seed, recipe.augment,
                                              recipe.blur_kind)
    for line in summary["left_out"] + summary["notes"]:
        print(line)
    settings = describe(name, recipe, command, {
        "data": data_options(options), "pairs": summary, "total_steps": recipe.total_steps(len(source)),
        "weights": options.weights, "options": {key: getattr(options, key) for key in KEPT}, **prepared}, stored)
    if devices.chief:
        run.write_settings(settings)
    print(f"{name} on {summary['train']} ({settings['device']}); run folder {run.path}", flush=True)
    try:
        with devices.lost_workers():
            train(name, recipe, source, run, validation, options.round_steps, weights, options.minutes,
                  options.checkpoint_minutes, devices)
    except Stopped:
        print(f"\nstopped and saved; go on with: {PROG} --run {run.path} --resume")
        return 130
    if devices.chief:
        print(run.result())
    return None


if __name__ == "__main__":
    run_door(main)
