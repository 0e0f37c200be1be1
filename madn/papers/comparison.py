"""Recipes trained for the same time on the same crops, each in a process of its own, and measured on the same pairs."""

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import keras

from madn import recipes
from madn.errors import UserError
from madn.nn.macs import network_macs
from madn.system.writing import atomic
from madn.training.perceptual import PerceptualRecipe
from madn.training.recipe import Recipe
from madn.training.runfolder import RunFolder

TIMING_STEPS = (4, 34)
MARGIN = 1.2
ROUNDS = 12  # validations and checkpoints of a run


@dataclass(frozen=True)
class Entry:
    """One recipe's result: cost, length and mean scores over the test pairs."""

    recipe: str
    paper: str
    parameters: int
    gmacs: float
    steps: int
    minutes: float
    scores: dict  # the evaluation's "mean": blurred and restored, each psnr, ssim, ssim_matlab
    better: int
    images: int

    def facts(self) -> dict:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Contest:
    """The folder of all runs, the minutes of each, their common options, and the set that is measured."""

    folder: Path
    minutes: float
    options: list[str]
    test: str

    def enter(self, name: str, weights: dict[str, str | None]) -> Entry:
        """Time, train and measure one recipe; a run that is finished is only measured again.

        A short run gives the seconds of a step, and with them the number of steps that the minutes allow, which the
        learning rate's schedule needs beforehand; a fifth is added for a machine that gets faster, so that the
        clock ends the run. Raises `UserError` where one of the commands fails.
        """
        recipe = self._recipe(name, weights)
        options = ["--recipe", name, *self.options]
        if isinstance(recipe, PerceptualRecipe) and recipe.vgg_weights:
            options += ["--vgg-weights", recipe.vgg_weights]
        run = RunFolder(self.folder / name)
        steps = self._steps(name, options)
        self._python(
            "madn.train",
            *options,
            "--steps",
            steps,
            "--minutes",
            self.minutes,
            "--round-steps",
            max(1, steps // ROUNDS),
            "--run",
            run.path,
            "--resume",
        )
        last = run.rows()[-1]
        measured = run.path / "test"
        self._python("madn.evaluate", run.path, "--data", self.test, "--split", "test", "--out", measured)
        result = json.loads((measured / "full.json").read_text())
        generator = recipe.build_generator()
        better = sum(image["restored"]["psnr"] > image["blurred"]["psnr"] for image in result["images"])
        return Entry(
            name,
            recipe.paper,
            generator.count_params(),
            network_macs(generator, 256, 256).total / 1e9,
            int(last["step"]),
            float(last["seconds"]) / 60,
            result["mean"],
            better,
            len(result["images"]),
        )

    def prepare(self, name: str, weights: dict[str, str | None]) -> None:
        """Fetch and check what a recipe needs beside the images. Raises `UserError` where it is not to be had."""
        self._recipe(name, weights).prepare()

    def write(self, name: str, text: str) -> None:
        with atomic(self.folder / name) as part:
            part.write_text(text, encoding="utf-8")

    def _recipe(self, name: str, weights: dict[str, str | None]) -> Recipe:
        recipe = recipes.get(name)
        if isinstance(recipe, PerceptualRecipe) and (file := weights.get(recipe.vgg_network)):
            return dataclasses.replace(recipe, vgg_weights=file)
        return recipe

    def _steps(self, name: str, options: list[str]) -> int:
        file = self.folder / "timing" / f"{name}.json"
        if not file.is_file():
            # Two runs, whose difference is steps alone: neither tracing nor what happens at the end of a round.
            seconds = []
            for steps in TIMING_STEPS:
                run = RunFolder(self.folder / "timing" / f"{name}-{steps}")
                self._python(
                    "madn.train", *options, "--steps", steps, "--round-steps", steps, "--run", run.path, "--resume"
                )
                seconds.append(float(run.rows()[-1]["seconds"]))
            per_step = max((seconds[1] - seconds[0]) / (TIMING_STEPS[1] - TIMING_STEPS[0]), 1e-3)
            self.write(
                f"timing/{name}.json",
                json.dumps(
                    {
                        "seconds_per_step": per_step,
                        "minutes": self.minutes,
                        "options": options,
                        "steps": max(ROUNDS, round(MARGIN * 60 * self.minutes / per_step)),
                    }
                )
                + "\n",
            )
        timing = json.loads(file.read_text())
        if (timing["minutes"], timing["options"]) != (self.minutes, options):
            raise UserError(
                f"{self.folder}: holds a comparison of {timing['minutes']:g} minutes with "
                f"{' '.join(timing['options'])}; choose another --run, or the same options"
            )
        return timing["steps"]

    def _python(self, module: str, *arguments) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        print(f"\n$ python -m {module} {' '.join(map(str, arguments))}", flush=True)
        with subprocess.Popen(command) as process:
            try:
                code = process.wait()
            except KeyboardInterrupt:  # it has got Ctrl-C as well, and saves
                process.wait()
                raise
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise UserError(
                f"{module} ended with exit code {code}; its message is above. Called again, the "
                "comparison goes on where it was"
            )


def check() -> None:
    """Raises `UserError` where the comparison cannot run at all; keeps the GPU for the processes that train."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"operations are counted in TensorFlow's graph, which KERAS_BACKEND={keras.backend.backend()} has not"
        )
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def table(entries: list[Entry]) -> str:
    """A Markdown table: the blurred images first, then each recipe with its cost."""

    def scores(mean: dict) -> str:
        return f"{mean['psnr']:.2f} | {mean['ssim']:.4f} | {mean['ssim_matlab']:.4f}"

    lines = [
        "| recipe | parameters | GMACs at 256x256 | steps | minutes | PSNR | `ssim` | `ssim_matlab` "
        "| PSNR above blurred |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| blurred input | | | | | {scores(entries[0].scores['blurred'])} | |",
    ]
    lines += [
        f"| `{each.recipe}` | {each.parameters:,} | {each.gmacs:.2f} | {each.steps} | {each.minutes:.1f} | "
        f"{scores(each.scores['restored'])} | {each.better} of {each.images} |"
        for each in entries
    ]
    return "\n".join(lines)
