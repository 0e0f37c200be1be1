"""A network, or another method, measured on pairs: scores per image and in the mean, restored and blurred image.

Two protocols. "full" measures whole images (comparable with the papers' tables); "crop" measures one random window of
each image, which the network sees alone (MADN section 4.1: "randomly cropped ... for training and testing"). Their
numbers are not comparable.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from madn.data.index import Pair
from madn.errors import UserError, one_line
from madn.evaluation.metric_list import Scorer, Scores, choose
from madn.imaging.arrays import read_image
from madn.system.tables import score_text, text_table
from madn.system.versions import versions
from madn.system.writing import write_durably

PROTOCOLS = {
    "full": "whole images",
    "crop": "one random window per image, numpy.random.default_rng(seed), restored by itself",
}
LISTED = 40  # The table lists at most so many images one by one.


score = Scorer(choose())
"""The standard metrics of one float (H, W, 3) image in [0, 1] against its sharp partner, as `Scores`."""


@dataclass(frozen=True)
class ImageResult:
    """One pair's scores; `seconds` is the restoring's time with padding and transfers (None where it was not measured),
    `offset` the crop's (y, x)."""

    scene: str
    name: str
    size: tuple[int, int]
    offset: tuple[int, int] | None
    blurred: Scores
    restored: Scores
    seconds: float | None


@dataclass(frozen=True)
class Evaluation:
    """All results of one protocol; `crop` and `seed` are None where whole images were measured.

    `metrics` says of each name what it is, `remarks` what the metrics have to say of the images.
    """

    protocol: str
    crop: int | None
    seed: int | None
    images: list[ImageResult]
    metrics: Mapping[str, str] = field(default_factory=lambda: score.explained)
    remarks: Sequence[str] = ()

    @property
    def blurred(self) -> Scores:
        """Mean scores of the blurred inputs."""
        return _mean([image.blurred for image in self.images])

    @property
    def restored(self) -> Scores:
        """Mean scores of the restored images."""
        return _mean([image.restored for image in self.images])

    @property
    def seconds(self) -> float | None:
        """Median seconds per image: the first call's compilation is left out of the middle. None if not measured."""
        measured = [image.seconds for image in self.images if image.seconds is not None]
        return float(np.median(measured)) if measured else None

    def table(self) -> str:
        """An aligned table for the screen: every image while they are few, and the mean."""
        what = "whole images" if self.crop is None else f"{self.crop}x{self.crop} crops, seed {self.seed}"
        listed = self.images if len(self.images) <= LISTED else []
        titles = [f"{metric} {which}" for metric in self.restored for which in ("blurred", "restored")]
        lines = [
            [one_line(image.name), *_cells(image.blurred, image.restored), _seconds(image.seconds)] for image in listed
        ]
        mean = [f"mean of {len(self.images)}", *_cells(self.blurred, self.restored), _seconds(self.seconds)]
        table = text_table(["image", *titles, "seconds"], [*lines, mean], [False, *[True] * (len(titles) + 1)])
        return f"protocol {self.protocol}: {what}; seconds of the mean line: median\n{table}"

    def write_json(self, path: str | Path, **about: object) -> None:
        """Write everything as JSON, whole or not at all; `about` says what was measured (model, data, blur kind).

        An infinite PSNR (identical images) is the string "inf", since JSON has no such number.
        """
        everything = {
            "version": 1,
            **about,
            "protocol": self.protocol,
            "protocol_means": PROTOCOLS[self.protocol],
            "crop": self.crop,
            "seed": self.seed,
            "metrics": dict(self.metrics),
            "remarks": list(self.remarks),
            "versions": versions(),
            "mean": {"blurred": self.blurred, "restored": self.restored},
            "median_seconds": self.seconds,
            "images": [asdict(image) for image in self.images],
        }
        write_durably(path, (json.dumps(_finite(everything), indent=1, allow_nan=False) + "\n").encode())


OnResult = Callable[[ImageResult, np.ndarray, np.ndarray, np.ndarray], None]
RestorePair = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A method: float32 (H, W, 3) blurred and sharp image in [0, 1] -> the restored one; most look at the first alone."""


def evaluate_method(
    method: RestorePair,
    pairs: Sequence[Pair],
    protocol: Literal["full", "crop"] = "full",
    crop: int = 256,
    seed: int = 0,
    on_result: OnResult = lambda *_: None,
    timed: bool = True,
    scorer: Scorer | None = None,
) -> Evaluation:
    """Measure any method on pairs, one by one; one that looks at the sharp image is no fair rival, and must say so.

    `on_result(result, blurred, restored, sharp)` is called after each, with float32 (H, W, 3) images. `timed` says
    whether the method's time means anything. `scorer` has the metrics, by default the standard ones.
    Raises `UserError` for no pairs, an unreadable file, sizes that differ or an image smaller than the crop, or than a
    metric needs (11 pixels are SSIM's window).
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol '{protocol}' is unknown: it is one of {', '.join(PROTOCOLS)}")
    if not pairs:
        raise UserError("no pairs to evaluate")
    scorer = scorer or score
    if protocol == "crop" and crop < scorer.smallest:
        raise UserError(f"crop {crop} is smaller than the {scorer.smallest} pixels that {scorer.limit} needs")
    chance = np.random.default_rng(seed)
    results = []
    with ThreadPoolExecutor(2) as pool:  # The metrics take longer than a network on a GPU.
        for pair in pairs:
            blurred, sharp = read_image(pair.blurred), read_image(pair.sharp)
            _check_sizes(pair, blurred, sharp, crop if protocol == "crop" else scorer.smallest)
            offset = None
            if protocol == "crop":
                y, x = (int(chance.integers(0, n - crop + 1)) for n in blurred.shape[:2])
                offset = y, x
                blurred, sharp = (image[y : y + crop, x : x + crop] for image in (blurred, sharp))
            start = time.perf_counter()
            restored = method(blurred, sharp)
            seconds = time.perf_counter() - start if timed else None
            frames = partial(map, read_image, pair.frames) if pair.frames else None
            before, after = pool.map(scorer, (blurred, restored), (sharp, sharp), (frames, frames))
            result = ImageResult(pair.scene, pair.name, blurred.shape[:2], offset, before, after, seconds)
            on_result(result, blurred, restored, sharp)
            results.append(result)
    cropped = protocol == "crop"
    of_crops = (crop, seed) if cropped else (None, None)
    return Evaluation(protocol, *of_crops, results, scorer.explained, scorer.remarks)


def _check_sizes(pair: Pair, blurred: np.ndarray, sharp: np.ndarray, smallest: int) -> None:
    if blurred.shape != sharp.shape:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (blurred, sharp))
        raise UserError(f"{pair.blurred}: its size and that of its sharp partner differ ({sizes})")
    if min(blurred.shape[:2]) < smallest:
        raise UserError(f"{pair.blurred}: {blurred.shape[1]}x{blurred.shape[0]} is smaller than {smallest} pixels")


def _mean(scores: list[Scores]) -> Scores:
    return Scores({metric: float(np.mean([each[metric] for each in scores])) for metric in scores[0]})


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cells(blurred: Scores, restored: Scores) -> list[str]:
    return [score_text(metric, scores[metric]) for metric in restored for scores in (blurred, restored)]


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value
