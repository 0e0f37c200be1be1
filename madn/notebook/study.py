"""The runs of a notebook: recipes are trained and measured once each, by commands that a reader can type.

A study keeps everything below one folder, runs/NAME-SCALE-DATA: a run folder for each training, an evaluation's JSON
for each measurement, the pictures; what is measured of other models stands in runs/shared-SCALE-DATA. What is there and
was made by the same command is not made again.
"""

import contextlib
import copy
import io
import json
import logging
import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from madn import evaluate, recipes, train
from madn.data.index import Pair
from madn.data.sets import open_pairs
from madn.errors import UserError
from madn.imaging.arrays import read_image
from madn.imaging.finding import image_files
from madn.system.json_files import read_json
from madn.system.startup import start_keras
from madn.system.tables import markdown_table
from madn.system.writing import atomic
from madn.training.perceptual import PerceptualRecipe
from madn.training.runfolder import RunFolder


@dataclass(frozen=True)
class Scale:
    """How much is done: generator updates of a run (None: the recipe's own), and measured test pairs (None: all)."""

    steps: int | None
    pairs: int | None


SCALES = {"tiny": Scale(4, 1), "hand": Scale(240, 8), "full": Scale(None, None)}
BESIDE = "../../GOPRO"  # Seen from a notebook, this folder lies beside the checkout.


