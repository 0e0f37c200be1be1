"""The one decoder of photo files: any of `formats.readable()`, told by content, to upright pixels of 8 or 16 bits.

What becomes what: 1-bit and 8-bit grey stay grey with 8 bits, a palette becomes RGB, transparency of any kind an
alpha channel, CMYK becomes sRGB through its colour profile where it has one, 16-bit CMYK has 8 bits after that.
A phone's JPEG with further pictures (MPO, motion photo, gain map) is read as its first, and `notes` says so. Refused
(`madn.imaging.checks`), because a part of the file would be lost without a word: animations, TIFF files of several
pages (reduced pictures and masks are no pages) or with samples beside colours and alpha. Refused, because they have no
8 or 16 bits to keep: floating-point, signed, 32-bit, 12-bit and HDR images. Refused as damaged: what the decoder itself
warns of, for libjpeg makes pixels of nothing and only warns.

Memory: Pillow's picture (4 bytes a pixel) beside the array, 2.4 times a 48-megapixel photo's 8-bit pixels; 16-bit
colour, which Pillow cuts to 8 bits, is decoded twice, once for the upper bytes and once for the lower. More is
needed by progressive JPEG and WebP, whose own decoders hold the whole image.
"""

import io
import math
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms

from madn.errors import UserError
from madn.imaging.checks import MODES, check_picture, rawmode
from madn.imaging.formats import readable
from madn.imaging.guard import faults, quiet
from madn.imaging.metadata import Metadata, orientation, profile_space, read_metadata

MEGAPIXELS = 300.0
BAND = 2**20  # So many pixels are converted at a time.


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo: upright pixels, and what `write_photo` needs to write it back."""

    pixels: np.ndarray
    """(H, W, 3) RGB or (H, W, 1) grey, uint8 or uint16; may be written to."""
    alpha: np.ndarray | None
    """(H, W) of the same type, 0 transparent; None where the file has none."""
    format: str
    """One of `formats.FORMATS`' values."""
    metadata: Metadata = field(default_factory=Metadata)
    qtable: tuple[int, ...] | None = None
    """A JPEG's quantisation: the least of its tables for each of the 64 frequencies."""
    lossless: bool = True
    """Whether the file kept its pixels exactly; False for JPEG, AVIF, HEIC and for most WebP files."""
    notes: tuple[str, ...] = ()
    """What of the file is not among this, a sentence each: further pictures, records that are not kept."""


def read_photo(path: str | Path, megapixels: float = MEGAPIXELS, room: float = math.inf) -> Photo:
    """Decode a photo file, for which there are `room` bytes of memory.

    Raises `UserError` naming a file that is missing, no regular file, not readable, empty, truncated, otherwise no
    image of these formats, animated, of several pages, of an unsupported depth, or that says it has more than
    `megapixels` (10^6 pixels) or ones that decoding takes more than `room` for, which is looked at before anything is
    decoded.
    """
    path = Path(path)
    with faults(path):
        _check_file(path)
        with open(path, "rb") as file:
            return decode_photo(file, path, megapixels, room)


def decode_photo(file: BinaryIO, name: str | Path, megapixels: float = MEGAPIXELS, room: float = math.inf) -> Photo:
    """Decode a photo from an open file, in which it can go back and forth: `read_photo` of what lies elsewhere.

    Raises `UserError` as `read_photo` does, with `name` in it.
    """
    with faults(name), quiet, Image.open(file, formats=readable()) as picture:
        check_picture(name, picture, file, megapixels, room)
        if picture.format == "PNG":  # Decoding does not look at a PNG's checksums.
            picture.verify()
            picture = _opened(file, "PNG")
        return _decode(picture, file)


def _check_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path}: no such file (a link that leads nowhere)")
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise UserError(f"{path}: cannot be read as an image (a folder)")
    if not stat.S_ISREG(state.st_mode):  # Opening a pipe would wait for ever.
        raise UserError(f"{path}: cannot be read as an image (not a regular file)")
    if not state.st_size:
        raise UserError(f"{path}: cannot be read as an image (the file is empty)")


def _decode(picture: Image.Image, file: BinaryIO) -> Photo:
    raw = rawmode(picture)
    picture.load()  # A truncated file fails here.
    turned = orientation(picture)  # It is read after loading, in which Pillow has turned a TIFF already.
    grey16 = picture.mode.startswith("I;16") or raw == "LA;16B"
    channels = 1 if grey16 or MODES[picture.mode][0] == "L" else 3
    deep = grey16 or bool(re.search(r";16[BLN]$", raw)) and picture.mode != "CMYK"
    width, height = picture.size[::-1] if turned > 4 else picture.size
    pixels = np.empty((height, width, channels), np.uint16 if deep else np.uint8)
    transparent = picture.has_transparency_data or picture.mode == "La"
    alpha = np.empty((height, width), pixels.dtype) if transparent else None
    # The arrays are filled through views that are turned as the file is, so that nothing is copied.
    arrays = [_turn(array, {6: 8, 8: 6}.get(turned, turned)) for array in (pixels, alpha) if array is not None]
    # The transparent colour is given in the file's own steps of grey.
    if raw in ("L;2", "L;4") and "transparency" in picture.info:
        picture.info["transparency"] *= 85 if raw == "L;2" else 17
    if deep:
        _fill16(picture, file, raw, arrays)
    else:
        _fill8(picture, arrays)
    kind = "JPEG" if picture.format == "MPO" else picture.format
    tables = getattr(picture, "quantization", None)
    metadata, notes = read_metadata(picture, file, (width, height), channels)
    return Photo(
        pixels,
        alpha,
        kind,
        metadata,
        tuple(np.min(list(tables.values()), axis=0).tolist()) if tables else None,
        not tables and kind not in ("AVIF", "HEIF") and (kind != "WEBP" or _lossless_webp(file)),
        notes,
    )


