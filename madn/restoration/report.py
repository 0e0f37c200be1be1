"""One self-contained HTML page of restored photos: before/after sliders, times, settings, and what failed.

The page asks the network for nothing: pictures are data URIs, its style and script (report.css, report.js) are inside,
and its Content-Security-Policy forbids the rest.
"""

import base64
import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from types import TracebackType

import cv2
import numpy as np
from PIL import Image

from madn.errors import UserError
from madn.system.writing import atomic

EXACT_PIXELS = 1_000_000  # smaller photos are shown exactly, as PNG
LONGEST = 2000  # pixels of a preview's longer side
DETAIL = 512  # pixels of each side of the part shown in the photo's own pixels
BLOCK = 16  # pixels: the most changed part is looked for in steps of these
JPEG = {"quality": 95, "subsampling": 0}
PREVIEW_JPEG = {"quality": 85}  # hundreds of previews make one file; detail is judged in the other pictures
FEW = 4  # failures that are listed at once; more are folded away
MEASURABLE = 0.01  # megapixels: below, the time per megapixel is all start-up


@dataclass(frozen=True)
class _Photo:
    name: str
    height: int
    width: int
    seconds: float
    tiles: str

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6

    @property
    def facts(self) -> list[str]:
        """Size, seconds, seconds per megapixel ("" for a tiny photo), tiles: as texts."""
        rate = f"{self.seconds / self.megapixels:.2f} s" if self.megapixels >= MEASURABLE else ""
        return [f"{self.width} × {self.height}", f"{self.seconds:.2f} s", rate, self.tiles]


class Report:
    """Collects photos and failures; the page takes `path`'s place, whole, on `close` or at the end of a `with` block.

    A block that ends with an exception still leaves the page of what it has restored, which says so. Pictures wait in
    an unnamed file in the page's folder, not in memory. `settings` are shown as they are, name and value.

    Raises `UserError` at once where `path` cannot be written.
    """

    def __init__(self, path: str | Path, settings: dict[str, str]):
        self._path = Path(path)
        self._settings = settings
        self._photos: list[_Photo] = []
        self._failures: list[tuple[str, str]] = []
        if self._path.is_dir():
            raise UserError(f"{path}: is a folder; give the report a file name, such as {self._path / 'report.html'}")
        with self._writing():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._body = tempfile.TemporaryFile(dir=self._path.parent)
        self._complete = 0  # bytes of whole photos: Ctrl-C may cut one in the middle

    def add(self, name: str, before: np.ndarray, after: np.ndarray, seconds: float, tiles: str, note: str = "") -> None:
        """Show a photo: two uint8 (H, W, 3) RGB images of one size, the time it took and how it was tiled.

        Raises `ValueError` for other arrays and `UserError` where the page's folder cannot be written any more.
        """
        for image in (before, after):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape != before.shape:
                raise ValueError(
                    "two uint8 (H, W, 3) images of one size are shown; received "
                    f"{before.dtype} {before.shape} and {after.dtype} {after.shape}"
                )
        photo = _Photo(name, before.shape[0], before.shape[1], seconds, tiles)
        html = _photo_html(len(self._photos) + 1, photo, note, before, after)
        with self._writing():
            self._body.seek(self._complete)
            self._body.write(_encoded(html))
        self._complete = self._body.tell()
        self._photos.append(photo)

    def fail(self, name: str, reason: str) -> None:
        """List a file that could not be restored."""
        self._failures.append((name, reason))

    def close(self, stopped: bool = False) -> None:
        """Write the page; `stopped` says that there were more photos to come. Closing again does nothing."""
        if self._body.closed:
            return
        with self._writing(), self._body:
            head, tail = self._page(stopped)
            self._body.truncate(self._complete)
            self._body.seek(0)
            with atomic(self._path) as part, open(part, "wb") as page:
                page.write(_encoded(head))
                while block := self._body.read(1 << 20):
                    page.write(block)
                page.write(_encoded(tail))

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.close(stopped=kind is not None)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise UserError(f"{self._path}: the report cannot be written ({problem.strerror})") from None

    def _page(self, stopped: bool) -> tuple[str, str]:
        """The page's text before and after the photos."""
        parts = {
            name: resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
            for name in ("report.html", "report.css", "report.js")
        }
        head, tail = parts["report.html"].split("$photos")
        values = {
            "style": parts["report.css"],
            "script": parts["report.js"],
            "summary": self._summary(stopped),
            "date": f"{datetime.now():%Y-%m-%d %H:%M}",
            "failures": self._failures_html(),
            "index": self._index_html(),
            "settings": "\n".join(
                f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
                for name, value in self._settings.items()
            ),
        }
        return Template(head).substitute(values), Template(tail).substitute(values)

    def _summary(self, stopped: bool) -> str:
        seconds = sum(photo.seconds for photo in self._photos)
        megapixels = sum(photo.megapixels for photo in self._photos)
        facts = [
            f"{len(self._photos) or 'no'} photo{'s' * (len(self._photos) != 1)} restored",
            f"{len(self._failures)} failed" if self._failures else "",
        ]
        if megapixels >= MEASURABLE:
            facts += [
                f"{megapixels:.3g} megapixels in {_duration(seconds)}",
                f"{seconds / megapixels:.2f} s per megapixel",
            ]
        return _facts_html([*facts, "stopped before the end" if stopped else ""])

    def _failures_html(self) -> str:
        if not self._failures:
            return ""
        lines = "\n".join(f"<div><dt>{_name(name)}</dt><dd>{escape(why)}</dd></div>" for name, why in self._failures)
        shown = " open" if len(self._failures) <= FEW else ""
        return (
            f'<details id="failed"{shown}><summary>{len(self._failures)} not restored</summary>\n'
            f"<dl>\n{lines}\n</dl></details>"
        )

    def _index_html(self) -> str:
        if len(self._photos) < 2:
            return ""
        titles = "".join(f"<th>{title}</th>" for title in ("photo", "pixels", "time", "per megapixel", "tiles"))
        rows = "\n".join(
            f'<tr><td><a href="#photo-{number}">{_name(photo.name)}</a></td>'
            + "".join(f"<td>{escape(fact)}</td>" for fact in photo.facts)
            + "</tr>"
            for number, photo in enumerate(self._photos, 1)
        )
        return (
            f'<details id="index"><summary>All {len(self._photos)} photos in a table</summary>\n'
            f"<table><thead><tr>{titles}</tr></thead><tbody>\n{rows}\n</tbody></table></details>"
        )


