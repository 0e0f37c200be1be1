"""The registry: recipe name -> recipe, imported only when it is asked for."""

import dataclasses
import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from madn.errors import UserError

if TYPE_CHECKING:  # importing it starts Keras, which a list of names can do without
    from madn.training.recipe import Recipe


@dataclass(frozen=True)
class Entry:
    """Where a recipe lives and what it is, in a line that names its paper."""

    module: str
    attribute: str
    summary: str


RECIPES = {
    "madn": Entry("madn.recipe", "MADN", "MADN (Zhu et al. 2023) as published"),
    "madn-fig9a": Entry("madn.recipe", "FIGURE_9A", "MADN, Figure 9: pixel and content loss, image domain only"),
    "madn-fig9b": Entry("madn.recipe", "FIGURE_9B", "MADN, Figure 9: A and the adversarial loss, image domain only"),
    "madn-fig9c": Entry("madn.recipe", "FIGURE_9C", "MADN, Figure 9: the full loss (the same as madn)"),
    "madn-sample": Entry("madn.recipe", "SAMPLE", "MADN, narrow and short: minutes on two CPU cores, for the samples"),
}


def get(name: str) -> "Recipe":
    """The recipe of that name. Raises `UserError` naming the nearest, or all, where there is none."""
    check_name(name)
    entry = RECIPES[name]
    return getattr(importlib.import_module(entry.module), entry.attribute)


def check_name(name: str | None) -> None:
    """Raises `UserError` for the name of no recipe, at no cost; None passes."""
    if name is not None and name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}."
        raise UserError(f"unknown recipe {name!r}: {hint} See python -m madn.train --list")


def from_fields(name: str, fields: dict) -> "Recipe":
    """The recipe `name` with the stored `fields`. Raises `UserError` for a field that it does not have."""
    recipe = get(name)
    known = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise UserError(f"recipe {name} has no field {', '.join(unknown)}; it was written by another version of madn")
    return dataclasses.replace(recipe, **{
        key: tuple(value) if isinstance(known[key], tuple) else value for key, value in fields.items()})


def differences(recipe: "Recipe", other: "Recipe") -> dict[str, tuple]:
    """Field -> (recipe's value, other's value), where they differ."""
    mine, theirs = recipe.fields(), other.fields()
    return {key: (mine[key], theirs.get(key)) for key in mine if mine[key] != theirs.get(key)}
