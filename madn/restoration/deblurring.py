"""Photos and videos are restored: one image in memory, or files with everything that they hold beside pixels."""

import errno
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from madn.errors import UserError, one_line
from madn.imaging import photos, video
from madn.imaging.colours import Colours, colours_of
from madn.restoration.restorer import Restorer
from madn.restoration.targets import Job
from madn.system.memory import ran_out
from madn.system.writing import takes_other_names
from madn.weights.registry import DEFAULT, is_path

if TYPE_CHECKING:
    from madn.restoration.report import Report

# These faults come from one file's name or size. Other faults of writing would befall the next file, too.
OF_ONE_FILE = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EFBIG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
# No other name would help against these. For a fault in neither set the file system is asked: those that refuse a ":"
# say so in many ways.
OF_ALL_FILES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ENOMEM, errno.EMFILE}
BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}, {remaining} left]{postfix}"

Progress = Callable[[int, int], None]  # It is called with the parts done and the parts in all.
Shown = tuple  # A report shows before, after, seconds, tiles and perhaps a note.


def deblur(
    image: np.ndarray | str | Path | Image.Image,
    model: str | Path | Restorer | None = None,
    memory_gb: float | None = None,
    tile: int | None = None,
    precision: str = "float32",
    ensemble: bool = False,
    scale: float | Literal["auto"] = "auto",
    trust_model: bool = False,
) -> np.ndarray:
    """See `madn.deblur`."""
    if isinstance(model, Restorer) and (memory_gb, tile, precision, ensemble, scale) != (
        None,
        None,
        "float32",
        False,
        "auto",
    ):
        raise ValueError("a restorer has a memory, tile, precision, ensemble and scale of its own: give them to it")
    pixels, colours = _pixels(image)
    if not isinstance(model, Restorer):
        # Another working directory has another network at the same relative path.
        source = os.path.abspath(model) if model and is_path(model) else model or DEFAULT
        model = _restorer(source, memory_gb, tile, precision, ensemble, None if scale == "auto" else scale, trust_model)
    layers = pixels.reshape(*pixels.shape[:2], -1)
    restored, _ = model(layers[..., :3], colours=colours)
    return np.concatenate([restored, layers[..., 3:]], axis=2).reshape(pixels.shape)


def deblur_files(
    restorer: Restorer,
    jobs: Sequence[Job[Path]],
    megapixels: float = photos.MEGAPIXELS,
    report: "Report | None" = None,
    problem: Callable[[str], None] = print,
) -> tuple[int, int]:
    """Restore files one after the other, each written whole or not at all; what is at their targets is replaced.

    A file that cannot be restored is told to `problem` in a line that names it, and to the report; the rest go on.
    Progress is shown on standard error where that is a terminal. Returns how many were restored, and how many failed.
    Raises `UserError` when results, or the report, can no longer be written (a full disk).
    """
    restored = failed = 0
    with tqdm(total=len(jobs), bar_format=BAR, leave=False, disable=None) as bar:

        def tell(line: str) -> None:
            with bar.external_write_mode():
                problem(line)

        for number, job in enumerate(jobs):
            name = one_line(job.source.name)
            bar.set_postfix_str(name if number else f"{name}, compiling first")

            def share(done: int, count: int, number: int = number, name: str = name) -> None:
                bar.set_postfix_str(name, refresh=False)
                bar.update(number + min(done / count, 1) - bar.n)

            try:
                with _guarded(job):
                    shown = (
                        _restore_video(restorer, job, share, tell)
                        if job.is_video
                        else _restore_photo(restorer, job, share, tell, megapixels)
                    )
            except _CannotWrite:
                raise
            except UserError as reason:
                failed += 1
                tell(str(reason))
                if report:
                    report.fail(str(job.source), str(reason).removeprefix(f"{job.source}: "))
            else:
                restored += 1
                if report:
                    before, after, *about = shown
                    report.add(str(job.source), _as_shown(before), _as_shown(after), *about)
                    del before, after
                del shown  # Its memory is free before the next photo is read.
            share(1, 1)
    return restored, failed


class _CannotWrite(UserError):
    """A fault of writing that would befall all further files, too."""


@contextmanager
def _guarded(job: Job[Path]) -> Iterator[None]:
    """A block in which faults of the machine become errors that name the file."""
    try:
        yield
    except OSError as fault:  # Reading raises `UserError` itself.
        said = f"{job.target}: cannot be written ({fault.strerror or fault})"
        if fault.errno in OF_ONE_FILE or fault.errno not in OF_ALL_FILES and takes_other_names(job.target):
            raise UserError(f"{said}; choose another name or place") from None
        raise _CannotWrite(f"{said}; what is done stays, and the same command goes on") from None
    except Exception as fault:
        if not ran_out(fault):
            raise
        raise UserError(
            f"{job.source}: not restored, for lack of memory: give less --memory-gb or a smaller --tile"
        ) from None


