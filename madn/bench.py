"""Measure the input pipeline against training: python -m madn.bench --data DIR"""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from madn.commandline import parse
from madn.data.crops import PairCrops
from madn.data.images import DecodedImages
from madn.data.sets import open_pairs
from madn.errors import run_door
from madn.startup import start_keras


@dataclass(frozen=True)
class Options:
    """Crops a second: the first epoch, which decodes; from the cache; and what the smallest training run consumes."""

    data: str
    """Folder of the pairs, or samples."""
    crops: tuple[int, ...] = (64, 256)
    """Crop sizes in pixels, multiples of 32."""
    batch: int = 16
    """Crops in a batch."""
    seconds: float = 5.0
    """How long to read from the cache, and to train."""


def main(argv: list[str]) -> None:
    """One line per crop size."""
    options = parse(Options, argv, "python -m madn.bench", __doc__)
    pairs = open_pairs(options.data).pairs
    start_keras()
    print(f"{len(pairs)} pairs of {Path(options.data).name}, batches of {options.batch}, {os.cpu_count()} cores")
    for crop in options.crops:
        source = PairCrops(pairs, DecodedImages("memory", 16.0), crop, seed=0, augment="dihedral")
        first, cached = input_rates(source, options.batch, options.seconds)
        training = training_rate(source, options.batch, options.seconds)
        print(f"crop {crop}: first epoch {first:.0f} crops/s, cached {cached:.0f} crops/s; the smallest training run "
              f"takes {training:.1f} crops/s, cached input gives {cached / training:.0f} times that", flush=True)


def input_rates(source: PairCrops, batch: int, seconds: float) -> tuple[float, float]:
    """Crops per second in the first epoch (decoding every file) and after it (from the memory cache)."""
    from madn.data.pipeline import training_dataset

    epoch = -(-len(source) // batch)
    rates = []
    for first_step, steps, limit in ((0, epoch, float("inf")), (epoch, None, seconds)):
        drawn, start = 0, time.perf_counter()
        for _ in training_dataset(source, batch, first_step, steps):
            drawn += 1
            if time.perf_counter() - start > limit:
                break
        rates.append(drawn * batch / (time.perf_counter() - start))
    return tuple(rates)


def training_rate(source: PairCrops, batch: int, seconds: float) -> float:
    """Crops per second of the narrowest MADN that the tests train (widths 4/8/16, one residual block, no critic)."""
    from madn.data.pipeline import training_dataset
    from madn.recipe import MADN

    recipe = replace(MADN, widths=(4, 8, 16), res_blocks=1, adversarial_domains="none", crop=source.crop, batch=batch)
    model = recipe.build_model(1_000_000)
    batches = iter(training_dataset(source, batch))
    model.train_on_batch(*next(batches))  # traces the step
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or steps < 3:
        model.train_on_batch(*next(batches), return_dict=True)  # returns numbers: the step has ended
        steps += 1
    return steps * batch / (time.perf_counter() - start)


if __name__ == "__main__":
    run_door(main)
