"""EXIF blocks as bytes: what must change is changed in its place, and all else stays as the camera wrote it.

A block is a TIFF directory with others behind it. Decoded and written anew by a library, texts change their encoding,
numbers their type, and the maker's note its place and so the offsets in it. What a TIFF file has among the tags of its
own picture is taken out of there, and put back, entry by entry, types and byte order kept.
"""

import contextlib
import io
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

START = b"Exif\0\0"
ORIENTATION, XMP, ICC, CAMERA, PLACE, INTEROP, WIDTH, HEIGHT = 274, 700, 34675, 34665, 34853, 40965, 40962, 40963
IPTC, PHOTOSHOP, LAYERS = 33723, 34377, 37724
SHORT, LONG, RATIONAL, BYTE, UNDEFINED = 3, 4, 5, 1, 7
# Each type has so many bytes; BigTIFF alone has the last three.
SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)) | {129: 1, 16: 8, 17: 8, 18: 8}
# These tags point to directories inside a directory.
INNER = {None: (CAMERA, PLACE), CAMERA: (INTEROP,), PLACE: (), INTEROP: ()}
# These say how a TIFF stores pixels, further pictures and layers, or are kept elsewhere (XMP, ICC).
STRUCTURE = {XMP, PHOTOSHOP, ICC, LAYERS, 273, 301, 330, *range(254, 269), *range(277, 282), *range(284, 294)}
STRUCTURE |= {*range(317, 326), *range(332, 348), *range(512, 533)}
# From a block that stands by itself only pointers to other pictures go, and what is kept elsewhere.
ELSEWHERE = {273, 279, 324, 325, 330, 513, 514, XMP, PHOTOSHOP, ICC, LAYERS}
MOST_BYTES = 64 * 2**20  # One entry may have so many bytes.


@dataclass
class TagEntry:
    """An entry of a directory: `value` in the block's byte order, or a directory of its own."""

    type: int
    count: int
    value: bytes = b""
    inner: "dict[int, TagEntry]" = field(default_factory=dict)

    def numbers(self, order: str) -> list[int]:
        """The values of an entry of whole numbers without signs."""
        size = SIZES[self.type]
        return [
            int.from_bytes(self.value[at : at + size], "little" if order == "<" else "big")
            for at in range(0, len(self.value), size)
        ]


Directory = dict[int, TagEntry]