class Study:
    """The runs of one notebook, in the folder `runs/NAME-SCALE-DATA` of the working directory.

    Args:
        name: the notebook's.
        scale: "hand": narrow networks, minutes on two CPU cores; "full": the papers' own settings, for a GPU;
            "tiny": a few steps, which show that everything runs and nothing else.
        data: a folder in GoPro's layout, or "samples", the built-in set; by default ../../GOPRO where it is, else
            the samples.
        narrow: options of madn.train for every run below the full scale, as on the command line.
        vgg: a folder with vgg16*.h5 and vgg19*.h5, for the perceptual losses; by default what Keras downloads. Where
            it cannot, random weights serve below the full scale, and the study says so.
        runs: where the study's folder is made.
        realblur: a folder that is, or holds, RealBlur-J or RealBlur-R, or both, for `on_realblur`.

    The environment's MADN_SCALE, MADN_DATA, MADN_VGG, MADN_RUNS and MADN_REALBLUR take precedence: `make notebooks`
    sets them. Raises `UserError` for an unknown scale, a folder that is not there, and one that is not RealBlur's.
    """

    def __init__(
        self,
        name: str,
        scale: str = "hand",
        data: str | None = None,
        narrow: str = "",
        vgg: str | None = None,
        runs: str = "runs",
        realblur: str | None = None,
    ):
        self.scale = os.environ.get("MADN_SCALE") or scale
        if self.scale not in SCALES:
            raise UserError(f"scale '{self.scale}' is unknown: it is one of {', '.join(SCALES)}")
        self.steps, self.limit = SCALES[self.scale].steps, SCALES[self.scale].pairs
        self.data = os.environ.get("MADN_DATA") or data or (BESIDE if Path(BESIDE).is_dir() else "samples")
        self._choose(open_pairs(self.data, split="test").pairs)
        self._realblur = _realblur_sets(os.environ.get("MADN_REALBLUR") or realblur)
        self._part = "test"
        self.narrow = [] if self.scale == "full" else shlex.split(narrow)
        self.vgg = os.environ.get("MADN_VGG") or vgg
        runs, of = Path(os.environ.get("MADN_RUNS") or runs), f"{self.scale}-{Path(self.data).name}"
        self.folder, self.shared = runs / f"{name}-{of}", runs / f"shared-{of}"
        self.notes: list[str] = []
        self._restorers: dict = {}
        start_keras()
        # TensorFlow would warn of too much tracing, where several networks are each traced once.
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        print(
            f"{name}: {self.scale} scale, {len(self.pairs)} test pairs of {self.data}; "
            f"everything below {self.folder.as_posix()}"
        )

    def choose(self, **of_scale):
        """The value for this scale: choose(tiny=1, hand=3, full=9)."""
        return of_scale[self.scale]

    def train(self, run: str, recipe: str, *options: str | int | float) -> str:
        """Train a recipe, narrowed below the full scale, for the study's steps; returns the run folder.

        `options` are madn.train's and come last. At the full scale no pairs are held out, as in the papers. A run that
        is finished is not trained again, one that was stopped goes on. Prints the command and where the run ended.
        """
        folder = self.folder / run
        steps = ["--validation", "none"]
        if self.steps:
            steps = ["--steps", self.steps, "--round-steps", -(-self.steps // 4)]
        command = ["--recipe", recipe, "--data", self.data, *steps, *self.narrow, *self._vgg_option(recipe), *options]
        command += ["--run", folder.as_posix(), "--resume"]
        stamp = folder / "command.txt"
        start = [Path(str(after)) for word, after in zip(options, options[1:], strict=False) if word == "--weights"]
        if start and stamp.is_file() and not _is_after(stamp, start):  # A resumed run would not read the weights again.
            shutil.rmtree(folder)
        self._restorers.pop(folder.as_posix(), None)
        self._once("madn.train", train.main, command, stamp, folder / "train.log", *start)
        print(f"  {_ending(folder)}")
        return folder.as_posix()

    def measure(self, model: str, *options: str, protocol: Literal["full", "crop"] = "full") -> dict:
        """Measure a model as `madn.evaluate` takes it on the test pairs; returns its JSON, with `file`, its path.

        A run folder of this study is measured as it ended, not at its best checkpoint, and keeps the result as
        RUN/test; any other model's goes to a folder of its name, which the studies of this scale and data share.
        The crop protocol measures one random crop of 256 pixels of each pair, and its result lies in `crops` beside it.
        """
        place, own = Path(model), self._own(model)
        if not own:
            folder = self.shared / place.name
        else:
            folder = self.folder / "others" / place.name if place.is_file() else place
        folder /= self._part if protocol == "full" else self._part.replace("test", "crops", 1)
        few = ["--every", self.every] * (self.every > 1) + ["--limit", self.limit] * (self.limit is not None)
        last = ["--which", "last"] if own and place.is_dir() else []
        command = [str(model), "--data", self.data, "--split", "test", *few, *last, *options, "--pictures", 0]
        command += ["--protocol", protocol] * (protocol != "full")
        command += ["--out", folder.as_posix()]
        weights = RunFolder(model).chosen("last" if own else "best") if place.is_dir() else place
        stamp, log = folder / "command.txt", folder / "evaluate.log"
        self._once("madn.evaluate", evaluate.main, command, stamp, log, weights)
        file = folder / f"{protocol}.json"
        return {
            **read_json(file, dict[str, Any], "what madn.evaluate writes", "remove it to measure again"),
            "file": file.as_posix(),
        }

    def on_realblur(self) -> list["Study"]:
        """This study with the test pairs of RealBlur-J, RealBlur-R or both, as far as `realblur` holds them.

        `measure` of each keeps its results beside those of the study's own pairs.
        """
        studies = []
        for folder, pairs in self._realblur.items():
            study = copy.copy(self)
            study.data, study._part = folder.as_posix(), f"test-{folder.name}"
            study.shared = self.shared.with_name(f"shared-{self.scale}-{folder.name}")
            study._choose(pairs)
            studies.append(study)
        return studies

    def restored(self, model: str, image: np.ndarray) -> np.ndarray:
        """An image, float32 (height, width, 3) in [0, 1], restored by a model as `madn.evaluate` takes it."""
        if model not in self._restorers:
            from madn.restoration.loading import load_network

            run = self._own(model) and Path(model).is_dir()
            self._restorers[model] = load_network(model, "last" if run else "best").restorer(scale=1.0)
        return self._restorers[model](image)[0]

    def write(self, name: str, facts: dict) -> dict:
        """Keep what a notebook measured by itself as NAME.json in the study's folder; returns it with `file`."""
        file = self.folder / f"{name}.json"
        with atomic(file) as part:
            part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return {**facts, "file": file.as_posix()}

    def finished(self, *folders: str) -> dict[str, str]:
        """Those of these run folders, made elsewhere and longer trained, that are there: each name with its folder.

        Prints how long each was trained, and on what.
        """
        there = {Path(folder).name: folder for folder in folders if RunFolder(folder).chosen("best").is_file()}
        for name, folder in there.items():
            pairs = RunFolder(folder).settings()["pairs"]["train"]
            print(f"{name}: trained {minutes(folder):.0f} minutes on {pairs}; {folder}")
        return there

    def photographs(self, folder: str | None = None, count: int = 4) -> dict:
        """Blurred photographs without a sharp partner, name -> float32 (height, width, 3) in [0, 1].

        By default those of `real_blurred` beside the data; where there are none, blurred images of the test pairs.
        """
        place = Path(folder) if folder else Path(self.data).parent / "real_blurred"
        files = sorted(image_files(place)) if self.data != "samples" and place.is_dir() else []
        if not files:
            self.note("no real blurred photographs are at hand: blurred images of the test pairs stand for them")
            return {pair.name: read_image(pair.blurred) for pair in spread(self.pairs, count)}
        return {file.stem: read_image(file) for file in files[:count]}

    def note(self, text: str) -> None:
        """Print a line that a reader of the results needs, once."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}")

    def _choose(self, pairs: Sequence[Pair]) -> None:
        """As many pairs as the scale has, spread over all: neighbours are frames of one scene."""
        self.every = max(1, len(pairs) // self.limit) if self.limit else 1
        self.pairs = pairs[:: self.every][: self.limit]

    def _vgg_option(self, recipe: str) -> list[str]:
        wanted = recipes.get(recipe)
        if not isinstance(wanted, PerceptualRecipe) or "--vgg-weights" in self.narrow:
            return []
        network = wanted.vgg_network
        if self.vgg:
            files = sorted(Path(self.vgg).glob(f"{network}*.h5"))
            if not files:
                raise UserError(f"{self.vgg}: holds no {network}*.h5; name a folder that does, or leave vgg out")
            return ["--vgg-weights", files[0].as_posix()]
        try:  # Only the loss is asked for: `prepare` would fetch a backbone, too, which `narrow` may leave out.
            with contextlib.redirect_stdout(io.StringIO()):
                wanted.perceptual()
        except UserError:
            if self.scale == "full":
                raise
            self.note(
                f"{network.upper()} weights can neither be downloaded nor were they given (vgg=FOLDER): the "
                "perceptual loss takes random ones"
            )
            return ["--vgg-weights", self._random_vgg(network)]
        return []

    def _random_vgg(self, network: str) -> str:
        file = self.folder / "vgg" / f"{network}_random.weights.h5"
        if not file.is_file():
            import keras

            keras.utils.set_random_seed(0)
            file.parent.mkdir(parents=True, exist_ok=True)
            getattr(keras.applications, network.upper())(include_top=False, weights=None).save_weights(file)
        return file.as_posix()

    def _own(self, model: str) -> bool:
        return Path(model).is_relative_to(self.folder)

    def _once(self, module: str, main: Callable, command: Sequence, stamp: Path, log: Path, *weights: Path) -> None:
        """Run a command's `main` in this process, what it says going to `log`.

        Not again where `stamp` holds the same command and is younger than the weights files that it reads.
        """
        words = [str(word) for word in command]
        line = shlex.join(["python", "-m", module, *words])
        print(f"$ {line}", flush=True)
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == line and _is_after(stamp, weights):
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("a", encoding="utf-8") as said,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            code = main(words)
        if code:
            raise KeyboardInterrupt(f"{module} was stopped and saved")
        stamp.write_text(line, encoding="utf-8")


def _realblur_sets(folder: str | None) -> dict[Path, tuple[Pair, ...]]:
    """The sets that a folder is or holds, each with its test pairs. Raises `UserError` where one is not RealBlur."""
    if folder is None:
        return {}
    root, sets = Path(folder), {}
    inside = sorted(each for each in root.glob("*") if each.is_dir() and each.name.lower().startswith("realblur"))
    for each in inside or [root]:
        index = open_pairs(each.as_posix(), split="test")
        if index.layout != "RealBlur":
            raise UserError(f"{each}: laid out as {index.layout} is, not as RealBlur; name its folder with realblur=")
        sets[each] = index.pairs
    return sets


def spread(items: Sequence, count: int) -> list:
    """At most `count` of the items, spread over the whole length."""
    count = min(count, len(items))
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def minutes(run: str) -> float:
    """How long a run has been trained, by its log."""
    return float(RunFolder(run).rows()[-1]["seconds"]) / 60


def read_pair(pair: Pair):
    """Both images of a pair, blurred and sharp, float32 (height, width, 3) in [0, 1]."""
    return read_image(pair.blurred), read_image(pair.sharp)


def scores(results: Mapping[str, dict]) -> str:
    """A Markdown table of what `Study.measure` returned: label -> result; the blurred input first, files in the last
    column, and below it what was measured."""
    first = next(iter(results.values()))
    same = ("crop", "blur_kind", "layout", "data", "seed")
    if any(
        result.get(key) != first.get(key) or len(result["images"]) != len(first["images"])
        for result in results.values()
        for key in same
    ):
        raise ValueError("a table is of one set of pairs and one protocol; received results of several")
    rows = [_cells("blurred input", first["mean"]["blurred"], first["file"])]
    rows += [_cells(label, result["mean"]["restored"], result["file"]) for label, result in results.items()]
    header = ["method", "PSNR in dB", "`ssim`", "`ssim_matlab`", "from"]
    table = markdown_table(header, rows, [False, True, True, True, False])
    protocol = "whole images" if first["crop"] is None else f"crops of {first['crop']} pixels"
    kind = f", blur kind `{first['blur_kind']}`" if first["layout"] == "GoPro" else ""
    count = len(first["images"])
    of = f"Mean of {count} test pairs" if count > 1 else "One test pair"
    return f"{table}\n\n{of}, {protocol}{kind}."


def _is_after(stamp: Path, weights: Sequence[Path]) -> bool:
    return all(file.stat().st_mtime_ns <= stamp.stat().st_mtime_ns for file in weights if file.is_file())


def _cells(label: str, mean: Mapping[str, float], file: str) -> list[str]:
    return [label, f"{mean['psnr']:.2f}", f"{mean['ssim']:.4f}", f"{mean['ssim_matlab']:.4f}", f"`{file}`"]


def _ending(folder: Path) -> str:
    """Say where a run ended, by its log."""
    rows = RunFolder(folder).rows()
    scored = [row for row in rows if row.get("val_psnr")]
    line = f"step {rows[-1]['step']}"
    if scored:
        best = max(scored, key=lambda row: float(row["val_psnr"]))
        line += (
            f"; best held-out crops {float(best['val_psnr']):.2f} dB (blurred "
            f"{float(best['val_blurred_psnr']):.2f} dB) at step {best['step']}"
        )
    return f"{line}; {(folder / 'log.csv').as_posix()}"
