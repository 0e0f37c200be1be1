"""The input pipeline against training: crops a second."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from madn.benchmarks.reference_rates import environment
from madn.benchmarks.suite import ResultFile
from madn.data.batches import training_batches
from madn.data.crops import PairCrops
from madn.data.images import DecodedImages
from madn.data.index import Pair
from madn.models.madn.recipe import MADN


def input_lines(
    pairs: Sequence[Pair], name: str, crops: Sequence[int], batch: int, seconds: float, file: Path | None, command: str
) -> Iterator[str]:
    """A line of rates for each size in `crops`, in pixels; the rates go to the record `file`, too, if there is one.

    `name`: what the pairs are called; `batch`: crops in a batch; `seconds`: how long to read, and to train.
    """
    record = ResultFile(file, command, environment())
    yield f"{len(pairs)} pairs of {name}, batches of {batch}, {os.cpu_count()} cores"
    for crop in crops:
        source = PairCrops(pairs, DecodedImages("memory", 16.0), crop, seed=0, augment="dihedral")
        first, cached = input_rates(source, batch, seconds)
        training = training_rate(source, batch, seconds)
        rates = {
            "first_epoch_crops_per_second": first,
            "cached_crops_per_second": cached,
            "training_crops_per_second": training,
        }
        record.add("input", {"pairs": len(pairs), "crop": crop, "batch": batch, **rates})
        yield (
            f"crop {crop}: first epoch {first:.0f} crops/s, cached {cached:.0f} crops/s; the smallest training run "
            f"takes {training:.1f} crops/s, cached input gives {cached / training:.0f} times that"
        )


def input_rates(source: PairCrops, batch: int, seconds: float) -> tuple[float, float]:
    """Crops per second in the first epoch (decoding every file) and after it (from the memory cache)."""
    epoch = -(-len(source) // batch)
    rates = []
    for first_step, steps, limit in ((0, epoch, float("inf")), (epoch, None, seconds)):
        count, start = 0, time.perf_counter()
        for _ in training_batches(source, batch, first_step, steps):
            count += 1
            if time.perf_counter() - start > limit:
                break
        rates.append(count * batch / (time.perf_counter() - start))
    first, later = rates
    return first, later


def training_rate(source: PairCrops, batch: int, seconds: float) -> float:
    """Crops per second of a very narrow MADN (widths 4/8/16, one residual block a group, no discriminator)."""
    recipe = replace(MADN, widths=(4, 8, 16), res_blocks=1, adversarial_domains="none", crop=source.crop, batch=batch)
    model = recipe.build_model(1_000_000)
    batches = iter(training_batches(source, batch))
    model.train_on_batch(*next(batches))  # The first step is traced here.
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or steps < 3:
        model.train_on_batch(*next(batches), return_dict=True)  # It returns numbers, so that the step has ended.
        steps += 1
    return steps * batch / (time.perf_counter() - start)
