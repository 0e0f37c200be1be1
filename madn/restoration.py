"""Photos and videos restored: one image in memory, or files with all that people have in them."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from madn.errors import UserError
from madn.imaging import photos, video
from madn.imaging.jobs import Job
from madn.imaging.report import Report
from madn.imaging.restore import Restorer, as_float, as_type

if TYPE_CHECKING:  # a caller may have no PIL image at all
    from PIL.Image import Image as Picture

BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}, {remaining} left]{postfix}"


def deblur(image: "np.ndarray | str | Path | Picture", model: str | Path | Restorer = "madn", *,
           memory_gb: float | None = None, tile: int | None = None,
           precision: Literal["float32", "bfloat16"] = "float32") -> np.ndarray:
    """Deblur one image of any size.

    Args:
        image: an array (height, width, 3) RGB, (height, width, 4) RGBA, or (height, width) or (height, width, 1) grey:
            uint8, uint16, or floats in [0, 1]; a photo file, whose EXIF orientation is applied; or a PIL image.
        model: a shipped name (see `python -m madn.weights`), a run folder, a .weights.h5 file or a SavedModel folder;
            loaded once per process. Or what `madn.loading.load_network(...).restorer()` returns.
        memory_gb: what the process may hold at its worst, 10^9 bytes; by default half of what is free. Larger images
            are restored in tiles.
        tile: pixels of a tile's side, in place of what follows from the memory.
        precision: "bfloat16" is faster on hardware that has it, and differs by a fraction of an 8-bit step.
    Returns:
        The restored image, an array of the shape and type of `image` (of its upright pixels, for a file; alpha is
        passed through).
    Raises:
        UserError: a file that cannot be read, a model that is not there, too little memory.
        ValueError: an array of another shape, type or range.
    """
    pixels = _pixels(image)
    colours = {2: 1, 3: pixels.shape[-1] if pixels.shape[-1] in (1, 3) else 3}[pixels.ndim]
    restorer = model if isinstance(model, Restorer) else _restorer(str(model), memory_gb, tile, precision)
    restored, _ = restorer(pixels.reshape(*pixels.shape[:2], -1)[..., :colours])
    return np.concatenate([restored, pixels[..., 3:]], axis=2) if pixels.shape[2:] == (4,) else restored.reshape(
        pixels.shape)


@dataclass
class Outcome:
    """How a list of jobs went."""

    restored: int = 0
    skipped: int = 0
    failed: int = 0


def deblur_files(restorer: Restorer, jobs: Sequence[Job], overwrite: bool = False, megapixels: float = photos.MEGAPIXELS,
                 report: Report | None = None, problem: Callable[[str], None] = print) -> Outcome:
    """Restore files one after the other, each written whole or not at all.

    A target that exists is left as it is and its job skipped, unless `overwrite`. A file that cannot be restored is
    told to `problem` in a line that names it, and to the report; the rest go on. Progress is shown on standard error.
    Raises `UserError` when results can no longer be written (a full disk).
    """
    outcome = Outcome()
    with tqdm(total=len(jobs), bar_format=BAR, leave=False) as bar:
        for number, job in enumerate(jobs):
            bar.set_postfix_str(f" {job.source.name}")

            def share(done: int, count: int, number: int = number) -> None:
                bar.update(number + min(done / count, 1) - bar.n)

            try:
                if job.target.exists() and not overwrite:
                    outcome.skipped += 1
                else:
                    with _writing(job.target):
                        restore_one = _restore_video if job.is_video else _restore_photo
                        restore_one(restorer, job, megapixels, report, share, problem)
                    outcome.restored += 1
            except UserError as reason:
                if isinstance(reason, _CannotWrite):
                    raise
                outcome.failed += 1
                with bar.external_write_mode():
                    problem(str(reason))
                if report:
                    report.fail(str(job.source), str(reason))
            share(1, 1)
    return outcome


class _CannotWrite(UserError):
    """What would befall all further files, too."""


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:  # reading's own are `UserError`s
        raise _CannotWrite(f"{target}: cannot be written ({fault.strerror}); what is done stays, and the same command "
                           "goes on") from None
    except MemoryError:
        raise UserError(f"{target}: not restored, for lack of memory: give less --memory-gb or a smaller --tile") from None


def _restore_photo(restorer: Restorer, job: Job, megapixels: float, report: Report | None,
                   share: Callable[[int, int], None], problem: Callable[[str], None]) -> None:
    photo = photos.read_photo(job.source, megapixels)
    start = time.perf_counter()
    try:
        restored, plan = restorer(photo.pixels, share)
    except UserError as reason:
        raise UserError(f"{job.source}: {reason}") from None
    seconds = time.perf_counter() - start
    photos.write_photo(job.target, restored, photo)
    if report:
        report.add(str(job.source), _shown(photo.pixels), _shown(restored), seconds, str(plan))


def _restore_video(restorer: Restorer, job: Job, megapixels: float, report: Report | None,
                   share: Callable[[int, int], None], problem: Callable[[str], None]) -> None:
    first: list = []

    def frame(pixels: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        restored, plan = restorer(pixels)
        if not first:
            first.extend((pixels, restored, time.perf_counter() - start, plan))
        return restored

    written = video.restore_video(job.source, job.target, frame,
                                  lambda done, announced: share(done, max(announced or 0, done + 1)))
    if written.shortfall:
        problem(f"note: {job.source}: {written.shortfall} of {written.announced} frames that it announces are not in it")
    if report:
        pixels, restored, seconds, plan = first
        report.add(str(job.source), pixels, restored, seconds, str(plan),
                   f"first of {written.frames} frames, each restored by itself")


def _shown(pixels: np.ndarray) -> np.ndarray:
    """As the report shows it: 8 bits, RGB."""
    pixels = (pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _pixels(image: "np.ndarray | str | Path | Picture") -> np.ndarray:
    if isinstance(image, str | Path):
        photo = photos.read_photo(image)
        pixels = photo.pixels
        return pixels if photo.alpha is None else _with_alpha(pixels, photo.alpha)
    if isinstance(image, Image.Image):
        return _picture(image)
    pixels = np.asarray(image)
    if pixels.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ValueError(f"an image is uint8, uint16 or float; received {pixels.dtype}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or not pixels.size:
        raise ValueError("an image is (height, width), or (height, width, 1, 3 or 4), from 1 x 1 up; received shape "
                         f"{pixels.shape}")
    if pixels.dtype.kind == "f" and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(f"a float image lies in [0, 1]; received [{pixels.min():g}, {pixels.max():g}]")
    return pixels


def _picture(picture: "Picture") -> np.ndarray:
    """A PIL image's upright pixels, 8 bits; 16-bit grey keeps its depth."""
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("I", "F"):
        raise ValueError(f"a PIL image has 8 or 16 bits; received mode {picture.mode}")
    grey, alpha = picture.mode in ("1", "L"), picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if alpha else "L" if grey else "RGB"))


def _with_alpha(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([np.repeat(pixels, 3 // pixels.shape[2], axis=2), alpha[..., None]], axis=2)


@functools.lru_cache(maxsize=2)
def _restorer(model: str, memory_gb: float | None, tile: int | None, precision: str) -> Restorer:
    from madn.startup import start_keras

    start_keras()
    from madn.loading import load_network

    return load_network(model, precision=precision).restorer(memory_gb, tile)
