"""A table of the memory that training steps take."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import keras

from madn.benchmarks.step_timing import stages, with_vgg
from madn.system.tables import markdown_lines
from madn.training.step_memory import training_memory

COMBINATIONS: list[tuple] = list(product(("float32", "mixed_bfloat16"), ("none", "blocks"), (1, 2, 4)))


def memory_table(
    names: Sequence[str], batch: int | None = None, crop: int | None = None, vgg_weights: Sequence[str] = ()
) -> Iterator[str]:
    """A Markdown table, in GiB: each recipe's step (its first stage's) in each precision, with and without
    rematerialisation, in 1, 2 and 4 parts; None for the recipe's own batch and crop."""
    header = ["recipe", "batch, crop", "precision", "remat"]
    header += ["accumulate", "weights, moments", "the step's own", "peak"]
    return markdown_lines(header, _rows(names, batch, crop, vgg_weights), [number > 3 for number in range(8)])


def _rows(names: Sequence[str], batch: int | None, crop: int | None, vgg_weights: Sequence[str]) -> Iterator[list[str]]:
    for name in names:
        recipe = stages(name)[0]
        recipe = replace(recipe, batch=batch or recipe.batch, crop=crop or recipe.crop)
        with tempfile.TemporaryDirectory() as folder:
            recipe = with_vgg(recipe, vgg_weights, Path(folder))
            for precision, remat, accumulate in COMBINATIONS:
                if recipe.batch % accumulate:
                    continue
                found = training_memory(replace(recipe, precision=precision, remat=remat, accumulate=accumulate))
                sizes = [f"{n / 2**30:.1f}" for n in (found.state, found.step, found.peak)]
                yield [f"`{name}`", f"{recipe.batch}, {recipe.crop}", precision, remat, str(accumulate), *sizes]
                keras.backend.clear_session()
