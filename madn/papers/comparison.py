"""Recipes trained for the same time on the same crops, each in a process of its own, and measured on the same pairs.

One run of each says little: a second seed moves a score as well. With several seeds the table has means and spreads,
and ranks no further than the runs tell the recipes apart.
"""

import dataclasses
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import keras
import msgspec

from madn import recipes
from madn.errors import UserError
from madn.nn.macs import network_macs
from madn.system.json_files import read_json
from madn.system.locking import held
from madn.system.tables import markdown_table
from madn.system.writing import write_durably
from madn.training.callbacks.safety import stopping_signals
from madn.training.checkpoint import load_start
from madn.training.perceptual import PerceptualRecipe
from madn.training.recipe import Recipe
from madn.training.runfolder import RunFolder
from madn.weights.measurements import read_measured

TIMING_STEPS = (4, 34)
MARGIN = 1.2
ROUNDS = 12  # Each run has so many validations and checkpoints.


@dataclass(frozen=True)
class Contestant:
    """One run's result: its recipe and seed, cost, length and mean scores over the test pairs."""

    recipe: str
    seed: int
    paper: str
    parameters: int
    gmacs: float
    steps: int
    minutes: float
    scores: dict  # This is the evaluation's "mean": blurred and restored, each with psnr, ssim and ssim_matlab.
    better: int
    images: int


class Timing(msgspec.Struct, forbid_unknown_fields=True):
    """timing/RECIPE.json: the pace of a recipe, and what follows from it for the minutes and options of all."""

    seconds_per_step: float
    minutes: float
    options: list[str]
    steps: Annotated[int, msgspec.Meta(ge=1)]
    version: int = 0