def most_changed(before: np.ndarray, after: np.ndarray, side: int = DETAIL) -> tuple[int, int, int, int]:
    """(y, x, height, width) of the part of at most side x side pixels where two uint8 images differ most, summed.

    It is found in steps of `BLOCK` pixels, strip by strip: a 48-megapixel photo needs no copy.
    """
    height, width = before.shape[:2]
    rows = []
    for y in range(0, height, BLOCK):
        a, b = before[y : y + BLOCK], after[y : y + BLOCK]
        columns = (np.maximum(a, b) - np.minimum(a, b)).sum(axis=0, dtype=np.int64).sum(axis=1)
        rows.append(np.add.reduceat(columns, np.arange(0, width, BLOCK)))
    total = np.pad(np.cumsum(np.cumsum(rows, axis=0), axis=1), ((1, 0), (1, 0)))
    tall, wide = (min(side // BLOCK, n - 1) for n in total.shape)
    sums = total[tall:, wide:] - total[:-tall, wide:] - total[tall:, :-wide] + total[:-tall, :-wide]
    y, x = (int(i) * BLOCK for i in np.unravel_index(np.argmax(sums), sums.shape))
    part_height, part_width = min(side, height), min(side, width)
    return min(y, height - part_height), min(x, width - part_width), part_height, part_width


def _photo_html(number: int, photo: _Photo, note: str, before: np.ndarray, after: np.ndarray) -> str:
    size, seconds, rate, tiles = photo.facts
    facts = [f"{size} pixels", seconds, rate and f"{rate} per megapixel", escape(tiles)]
    html = [
        f'<section class="photo" id="photo-{number}">',
        f"<h2>{_name(photo.name)}</h2>",
        _facts_html(facts),
        f'<p class="note">{escape(note)}</p>' if note else "",
    ]
    scale = LONGEST / max(photo.height, photo.width)
    if scale >= 1:
        exact = photo.height * photo.width < EXACT_PIXELS
        caption = "The whole photo, exact (PNG)." if exact else "The whole photo in its own pixels (JPEG, quality 95)."
        html.append(_viewer_html(photo.name, before, after, caption, "PNG" if exact else "JPEG"))
    else:
        wanted = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        small_before, small_after = (
            cv2.resize(np.ascontiguousarray(image), wanted, interpolation=cv2.INTER_AREA) for image in (before, after)
        )
        y, x, height, width = most_changed(before, after)
        part = slice(y, y + height), slice(x, x + width)
        html += [
            _viewer_html(
                photo.name,
                small_before,
                small_after,
                f"The whole photo, shown at {100 * scale:.2g}%: a preview of "
                f"{wanted[0]} × {wanted[1]} pixels (JPEG, quality {PREVIEW_JPEG['quality']}).",
                "JPEG",
                "preview",
            ),
            _viewer_html(
                photo.name,
                before[part],
                after[part],
                f"{_map(photo, y, x, height, width)}The {width} × {height} pixels that "
                "changed most, in full resolution (JPEG, quality 95).",
                "JPEG",
                "detail",
            ),
        ]
    return "\n".join([*html, "</section>\n"])


def _viewer_html(name: str, before: np.ndarray, after: np.ndarray, caption: str, kind: str, role: str = "") -> str:
    height, width = before.shape[:2]
    options = PREVIEW_JPEG if role == "preview" else JPEG if kind == "JPEG" else {}
    layers = []
    for which, image in (("before", before), ("after", after)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format=kind, **options)
        data = base64.b64encode(file.getbuffer()).decode("ascii")
        layers.append(
            f'<div class="{which}"><img width="{width}" height="{height}" loading="lazy" decoding="async" '
            f'alt="{escape(name)}, {which}" src="data:image/{kind.lower()};base64,{data}"></div>'
        )
    return (
        f'<figure class="viewer {role}" style="--w:{width};--h:{height}"><div class="stage">\n'
        + "\n".join(layers)
        + f"\n</div><figcaption><p>{caption}</p></figcaption></figure>"
    )


def _map(photo: _Photo, y: int, x: int, height: int, width: int) -> str:
    """Where in the photo the detail is, drawn."""
    return (
        f'<svg viewBox="0 0 {photo.width} {photo.height}" role="img" aria-label="at {x}, {y} in the photo">'
        f'<rect width="{photo.width}" height="{photo.height}"/>'
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}"/></svg>'
    )


def _facts_html(facts: list[str]) -> str:
    return '<ul class="facts">' + "".join(f"<li>{fact}</li>" for fact in facts if fact) + "</ul>"


def _name(name: str) -> str:
    return f"<bdi>{escape(name)}</bdi>"  # isolated: a name may turn the direction of writing


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if seconds >= 100 else f"{seconds:.1f} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # a file name may hold bytes that are no text
