"""The colours that a PNG file describes in chunks of its own, which Pillow does not make a profile of."""

import struct
from typing import BinaryIO

from madn.imaging.colours import of_codes, of_gamma

NAMES = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"}


def colour_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks before the pixels that speak of colours."""
    file.seek(8)
    found = {}
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"IEND"):
            break
        if name in NAMES:
            found[name] = file.read(min(length, 32))
            length -= len(found[name])
        file.seek(length + 4, 1)
    return found


def codes(chunks: dict[bytes, bytes]) -> tuple[int, int, int, int] | None:
    """Primaries, transfer, matrix and whether the range is full; None where they are not told (2 is "unspecified")."""
    chunk = chunks.get(b"cICP", b"")
    return (chunk[0], chunk[1], chunk[2], chunk[3]) if len(chunk) == 4 and 2 not in chunk[:2] else None


def described_profile(chunks: dict[bytes, bytes], icc: bytes, grey: bool) -> bytes:
    """The profile that says what the chunks say, by PNG's order of precedence; "" for sRGB. `icc` is that of iCCP."""
    told = codes(chunks)
    if told:
        return of_codes(told[0], told[1], grey) or b""
    if icc or b"sRGB" in chunks:
        return icc
    try:
        gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 1e5 if b"gAMA" in chunks else None
        primaries = tuple(value / 1e5 for value in struct.unpack(">8I", chunks[b"cHRM"])) if b"cHRM" in chunks else None
    except struct.error:
        return b""
    return of_gamma(gamma, primaries, grey)
