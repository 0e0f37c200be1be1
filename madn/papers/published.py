"""The papers' tables and what this code has measured, side by side.

`published.json` holds every table of the five papers, with the recipes that reproduce each row and the data that each
column is about. Measured values come from the JSON files of `python -m madn.evaluate` (`madn.papers.results`) and from
nowhere else: a cell that was not measured is empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from madn.errors import UserError
from madn.evaluation.metric_list import choose
from madn.papers.results import Result, family, find_results, is_of, label, protocol, provenance, seconds, size
from madn.papers.tables import PAPERS, Table, load, method_name, paper, table, tables
from madn.system.tables import markdown_table, score_text, text_table

LABELS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM (kind not stated)",
    "seconds": "seconds",
    "gflops": "GFLOPs",
    "size": "size, MB",
    "score": "score",
    "hsic": "HSIC",
}
STANDARD = tuple(name for metric in choose() for name in metric.explained)
HOW = (
    "No measured cell: no result on the data of these tables was found. python -m madn.evaluate MODEL --data GOPRO "
    "--split test writes one; --results DIR says where to look (by default below runs)."
)
SECONDS = (
    "measured are the median of the images, each restored by itself, with padding and transfers; the published ones "
    "are of other machines, and their way of timing is not stated"
)
NO_IMAGES: Mapping[str, str] = {}

__all__ = ["PAPERS", "Line", "Table", "beside", "load", "markdown", "paper", "report", "table", "tables", "text"]


@dataclass(frozen=True)
class Line:
    """A method in one column of a table, beside one result.

    `published`: metric -> value; empty for what stands in no paper. `measured`: metric -> mean over `pairs` pairs, psnr
    in dB, and, where the column has them, seconds, the median; empty where nothing was measured. `note` numbers the
    result.
    """

    method: str
    column: str
    published: dict[str, float]
    measured: dict[str, float]
    pairs: int = 0
    result: Result | None = None
    note: int | None = None


def beside(name: str, which: str, results: Sequence[Result], images: Mapping[str, str] = NO_IMAGES) -> list[Line]:
    """A table's methods, column by column, each beside every result that belongs to it, or beside none.

    A result belongs to a method where its recipe, or the one that it stands for, is the method's, or where it is of
    images that were restored elsewhere under that method's name; and to a column where it was measured on that column's
    data. What else was measured there without a recipe (deconvolution, a SavedModel) and the blurred input follow, with
    nothing published.

    Args:
        results: evaluations' JSON, each with "file", its path, as `madn.papers.results.find_results` gives them.
        images: column -> SCENE/FRAME, for columns about one image each.
    """
    return _lines(name, table(name, which).about(images), results, {})


def _lines(name: str, shown: Table, results: Sequence[Result], notes: dict[str, int]) -> list[Line]:
    """See `beside`; `notes` numbers the files of the results, and is added to."""
    lines, ablated = [], set(paper(name)["ablated"])

    def add(method: str, k: int, published: dict, result: Result, side: str = "restored") -> None:
        scores, pairs = _scores(shown, k, result)
        note = notes.setdefault(result["file"], len(notes) + 1)
        # JSON has "inf" as a text.
        measured = {metric: float(value) for metric, value in scores[side].items() if shown.scored}
        if shown.timed[k] and side == "restored" and seconds(result):
            measured["seconds"] = seconds(result)
        lines.append(Line(method, shown.columns[k], published, measured, pairs, result, note))

    for k, column in enumerate(shown.columns):
        # A table of seconds alone has nothing to say of a result without them.
        fitting = [
            result for result in results if _scores(shown, k, result) and (shown.scored or seconds(result) is not None)
        ]
        for method, row in shown.rows.items():
            published = {metric: values[k] for metric, values in row.items() if values[k] is not None}
            names = shown.recipes.get(method, {k: ()})[k]
            own = [
                one
                for one in fitting
                if _is_named(one, method_name(name, method))
                or one["recipe"]
                and {one["recipe"], family(one["recipe"])} & set(names)
                and not ablated & set(one.get("changed", ()))
            ]  # An ablation under the name of the whole is no such row.
            for result in own:
                add(method, k, published, result)
            if not own:
                lines.append(Line(method, column, published, {}))
        methods = [method_name(name, method) for method in shown.rows]
        for result in fitting:
            if not result["recipe"] and not any(_is_named(result, method) for method in methods):
                add(label(result), k, {}, result)
        if not shown.scored:
            continue
        # The input has one row for each way of measuring, from a result that has a note already if there is one.
        inputs = {}
        for result in sorted(fitting, key=lambda result: result["file"] not in notes):
            inputs.setdefault((protocol(result), str(_scores(shown, k, result)[0]["blurred"])), result)
        for result in inputs.values():
            add("blurred input", k, {}, result, "blurred")
    return lines


def _is_named(result: Result, method: str) -> bool:
    """Whether images that were restored elsewhere carry a method's name."""
    return str(result.get("method") or "").lower() == method.lower()


def _scores(shown: Table, k: int, result: Result) -> tuple[dict, int] | None:
    """The result's mean in a column, blurred and restored, and over how many pairs; None where it has none."""
    if not is_of(result, shown.data[k]):
        return None
    if not any(shown.images):
        return result["mean"], len(result["images"])
    of = {image["name"]: image for image in result["images"]}
    wanted = [shown.images[k]] if shown.images[k] else [names for names in shown.images if names]
    found = [of[name] for names in wanted for name in [next((name for name in names if name in of), None)] if name]
    if len(found) < len(wanted):
        return None
    return {
        side: {metric: sum(float(image[side][metric]) for image in found) / len(found) for metric in found[0][side]}
        for side in ("blurred", "restored")
    }, len(found)


