"""Reads what Pillow does not tell of AVIF and HEIC files: bits, colour codes and gain maps.

They stand in boxes of the files' head (ISO/IEC 14496-12 and 23008-12).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """The picture that a file shows: `codes` are H.273's of primaries, transfer and matrix, or None."""

    bits: int = 8
    codes: tuple[int, int, int] | None = None
    has_gain_map: bool = False


def shown_item(content: bytes) -> Item:
    """The shown picture of a file; what cannot be found is taken as usual."""
    try:
        return _item(content)
    except (struct.error, IndexError, KeyError, StopIteration):
        return Item()


def _item(content: bytes) -> Item:
    meta = next(part for kind, part in _boxes(content) if kind == b"meta")[4:]
    inside = dict(_boxes(meta))
    wide = inside[b"pitm"][0] > 0
    (primary,) = struct.unpack_from(">I" if wide else ">H", inside[b"pitm"], 4)
    properties = dict(_boxes(inside[b"iprp"]))
    every = list(_boxes(properties[b"ipco"]))
    own = [every[index - 1] for index in _associated(properties[b"ipma"], primary) if 0 < index <= len(every)]
    bits = max((max(part[5 : 5 + part[4]]) for kind, part in own if kind == b"pixi"), default=0)
    codes = next(
        (struct.unpack_from(">HHH", part, 4) for kind, part in own if kind == b"colr" and part[:4] == b"nclx"), None
    )
    gain_map = b"tmap" in inside.get(b"iinf", b"") or any(
        kind == b"auxC" and b"gainmap" in part.lower() for kind, part in every
    )
    return Item(bits or max(map(_bits, every), default=8), codes, gain_map)


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", content, at + 8), 16
        size = size or len(content) - at
        if size < head:
            return
        yield kind, content[at + head : at + size]
        at += size


def _associated(ipma: bytes, item: int) -> list[int]:
    """The numbers, from 1, of the properties of an item."""
    version, flags = ipma[0], ipma[3]
    (count,) = struct.unpack_from(">I", ipma, 4)
    at = 8
    for _ in range(count):
        (number,) = struct.unpack_from(">I" if version else ">H", ipma, at)
        at += 4 if version else 2
        length, step = ipma[at], 2 if flags & 1 else 1
        at += 1
        if number == item:
            return [
                int.from_bytes(ipma[at + step * i : at + step * (i + 1)], "big") & (0x7FFF if step == 2 else 0x7F)
                for i in range(length)
            ]
        at += step * length
    return []


def _bits(box: tuple[bytes, bytes]) -> int:
    """The bits that a decoder's configuration speaks of."""
    kind, part = box
    if kind == b"av1C":
        return 12 if part[2] & 0x20 else 10 if part[2] & 0x40 else 8
    return 8 + (part[17] & 7) if kind == b"hvcC" else 8
