"""Photo files in and out, with everything but the pixels kept: `read_photo`, and `write_photo` for its result.

`decode_photo` and `encode_photo` are the same for what is no local file: an object of a bucket, say.

The format is the output suffix's. What it cannot hold:
- Transparency in JPEG and BMP is refused, unless every pixel is opaque: which background belongs behind it is for
  the photo's owner to say. PNG, TIFF, WebP, AVIF and HEIC keep it.
- 16 bits become 8, rounded, in JPEG, WebP, BMP, AVIF and HEIC; PNG and TIFF keep them.
- Grey becomes RGB in WebP, AVIF and HEIC, 16-bit grey with alpha becomes RGBA in TIFF; a grey colour profile is then
  left out.
- BMP keeps the resolution only; EXIF beyond JPEG's 64 KB is left out there, and extended XMP everywhere but there.
What is left out is named in what the writing functions return.
JPEG is written without chroma subsampling, by quantisation tables that are nowhere coarser than the input's nor than
quality 95's. WebP is lossless, unless the input was a lossy WebP: then it has quality 95, as AVIF and HEIC have, which
keep all colours' detail, too. TIFF is deflated.
"""

import functools
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from madn.errors import UserError
from madn.imaging import exif, jpeg
from madn.imaging.arrays import SAVE_OPTIONS
from madn.imaging.decoding import MEGAPIXELS, Photo, decode_photo, read_photo
from madn.imaging.encoding import DEFLATE_LEVEL, bands, with_alpha, write_png16, write_tiff
from madn.imaging.formats import LONGEST_SIDE, NO_ALPHA, NO_GREY, NO_METADATA, image_format
from madn.imaging.guard import quiet
from madn.imaging.metadata import Metadata, profile_space
from madn.system.writing import atomic

__all__ = ["MEGAPIXELS", "Photo", "check_target", "decode_photo", "encode_photo", "read_photo", "write_photo"]


# Bytes of memory that Pillow takes for each pixel while it writes a format, measured on photos of 6 megapixels (of HEIF
# assumed); for others it has a copy of the picture.
WRITING = {"WEBP": 34, "AVIF": 34, "HEIF": 34}


def check_target(path: str | Path, photo: Photo, room: float) -> None:
    """Raise the `UserError` that writing a result to `path` would end with, before hours of work are done for it.

    `room` is how many bytes of memory there are for photo, result and writing.
    """
    _alpha(path, photo.pixels, photo)
    kind = image_format(Path(path))
    needed = 2 * photo.pixels.nbytes + photo.pixels[..., 0].size * WRITING.get(kind, 4)
    if needed > room:
        raise UserError(
            f"{path}: writing {kind} of this size takes about {needed / 1e9:.1f} GB of memory, and {room / 1e9:.1f} GB "
            "are left for photos: give more --memory-gb" + (", or write a .png or .tif" if kind in WRITING else "")
        )


def write_photo(path: str | Path, pixels: np.ndarray, like: Photo) -> tuple[str, ...]:
    """Write restored pixels with the metadata of the photo they came from, atomically, folders included.

    `pixels` has the shape of `like.pixels` and is uint8 or uint16, not necessarily the same; it may be
    `like.pixels` itself. Returns what of the photo's metadata the format cannot hold, a sentence each. Raises
    `UserError` for a suffix that names no format, and for a photo that the format cannot hold: transparent, or too
    large.
    """
    alpha = _alpha(path, pixels, like)
    with atomic(path) as part, open(part, "wb") as file:
        return _encode(file, image_format(Path(path)), pixels, alpha, like)


def encode_photo(file: BinaryIO, name: str | Path, pixels: np.ndarray, like: Photo) -> tuple[str, ...]:
    """What `write_photo` writes to `name`, into an open file, in which it can go back and forth."""
    alpha = _alpha(name, pixels, like)
    return _encode(file, image_format(Path(name)), pixels, alpha, like)


def _alpha(path: str | Path, pixels: np.ndarray, like: Photo) -> np.ndarray | None:
    """The alpha channel to write; raises what is said of `write_photo`."""
    if pixels.shape != like.pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"pixels must be uint8 or uint16 of shape {like.pixels.shape}, "
            f"received {pixels.dtype} of shape {pixels.shape}"
        )
    kind = image_format(Path(path))
    if max(pixels.shape[:2]) > LONGEST_SIDE.get(kind, 2**31):
        raise UserError(f"{path}: {kind} holds at most {LONGEST_SIDE[kind]} pixels a side; write a .png or .tif")
    if like.alpha is not None and kind in NO_ALPHA:
        if like.alpha.min() < np.iinfo(like.alpha.dtype).max:
            raise UserError(f"{path}: {kind} cannot hold the photo's transparency; write a .png, .tif or .webp")
        return None
    return like.alpha


