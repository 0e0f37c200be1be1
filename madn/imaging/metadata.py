"""What a photo file says beside its pixels, made true of the restored picture: EXIF, colour profile, XMP, resolution.

Kept: EXIF with GPS and the maker's note, to the byte (`madn.imaging.exif`); the ICC profile, or what a PNG, AVIF or
HEIC file says of its colours in other ways, as a profile; XMP, a JPEG's long one included; dots per inch. Changed: the
orientation is 1, because pixels are kept upright, and the pixel dimensions are right. Dropped: thumbnails, which would
show the blurred photo; comments and PNG text. Dropped and named (`Photo.notes`): further pictures (motion photos, gain
maps, a TIFF's masks and layers) and the XMP that describes them, IPTC records, and what cannot be parsed, for the
pixels are worth more than their tags.
"""

import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image
from PIL.ExifTags import Base

from madn.imaging import boxes, exif, jpeg, png
from madn.imaging.checks import whole
from madn.imaging.colours import of_codes

ORIENTED = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\d")
OTHER_PICTURES = (
    b"GImg:image",
    b"GImage:",
    b"GDepth:",
    b"Container:Directory",
    b"MicroVideo",
    b"hdrgm:",
    b"HDRGainMap",
)


@dataclass(frozen=True)
class Metadata:
    """Metadata of an upright photo; empty where a file has none."""

    exif: bytes = b""
    """An EXIF block, with its "Exif" heading."""
    icc: bytes = b""
    """A colour profile that fits the pixels: RGB or grey."""
    xmp: bytes = b""
    more_xmp: bytes = b""
    """A JPEG's extended XMP, which `xmp` points to."""
    dpi: tuple[float, float] | None = None
    """Dots per inch across and down."""


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = picture.getexif().get(Base.Orientation, 1)
    except Exception:  # Pillow's parser fails in many ways on a corrupt block.
        return 1
    return value if value in range(1, 9) else 1


def read_metadata(
    picture: Image.Image, file: BinaryIO, size: tuple[int, int], channels: int
) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata of an open and loaded Pillow picture whose upright pixels have `size` (width, height), and notes.

    The notes are lines, each a sentence about what of the file is not kept.
    """
    notes = _further(picture, file)
    block = b""
    try:
        block = exif.of_tiff(file, size) if picture.format == "TIFF" else exif.upright(_block(picture), size)
    except (ValueError, struct.error, KeyError, OverflowError):
        if _block(picture):
            notes.append("its EXIF is damaged and left out")
    icc = _profile(picture, file, channels)
    if icc and profile_space(icc) != ("RGB" if channels == 3 else "GRAY"):
        if profile_space(icc) != "CMYK":  # The pixels are no longer CMYK, so that its profile does not fit them.
            notes.append("its colour profile is damaged, or not one of its pixels' kind, and left out")
        icc = b""
    xmp, more = _xmp(picture.info.get("xmp")), b""
    if picture.format in ("JPEG", "MPO") and jpeg.POINTER.search(xmp):
        more = jpeg.more_xmp(jpeg.structure(whole(file)), xmp)
        if not more:
            notes.append("the second part of its XMP is not whole, and left out")
            xmp = jpeg.without_pointer(xmp)
    if any(word in xmp or word in more for word in OTHER_PICTURES):
        notes.append("its XMP, which describes further pictures, is left out with them")
        xmp = more = b""
    return Metadata(block, icc, xmp, more, _dpi(picture.info.get("dpi"))), tuple(notes)


def profile_space(icc: bytes) -> str:
    """The colour space an ICC profile describes ("RGB", "GRAY", "CMYK"), or "" for what is no ICC profile."""
    if len(icc) <= 128 or icc[36:40] != b"acsp" or int.from_bytes(icc[:4], "big") > len(icc):
        return ""
    return icc[16:20].decode("ascii", "replace").strip()


def _further(picture: Image.Image, file: BinaryIO) -> list[str]:
    """What a file holds beside the picture that is read, in words."""
    if picture.format in ("JPEG", "MPO"):
        content = whole(file)
        found = jpeg.structure(content)
        return jpeg.further_pictures(content, found) + ["its IPTC records are left out"] * jpeg.has_iptc(found)
    said = []
    if picture.format in ("AVIF", "HEIF"):
        if boxes.shown_item(whole(file)).has_gain_map:
            said.append("its gain map is left out: the result is the standard picture, without HDR")
        if getattr(picture, "n_frames", 1) > 1:
            said.append(f"only the first of its {picture.n_frames} pictures is restored")
    elif picture.format == "TIFF":
        tags = picture.tag_v2
        if exif.LAYERS in tags:
            said.append("its layers are left out: the flattened picture is restored")
        if "icc_profile" not in picture.info and any(tag in tags for tag in (301, 318, 319)):
            said.append("its colour description (white point, primaries or transfer function) is left out")
        if _has_mask(picture):
            said.append("its transparency mask is left out")
    return said


def _has_mask(picture: Image.Image) -> bool:
    try:
        for page in range(1, 100):
            picture.seek(page)
            if picture.tag_v2.get(254, 0) & 4:
                return True
    except EOFError:
        pass
    finally:
        picture.seek(0)
    return False


def _block(picture: Image.Image) -> bytes:
    """The file's own EXIF block, as it is."""
    block = picture.info.get("exif")
    # ImageMagick writes it in hexadecimal digits.
    if not block and (text := picture.info.get("Raw profile type exif")):
        block = bytes.fromhex("".join(text.split("\n")[3:]))
    return exif.bare(block or b"")


def _profile(picture: Image.Image, file: BinaryIO, channels: int) -> bytes:
    """The ICC profile, or one that says what the file says otherwise; "" for sRGB."""
    icc = picture.info.get("icc_profile") or b""
    if picture.format == "PNG":
        return png.described_profile(png.colour_chunks(file), icc, channels == 1)
    if picture.format == "BMP":
        return _bmp_profile(file)
    if picture.format in ("AVIF", "HEIF") and not icc and (codes := boxes.shown_item(whole(file)).codes):
        return of_codes(codes[0], codes[1], channels == 1) or b""
    return icc


def _bmp_profile(file: BinaryIO) -> bytes:
    """The profile that a BMP's fifth header embeds, which Pillow does not look for."""
    file.seek(14)
    head = file.read(124)
    if len(head) < 124 or struct.unpack_from("<I", head)[0] < 124 or head[56:60] != b"DEBM":
        return b""
    start, length = struct.unpack_from("<II", head, 112)
    file.seek(14 + start)
    return file.read(min(length, 2**24))


def _xmp(packet: Any) -> bytes:
    packet = packet.encode() if isinstance(packet, str) else packet
    return ORIENTED.sub(rb"\g<1>1", packet) if isinstance(packet, bytes) else b""


def _dpi(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow gives 1 for a TIFF that has an aspect only.
    return (across, down) if all(1 < value < 65536 for value in (across, down)) else None
