"""Figures of the notebooks: galleries of images with enlarged details, bars and curves, small enough to be kept.

A figure is understood without the code: its titles name method, data and unit. Each function returns a `Figure`, which
a notebook shows and which can be saved.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import Bbox
from scipy.ndimage import uniform_filter

from madn.imaging.arrays import to_uint8
from madn.system.writing import atomic

WIDTH = 10.0  # Figures are so many inches wide.
DPI = 96
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "legend.frameon": False,
}


class Figure:
    """A finished picture, JPEG for photographs and PNG for charts; Jupyter shows it, with its caption below it."""

    def __init__(self, canvas: Canvas, kind: str, caption: str = ""):
        self.kind, self.caption = kind, caption
        if caption:
            canvas.text(0.01, -0.01, caption, ha="left", va="top", fontsize=9, wrap=True)
        said = io.BytesIO()
        options: dict[str, Any] = {"pil_kwargs": {"quality": 82}} if kind == "jpeg" else {}
        canvas.savefig(said, format=kind, bbox_inches="tight", facecolor="white", **options)
        self.data = said.getvalue()

    def _repr_png_(self):
        return self.data if self.kind == "png" else None

    def _repr_jpeg_(self):
        return self.data if self.kind == "jpeg" else None

    def save(self, path: str | Path) -> None:
        """Write the picture, whole or not at all."""
        with atomic(Path(path)) as part:
            part.write_bytes(self.data)


def gallery(
    rows: Mapping[str, Sequence[np.ndarray]],
    titles: Sequence[str],
    caption: str,
    details: Sequence | None = None,
    values: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Rows of images below column titles, the row's name at the left.

    Args:
        rows: name -> images, float (height, width, 3) or (height, width), in [0, 1]; those of a row in one size. Maps
            of another range are scaled by `as_map` first.
        titles: one for each column.
        caption: what is seen: data, weights, units.
        details: one (top, left, height, width) for each row: framed in the images and enlarged in a row below them.
        values: name -> one text for each image, written below it (its PSNR, say).
    """
    lines = []
    for i, (name, images) in enumerate(rows.items()):
        if len(images) != len(titles):
            raise ValueError(f"a row has an image for each of the {len(titles)} titles; received {len(images)}")
        box = details[i] if details else None
        lines.append((name, images, box, values[name] if values else None))
        if box:
            top, left, height, width = box
            lines.append(("detail", [image[top : top + height, left : left + width] for image in images], None, None))
    shapes = [images[0].shape[0] / images[0].shape[1] for _, images, _, _ in lines]
    column = WIDTH / len(titles)
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, sum(shapes) * column + 0.2 * len(lines) + 0.3), layout="constrained")
        grid = canvas.subplots(len(lines), len(titles), squeeze=False, height_ratios=shapes)
        for i, (name, images, box, texts) in enumerate(lines):
            for j, image in enumerate(images):
                axes = grid[i, j]
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                axes.imshow(
                    _small(image),
                    cmap="gray",
                    vmin=0,
                    vmax=255,
                    aspect="equal",
                    extent=(0, image.shape[1], image.shape[0], 0),
                )
                if box:
                    top, left, height, width = box
                    axes.add_patch(matplotlib.patches.Rectangle((left, top), width, height, fill=False, ec="red", lw=1))
                if i == 0:
                    axes.set_title(titles[j])
                if texts:
                    axes.set_xlabel(texts[j], labelpad=2)
            grid[i, 0].set_ylabel(name)
        return Figure(canvas, "jpeg", caption)


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    ylabel: str,
    caption: str,
    bottom: float | None = None,
    digits: int = 2,
) -> Figure:
    """Grouped bars with their values: one group for each name, one colour for each of the series; None has no bar."""
    width = 0.84 / len(series)
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH, 3.4), layout="constrained")
        axes = canvas.subplots()
        for i, (name, values) in enumerate(series.items()):
            places = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
            heights = np.array([np.nan if value is None else value for value in values], float)
            drawn = axes.bar(places, heights, width * 0.94, label=name)
            axes.bar_label(drawn, [_number(value, digits) for value in values], fontsize=7, rotation=90, padding=2)
        axes.set(ylabel=ylabel, xticks=range(len(groups)), xticklabels=groups)
        low, high = axes.get_ylim()
        low = low if bottom is None else bottom
        axes.set_ylim(low, high + 0.15 * (high - low))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return Figure(canvas, "png", caption)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    caption: str,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Lines with points: name -> (x, y); `levels` are named horizontal lines, such as the blurred input's score."""
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH * 0.8, 3.4), layout="constrained")
        axes = canvas.subplots()
        for name, (x, y) in series.items():
            axes.plot(x, y, "o-", ms=4, label=name)
        for i, (name, level) in enumerate((levels or {}).items()):
            axes.axhline(level, color="gray", ls=("--", ":", "-.")[i % 3], lw=1, label=name)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.ticklabel_format(useOffset=False)
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return Figure(canvas, "png", caption)