def text(
    name: str, which: str | None = None, results: Sequence[Result] = (), images: Mapping[str, str] = NO_IMAGES
) -> str:
    """One table for the screen, with its notes; without `which` all tables of the paper, and its slips."""
    return _render(name, which, results, images, partial(text_table, wrap=True), "{}", "  [{}] {}", "  - {}")


def markdown(
    name: str, which: str | None = None, results: Sequence[Result] = (), images: Mapping[str, str] = NO_IMAGES
) -> str:
    """The same in Markdown."""
    return _render(name, which, results, images, markdown_table, "**{}**", "- [{}] {}", "- {}")


def report(
    names: Sequence[str] = (), places: Sequence[str | Path] | None = None, images: Mapping[str, str] = NO_IMAGES
) -> str:
    """What `python -m madn.evaluate --table` prints: the named papers, or all, beside the results below `places`.

    By default results are looked for below runs, where there may be none. `images` is as in `beside`. Raises
    `UserError` for an unknown paper, for an image that no table or no result has, and as `find_results` does.
    """
    for name in names:
        paper(name)
    names = tuple(dict.fromkeys(names)) or PAPERS
    results = find_results([Path("runs")] * Path("runs").is_dir() if places is None else places)
    _check_images(names, images, results)
    measured = any(line.note for name in names for which in tables(name) for line in beside(name, which, results))
    return "\n\n\n".join([*(text(name, None, results, images) for name in names), *([] if measured else [HOW])])


def _check_images(names: Sequence[str], images: Mapping[str, str], results: Sequence[Result]) -> None:
    shown = [table(name, which) for name in names for which in tables(name)]
    columns = [column for one in shown for column, of in zip(one.columns, one.images, strict=True) if of]
    there = {image["name"] for result in results if is_of(result, "GoPro") for image in result["images"]}
    for column, image in images.items():
        if column not in columns:
            raise UserError(
                f"--images {column}={image}: no column {column!r} is about one image; there is "
                f"{', '.join(columns) or 'none in these papers'}"
            )
        if image not in there:
            raise UserError(
                f"--images {column}={image}: no result on GoPro's test part has this pair; name one as SCENE/FRAME, "
                "as the evaluation's JSON does"
            )


def _render(
    name: str,
    which: str | None,
    results: Sequence[Result],
    images: Mapping[str, str],
    draw,
    title: str,
    note: str,
    item: str,
) -> str:
    parts, notes, cited = [title.format(f"{paper(name)['name']}: {paper(name)['paper']}")], {}, {}
    for each in [which] if which else tables(name):
        shown = table(name, each).about(images)
        lines = _lines(name, shown, results, notes)
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
    images = [
        f"{column}: {' or '.join(names)}" for column, names in zip(shown.columns, shown.images, strict=True) if names
    ]
    unknown = [
        f"{column}: its scene and frame in GoPro's test part are not known; --images {column}=SCENE/FRAME names them"
        for column in shown.unknown_images
    ]
    return [
        f"{what}: {'; '.join(found)}."
        for what, found in (
            ("Recipes", recipes),
            ("Images", [shown.about_images] if shown.about_images else []),
            ("Measured on", images),
            ("Not known", unknown),
            ("Counted by", [shown.counted_by] if shown.counted_by else []),
            ("Seconds", [SECONDS] if any(shown.timed) and any(shown.data) else []),
        )
        if found
    ]


def _grid(shown: Table, lines: list[Line]) -> tuple[list[str], list[list[str]], list[bool]]:
    """Titles, cells, and which columns hold numbers; a column that is empty throughout is left out, but for scores:
    that they were not measured is to be seen."""
    metrics = shown.metrics
    timed = any(shown.timed)
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
    # That a standard metric was not measured is to be seen; others have a column where one was.
    every = dict.fromkeys([*STANDARD, *(metric for line in lines for metric in line.measured)])
    measured = [metric for metric in every if metric != "seconds"] if shown.scored else []
    header = [
        "method",
        "column",
        *(f"published {LABELS.get(metric, metric)}" for metric in metrics),
        *(f"measured {LABELS['psnr'] if metric == 'psnr' else metric}" for metric in measured),
        *(["measured seconds"] if timed else []),
        "network",
        "measured on",
        "note",
    ]
    rows = [
        [
            line.method,
            line.column,
            *(_number(metric, line.published.get(metric)) for metric in metrics),
            *(score_text(metric, line.measured[metric]) if metric in line.measured else "" for metric in measured),
            *([f"{line.measured['seconds']:.3f}" if "seconds" in line.measured else ""] if timed else []),
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
    of = "as named below" if any(shown.images) else f"of {total:,}"
    pixels = f", {size(line.result)}" if "seconds" in line.measured else ""
    count = line.result.get("parameters")
    parameters = f", {count:,} parameters" if isinstance(count, int) else ""
    network = label(line.result) + parameters if line.published else ""
    return network, f"{protocol(line.result)}, {line.pairs:,} {of}{pixels}", f"[{line.note}]"


def _number(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    least = {"psnr": 2, "ssim": 3, "ssim_matlab": 4}.get(metric, 0)  # A number in JSON loses its trailing zeros.
    return max(f"{value:.{least}f}", f"{value}", key=len)
