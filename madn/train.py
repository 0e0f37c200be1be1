"""Train a recipe: python -m madn.train --recipe madn --data GOPRO --run runs/madn"""

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from madn.errors import UserError, run_door

DATA_FIELDS = ("data", "blurred", "sharp", "photos", "validation", "skip_bad", "cache", "cache_gb")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The run: what to train, on which images, into which folder."""

    recipe: str | None = None
    """Recipe to train (see --list); by default madn, or madn-sample where no data is named."""
    data: str | None = None
    """Folder of pairs in the GoPro or REDS layout; by default samples, the built-in sample set."""
    blurred: str | None = None
    """Folder of blurred images, with --sharp, instead of --data."""
    sharp: str | None = None
    """Folder of their sharp partners, under the same names."""
    photos: str | None = None
    """Folder of sharp photographs to blur, instead of --data."""
    validation: str = "auto"
    """Scenes held out to score the run: names with commas between, auto (a small scene) or none."""
    skip_bad: bool = False
    """Leave bad pairs out and name them, instead of stopping."""
    run: str = "runs/latest"
    """Run folder: settings, checkpoints, logs, pictures."""
    resume: bool = False
    """Go on from the run folder's last checkpoint, with its settings; start where there is none."""
    weights: str | None = None
    """Start from this generator's .weights.h5 file."""
    round_steps: int = 0
    """Steps between validations, checkpoints and log lines; 0: an epoch, but at least 100 steps or a tenth of all."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Where decoded images are kept."""
    cache_gb: float = 16.0
    """Bound of that cache, in 10^9 bytes; what does not fit is decoded each time."""
    list: bool = False
    """List the recipes, one line each with its paper, and stop."""


def main(argv: list[str]) -> int | None:
    from madn import recipes
    from madn.commandline import parse
    from madn.startup import start_keras
    from madn.training.runfolder import RunFolder

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--recipe", "--run", "--data", "--blurred", "--photos"):
        first.add_argument(option, nargs="?")
    first.add_argument("--resume", action="store_true")
    try:
        asked, _ = first.parse_known_args(argv)
    except argparse.ArgumentError as problem:
        raise UserError(f"{problem} (see python -m madn.train --help)") from None
    if "--list" in argv:
        for name, entry in recipes.RECIPES.items():
            print(f"{name:14} {entry.summary}")
        return None
    recipes.check_name(asked.recipe)
    start_keras()
    run = RunFolder(asked.run or Options.run)
    stored = run.settings()
    named = asked.data or asked.blurred or asked.photos
    name = asked.recipe or (stored or {}).get("recipe") or ("madn" if named else "madn-sample")
    recipe, options = recipes.get(name), Options()
    _check_run(run, stored, name, asked.resume)
    if stored and asked.resume:
        recipe = recipes.from_fields(name, stored["fields"])
        options = dataclasses.replace(options, **{key: stored["data"][key] for key in DATA_FIELDS})
    command = dataclasses.make_dataclass("Command", [
        ("training", Options, dataclasses.field(default=options)),
        ("recipe", type(recipe), dataclasses.field(default=recipe))])
    parsed = parse(command, argv, "python -m madn.train", f"Train {name}: {recipes.RECIPES[name].summary}.")
    if stored and asked.resume:
        _check_same(run, recipe, parsed.recipe, options, parsed.training)
    return _train(name, parsed.recipe, parsed.training, run)


def _train(name: str, recipe, options: Options, run) -> int | None:
    from madn.data.sets import open_source
    from madn.training.callbacks import Stopped
    from madn.training.checkpoint import load_generator
    from madn.training.loop import train
    from madn.training.settings import describe

    if options.weights:
        load_generator(recipe.build_generator(), Path(options.weights), recipe)  # before anything is written
    chosen = {key: getattr(options, key) for key in DATA_FIELDS}
    if not any(chosen[key] for key in ("data", "blurred", "sharp", "photos")):
        chosen["data"] = "samples"
    source, validation, summary = open_source(recipe.crop, recipe.multiple, recipe.seed, recipe.augment,
                                              recipe.blur_kind, **chosen)
    for line in summary["left_out"] + summary["notes"]:
        print(line)
    about = {"data": chosen, "pairs": summary, "total_steps": recipe.total_steps(len(source)), "weights": options.weights}
    settings = describe(name, recipe, about, run.settings() if options.resume else None)
    run.write_settings(settings)
    print(f"{name} on {summary['train']} ({settings['device']}); run folder {run.path}", flush=True)
    try:
        step = train(name, recipe, source, run, validation, options.round_steps,
                     Path(options.weights) if options.weights else None)
    except Stopped:
        print(f"\nstopped and saved; go on with: python -m madn.train --run {run.path} --resume")
        return 130
    _say_result(run, step)
    return None


def _say_result(run, step: int) -> None:
    row = run.rows()[-1]
    line = f"step {step}: training crops {float(row['psnr']):.2f} dB (blurred {float(row['blurred_psnr']):.2f} dB)"
    if "val_psnr" in row:
        line += f"; held-out crops {float(row['val_psnr']):.2f} dB (blurred {float(row['val_blurred_psnr']):.2f} dB)"
    print(f"{line}\nweights {run.generator('best')}, pictures {run.samples / 'latest.png'}, log {run.log}")


def _check_run(run, stored: dict | None, name: str, resume: bool) -> None:
    if stored and stored["recipe"] != name:
        raise UserError(f"{run.path}: this run folder belongs to recipe {stored['recipe']}, not {name}; "
                        "choose another --run")
    if not resume and run.state.is_file():
        raise UserError(f"{run.path}: holds a run already; add --resume to go on with it, or choose another --run")


def _check_same(run, recipe, wanted, options: Options, asked: Options) -> None:
    from madn import recipes

    changed = {key: pair for key, pair in recipes.differences(recipe, wanted).items() if key not in ("steps", "epochs")}
    changed |= {key: (getattr(options, key), getattr(asked, key)) for key in DATA_FIELDS
                if getattr(options, key) != getattr(asked, key) and key not in ("cache", "cache_gb")}
    if changed:
        what = ", ".join(f"{key} {old} (asked: {new})" for key, (old, new) in changed.items())
        raise UserError(f"{run.path}: this run has other settings: {what}; leave them out or choose another --run")


if __name__ == "__main__":
    run_door(main)
