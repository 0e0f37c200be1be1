"""What a photo file says beside its pixels, made true of the restored picture: EXIF, colour profile, XMP, resolution.

Kept: EXIF with GPS and the maker's note (an offset that points out of the note may no longer hold), the ICC profile,
XMP, dots per inch. Changed: the orientation is 1, because pixels are kept upright, and the pixel dimensions are
right. Dropped: thumbnails and a TIFF's other pictures, which would show the blurred photo; XMP that describes one, or
further pictures behind the first (motion photos, gain maps); IPTC records, comments and PNG text; and whatever
cannot be parsed, for the pixels are worth more than their tags.
"""

import re
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

EXIF_START = b"Exif\0\0"
XMP_TAG, ICC_TAG = 700, 34675
# How a TIFF stores its pixels, its further pictures and layers, and what is kept elsewhere (XMP, ICC).
STRUCTURE = {*range(254, 269), 273, *range(277, 282), *range(284, 294), 301, *range(317, 326), 330, *range(332, 348),
             *range(512, 533), XMP_TAG, 34377, ICC_TAG, 37724}
ORIENTED = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\d")
OTHER_PICTURES = (b"GImg:image", b"Container:Directory", b"MicroVideo", b"hdrgm:")


@dataclass(frozen=True)
class Metadata:
    """Metadata of an upright photo; empty where a file has none."""

    exif: bytes = b""
    """An EXIF block, with its "Exif" heading."""
    icc: bytes = b""
    """A colour profile that fits the pixels: RGB or grey."""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    """Dots per inch across and down."""


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = picture.getexif().get(Base.Orientation, 1)
    except Exception:  # Pillow's parser fails in many ways on a corrupt block
        return 1
    return value if value in range(1, 9) else 1


def read_metadata(picture: Image.Image, size: tuple[int, int], channels: int) -> Metadata:
    """The metadata of an open and loaded Pillow picture whose upright pixels have `size` (width, height)."""
    icc = picture.info.get("icc_profile") or b""
    return Metadata(_exif(picture, size), icc if profile_space(icc) == ("RGB" if channels == 3 else "GRAY") else b"",
                    _xmp(picture.info.get("xmp")), _dpi(picture.info.get("dpi")))


def profile_space(icc: bytes) -> str:
    """The colour space an ICC profile describes ("RGB", "GRAY", "CMYK"), or "" for what is no ICC profile."""
    if len(icc) <= 128 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") > len(icc):
        return ""
    return icc[16:20].decode("ascii", "replace").strip()


def exif_tags(exif: bytes) -> dict[int, Any]:
    """The tags of an EXIF block as `Metadata` has it; its sub-directories (camera, GPS) are dictionaries."""
    block = Image.Exif()
    block.load(exif)
    return {tag: _value(block, tag) for tag in block}


def _exif(picture: Image.Image, size: tuple[int, int]) -> bytes:
    try:
        exif = picture.getexif()
        tags = {}
        for tag in sorted(set(exif) - STRUCTURE):
            value = _value(exif, tag)
            if value and _can_be_written(tag, value):
                tags[tag] = value
        if Base.Orientation in tags:
            tags[Base.Orientation] = 1
        camera = tags.get(IFD.Exif, {})
        for tag, pixels in zip((Base.ExifImageWidth, Base.ExifImageHeight), size, strict=True):
            if tag in camera:
                camera[tag] = pixels
        kept = Image.Exif()
        kept.endian = exif.endian or "<"
        kept.update(tags)
        return kept.tobytes() if tags else b""
    except Exception:  # as above
        return b""


def _value(exif: Image.Exif, tag: int) -> Any:
    return _directory(exif, tag) if tag in (IFD.Exif, IFD.GPSInfo) else _exact(exif[tag])


def _exact(value: Any) -> Any:
    """Text as the bytes that it was read from: Pillow reads Latin-1, and would write ASCII with question marks."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    """A sub-directory, without the tags that cannot be written."""
    try:
        values = dict(exif.get_ifd(tag))
        if tag == IFD.Exif and IFD.Interop in values:
            values[IFD.Interop] = _directory(exif, IFD.Interop)
    except Exception:  # as above
        return {}
    values = {inner: _exact(value) for inner, value in values.items()}
    return {inner: value for inner, value in values.items() if _can_be_written(inner, value, tag)}


def _can_be_written(tag: int, value: Any, group: int | None = None) -> bool:
    directory = ImageFileDirectory_v2(group=group)
    try:
        directory[tag] = value
        directory.tobytes()
    except Exception:  # a value of the wrong type for its tag
        return False
    return True


def _xmp(packet: Any) -> bytes:
    packet = packet.encode() if isinstance(packet, str) else packet
    if not isinstance(packet, bytes) or any(word in packet for word in OTHER_PICTURES):
        return b""
    return ORIENTED.sub(rb"\g<1>1", packet)


def _dpi(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # 1 is what Pillow makes of a TIFF that has an aspect only
    return (across, down) if all(1 < value < 65536 for value in (across, down)) else None