def _turn(array: np.ndarray, turned: int) -> np.ndarray:
    """A view of a stored (H, W, ...) array as the EXIF orientation `turned` wants it shown."""
    if turned > 4:
        array = array.swapaxes(0, 1)
    return array[:: -1 if turned in (3, 4, 7, 8) else 1, :: -1 if turned in (2, 3, 6, 7) else 1]


def _fill8(picture: Image.Image, arrays: list[np.ndarray]) -> None:
    """Fill (pixels) or (pixels, alpha) with the 8-bit pixels of a loaded picture."""
    mode = MODES[picture.mode][len(arrays) - 1]
    to_srgb = _cmyk_transform(picture) if picture.mode == "CMYK" else None
    if to_srgb:
        _copy(picture, arrays, lambda band: ImageCms.applyTransform(band, to_srgb))
    else:
        _copy(picture, arrays, lambda band: band if band.mode == mode else band.convert(mode))


def _fill16(picture: Image.Image, file: BinaryIO, raw: str, arrays: list[np.ndarray]) -> None:
    """Fill (pixels) or (pixels, alpha) with the 16-bit pixels of a loaded picture, which the file has as `raw`."""
    if picture.mode.startswith("I;16"):
        _copy(picture, arrays[:1], np.asarray)
        if picture.format == "TIFF" and picture.tag_v2.get(262) == 0:  # White is zero in these files.
            np.subtract(65535, arrays[0], out=arrays[0])
    elif raw == "LA;16B":  # Decoded as RGBA, the four bytes are two of grey and two of alpha.
        _copy(_again(picture, file, "RGBA"), arrays, lambda band: np.asarray(band).view(">u2"))
    else:
        colours = arrays if picture.mode == "RGBA" else arrays[:1]
        first = {"B": "B", "L": "L", "N": "L" if sys.byteorder == "little" else "B"}[raw[-1]]
        _copy(picture, colours, lambda band: np.asarray(band).astype(np.uint16) << 8)
        # Read in the other byte order, the lower byte is the one that Pillow keeps.
        lower = _again(picture, file, raw[:-1] + {"B": "L", "L": "B"}[first])
        _copy(lower, colours, np.asarray, add=True)
    key = picture.info.get("transparency")
    if len(arrays) == 2 and key is not None:  # A PNG has one transparent colour.
        arrays[1][:] = np.where((arrays[0] == np.array(key)).all(axis=2), 0, 65535)


def _copy(
    picture: Image.Image, arrays: list[np.ndarray], values: Callable[[Image.Image], Any], add: bool = False
) -> None:
    """Copy a picture in bands, each through `values`, into (pixels) or (pixels, alpha)."""
    width, height = picture.size
    rows, channels = max(1, BAND // width), arrays[0].shape[2]
    for top in range(0, height, rows):
        band = np.asarray(values(picture.crop((0, top, width, min(top + rows, height)))))
        band = band.reshape(band.shape[0], width, -1)
        for array, part in zip(arrays, (band[:, :, :channels], band[:, :, -1]), strict=False):
            if add:
                array[top : top + rows] |= part
            else:
                array[top : top + rows] = part


def _opened(file: BinaryIO, kind: str) -> Image.Image:
    file.seek(0)
    return Image.open(file, formats=[kind])


def _again(picture: Image.Image, file: BinaryIO, rawmode: str) -> Image.Image:
    """The picture decoded once more, its pixels taken to be laid out as `rawmode`."""
    again = _opened(file, picture.format)
    again.tile = [
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in again.tile
    ]
    again.load()
    return again


def _cmyk_transform(picture: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The way from the picture's own CMYK to sRGB; None where it has no profile, or a broken one."""
    icc = picture.info.get("icc_profile") or b""
    if profile_space(icc) != "CMYK":
        return None
    try:
        return ImageCms.buildTransform(io.BytesIO(icc), ImageCms.createProfile("sRGB"), "CMYK", "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def _lossless_webp(file: BinaryIO) -> bool:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        size = int.from_bytes(head[4:], "little")
        file.seek(size + size % 2, io.SEEK_CUR)
    return False
