"""The input pipeline against training: crops a second."""

import time
from dataclasses import replace

from madn.data.crops import PairCrops
from madn.data.pipeline import training_dataset
from madn.models.madn.recipe import MADN


def input_rates(source: PairCrops, batch: int, seconds: float) -> tuple[float, float]:
    """Crops per second in the first epoch (decoding every file) and after it (from the memory cache)."""
    epoch = -(-len(source) // batch)
    rates = []
    for first_step, steps, limit in ((0, epoch, float("inf")), (epoch, None, seconds)):
        drawn, start = 0, time.perf_counter()
        for _ in training_dataset(source, batch, first_step, steps):
            drawn += 1
            if time.perf_counter() - start > limit:
                break
        rates.append(drawn * batch / (time.perf_counter() - start))
    first, later = rates
    return first, later


def training_rate(source: PairCrops, batch: int, seconds: float) -> float:
    """Crops per second of the narrowest MADN that the tests train (widths 4/8/16, one residual block, no critic)."""
    recipe = replace(MADN, widths=(4, 8, 16), res_blocks=1, adversarial_domains="none", crop=source.crop, batch=batch)
    model = recipe.build_model(1_000_000)
    batches = iter(training_dataset(source, batch))
    model.train_on_batch(*next(batches))  # traces the step
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or steps < 3:
        model.train_on_batch(*next(batches), return_dict=True)  # returns numbers: the step has ended
        steps += 1
    return steps * batch / (time.perf_counter() - start)
