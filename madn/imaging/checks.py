"""Refuses photo files before they are decoded, where something would be lost without a word, or is damaged."""

import itertools
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from madn.errors import UserError
from madn.imaging import boxes, jpeg, png
from madn.imaging.colours import CURVES, HDR, PRIMARIES
from madn.imaging.exif import read_directory, tiff_head

# Pixels of each of Pillow's modes are taken as the first of these modes, or with alpha as the second.
MODES = {
    "1": ("L", "LA"),
    "L": ("L", "LA"),
    "LA": ("L", "LA"),
    "La": ("L", "LA"),
    "P": ("RGB", "RGBA"),
    "PA": ("RGB", "RGBA"),
    "RGB": ("RGB", "RGBA"),
    "RGBA": ("RGB", "RGBA"),
    "RGBX": ("RGB", "RGB"),
    "YCbCr": ("RGB", "RGB"),
    "CMYK": ("RGB", "RGB"),
}
COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # A TIFF's photometric interpretation says the samples of a pixel; others have 1.
DEFLATE = (8, 32946)  # A TIFF's compression by zlib, by its new and its old number.
MOST_PAGES = 100  # A pyramid of reduced pictures has some 10, and thousands take minutes.
MOST_RUNS = 25_000_000  # Pillow decodes run-length BMP in Python, at 4 to 5 megapixels a second.
ALPHA = (1, 2, 999)  # These kinds of further samples are alpha; 999 is Corel Draw's.


# Bytes of memory that decoding takes for each pixel at its worst, measured on photos of 6 megapixels with 8 bits; of 16
# bits it takes twice as many. HEIF's are assumed.
DECODING = {"PNG": 10, "JPEG": 10, "MPO": 10, "BMP": 10, "TIFF": 10, "AVIF": 14, "WEBP": 20, "HEIF": 20}


def decoding_bytes(picture: Image.Image) -> float:
    """Bytes of memory that decoding a picture takes for each pixel."""
    deep = picture.mode.startswith("I;16") or ";16" in rawmode(picture)
    return DECODING.get(picture.format or "", 20) * (2 if deep else 1)


def rawmode(picture: Image.Image) -> str:
    """How Pillow names the file's own pixel layout, "RGB;16B" say; empty where it names none."""
    arguments = picture.tile[0].args if picture.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def whole(file: BinaryIO) -> bytes:
    """All of an open file."""
    file.seek(0)
    return file.read()


def check_picture(path: str | Path, picture: Image.Image, file: BinaryIO, megapixels: float, room: float) -> None:
    """Raise `UserError` for a picture that `read_photo` does not read; its pixels are not decoded for that."""
    width, height = picture.size
    if width * height > megapixels * 1e6:
        raise UserError(
            f"{path}: says it has {width}x{height} pixels, more than the {megapixels:g} megapixels that "
            "are read; if that is right, allow more (--max-megapixels)"
        )
    if (needed := width * height * decoding_bytes(picture)) > room:
        raise UserError(
            f"{path}: decoding its {width}x{height} pixels takes about {needed / 1e9:.1f} GB of memory, and "
            f"{room / 1e9:.1f} GB are left for photos: give more --memory-gb"
        )
    if picture.format == "BMP" and picture.info.get("compression") in (1, 2) and width * height > MOST_RUNS:
        raise UserError(
            f"{path}: run-length compressed BMP is read up to {MOST_RUNS / 1e6:g} megapixels; save it as PNG"
        )
    if picture.format in ("PNG", "WEBP", "AVIF") and getattr(picture, "is_animated", False):
        raise UserError(f"{path}: an animation of {picture.n_frames} pictures; save them one by one")
    bits = picture.tag_v2.get(258, (1,)) if picture.format == "TIFF" else (8,)
    if picture.format == "TIFF":
        _check_samples(path, picture)
    if picture.mode in ("F", "I") or 12 in bits:
        kind = "floating-point" if picture.mode == "F" else "12-bit" if 12 in bits else "32-bit or signed"
        raise UserError(f"{path}: {kind} images are not read; save it with 8 or 16 bits")
    if picture.mode not in MODES and not picture.mode.startswith("I;16") or "a;16" in rawmode(picture):
        raise UserError(f"{path}: {rawmode(picture) or picture.mode} pixels are not read; save it as RGB or grey")
    if picture.format == "TIFF":
        if 16 in bits and picture.mode != "CMYK" and picture.tag_v2.get(284) == 2:
            raise UserError(f"{path}: 16-bit colours in separate planes are not read; save them interleaved")
        _check_pages(path, picture, file)
        _check_deflated(path, picture, file)
    elif picture.format == "PNG":
        _check_codes(path, png.codes(png.colour_chunks(file)))
    elif picture.format in ("AVIF", "HEIF"):
        item = boxes.shown_item(whole(file))
        if item.bits > 8:  # Pillow would cut them to 8 bits.
            raise UserError(
                f"{path}: {item.bits} bits a channel are not read of {picture.format}; save it as a 16-bit PNG or TIFF"
            )
        _check_codes(
            path, item.codes and (item.codes[0], item.codes[1], 0, 1) if 2 not in (item.codes or (2,))[:2] else None
        )
    elif picture.format in ("JPEG", "MPO"):
        _check_jpeg(path, whole(file), width * height)


