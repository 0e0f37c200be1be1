"""A network, or another method, measured on pairs: scores per image and in the mean, restored and blurred image.

Two protocols. "full" measures whole images (comparable with the papers' tables); "crop" measures one random window of
each image, which the network sees alone (MADN section 4.1: "randomly cropped ... for training and testing"). Their
numbers are not comparable.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from madn.data.index import Pair
from madn.errors import UserError, one_line
from madn.evaluation.metrics import SMALLEST, psnr, ssim, ssim_matlab
from madn.imaging.arrays import read_image
from madn.system.tables import text_table
from madn.system.versions import versions
from madn.system.writing import write_durably

PROTOCOLS = {
    "full": "whole images",
    "crop": "one random window per image, numpy.random.default_rng(seed), restored by itself",
}
METRICS_EXPLAINED = {
    "psnr": "dB, 10 log10(255^2/MSE) over all RGB values of uint8 images; mean over images",
    "ssim": "scikit-image, per channel, 11x11 Gaussian, sigma 1.5, population covariance, uint8",
    "ssim_matlab": "MATLAB's ssim of an RGB array: 11x11x11 Gaussian over H, W and C, replicate padding, uint8",
}
LISTED = 40  # The table lists at most so many images one by one.


@dataclass(frozen=True)
class Scores:
    """One image, or the mean over images, against its sharp partner."""

    psnr: float
    ssim: float
    ssim_matlab: float


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
    """All results of one protocol; `crop` and `seed` are None where whole images were measured."""

    protocol: str
    crop: int | None
    seed: int | None
    images: list[ImageResult]

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
        titles = [f"{metric.name} {which}" for metric in fields(Scores) for which in ("blurred", "restored")]
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
            "metrics": METRICS_EXPLAINED,
            "versions": versions(),
            "mean": {"blurred": asdict(self.blurred), "restored": asdict(self.restored)},
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
) -> Evaluation:
    """Measure any method on pairs, one by one; one that looks at the sharp image is no fair rival, and must say so.

    `on_result(result, blurred, restored, sharp)` is called after each, with float32 (H, W, 3) images. `timed` says
    whether the method's time means anything.
    Raises `UserError` for no pairs, an unreadable file, sizes that differ or an image smaller than the crop (or than
    the 11 pixels of the SSIM window).
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol '{protocol}' is unknown: it is one of {', '.join(PROTOCOLS)}")
    if not pairs:
        raise UserError("no pairs to evaluate")
    if protocol == "crop" and crop < SMALLEST:
        raise UserError(f"crop {crop} is smaller than the {SMALLEST}-pixel window of ssim")
    chance = np.random.default_rng(seed)
    results = []
    with ThreadPoolExecutor(2) as pool:  # The metrics take longer than a network on a GPU.
        for pair in pairs:
            blurred, sharp = read_image(pair.blurred), read_image(pair.sharp)
            _check_sizes(pair, blurred, sharp, crop if protocol == "crop" else SMALLEST)
            offset = None
            if protocol == "crop":
                y, x = (int(chance.integers(0, n - crop + 1)) for n in blurred.shape[:2])
                offset = y, x
                blurred, sharp = (image[y : y + crop, x : x + crop] for image in (blurred, sharp))
            start = time.perf_counter()
            restored = method(blurred, sharp)
            seconds = time.perf_counter() - start if timed else None
            before, after = pool.map(score, (blurred, restored), (sharp, sharp))
            result = ImageResult(pair.scene, pair.name, blurred.shape[:2], offset, before, after, seconds)
            on_result(result, blurred, restored, sharp)
            results.append(result)
    cropped = protocol == "crop"
    return Evaluation(protocol, crop if cropped else None, seed if cropped else None, results)


def score(image: np.ndarray, sharp: np.ndarray) -> Scores:
    """All metrics of one float (H, W, 3) image in [0, 1] against its sharp partner."""
    return Scores(psnr(image, sharp), ssim(image, sharp), ssim_matlab(image, sharp))


def _check_sizes(pair: Pair, blurred: np.ndarray, sharp: np.ndarray, smallest: int) -> None:
    if blurred.shape != sharp.shape:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (blurred, sharp))
        raise UserError(f"{pair.blurred}: its size and that of its sharp partner differ ({sizes})")
    if min(blurred.shape[:2]) < smallest:
        raise UserError(f"{pair.blurred}: {blurred.shape[1]}x{blurred.shape[0]} is smaller than {smallest} pixels")


def _mean(scores: list[Scores]) -> Scores:
    return Scores(*(float(np.mean([getattr(each, field.name) for each in scores])) for field in fields(Scores)))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cells(blurred: Scores, restored: Scores) -> list[str]:
    return [
        f"{getattr(scores, metric.name):.{2 if metric.name == 'psnr' else 4}f}"
        for metric in fields(Scores)
        for scores in (blurred, restored)
    ]


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value
