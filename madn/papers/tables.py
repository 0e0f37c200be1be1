"""published.json as Python: the papers' tables, the recipes and names of their rows, the data of their columns."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from madn.errors import UserError

PAPERS = ("madn", "sisnet", "structure_guided", "msr2b", "egnet")
# These keys are facts of a table; all others are rows.
FACTS = ("what", "columns", "data", "images", "about images", "recipes", "counted by")
OFFICIAL = re.compile(r"GOPR\d{4}_\d{2}_\d{2}/\d{6}")  # GoPro's own scenes and frames are named so.


@dataclass(frozen=True)
class Table:
    """One table of a paper; every tuple has one entry for each column.

    `rows`: method -> metric -> values (None: not printed). The metric "ssim_matlab" is an SSIM of that kind, "ssim" one
    whose kind the paper does not state. `recipes`: method -> names of the recipes that reproduce it. `data`: the set
    whose test part is measured (None: nothing is measured on images), `pairs` its size. `images`: the names under which
    the pair is known that a column is about, where the table is about single images (none: the mean of the others).
    """

    title: str
    source: str
    what: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, tuple[float | None, ...]]]
    data: tuple[str | None, ...]
    pairs: tuple[int | None, ...]
    recipes: dict[str, tuple[tuple[str, ...], ...]]
    images: tuple[tuple[str, ...], ...]
    about_images: str | None
    counted_by: str | None

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the table prints of each method."""
        return tuple(next(iter(self.rows.values())))

    @property
    def scored(self) -> bool:
        """Whether the table has scores of images."""
        return "psnr" in self.metrics

    @property
    def timed(self) -> tuple[bool, ...]:
        """Which columns have seconds."""
        seconds = [row["seconds"] for row in self.rows.values() if "seconds" in row]
        return tuple(any(row[k] is not None for row in seconds) for k in range(len(self.columns)))

    @property
    def unknown_images(self) -> tuple[str, ...]:
        """The columns about one image whose name in GoPro's own test part is not known."""
        return tuple(
            column
            for column, names in zip(self.columns, self.images, strict=True)
            if names and not any(OFFICIAL.fullmatch(name) for name in names)
        )

    def about(self, images: Mapping[str, str]) -> "Table":
        """The table with other images in those of its columns that are about one image, each as SCENE/FRAME."""
        return replace(
            self,
            images=tuple(
                (images[column],) if names and column in images else names
                for column, names in zip(self.columns, self.images, strict=True)
            ),
        )


@cache
def load() -> dict:
    """published.json as it is: "data", "claims", and an entry for each of `PAPERS`."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def paper(name: str) -> dict:
    """One paper: "name", "paper" (authors, journal), its tables, "slips" (its errors), "ablated" (fields of recipes
    that its ablations change), "names" (of methods that other papers call otherwise). Raises `UserError`."""
    if name not in PAPERS:
        raise UserError(f"no paper {name!r}; there is {', '.join(PAPERS)}")
    return load()[name]


def tables(name: str) -> list[str]:
    """Names of a paper's tables. Raises `UserError` for an unknown paper."""
    return [key for key in paper(name) if key.startswith("table")]


def table(name: str, which: str) -> Table:
    """One table, such as table("madn", "table 4"). Raises `UserError` for an unknown paper or table."""
    if which not in tables(name):
        raise UserError(f"{name} has no {which!r}; there is {', '.join(tables(name))}")
    found = paper(name)[which]
    columns = tuple(found.get("columns", ("",)))

    def values(value: object) -> tuple:  # A single number beside several columns belongs to the first.
        return tuple(value) if isinstance(value, list) else (value, *(None,) * (len(columns) - 1))

    data = found.get("data")
    data = tuple(data) if isinstance(data, list) else (data,) * len(columns)
    recipes = {
        method: tuple(map(tuple, names if isinstance(names[0], list) else [names] * len(columns)))
        for method, names in found.get("recipes", {}).items()
    }
    return Table(
        which.capitalize(),
        f"{paper(name)['name']}: {paper(name)['paper']}",
        found["what"],
        columns,
        {
            method: {metric: values(value) for metric, value in row.items()}
            for method, row in found.items()
            if method not in FACTS
        },
        data,
        tuple(load()["data"][one]["pairs"] if one else None for one in data),
        recipes,
        tuple(tuple(found.get("images", {}).get(column, ())) for column in columns),
        found.get("about images"),
        found.get("counted by"),
    )


def method_name(name: str, row: str) -> str:
    """The one name of the method that a paper's row is about, whatever the paper calls it."""
    return paper(name).get("names", {}).get(row, row)


def canonical_method(said: str) -> str:
    """The one name of a method by what any of the papers calls it; of one that no table has, the name as it is.

    Raises `UserError` for a name that two papers give to two methods.
    """
    meant = {
        method_name(name, row)
        for name in PAPERS
        for which in tables(name)
        for row in table(name, which).rows
        if said.lower() in (row.lower(), method_name(name, row).lower())
    }
    if len(meant) > 1:
        raise UserError(f"--name {said}: the papers call several methods so; say which: {', '.join(sorted(meant))}")
    return meant.pop() if meant else said