def _check_jpeg(path: str | Path, content: bytes, pixels: int) -> None:
    scans = jpeg.structure(content).scans
    if scans > jpeg.MOST_SCANS or scans * pixels > jpeg.MOST_PASSED:
        raise UserError(f"{path}: goes over its pixels {scans} times, and that often is not read; save it anew")
    if said := jpeg.damage(content):
        raise UserError(f"{path}: cannot be read as an image (part of it is missing or damaged; libjpeg says: {said})")


def _check_codes(path: str | Path, codes: tuple[int, int, int, int] | None) -> None:
    """Raise `UserError` for colours (H.273's codes) that a result could not have as they are."""
    if not codes:
        return
    primaries, transfer, matrix, full = codes
    if transfer in HDR:
        raise UserError(
            f"{path}: its brightness is HDR's ({HDR[transfer]}), which is not read; save it in standard brightness"
        )
    if primaries not in PRIMARIES or transfer not in CURVES or matrix or full != 1:
        raise UserError(
            f"{path}: its colours (cICP {', '.join(map(str, codes))}) are not read; save it with a colour profile"
        )


def _check_samples(path: str | Path, picture: Image.Image) -> None:
    """Raise `UserError` for a TIFF whose pixels have more than colours and one alpha, or signed values."""
    tags = picture.tag_v2
    if 2 in _tuple(tags.get(339, 1)):
        raise UserError(f"{path}: signed images are not read; save it with 8 or 16 bits without signs")
    colours = COLOURS.get(tags.get(262, 0), 1)
    extra = _tuple(tags.get(338, ()))
    count = max(len(extra), tags.get(277, colours) - colours)
    if count > 1 or count == 1 and extra and extra[0] not in ALPHA:
        what = (
            "a channel beside its colours that is not said to be transparency"
            if count == 1
            else f"{count} channels beside its colours"
        )
        raise UserError(f"{path}: has {what}, which would be lost; save it as grey or RGB, with or without alpha")


def _check_pages(path: str | Path, picture: Image.Image, file: BinaryIO) -> None:
    for page in itertools.count(1):
        if page > MOST_PAGES:
            raise UserError(f"{path}: has more than {MOST_PAGES} pictures; save its photo as a plain TIFF")
        try:
            picture.seek(page)
        except EOFError:
            break
        if not _is_part(picture.tag_v2.get(254, 0), picture.tag_v2.get(255, 0)):
            raise UserError(f"{path}: has several pages; save them one by one")
    picture.seek(0)
    order, big, first = tiff_head(file)
    main = read_directory(file, order, first, big)
    for at in main[330].numbers(order) if 330 in main else ():
        inside = read_directory(file, order, at, big)
        kinds = [inside[tag].numbers(order)[0] if tag in inside else 0 for tag in (254, 255)]
        if inside and not _is_part(*kinds):
            where = "stands behind a thumbnail" if picture.tag_v2.get(254, 0) & 1 else "is not its only picture"
            raise UserError(
                f"{path}: its photo {where} (in a SubIFD, as in raw files), which is not read; save it as a plain TIFF"
            )


def _check_deflated(path: str | Path, picture: Image.Image, file: BinaryIO) -> None:
    """Raise `UserError` for damage that the checksums of a deflated TIFF tell: libtiff stops before it reads them."""
    tags = picture.tag_v2
    if tags.get(259) not in DEFLATE:
        return
    places, lengths = (_tuple(tags.get(strips) or tags.get(tiles) or ()) for strips, tiles in ((273, 324), (279, 325)))
    room = 16 * picture.width * picture.height + 2**24  # A pixel has 4 samples of 4 bytes at the most.
    try:
        for place, length in zip(places, lengths):
            file.seek(place)
            stream, rest = zlib.decompressobj(), file.read(length)
            while made := stream.decompress(rest, 2**20):
                rest, room = stream.unconsumed_tail, room - len(made)
                if room < 0:
                    raise zlib.error("more than its pixels")
            if not stream.eof:
                raise zlib.error("a part is cut short")
    except zlib.error as problem:
        reason = str(problem).rpartition(": ")[2]
        raise UserError(f"{path}: cannot be read as an image (part of it is damaged: {reason})") from None


def _is_part(kind: int, old_kind: int) -> bool:
    """Whether a TIFF's directory is a reduced picture or a mask, by its NewSubfileType and SubfileType."""
    return bool(kind & 5) or old_kind == 2


def _tuple(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)