def byte_order(block: bytes | bytearray) -> str:
    """The byte order of a block without its heading, as `struct` has it. Raises `ValueError` for what is no block."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if not order:
        raise ValueError("no EXIF block")
    return order


def bare(exif: bytes) -> bytes:
    """A block without its "Exif" heading, which some writers write twice."""
    while exif.startswith(START):
        exif = exif[len(START) :]
    return exif


def upright(exif: bytes, size: tuple[int, int]) -> bytes:
    """A block made true of upright pixels of `size` (width, height): orientation 1, and no thumbnail.

    Raises `ValueError` or `struct.error` where it cannot be parsed.
    """
    block = bytearray(bare(exif))
    order = byte_order(block)
    start, end = _bounds(block, order, struct.unpack_from(order + "I", block, 4)[0])
    following = struct.unpack_from(order + "I", block, end)[0] if len(block) >= end + 4 else 0
    for at in range(start, end, 12):
        tag = struct.unpack_from(order + "H", block, at)[0]
        if tag == ORIENTATION:
            struct.pack_into(order + "HIHH", block, at + 2, SHORT, 1, 1, 0)
        if tag == CAMERA:
            _resize(block, order, struct.unpack_from(order + "I", block, at + 8)[0], size)
    block[end : end + 4] = bytes(4)[: len(block) - end]
    return without(bytes(_without_thumbnail(block, order, following)), ELSEWHERE)


def without(exif: bytes, tags: Collection[int]) -> bytes:
    """A block whose first directory is without some tags, and all else in its place; empty where nothing is left."""
    block = bytearray(bare(exif))
    order = byte_order(block)
    start, end = _bounds(block, order, struct.unpack_from(order + "I", block, 4)[0])
    kept = b"".join(
        block[at : at + 12] for at in range(start, end, 12) if struct.unpack_from(order + "H", block, at)[0] not in tags
    )
    if not kept:
        return b""
    block[start - 2 : start] = struct.pack(order + "H", len(kept) // 12)
    block[start : end + 4] = (kept + block[end : end + 4]).ljust(len(block[start : end + 4]), b"\0")
    return START + bytes(block)


def read_directory(file: BinaryIO, order: str, at: int, big: bool = False, within: int | None = None) -> Directory:
    """The entries of the directory at `at` of an open TIFF file or block, `big` for a BigTIFF, and those inside it.

    Entries whose type is not known or whose bytes are not all there are left out.
    """
    file.seek(at)
    head, layout, inline = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    (count,) = struct.unpack(order + head, file.read(struct.calcsize("=" + head)))
    size = struct.calcsize("=" + layout)
    raw = file.read(min(count, 65535) * size)
    found: Directory = {}
    for place in range(0, len(raw) - size + 1, size):
        tag, kind, number, value = struct.unpack_from(order + layout, raw, place)
        (where,) = struct.unpack(order + ("Q" if big else "I"), value)
        if tag in INNER[within]:
            with contextlib.suppress(struct.error, OverflowError, OSError):
                if inner := read_directory(file, order, where, big, tag):
                    found[tag] = TagEntry(LONG, 1, inner=inner)
            continue
        length = SIZES.get(kind, 0) * number
        if length > inline and length <= MOST_BYTES:
            file.seek(where)
            value = file.read(length)
        if 0 < length <= len(value):
            found[tag] = TagEntry(kind, number, value[:length])
    return found


def write_directory(directory: Directory, order: str, at: int) -> bytes:
    """A directory that begins at `at`, and behind it what its entries point to, those inside it included."""
    entries, behind = b"", b""
    start = at + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        content = entry.value
        if entry.inner:
            place = start + len(behind)
            behind += write_directory(entry.inner, order, place)
            content = struct.pack(order + "I", place)
        elif len(content) > 4:
            place = start + len(behind)
            behind += content + bytes(len(content) % 2)
            content = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, entry.type, entry.count) + content.ljust(4, b"\0")
    return struct.pack(order + "H", len(directory)) + entries + bytes(4) + behind


def tiff_head(file: BinaryIO) -> tuple[str, bool, int]:
    """The byte order of a TIFF file, whether it is a BigTIFF, and where its first directory is."""
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    return order, big, struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]


def of_tiff(file: BinaryIO, size: tuple[int, int]) -> bytes:
    """What a TIFF file says of its first picture beside how its pixels are stored, as a block; empty where nothing.

    Raises `ValueError` or `struct.error` where it cannot be parsed.
    """
    order, big, at = tiff_head(file)
    directory = read_directory(file, order, at, big)
    kept = {tag: entry for tag, entry in directory.items() if tag not in STRUCTURE and entry.type not in (16, 17, 18)}
    if not kept:
        return b""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return upright(mark + struct.pack(order + "I", 8) + write_directory(kept, order, 8), size)


def directory_of(exif: bytes) -> tuple[str, Directory]:
    """The byte order and the entries of a block, for a TIFF to take them in; ("<", {}) of an empty block."""
    block = bare(exif)
    if not block:
        return "<", {}
    order = byte_order(block)
    directory = read_directory(io.BytesIO(block), order, struct.unpack_from(order + "I", block, 4)[0])
    return order, {tag: entry for tag, entry in directory.items() if tag not in STRUCTURE}


def entry(order: str, kind: int, values: Iterable[int] | bytes) -> TagEntry:
    """An entry of bytes or numbers; a rational's numbers are its numerators and denominators in turn."""
    if isinstance(values, bytes):
        return TagEntry(kind, len(values), values)
    values = tuple(values)
    code = {SHORT: "H", LONG: "I", RATIONAL: "I"}[kind]
    count = len(values) // (2 if kind == RATIONAL else 1)
    return TagEntry(kind, count, struct.pack(f"{order}{len(values)}{code}", *values))


def _bounds(block: bytes | bytearray, order: str, at: int) -> tuple[int, int]:
    """(first byte of the entries, the byte behind them) of the directory at `at`."""
    (count,) = struct.unpack_from(order + "H", block, at)
    end = at + 2 + 12 * count
    if end > len(block):
        raise ValueError("a directory of EXIF is cut short")
    return at + 2, end


def _resize(block: bytearray, order: str, at: int, size: tuple[int, int]) -> None:
    """Set the pixel dimensions in the camera's directory, where it has them."""
    try:
        start, end = _bounds(block, order, at)
    except (ValueError, struct.error):
        return
    for place in range(start, end, 12):
        tag, kind = struct.unpack_from(order + "HH", block, place)
        if tag in (WIDTH, HEIGHT):
            pixels = size[tag - WIDTH]
            kind = SHORT if kind == SHORT and pixels < 65536 else LONG
            value = struct.pack(order + ("H" if kind == SHORT else "I"), pixels).ljust(4, b"\0")
            block[place + 2 : place + 12] = struct.pack(order + "HI", kind, 1) + value


def _without_thumbnail(block: bytearray, order: str, at: int) -> bytearray:
    """The block without the picture that the directory at `at` describes, which shows the blurred photo."""
    if not at:
        return block
    try:
        start, end = _bounds(block, order, at)
    except (ValueError, struct.error):
        return block
    places = {}
    for place in range(start, end, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", block, place)
        if tag in (273, 279, 513, 514) and count == 1:
            places[tag] = struct.unpack_from(order + ("H" if kind == SHORT else "I"), block, place + 8)[0]
    block[start - 2 : end + 4] = bytes(min(end + 4, len(block)) - start + 2)
    for where, length in ((513, 514), (273, 279)):
        first, last = places.get(where, 0), places.get(where, 0) + places.get(length, 0)
        if 8 <= first < last <= len(block):
            block[first:last] = bytes(last - first)
            if len(block) - last < 4:  # The rest is padding.
                del block[first:]
    return block
