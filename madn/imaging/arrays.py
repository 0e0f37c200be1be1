"""The one edge where photo files become float32 RGB in [0, 1] and go back."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from madn.imaging.decoding import read_photo
from madn.imaging.formats import image_format
from madn.system.writing import atomic

# Each format loses as little as it can: JPEG has no chroma subsampling, WebP is lossless.
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95, "chroma": 444},
}


def to_uint8(image: np.ndarray) -> np.ndarray:
    """A float image in [0, 1] as uint8: clipped, times 255 and rounded, never truncated."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_float(image: np.ndarray) -> np.ndarray:
    """A uint8 or uint16 image as float32 in [0, 1]; `to_uint8` gives 8 bits back exactly."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def read_image(path: str | Path) -> np.ndarray:
    """Read a photo as float32 (H, W, 3) RGB in [0, 1].

    Grey, palette and CMYK become RGB, an alpha channel is dropped, 16 bits keep their depth, and a camera's
    orientation tag is applied. Raises `UserError` as `read_photo` does.
    """
    pixels = to_float(read_photo(path).pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write a float (H, W, 3) RGB image in [0, 1] as 8 bits, in the format of the suffix, folders included.

    Raises `UserError` for a suffix that is not written.
    """
    save_picture(path, Image.fromarray(to_uint8(image)))


def save_picture(path: str | Path, picture: Image.Image) -> None:
    """Save a Pillow picture atomically, in the format of the suffix; folders are made."""
    path = Path(path)
    kind = image_format(path)
    with atomic(path) as part:
        picture.save(part, format=kind, **SAVE_OPTIONS.get(kind, {}))
