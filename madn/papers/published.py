"""The papers' tables and what this code has measured, side by side.

`published.json` holds every table of the five papers, with the recipes that reproduce each row and the data that each
column is about. Measured values come from the JSON files of `python -m madn.evaluate` (`madn.papers.results`) and from
nowhere else: a cell that was not measured is empty.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from madn.errors import UserError
from madn.papers.results import Result, family, find_results, is_of, label, protocol, provenance
from madn.system.tables import markdown_table, text_table
from madn.weights.registry import METRICS

PAPERS = ("madn", "sisnet", "structure_guided", "msr2b", "egnet")
# These keys are facts of a table; all others are rows.
FACTS = ("what", "columns", "data", "images", "recipes", "counted by")
LABELS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM (kind not stated)",
    "seconds": "seconds",
    "gflops": "GFLOPs",
    "size": "size, MB",
    "score": "score",
    "hsic": "HSIC",
}
HOW = (
    "No measured cell: no result on the data of these tables was found. python -m madn.evaluate MODEL --data GOPRO "
    "--split test writes one; --results DIR says where to look (by default below runs)."
)


@dataclass(frozen=True)
class Table:
    """One table of a paper; every tuple has one entry for each column.

    `rows`: method -> metric -> values (None: not printed). The metric "ssim_matlab" is an SSIM of that kind, "ssim" one
    whose kind the paper does not state. `recipes`: method -> names of the recipes that reproduce it. `data`: the set
    whose test part is measured (None: no scores of images), `pairs` its size. `images`: the pair that a column is
    about, where the table is about single images (None: the mean of the others).
    """

    title: str
    source: str
    what: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, tuple[float | None, ...]]]
    data: tuple[str | None, ...]
    pairs: tuple[int | None, ...]
    recipes: dict[str, tuple[tuple[str, ...], ...]]
    images: tuple[str | None, ...]
    counted_by: str | None


@dataclass(frozen=True)
class Line:
    """A method in one column of a table, beside one result.

    `published`: metric -> value; empty for what stands in no paper. `measured`: psnr (dB), ssim and ssim_matlab, means
    over `pairs` pairs; empty where nothing was measured. `note` numbers the result.
    """

    method: str
    column: str
    published: dict[str, float]
    measured: dict[str, float]
    pairs: int = 0
    result: Result | None = None
    note: int | None = None


@cache
def load() -> dict:
    """published.json as it is: "data", "claims", and an entry for each of `PAPERS`."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def paper(name: str) -> dict:
    """One paper: "name", "paper" (authors, journal), its tables, "slips" (its errors), "ablated" (fields of recipes
    that its ablations change). Raises `UserError`."""
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
    empty = (None,) * len(columns)

    def values(value: object) -> tuple:  # A single number beside several columns belongs to the first.
        return tuple(value) if isinstance(value, list) else (value, *empty[1:])

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
        tuple(found.get("images", empty)),
        found.get("counted by"),
    )


def beside(name: str, which: str, results: Sequence[Result]) -> list[Line]:
    """A table's methods, column by column, each beside every result that belongs to it, or beside none.

    A result belongs to a method where its recipe, or the one that it stands for, is the method's, and to a column where
    it was measured on that column's data. What else was measured there without a recipe (deconvolution, a SavedModel)
    and the blurred input follow, with nothing published.

    Args:
        results: evaluations' JSON, each with "file", its path, as `madn.papers.results.find_results` gives them.
    """
    return _lines(name, which, results, {})


def _lines(name: str, which: str, results: Sequence[Result], notes: dict[str, int]) -> list[Line]:
    """See `beside`; `notes` numbers the files of the results, and is added to."""
    shown, lines, ablated = table(name, which), [], set(paper(name)["ablated"])

    def add(method: str, k: int, published: dict, result: Result, side: str = "restored") -> None:
        scores, pairs = _scores(shown, k, result)
        note = notes.setdefault(result["file"], len(notes) + 1)
        measured = {metric: float(scores[side][metric]) for metric in METRICS}  # JSON has "inf" as a text.
        lines.append(Line(method, shown.columns[k], published, measured, pairs, result, note))

    for k, column in enumerate(shown.columns):
        fitting = [result for result in results if _scores(shown, k, result)]
        for method, row in shown.rows.items():
            published = {metric: values[k] for metric, values in row.items() if values[k] is not None}
            names = shown.recipes.get(method, {k: ()})[k]
            own = [
                one
                for one in fitting
                if one["recipe"]
                and {one["recipe"], family(one["recipe"])} & set(names)
                and not ablated & set(one.get("changed", ()))
            ]  # An ablation under the name of the whole is no such row.
            for result in own:
                add(method, k, published, result)
            if not own:
                lines.append(Line(method, column, published, {}))
        for result in fitting:
            if not result["recipe"]:
                add(label(result), k, {}, result)
        # The input has one row for each way of measuring, from a result that has a note already if there is one.
        inputs = {}
        for result in sorted(fitting, key=lambda result: result["file"] not in notes):
            inputs.setdefault((protocol(result), str(_scores(shown, k, result)[0]["blurred"])), result)
        for result in inputs.values():
            add("blurred input", k, {}, result, "blurred")
    return lines


