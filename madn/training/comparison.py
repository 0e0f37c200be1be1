"""Recipes trained for the same time on the same crops, each in a process of its own, and measured on the same pairs."""

import dataclasses
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from madn import recipes
from madn.counting import macs
from madn.errors import UserError
from madn.imaging.files import atomic
from madn.training.runfolder import RunFolder

TIMING_STEPS, TIMING_ROUND = 40, 5
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
        """Time, train and measure one recipe; what is there already is not done again.

        A short run gives the seconds of a step, and with them the number of steps that the minutes allow: the
        learning rate's schedule needs it beforehand. Raises `UserError` where one of the commands fails.
        """
        recipe = recipes.get(name)
        options = ["--recipe", name, *self.options]
        loss_network = getattr(recipe, "vgg_network", None)
        if weights.get(loss_network):
            options += ["--vgg-weights", weights[loss_network]]
        run = RunFolder(self.folder / name)
        steps = self._steps(name, options)
        if not run.rows() or int(run.rows()[-1]["step"]) < steps:
            self._python("madn.train", *options, "--steps", steps, "--round-steps", max(1, steps // ROUNDS),
                         "--run", run.path, "--resume")
        measured = run.path / "test"
        self._python("madn.evaluate", run.path, "--data", self.test, "--split", "test", "--out", measured)
        result = json.loads((measured / "full.json").read_text())
        generator = recipe.build_generator()
        better = sum(image["restored"]["psnr"] > image["blurred"]["psnr"] for image in result["images"])
        return Entry(name, recipe.paper, generator.count_params(), macs(generator, 256, 256).total / 1e9, steps,
                     float(run.rows()[-1]["seconds"]) / 60, result["mean"], better, len(result["images"]))

    def write(self, name: str, text: str) -> None:
        with atomic(self.folder / name) as part:
            part.write_text(text, encoding="utf-8")

    def _steps(self, name: str, options: list[str]) -> int:
        file = self.folder / "timing" / f"{name}.json"
        if not file.is_file():
            run = RunFolder(self.folder / "timing" / name)
            self._python("madn.train", *options, "--steps", TIMING_STEPS, "--round-steps", TIMING_ROUND,
                         "--run", run.path, "--resume")
            ends = [0.0] + [float(row["seconds"]) for row in run.rows()]
            # The median leaves out the rounds that trace a graph.
            seconds = statistics.median(b - a for a, b in zip(ends, ends[1:])) / TIMING_ROUND
            steps = max(ROUNDS, round(60 * self.minutes / seconds))
            self.write(f"timing/{name}.json", json.dumps(
                {"seconds_per_step": seconds, "minutes": self.minutes, "steps": steps}) + "\n")
        timing = json.loads(file.read_text())
        if timing["minutes"] != self.minutes:
            raise UserError(f"{self.folder}: holds a comparison of {timing['minutes']:g} minutes; "
                            "choose another --run, or the same --minutes")
        return timing["steps"]

    def _python(self, module: str, *arguments) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        print(f"\n$ python -m {module} {' '.join(map(str, arguments))}", flush=True)
        code = subprocess.run(command).returncode
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise UserError(f"{module} ended with exit code {code}; its message is above. Called again, the "
                            "comparison goes on where it was")


def table(entries: list[Entry]) -> str:
    """A Markdown table: the blurred images first, then each recipe with its cost."""
    def scores(mean: dict) -> str:
        return f"{mean['psnr']:.2f} | {mean['ssim']:.4f} | {mean['ssim_matlab']:.4f}"

    lines = ["| recipe | parameters | GMACs at 256x256 | steps | minutes | PSNR | `ssim` | `ssim_matlab` "
             "| PSNR above blurred |",
             "|---|---|---|---|---|---|---|---|---|",
             f"| blurred input | | | | | {scores(entries[0].scores['blurred'])} | |"]
    lines += [f"| `{each.recipe}` | {each.parameters:,} | {each.gmacs:.2f} | {each.steps} | {each.minutes:.1f} | "
              f"{scores(each.scores['restored'])} | {each.better} of {each.images} |" for each in entries]
    return "\n".join(lines)