def scatter(groups: Mapping[str, Mapping[str, tuple[float, float]]], xlabel: str, ylabel: str, caption: str) -> Figure:
    """Named points, group -> name -> (x, y), one colour for each group; the x axis is logarithmic, so x is above 0.

    Such as PSNR against seconds: the better, the higher; the faster, the further to the left.
    """
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH * 0.8, 4.2), layout="constrained")
        axes = canvas.subplots()
        for group, points in groups.items():
            if any(x <= 0 for x, _ in points.values()):
                raise ValueError(f"the x axis is logarithmic: values must be above 0; received {dict(points)}")
            axes.scatter([x for x, _ in points.values()], [y for _, y in points.values()], s=28, label=group)
        axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
        axes.margins(x=0.12, y=0.08)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        canvas.draw_without_rendering()  # From now on it is known where a point lies, and how large a name is.
        _name_points(axes, {name: place for points in groups.values() for name, place in points.items()})
        return Figure(canvas, "png", caption)


def as_map(values: np.ndarray, most: float) -> np.ndarray:
    """A map of non-negative values as an image in [0, 1]: `most` and above are white."""
    return np.clip(np.asarray(values, "float32") / most, 0, 1)


def busiest(blurred: np.ndarray, sharp: np.ndarray, share: float = 0.2) -> tuple[int, int, int, int]:
    """The window (top, left, height, width) of that share of the sides in which two images differ most."""
    height, width = (max(16, int(share * side)) for side in sharp.shape[:2])
    height, width = min(height, sharp.shape[0]), min(width, sharp.shape[1])
    difference = uniform_filter(np.abs(blurred - sharp).mean(axis=-1), (height, width), mode="constant")
    top, left = np.unravel_index(np.argmax(difference), difference.shape)
    top = int(np.clip(top - height // 2, 0, sharp.shape[0] - height))
    left = int(np.clip(left - width // 2, 0, sharp.shape[1] - width))
    return top, left, height, width


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each name beside its point, where it covers neither another point nor a name that stands there already."""
    marks = axes.transData.transform(list(points.values()))
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in marks]
    for k, (name, place) in enumerate(points.items()):
        others, text = taken[:k] + taken[k + 1 :], None
        for up in (3, -3, 12, -12, 21, -21, 30, -30):
            for right in (5, -5):
                if text:
                    text.remove()
                sides: Any = {"ha": "left" if right > 0 else "right", "va": "bottom" if up > 0 else "top"}
                text = axes.annotate(name, place, (right, up), textcoords="offset points", fontsize=8, **sides)
                box = text.get_window_extent()
                inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
                if inside and not any(box.overlaps(other) for other in others):
                    break
            else:
                continue
            break
        taken.append(box)


def _small(image: np.ndarray) -> np.ndarray:
    """8 bits, and not many more pixels than the figure shows."""
    step = max(1, image.shape[1] // 640)
    if step > 1:
        height, width = (side // step * step for side in image.shape[:2])
        shape = (height // step, step, width // step, step, *image.shape[2:])
        image = np.asarray(image)[:height, :width].reshape(shape).mean(axis=(1, 3))
    return to_uint8(image)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
