"""Reads what Pillow does not tell of a JPEG file: whether its pixels are whole, long XMP, what lies behind the photo.

libjpeg, which every program reads JPEG by, fills what is missing or damaged with grey or with noise and goes on; all it
says is a warning, and Pillow keeps that to itself. OpenCV's libjpeg writes it on standard error, from where `damage`
takes it. The file is decoded for that once more, at an eighth of its size, which takes a quarter of the time.
"""

import re
import struct
from dataclasses import dataclass

import cv2
import numpy as np

from madn.imaging.guard import overheard

XMP_START, MORE_XMP_START = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
POINTER = re.compile(
    rb"\s*xmpNote:HasExtendedXMP\s*=\s*([\"'])([0-9A-Fa-f]{32})\1"
    rb"|<xmpNote:HasExtendedXMP>\s*()([0-9A-Fa-f]{32})\s*</xmpNote:HasExtendedXMP>"
)
MOST_SCANS = 100  # libtiff allows as many scans of a progressive file; cameras write 10, and thousands take hours.
MOST_PASSED = 4e9  # Pixels times scans: 10 scans of 400 megapixels, or 100 of 40, which take a minute.
BLOCK = 65533  # One marker segment holds so many bytes.
DAMAGE = re.compile(r"Corrupt JPEG data|Premature end of JPEG|Inconsistent progression")
# These warnings of libjpeg are about headers; no pixel is the worse for them.
HARMLESS = re.compile(r"Warning: unknown JFIF revision|Unknown Adobe color transform|Invalid SOS parameters")
GAIN_MAPS = (b"hdrgm:", b"hdrgainmap", b"HDRGainMap", b"urn:iso:std:iso:ts:21496")
LARGE_THUMBNAILS = (0x010001, 0x010002)  # These pictures of the Multi-Picture Format are previews for screens.


@dataclass(frozen=True)
class Structure:
    """The parts of a JPEG file: (marker, content) of its segments, its scans, and the first byte behind it."""

    segments: tuple[tuple[int, bytes], ...]
    scans: int
    end: int


def structure(content: bytes) -> Structure:
    """Walk the segments of a file as far as they can be followed."""
    segments, scans, at = [], 0, 2
    while len(head := content[at : at + 4]) >= 2 and head[0] == 255:
        marker = head[1]
        if marker == 255:  # These are fill bytes.
            at += 1
            continue
        if marker == 0xD9:
            return Structure(tuple(segments), scans, at + 2)
        if marker in range(0xD0, 0xD9) or marker == 1:
            at += 2
            continue
        if len(head) < 4:
            break
        length = int.from_bytes(head[2:], "big")
        segments.append((marker, content[at + 4 : at + 2 + length]))
        at += 2 + max(length, 2)
        if marker == 0xDA:  # In compressed data 255 stands before 0 or a restart marker.
            scans += 1
            following = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(content, at)
            at = following.start() if following else len(content)
    return Structure(tuple(segments), scans, len(content))


def damage(content: bytes) -> str:
    """What libjpeg has to say of a file's compressed data; "" where all is well."""
    with overheard(lambda line: bool(DAMAGE.search(line) or HARMLESS.search(line))) as lines:
        try:
            cv2.imdecode(
                np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION
            )
        except cv2.error:  # Pillow judges kinds and sizes that OpenCV does not read.
            return ""
    return next((line.strip() for line in lines if DAMAGE.search(line)), "")


def more_xmp(found: Structure, xmp: bytes) -> bytes:
    """The extended XMP that a photo's XMP points to: what does not fit into one segment. "" if it is not whole."""
    pointer = POINTER.search(xmp)
    if not pointer:
        return b""
    name = (pointer[2] or pointer[4]).upper()
    parts, length = {}, 0
    for marker, content in found.segments:
        if marker == 0xE1 and content.startswith(MORE_XMP_START) and len(content) >= len(MORE_XMP_START) + 40:
            content = content[len(MORE_XMP_START) :]
            if content[:32].upper() == name:
                length, place = struct.unpack(">II", content[32:40])
                parts[place] = content[40:]
    whole = b"".join(parts[place] for place in sorted(parts))
    return whole if len(whole) == length else b""


def xmp_segments(xmp: bytes, more: bytes) -> bytes:
    """XMP, and the extended XMP that it points to, as marker segments."""
    segments = [XMP_START + xmp]
    if more and (pointer := POINTER.search(xmp)):
        room = BLOCK - len(MORE_XMP_START) - 40
        segments += [
            MORE_XMP_START
            + (pointer[2] or pointer[4])
            + struct.pack(">II", len(more), place)
            + more[place : place + room]
            for place in range(0, len(more), room)
        ]
    return b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment for segment in segments)


def without_pointer(xmp: bytes) -> bytes:
    """XMP that points to no extended XMP."""
    return POINTER.sub(b"", xmp)


def further_pictures(content: bytes, found: Structure) -> list[str]:
    """What a file holds behind its first picture, and beside it: gain maps, further pictures, videos; no previews."""
    said, behind = [], content[found.end :]
    heads = b"".join(part for marker, part in found.segments if marker in (0xE1, 0xE2))
    video = re.search(rb"ftyp(mp4|isom|iso\d|qt  |avc1|M4V|hvc1)", behind)
    pictures = behind[: video.start() if video else None]
    if b"\xff\xd8\xff" not in pictures:
        pass
    elif any(mark in heads or mark in pictures for mark in GAIN_MAPS):
        said.append("its gain map is left out: the result is the standard picture, without HDR")
    elif not _previews(found):
        said.append(f"only the first of its {len(_entries(found)) or 'several'} pictures is restored")
    if video:
        said.append("the video behind the picture (a motion photo's) is left out")
    return said


def has_iptc(found: Structure) -> bool:
    """Whether the file has IPTC records, in a block of Photoshop's."""
    return any(
        marker == 0xED and content.startswith(b"Photoshop 3.0\0") and b"8BIM\x04\x04" in content
        for marker, content in found.segments
    )


def _index(found: Structure) -> tuple[str, bytes] | None:
    """The index of a Multi-Picture file and its byte order."""
    for marker, content in found.segments:
        if marker == 0xE2 and content.startswith(b"MPF\0"):
            return (">" if content[4:6] == b"MM" else "<"), content[4:]
    return None


def _entries(found: Structure) -> list[int]:
    """The attributes of the pictures that the index lists."""
    index = _index(found)
    if not index:
        return []
    order, block = index
    try:
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        tags = {struct.unpack_from(order + "H", block, at + 2 + 12 * i)[0]: at + 2 + 12 * i for i in range(count)}
        length, place = struct.unpack_from(order + "II", block, tags[0xB002] + 4)
        return [struct.unpack_from(order + "I", block, place + 16 * i)[0] & 0xFFFFFF for i in range(length // 16)]
    except (struct.error, KeyError):
        return []


def _previews(found: Structure) -> bool:
    """Whether everything behind the first picture is a preview of it, no more than a thumbnail."""
    others = _entries(found)[1:]
    return bool(others) and all(kind in LARGE_THUMBNAILS for kind in others)