def _encode(file: BinaryIO, kind: str, pixels: np.ndarray, alpha: np.ndarray | None, like: Photo) -> tuple[str, ...]:
    data, notes = _holdable(kind, pixels, alpha, like.metadata)
    if kind == "TIFF":
        write_tiff(file, pixels, alpha, data)
    elif kind == "PNG" and pixels.dtype == np.uint16:
        write_png16(file, pixels, alpha, data)
    else:
        _save(file, kind, pixels, alpha, like, data)
    return notes


def _holdable(
    kind: str, pixels: np.ndarray, alpha: np.ndarray | None, data: Metadata
) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata that a format holds, and what it does not, in words."""
    notes = []

    def drop(field: str, what: str) -> None:
        nonlocal data
        if getattr(data, field):
            notes.append(f"{what}, and the result is without")
            empty: dict[str, Any] = {field: b""}
            data = replace(data, **empty)

    if kind in NO_METADATA:
        for field, what in (("exif", "EXIF"), ("icc", "colour profile"), ("xmp", "XMP")):
            drop(field, f"{kind} holds no {what}")
    if profile_space(data.icc) == "GRAY" and (
        kind in NO_GREY or kind == "TIFF" and alpha is not None and pixels.dtype == np.uint16
    ):
        drop("icc", f"{kind} holds such pixels as RGB only, which its grey colour profile does not fit")
    if kind == "JPEG" and len(data.exif) > jpeg.BLOCK:
        drop("exif", "its EXIF is larger than the 64 KB that JPEG holds")
    if kind == "JPEG" and len(data.xmp) + len(jpeg.XMP_START) > jpeg.BLOCK:
        drop("xmp", "its XMP is larger than the 64 KB that JPEG holds")
    if data.more_xmp and kind != "JPEG":
        drop("more_xmp", "the second part of its XMP is JPEG's alone")
        data = replace(data, xmp=jpeg.without_pointer(data.xmp))
    return data, tuple(notes)


def _save(file: BinaryIO, kind: str, pixels: np.ndarray, alpha: np.ndarray | None, like: Photo, data: Metadata) -> None:
    mode = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA"}[pixels.shape[2], alpha is not None]
    picture = Image.new(mode, (pixels.shape[1], pixels.shape[0]))
    for top, rows in bands(pixels.shape):
        band = with_alpha(pixels, alpha, rows, np.uint8)
        picture.paste(Image.fromarray(band[:, :, 0] if band.shape[2] == 1 else band), (0, top))
    if kind in NO_GREY and mode in ("L", "LA"):
        picture = picture.convert({"L": "RGB", "LA": "RGBA"}[mode])
    with quiet:  # Pillow would warn of faults in EXIF that is kept as it was.
        picture.save(file, kind, **_options(kind, like, data))


def _options(kind: str, like: Photo, data: Metadata) -> dict[str, Any]:
    """How Pillow is to write a format, and the metadata that the format holds."""
    found = {"exif": data.exif, "icc_profile": data.icc, "xmp": data.xmp, "dpi": data.dpi}
    options: dict[str, Any] = {"compress_level": DEFLATE_LEVEL}
    if kind == "JPEG":
        tables = [np.minimum(table, like.qtable or 255).tolist() for table in _quality95()]
        options = {"qtables": tables, "subsampling": 0}
        if found.pop("xmp"):
            options["extra"] = jpeg.xmp_segments(data.xmp, data.more_xmp)
    elif kind == "WEBP":
        lossless = like.lossless or like.format != "WEBP"
        options = {"lossless": True, "exact": True, "method": 1} if lossless else {"quality": 95}
    elif kind in ("AVIF", "HEIF"):
        options = SAVE_OPTIONS[kind]
        if data.exif:  # These files are upright without it, and Pillow would rewrite all other EXIF to set it.
            found["exif"] = exif.without(data.exif, {exif.ORIENTATION})
    elif kind == "PNG" and data.xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", data.xmp.decode("utf-8", "replace"))
    return options | {key: value for key, value in found.items() if value}


@functools.cache
def _quality95() -> list[list[int]]:
    """The JPEG standard's quantisation tables for brightness and colour at quality 95."""
    sample = io.BytesIO()
    Image.new("RGB", (8, 8)).save(sample, "JPEG", quality=95)
    return list(Image.open(sample).quantization.values())
