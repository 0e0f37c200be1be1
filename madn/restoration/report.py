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
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from PIL import Image

from madn.errors import UserError
from madn.restoration.targets import Scope
from madn.system.templates import templates
from madn.system.writing import atomic

EXACT_PIXELS = 1_000_000  # Photos of fewer pixels are shown exactly, as PNG.
LONGEST = 2000  # A preview's longer side has at most so many pixels.
DETAIL = 512  # The detail in the photo's own pixels has sides of at most so many.
BLOCK = 16  # The most changed part is looked for in steps of so many pixels.
JPEG = {"quality": 95, "subsampling": 0}
PREVIEW_JPEG = {"quality": 85}  # Hundreds of previews make one file, and details are judged in the other pictures.
FOLDER = Path(__file__).parent  # of the page's templates, style and script
MEASURABLE = 0.01  # For fewer megapixels the time per megapixel is all start-up.


@dataclass(frozen=True)
class _Photo:
    """What the page says of a photo, beside its pictures."""

    name: str
    height: int
    width: int
    seconds: float
    tiles: str

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6

    @property
    def size(self) -> str:
        return f"{self.width} × {self.height}"

    @property
    def time(self) -> str:
        return f"{self.seconds:.2f} s"

    @property
    def rate(self) -> str:
        """Seconds for each megapixel; "" for a tiny photo."""
        return f"{self.seconds / self.megapixels:.2f} s" if self.megapixels >= MEASURABLE else ""


@dataclass(frozen=True)
class _View:
    """Two pictures with a slider between them: the whole photo, a preview of it, or the detail at `place` (y, x)."""

    width: int
    height: int
    pictures: dict[str, str]
    format: str
    caption: str
    role: str = ""
    place: tuple[int, int] | None = None


class Report:
    """Collects photos and failures; the page takes `path`'s place, whole, on `close` or at the end of a `with` block.

    A block that ends with an exception still leaves the page of what it has restored, which says so. Pictures wait in
    an unnamed file in the page's folder, not in memory. `settings` are shown as they are, name and value; `scope` says
    what the run has to do, by default nothing but these photos.

    Raises `UserError` at once where `path` cannot be written.
    """

    def __init__(self, path: str | Path, settings: dict[str, str], scope: Scope | None = None):
        self._path = Path(path)
        self._settings = settings
        self._scope = scope
        self._photos: list[_Photo] = []
        self._failures: list[tuple[str, str]] = []
        if self._path.is_dir():
            raise UserError(f"{path}: is a folder; give the report a file name, such as {self._path / 'report.html'}")
        with self._writing():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._body = tempfile.TemporaryFile(dir=self._path.parent)
        self._complete = 0  # So many bytes are of whole photos, for Ctrl-C may cut one in the middle.

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
        template: Any = templates(FOLDER).get_template("report_photo.html").module
        html = template.photo(len(self._photos) + 1, photo, note, _views(photo, before, after))
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
            head, tail = self._page(stopped).split("<!-- photos -->")
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

    def _page(self, stopped: bool) -> str:
        """The page without its photos."""
        return (
            templates(FOLDER)
            .get_template("report.html")
            .render(
                style=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
                script=Markup((FOLDER / "report.js").read_text(encoding="utf-8")),
                summary=self._summary(stopped),
                date=f"{datetime.now():%Y-%m-%d %H:%M}",
                settings=self._settings,
                photos=self._photos,
                failures=self._failures,
                scope=self._whole_scope(),
            )
        )

    def _whole_scope(self) -> Scope:
        return self._scope or Scope(len(self._photos) + len(self._failures))

    def _summary(self, stopped: bool) -> list[str]:
        seconds = sum(photo.seconds for photo in self._photos)
        megapixels = sum(photo.megapixels for photo in self._photos)
        facts = self._whole_scope().counts(len(self._photos), len(self._failures))
        if megapixels >= MEASURABLE:
            facts.append(f"{megapixels:.3g} megapixels in {_duration(seconds)}")
            facts.append(f"{seconds / megapixels:.2f} s per megapixel")
        return [*facts, "stopped before the end"] if stopped else facts


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


def _views(photo: _Photo, before: np.ndarray, after: np.ndarray) -> list[_View]:
    """What is shown of a photo: the whole of it, or a preview and the part that changed most."""
    scale = LONGEST / max(photo.height, photo.width)
    if scale >= 1:
        if photo.height * photo.width < EXACT_PIXELS:
            return [_view([before, after], "The whole photo, exact (PNG).", "png", {})]
        return [_view([before, after], "The whole photo in its own pixels (JPEG, quality 95).", "jpeg", JPEG)]
    wanted = tuple(max(1, round(n * scale)) for n in (photo.width, photo.height))
    previews = [
        cv2.resize(np.ascontiguousarray(image), wanted, interpolation=cv2.INTER_AREA) for image in (before, after)
    ]
    y, x, height, width = most_changed(before, after)
    preview = (
        f"The whole photo, shown at {100 * scale:.2g}%: a preview of {wanted[0]} × {wanted[1]} pixels "
        f"(JPEG, quality {PREVIEW_JPEG['quality']})."
    )
    detail = f"The {width} × {height} pixels that changed most, in full resolution (JPEG, quality 95)."
    parts = [image[y : y + height, x : x + width] for image in (before, after)]
    return [
        _view(previews, preview, "jpeg", PREVIEW_JPEG, "preview"),
        _view(parts, detail, "jpeg", JPEG, "detail", (y, x)),
    ]


def _view(images: list[np.ndarray], caption: str, kind: str, options: dict, role: str = "", place=None) -> _View:
    pictures = {}
    for which, image in zip(("before", "after"), images, strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format=kind, **options)
        pictures[which] = base64.b64encode(file.getbuffer()).decode("ascii")
    height, width = images[0].shape[:2]
    return _View(width, height, pictures, kind, caption, role, place)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if seconds >= 100 else f"{seconds:.1f} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # A file name may hold bytes that are no text.