def _scores(shown: Table, k: int, result: Result) -> tuple[dict, int] | None:
    """The result's mean in a column, blurred and restored, and over how many pairs; None where it has none."""
    if not is_of(result, shown.data[k]):
        return None
    if not any(shown.images):
        return result["mean"], len(result["images"])
    wanted = [shown.images[k]] if shown.images[k] else [image for image in shown.images if image]
    found = [image for image in result["images"] if image["name"] in wanted]
    if len(found) < len(wanted):
        return None
    return {
        side: {metric: sum(float(image[side][metric]) for image in found) / len(found) for metric in METRICS}
        for side in ("blurred", "restored")
    }, len(found)


def text(name: str, which: str | None = None, results: Sequence[Result] = ()) -> str:
    """One table for the screen, with its notes; without `which` all tables of the paper, and its slips."""
    return _render(name, which, results, partial(text_table, wrap=True), "{}", "  [{}] {}", "  - {}")


def markdown(name: str, which: str | None = None, results: Sequence[Result] = ()) -> str:
    """The same in Markdown."""
    return _render(name, which, results, markdown_table, "**{}**", "- [{}] {}", "- {}")


def report(names: Sequence[str] = (), places: Sequence[str | Path] | None = None) -> str:
    """What `python -m madn.evaluate --table` prints: the named papers, or all, beside the results below `places`.

    By default results are looked for below runs, where there may be none. Raises `UserError` for an unknown paper, and
    as `find_results` does.
    """
    for name in names:
        paper(name)
    names = tuple(dict.fromkeys(names)) or PAPERS
    results = find_results([Path("runs")] * Path("runs").is_dir() if places is None else places)
    measured = any(line.note for name in names for which in tables(name) for line in beside(name, which, results))
    return "\n\n\n".join([*(text(name, None, results) for name in names), *([] if measured else [HOW])])


def _render(name: str, which: str | None, results: Sequence[Result], draw, title: str, note: str, item: str) -> str:
    parts, notes, cited = [title.format(f"{paper(name)['name']}: {paper(name)['paper']}")], {}, {}
    for each in [which] if which else tables(name):
        shown, lines = table(name, each), _lines(name, each, results, notes)
        parts.append(f"{title.format(shown.title)}: {shown.what.rstrip('.')}.")
        parts += [draw(*_grid(shown, lines)), *_remarks(shown)]
        cited |= {line.note: line.result for line in lines if line.note}
    if cited:
        parts.append("\n".join(note.format(number, "; ".join(provenance(cited[number]))) for number in sorted(cited)))
    if not which:
        parts += ["Slips in the paper:", "\n".join(map(item.format, paper(name)["slips"]))]
    return "\n\n".join(parts)


def _remarks(shown: Table) -> list[str]:
    """Which recipes and which images stand for the paper's; how a table without scores of images is measured."""
    recipes = [
        f"{method}: {', '.join(dict.fromkeys(name for names in columns for name in names))}"
        for method, columns in shown.recipes.items()
    ]
    images = [f"{column}: {image}" for column, image in zip(shown.columns, shown.images, strict=True) if image]
    return [
        f"{what}: {'; '.join(found)}."
        for what, found in (
            ("Recipes", recipes),
            ("Measured on images of like scenes, since the paper does not name its own", images),
            ("Counted by", [shown.counted_by] if shown.counted_by else []),
        )
        if found
    ]


def _grid(shown: Table, lines: list[Line]) -> tuple[list[str], list[list[str]], list[bool]]:
    """Titles, cells, and which columns hold numbers; a column that is empty throughout is left out, but for scores:
    that they were not measured is to be seen."""
    metrics = tuple(next(iter(shown.rows.values())))
    if not any(shown.data):
        header = [
            "method",
            *(f"published {LABELS[metric]} {column}".strip() for metric in metrics for column in shown.columns),
        ]
        rows = [
            [method, *(_number(metric, value) for metric in metrics for value in row[metric])]
            for method, row in shown.rows.items()
        ]
        return header, rows, [title != "method" for title in header]
    header = [
        "method",
        "column",
        *(f"published {LABELS.get(metric, metric)}" for metric in metrics),
        *(f"measured {LABELS['psnr'] if metric == 'psnr' else metric}" for metric in METRICS),
        "network",
        "measured on",
        "note",
    ]
    rows = [
        [
            line.method,
            line.column,
            *(_number(metric, line.published.get(metric)) for metric in metrics),
            *(_number(metric, line.measured.get(metric), 2 if metric == "psnr" else 4) for metric in METRICS),
            *_about(shown, line),
        ]
        for line in lines
    ]
    numbers = range(2, len(header) - 3)
    kept = [k for k in range(len(header)) if k in numbers or any(row[k] for row in rows)]
    header, *rows = ([row[k] for k in kept] for row in (header, *rows))
    return header, rows, [k in numbers for k in kept]


def _about(shown: Table, line: Line) -> tuple[str, str, str]:
    if not line.result:
        return "", "", ""
    total = shown.pairs[shown.columns.index(line.column)]
    of = "of like scenes" if any(shown.images) else f"of {total:,}"
    count = line.result.get("parameters")
    size = f", {count:,} parameters" if isinstance(count, int) else ""
    network = label(line.result) + size if line.published else ""
    return network, f"{protocol(line.result)}, {line.pairs} {of}", f"[{line.note}]"


def _number(metric: str, value: float | None, digits: int | None = None) -> str:
    if value is None:
        return ""
    least = {"psnr": 2, "ssim": 3, "ssim_matlab": 4}.get(metric, 0)  # A number in JSON loses its trailing zeros.
    return f"{value:.{digits}f}" if digits else max(f"{value:.{least}f}", f"{value}", key=len)
