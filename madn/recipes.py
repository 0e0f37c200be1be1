"""The registry: recipe name -> recipe. A paper joins it by one line in `PACKAGES`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
from typing import TYPE_CHECKING, get_type_hints

import msgspec

from madn.errors import UserError

if TYPE_CHECKING:
    from madn.training.recipe import Named, Recipe

PACKAGES = (
    "madn.models.madn",
    "madn.models.madn_small",
    "baselines.sisnet",
    "baselines.msr2b",
    "baselines.structure_guided",
    "baselines.egnet",
)
"""Packages whose `recipe` module has a dictionary RECIPES: name -> `madn.training.recipe.Named`."""


@functools.cache
def named() -> dict[str, Named]:
    """Every recipe with its summary, by name. Imports the recipes, which are plain data, and no network."""
    return {
        name: each for paper in PACKAGES for name, each in importlib.import_module(f"{paper}.recipe").RECIPES.items()
    }


def get(name: str) -> Recipe:
    """The recipe of that name. Raises `UserError` naming the nearest, or all, where there is none."""
    check_name(name)
    return named()[name].recipe


def check_name(name: str | None) -> None:
    """Raises `UserError` for the name of no recipe; None passes."""
    if name is not None and name not in named():
        near = difflib.get_close_matches(name, named(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(named())}."
        raise UserError(f"unknown recipe {name!r}: {hint} See python -m madn.train --list")


def import_layers() -> None:
    """Import every paper's generator, whose layers Keras needs to know before it reads a .keras file."""
    for paper in PACKAGES:
        importlib.import_module(f"{paper}.generator")


def from_fields(name: str, fields: dict) -> Recipe:
    """The recipe `name` with the stored `fields`, those of earlier versions included.

    Raises `UserError` for a field that it does not have, a value of another type than the recipe's, and one that is no
    longer built.
    """
    recipe = get(name)
    fields = dict(recipe.renamed(fields))
    for field, only in recipe.retired.items():
        value = fields.pop(field, only)
        if only is not ... and value != only:
            raise UserError(
                f"recipe {name} is no longer built with {field} {value}, only with {only}; earlier versions "
                "of madn read what has it"
            )
    unknown = sorted(map(str, set(fields) - {field.name for field in dataclasses.fields(recipe)}))
    if unknown:
        raise UserError(f"recipe {name} has no field {', '.join(unknown)}; it was written by another version of madn")
    kinds, given = get_type_hints(type(recipe)), {}
    for field, value in fields.items():
        try:
            given[field] = msgspec.convert(value, kinds[field])
        except msgspec.ValidationError as problem:
            raise UserError(f"recipe {name}: {field} cannot be {ascii(value)[:60]} ({problem})") from None
    return dataclasses.replace(recipe, **given)


def differences(recipe: Recipe, other: Recipe) -> dict[str, tuple]:
    """Field -> (recipe's value, other's value), where they differ."""
    mine, theirs = recipe.fields(), other.fields()
    return {key: (mine[key], theirs.get(key)) for key in mine if mine[key] != theirs.get(key)}
