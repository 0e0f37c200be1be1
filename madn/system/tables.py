"""Tables, drawn by tabulate: aligned for a screen, or in Markdown. Cells are texts, and are shown as they are."""

from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

Cells = Sequence[str]


def text_table(header: Cells, rows: Iterable[Cells], right: Sequence[bool] = (), wrap: bool = False) -> str:
    """Columns of equal width. `right` says which are set right; `wrap` wraps titles to what stands below them."""
    rows = list(rows)
    widths = [max(9, *map(len, column)) for column in zip(*rows, strict=True)] if wrap else None
    options = {"maxheadercolwidths": widths, "break_long_words": False}
    return tabulate(rows, header, "plain", colalign=_sides(right), disable_numparse=True, **options)


def markdown_table(header: Cells, rows: Iterable[Cells], right: Sequence[bool] = ()) -> str:
    """The same in Markdown."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(cells, header, "pipe", colalign=_sides(right), disable_numparse=True)


def markdown_lines(header: Cells, rows: Iterable[Cells], right: Sequence[bool] = ()) -> Iterator[str]:
    """The lines of a table whose rows take long to come, each as soon as it is there, aligned to the titles."""
    yield from markdown_table(header, [[""] * len(header)], right).splitlines()[:2]
    for row in rows:
        yield markdown_table(header, [row], right).splitlines()[2]


def score_text(metric: str, value: float) -> str:
    """A score as all tables print it: decibels, of the metrics called psnr, with 2 decimals, others with 4."""
    return f"{value:.{2 if metric.startswith('psnr') else 4}f}"


def _sides(right: Sequence[bool]) -> list[str] | None:
    return ["right" if side else "left" for side in right] or None