def _restore_photo(
    restorer: Restorer, job: Job[Path], share: Progress, tell: Callable[[str], None], megapixels: float
) -> Shown:
    photo = photos.read_photo(job.source, megapixels, restorer.room)
    photos.check_target(job.target, photo, restorer.room)
    restored, *facts, said = _restore(restorer, job, photo.pixels, share, colours_of(photo.metadata.icc))
    for note in (*([said] if said else []), *photo.notes, *photos.write_photo(job.target, restored, photo)):
        tell(f"note: {job.source}: {note}")
    return photo.pixels, restored, *facts, said


def _restore_video(restorer: Restorer, job: Job[Path], share: Progress, tell: Callable[[str], None]) -> Shown:
    first: list = []

    def frame(pixels: np.ndarray) -> np.ndarray:
        nonlocal restorer
        if not first:
            restorer = restorer.for_frames(pixels)
        restored, *facts, _ = _restore(restorer, job, pixels)
        if not first:
            first.extend((pixels, restored, *facts))
        return restored

    written = video.restore_video(
        job.source, job.target, frame, lambda done, announced: share(done, max(announced or 0, done + 1))
    )
    for note in written.notes:
        tell(f"note: {job.source}: {note}")
    return *first, f"first of {written.frames} frames, each restored by itself"


def _restore(
    restorer: Restorer,
    job: Job[Path],
    pixels: np.ndarray,
    share: Progress = lambda done, count: None,
    colours: Colours | None = None,
) -> tuple[np.ndarray, float, str, str]:
    """The restored pixels, seconds, tiles, and what is to be said of the result.

    The restorer does not know the file, which its errors are to name.
    """
    start = time.perf_counter()
    try:
        restored, plan = restorer(pixels, share, colours)
    except UserError as reason:
        raise UserError(f"{job.source}: {reason}") from None
    return restored, time.perf_counter() - start, str(plan), plan.note


def _as_shown(pixels: np.ndarray) -> np.ndarray:
    """The pixels as a report shows them, in 8 bits and RGB."""
    pixels = (pixels // 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _pixels(image: np.ndarray | str | Path | Image.Image) -> tuple[np.ndarray, Colours | None]:
    """The pixels of an image, and their colours where these are not sRGB."""
    if isinstance(image, str | os.PathLike):
        photo = photos.read_photo(image)
        pixels = photo.pixels if photo.alpha is None else _with_alpha(photo.pixels, photo.alpha)
        return pixels, colours_of(photo.metadata.icc)
    colours = colours_of(image.info.get("icc_profile") or b"") if isinstance(image, Image.Image) else None
    pixels = _picture(image) if isinstance(image, Image.Image) else np.asarray(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)  # A TIFF may have the other byte order.
    if pixels.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ValueError(f"an image is uint8, uint16 or float; received {pixels.dtype}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)) or not pixels.size:
        raise ValueError(
            f"an image is (height, width), or (height, width, 1, 3 or 4), from 1 x 1 up; received shape {pixels.shape}"
        )
    if pixels.dtype.kind == "f" and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(f"a float image lies in [0, 1]; received [{pixels.min():g}, {pixels.max():g}]")
    return pixels, colours


def _picture(picture: Image.Image) -> np.ndarray:
    """The upright pixels of a PIL image in 8 bits; 16-bit grey keeps its depth."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        return np.asarray(picture)
    if picture.mode in ("I", "F"):
        raise ValueError(f"a PIL image has 8 or 16 bits; received mode {picture.mode}")
    if picture.mode in ("La", "RGBa"):  # In these modes the colours are multiplied by their alpha.
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    grey, alpha = picture.mode in ("1", "L"), picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if alpha else "L" if grey else "RGB"))


def _with_alpha(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.concatenate([np.repeat(pixels, 3 // pixels.shape[2], axis=2), alpha[..., None]], axis=2)


@functools.lru_cache(maxsize=2)
def _restorer(
    model: str | Path,
    memory_gb: float | None,
    tile: int | None,
    precision: str,
    ensemble: bool,
    scale: float | None,
    trust_model: bool,
) -> Restorer:
    from madn.restoration import runtimes

    loaded = runtimes.load(model, precision=precision, trust_model=trust_model)
    return loaded.restorer(memory_gb, tile, ensemble, scale)