@dataclass(frozen=True)
class Contest:
    """The folder of all runs, the minutes of each, their common options, the set that is measured, and how many seeds
    each recipe is trained with."""

    folder: Path
    minutes: float
    options: list[str]
    test: str
    seeds: int = 1

    def run(self, names: Sequence[str], weights: dict[str, str | None]) -> str:
        """Train and measure all of these recipes; returns the table, which is kept in the folder, too.

        Raises `UserError` where the folder holds another comparison, or a recipe lacks something that it needs.
        """
        check_backend()
        with held(self.folder, "madn.compare", "wait until it has ended, or choose another --run"):
            return self._run(names, weights)

    def _run(self, names: Sequence[str], weights: dict[str, str | None]) -> str:
        names = tuple(dict.fromkeys(names))  # A recipe that is named twice has no second seed.
        self.check_timings(names, weights)
        for name in names:  # What a run needs is checked before the others take their hours.
            self.prepare(name, weights)
        # Of a comparison that is stopped, the first seeds are whole.
        entries = [self.enter(name, weights, turn) for turn in range(self.seeds) for name in names]
        text = results_table(entries)
        self.write("table.json", json.dumps([dataclasses.asdict(entry) for entry in entries], indent=1) + "\n")
        self.write("table.md", text + "\n")
        return text

    def enter(self, name: str, weights: dict[str, str | None], turn: int = 0) -> Contestant:
        """Time, train and measure one recipe; a run that is finished is only measured again.

        The first run, turn 0, has the recipe's own seed and lies in a folder of its name; each later turn has a seed
        one higher and a folder that names it.

        A short run gives the seconds of a step, and with them the number of steps that the minutes allow, which the
        learning rate's schedule needs beforehand; a fifth is added for a machine that gets faster, so that the
        clock ends the run. Raises `UserError` where one of the commands fails.
        """
        recipe, options = self._recipe(name, weights), self._options(name, weights)
        seed = recipe.seed + turn
        run = RunFolder(self.folder / (f"{name}-seed{seed}" if turn else name))
        steps = self._steps(name, options)
        length = ["--steps", steps, "--minutes", self.minutes, "--round-steps", max(1, steps // ROUNDS)]
        own = ["--seed", seed] if turn else []
        self._python("madn.train", *options, *own, *length, "--run", run.path, "--resume")
        rows = run.rows()
        if not rows:
            raise UserError(f"{run.log}: lost, and with it how long this run took; remove the folder to train it again")
        measured = run.path / "test"
        self._python("madn.evaluate", run.path, "--data", self.test, "--split", "test", "--out", measured)
        result = read_measured(measured / "full.json")
        generator = recipe.build_generator()
        better = sum(image["restored"]["psnr"] > image["blurred"]["psnr"] for image in result["images"])
        return Contestant(
            name,
            seed,
            recipe.paper,
            generator.count_params(),
            network_macs(generator, 256, 256).total / 1e9,
            int(rows[-1]["step"]),
            float(rows[-1]["seconds"]) / 60,
            result["mean"],
            better,
            len(result["images"]),
        )

    def check_timings(self, names: Sequence[str], weights: dict[str, str | None]) -> None:
        """Raises `UserError` where the folder holds a comparison of other minutes, or one of these with other options.

        The minutes are compared for recipes that are not named now as well: the folder has one table.
        """
        for file in sorted((self.folder / "timing").glob("*.json")):
            timing = _read_timing(file)
            options = self._options(file.stem, weights) if file.stem in names else timing.options
            if (timing.minutes, timing.options) != (self.minutes, options):
                raise UserError(
                    f"{self.folder}: holds a comparison of {timing.minutes:g} minutes with "
                    f"{' '.join(timing.options)}; choose another --run, or the same options"
                )

    def prepare(self, name: str, weights: dict[str, str | None]) -> None:
        """Fetch and check what a recipe needs beside the images. Raises `UserError` where it is not to be had."""
        recipe = self._recipe(name, weights)
        first_stage = recipe.stages(recipe.steps or recipe.epochs)[0][0]
        if "--weights" in self.options:
            start = Path(self.options[self.options.index("--weights") + 1])
            try:
                load_start(first_stage.build_generator(), start, first_stage)
            except UserError as problem:
                raise UserError(
                    f"recipe {name} cannot start from --weights {problem}, or leave this recipe out of --recipes"
                ) from None
        elif first_stage.needs_weights:
            raise UserError(f"recipe {name} starts from trained weights: give --weights FILE")
        recipe.prepare()

    def write(self, name: str, text: str) -> None:
        write_durably(self.folder / name, text.encode())

    def _recipe(self, name: str, weights: dict[str, str | None]) -> Recipe:
        recipe = recipes.get(name)
        if isinstance(recipe, PerceptualRecipe) and (file := weights.get(recipe.vgg_network)):
            return dataclasses.replace(recipe, vgg_weights=file)
        return recipe

    def _options(self, name: str, weights: dict[str, str | None]) -> list[str]:
        """The options of madn.train for a recipe, but its seed, length and folder."""
        recipe, options = self._recipe(name, weights), ["--recipe", name, *self.options]
        if isinstance(recipe, PerceptualRecipe) and recipe.vgg_weights:
            options += ["--vgg-weights", recipe.vgg_weights]
        return options

    def _steps(self, name: str, options: list[str]) -> int:
        file = self.folder / "timing" / f"{name}.json"
        if not file.is_file():
            # Two runs differ in their steps alone: tracing, and what happens at the end of a round, cancel out.
            seconds = []
            for count in TIMING_STEPS:
                run = RunFolder(self.folder / "timing" / f"{name}-{count}")
                # A run that is resumed traces anew and would count that twice, so each is begun afresh. One that
                # still goes on there, after its comparison was killed, is told.
                with run.held():
                    shutil.rmtree(run.path, ignore_errors=True)
                self._python("madn.train", *options, "--steps", count, "--round-steps", count, "--run", run.path)
                seconds.append(float(run.rows()[-1]["seconds"]))
            per_step = max((seconds[1] - seconds[0]) / (TIMING_STEPS[1] - TIMING_STEPS[0]), 1e-3)
            steps = max(ROUNDS, round(MARGIN * 60 * self.minutes / per_step))
            timing = Timing(version=1, seconds_per_step=per_step, minutes=self.minutes, options=options, steps=steps)
            self.write(f"timing/{name}.json", msgspec.json.encode(timing).decode() + "\n")
        return _read_timing(file).steps

    def _python(self, module: str, *arguments) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        print(f"\n$ python -m {module} {' '.join(map(str, arguments))}", flush=True)
        with StopsPassedOn() as stops, subprocess.Popen(command) as process:
            stops.pass_to(process)
            try:
                code = process.wait()
            except KeyboardInterrupt:  # The command has got Ctrl-C as well, and saves.
                process.wait()
                raise
        if code == 130 or stops.received:
            raise KeyboardInterrupt
        if code:
            raise UserError(
                f"{module} ended with exit code {code}; its message is above. Called again, the "
                "comparison goes on where it was"
            )


def _read_timing(file: Path) -> Timing:
    return read_json(file, Timing, "a recipe's timing", "remove it, and the recipe is timed again")


class StopsPassedOn:
    """A block in which SIGTERM and SIGHUP, which may reach this process alone, do not end it before its command.

    They are passed on to the command, which saves. A terminal sends Ctrl-C to both. Only the main thread can receive
    signals; in another one nothing is passed on.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.process: subprocess.Popen | None = None
        self.before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in stopping_signals():
                if number != signal.SIGINT:
                    self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def pass_to(self, process: subprocess.Popen) -> None:
        """Pass on to this command what comes from now on, and what came while it was started."""
        self.process = process
        for number in self.received:
            process.send_signal(number)

    def _receive(self, number, frame):
        self.received.append(number)
        if self.process:
            self.process.send_signal(number)


def check_backend() -> None:
    """Raises `UserError` where the comparison cannot run at all; keeps the GPU for the processes that train."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"operations are counted in TensorFlow's graph, which KERAS_BACKEND={keras.backend.backend()} has not"
        )
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


METRICS = {"psnr": 2, "ssim": 4, "ssim_matlab": 4}  # Scores have so many decimals.


def results_table(entries: Sequence[Contestant]) -> str:
    """A Markdown table: the blurred images first, then each recipe with its cost, and below it what it can say.

    With several seeds each score is "mean ± standard deviation" over them, and the last column is the rank that
    `ranks` gives.
    """
    of = {
        name: [entry for entry in entries if entry.recipe == name] for name in dict.fromkeys(e.recipe for e in entries)
    }
    seeds = max(map(len, of.values()))
    header = ["recipe", "parameters", "GMACs at 256x256", "steps", "minutes"]
    header += ["PSNR", "`ssim`", "`ssim_matlab`", "PSNR above blurred", *(["rank by PSNR"] if seeds > 1 else [])]
    blurred = entries[0].scores["blurred"]
    blank = [""] if seeds > 1 else []
    rows = [["blurred input", "", "", "", "", *(f"{blurred[key]:.{n}f}" for key, n in METRICS.items()), "", *blank]]
    placed = ranks({name: [run.scores["restored"]["psnr"] for run in runs] for name, runs in of.items()})
    for name, runs in of.items():
        cost = [f"{runs[0].parameters:,}", f"{runs[0].gmacs:.2f}"]
        cost += [f"{mean(run.steps for run in runs):.0f}", f"{mean(run.minutes for run in runs):.1f}"]
        scores = [_spread([run.scores["restored"][key] for run in runs], digits) for key, digits in METRICS.items()]
        better = f"{_range(min(run.better for run in runs), max(run.better for run in runs))} of {runs[0].images}"
        rank = [_range(*placed[name])] if seeds > 1 else []
        rows.append([f"`{name}`", *cost, *scores, better, *rank])
    return f"{markdown_table(header, rows)}\n\n{_remark(seeds, len(of))}".rstrip()


def ranks(scores: dict[str, list[float]]) -> dict[str, tuple[int, int]]:
    """The best and the worst rank that a recipe's runs leave it: 1 is the highest score.

    One recipe is ahead of another only where its worst run has more than the other's best. Recipes that are not told
    apart so have ranks in common.
    """
    low, high = ({name: pick(runs) for name, runs in scores.items()} for pick in (min, max))
    return {
        name: (
            1 + sum(low[other] > high[name] for other in scores),
            len(scores) - sum(high[other] < low[name] for other in scores),
        )
        for name in scores
    }


def _remark(seeds: int, recipes: int) -> str:
    if recipes < 2:
        return ""
    if seeds < 2:
        return (
            "One run of each: the order of these scores is no ranking. --seeds 3 trains each recipe with three seeds."
        )
    chance = math.comb(2 * seeds, seeds) // 2
    return (
        f"Scores: mean ± standard deviation of {seeds} seeds. Rank: a recipe is ahead of another only where its worst "
        "run has a higher PSNR than the other's best; recipes with ranks in common are not told apart. Of two recipes "
        f"that are equal, one comes out ahead by chance in one comparison of {chance}."
    )


def _spread(values: Sequence[float], digits: int) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"
