"""Photo files <-> arrays: the one edge where files become float32 RGB in [0, 1] and go back."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from madn.errors import UserError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
           ".webp": "WEBP"}
# As little loss as the format allows: JPEG without chroma subsampling, WebP lossless.
SAVE_OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float image in [0, 1] -> uint8: clipped, times 255, rounded (never truncated)."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 image -> float32 in [0, 1]; `to_uint8` takes it back exactly."""
    return image.astype(np.float32) / np.float32(255.0)


def read_image(path: str | Path) -> np.ndarray:
    """Read a photo as float32 (H, W, 3) RGB in [0, 1].

    Grey, palette and CMYK become RGB, an alpha channel is dropped, 16 bits keep their depth, and a camera's
    orientation tag is applied. Raises `UserError` naming a file that is missing, truncated or no image.
    """
    path = Path(path)
    try:
        with Image.open(path) as picture:
            picture.load()  # decodes every byte: a truncated file fails here, where OpenCV would fill in grey
            if picture.mode.startswith("I"):
                return _grey16(np.asarray(picture))
            if picture.mode == "F":
                raise UserError(f"{path}: floating-point images are not read; save it with 8 or 16 bits")
            if picture.format == "PNG" and _png_depth(path) == 16:
                return _colour16(path)
            return to_float(np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise UserError(f"{path}: cannot be read as an image ({_reason(problem)})") from None


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write a float (H, W, 3) RGB image in [0, 1] as 8 bits, in the format of the suffix, folders included.

    Raises `UserError` for a suffix that is not in `FORMATS`.
    """
    save_picture(path, Image.fromarray(to_uint8(image)))


def save_picture(path: str | Path, picture: Image.Image) -> None:
    """Save a Pillow picture atomically, in the format of the suffix; folders are made."""
    path = Path(path)
    kind = image_format(path)
    with atomic(path) as part:
        picture.save(part, format=kind, **SAVE_OPTIONS.get(kind, {}))


def image_format(path: Path) -> str:
    """The format that a suffix stands for; raises `UserError` for one that is not written."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: '{path.suffix}' is not an image suffix that is written: {', '.join(FORMATS)}")
    return kind


def image_files(folder: str | Path) -> list[Path]:
    """All image files below a folder, sorted; hidden files are left out."""
    return sorted(path for path in Path(folder).rglob("*")
                  if path.suffix.lower() in FORMATS and not path.name.startswith(".") and path.is_file())


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder that takes `path`'s place when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _grey16(values: np.ndarray) -> np.ndarray:
    grey = np.clip(values.astype(np.float32) / np.float32(65535.0), 0.0, 1.0)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _colour16(path: Path) -> np.ndarray:
    """A 16-bit colour PNG, which Pillow would cut to 8 bits."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)  # BGR
    return pixels[:, :, ::-1].astype(np.float32) / np.float32(65535.0)


def _png_depth(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]  # the depth byte of the IHDR chunk, always the first


def _reason(problem: Exception) -> str:
    """The problem in a few words: Pillow's message for an unknown format only repeats the path."""
    if isinstance(problem, Image.UnidentifiedImageError):
        return "not an image, or one of an unknown format"
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__
