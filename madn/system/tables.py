"""Tables of short texts: aligned for a screen, or in Markdown. The first row is the header."""

import textwrap
from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Columns of equal width, two spaces between them; titles are wrapped to what stands below them."""
    widths = [max(map(len, column[1:]), default=0) for column in zip(*rows, strict=True)]
    titles = [
        textwrap.wrap(title, max(width, 9), break_long_words=False)
        for title, width in zip(rows[0], widths, strict=True)
    ]
    widths = [max([width, *map(len, title)]) for width, title in zip(widths, titles, strict=True)]
    depth = max(map(len, titles))
    head = zip(*([*[""] * (depth - len(title)), *title] for title in titles), strict=True)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if side else cell.ljust(width)
            for cell, width, side in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (*head, *rows[1:])
    )


def piped(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A Markdown table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    sides = ["---:" if side else "---" for side in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], sides, *cells[1:]))
