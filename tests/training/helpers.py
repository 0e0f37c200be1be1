"""A recipe small enough for tests, and random batches for it."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from few_layers import few_layers

from madn.models.madn.recipe import MADN, MADNRecipe

TINY = replace(MADN, widths=(4, 8, 16), res_blocks=1, d_widths=(4, 4, 4, 4, 8), d_dense=8, crop=32, batch=2, steps=10)
"""MADN's own networks, narrow: for what its specification says."""
FEW = few_layers(TINY)
"""The same with networks of a few layers: for the training, which knows no network."""


def eager(recipe, total_steps=10):
    """The recipe's model, its steps run eagerly: tracing a graph takes longer than a few steps."""
    model = recipe.build_model(total_steps)
    model.run_eagerly = True
    return model


def batch(n=2, size=32, seed=0):
    """(blurred, sharp), float32 (n, size, size, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    sharp = rng.random((n, size, size, 3), dtype=np.float32)
    return (sharp + np.roll(sharp, 1, axis=2)) / 2, sharp


def values(variables):
    """Copies of the variables' values."""
    return [np.array(v.numpy() if hasattr(v, "numpy") else v) for v in variables]


def same(before, after):
    """Whether all arrays are bit-identical."""
    return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def alternating(recipe: MADNRecipe, critic_steps: int = 1) -> MADNRecipe:
    """The recipe with the other order of updates."""

    @dataclass(frozen=True, kw_only=True)
    class Alternating(type(recipe)):
        update_order: ClassVar[str] = "alternating"
        critic_steps: int = 1

    return Alternating(**{name: getattr(recipe, name) for name in recipe.fields()}, critic_steps=critic_steps)
