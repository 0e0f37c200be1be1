"""The colours of photos: profiles made of what files say in other ways, and the way to the network's sRGB and back.

Networks have learnt from sRGB. A photo in Display P3, Adobe RGB or ProPhoto is converted for them, pixel by pixel, and
what the network changes goes back to the photo's own space as a difference (`Colours.corrected`): colours outside of
sRGB, which the network sees at sRGB's edge, keep what they have beyond it, and what it leaves alone comes back exactly.
That is done for profiles of three primaries and their curves, as cameras and phones have them, by their own numbers in
floating point; Pillow's LittleCMS has 8 bits a channel. Photos with profiles of tables (scanners) go in as they are.
"""

import functools
import struct
from dataclasses import dataclass

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65, DCI = (0.3127, 0.329), (0.314, 0.351)
# Codes of ITU-T H.273, which PNG's cICP chunk and the nclx box of AVIF and HEIC have: white, red, green, blue.
PRIMARIES = {
    1: (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    5: (*D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (*DCI, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
# Curves as ICC's parametric ones: gamma, or (gamma, a, b, c, d) for (a x + b) ^ gamma from d on, and c x below.
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
VIDEO_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
CURVES = {
    1: VIDEO_CURVE,
    4: (2.2,),
    5: (2.8,),
    6: VIDEO_CURVE,
    8: (1.0,),
    13: SRGB_CURVE,
    14: VIDEO_CURVE,
    15: VIDEO_CURVE,
}
HDR = {16: "PQ", 18: "HLG"}
SRGB = (1, 13)
GRID = np.linspace(0, 1, 4097)


def profile(primaries: tuple[float, ...], curve: tuple[float, ...], grey: bool = False) -> bytes:
    """An ICC profile (version 4) of white, red, green and blue, each x and y, and one curve; or of the curve alone."""
    parametric = b"para\0\0\0\0" + struct.pack(">HH", 3 if len(curve) > 1 else 0, 0) + _fixed(curve)
    text = struct.pack(">4sIIIHHII", b"mluc", 0, 1, 12, 0x656E, 0x5553, 8, 28) + "madn".encode("utf-16-be")
    parts = {b"desc": text, b"cprt": text, b"wtpt": b"XYZ \0\0\0\0" + _fixed(D50)}
    if grey:
        parts[b"kTRC"] = parametric
    else:
        columns = _to_xyz(primaries).T
        parts |= {name + b"XYZ": b"XYZ \0\0\0\0" + _fixed(column) for name, column in zip((b"r", b"g", b"b"), columns)}
        parts |= {name + b"TRC": parametric for name in (b"r", b"g", b"b")}
    index, body, start = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for name, content in parts.items():
        index += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x04300000, b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ "
    ) + struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp")
    return (head + bytes(28) + _fixed(D50)).ljust(128, b"\0") + index + body


def of_codes(primaries: int, transfer: int, grey: bool) -> bytes | None:
    """The profile of H.273's codes: "" for sRGB, which needs none, and None for codes that have no profile here."""
    if primaries not in PRIMARIES or transfer not in CURVES:
        return None
    if (primaries, transfer) == SRGB:
        return b""
    return profile(PRIMARIES[primaries], CURVES[transfer], grey)


def of_gamma(gamma: float | None, primaries: tuple[float, ...] | None, grey: bool) -> bytes:
    """The profile of a PNG's gAMA (1/gamma, 0.45455 say) and cHRM; "" for sRGB's, which needs none, and nonsense."""
    is_srgb = gamma is None or abs(gamma - 1 / 2.2) < 0.001
    if gamma is not None and not 0.1 < gamma < 10 or is_srgb and (grey or primaries is None):
        return b""
    primaries = primaries or PRIMARIES[1]
    if not all(0 < value < 1 for value in primaries) or abs(np.linalg.det(_columns(primaries))) < 1e-3:
        return b""
    if is_srgb and np.abs(np.subtract(primaries, PRIMARIES[1])).max() < 0.002:
        return b""
    return profile(primaries, SRGB_CURVE if is_srgb else (1 / gamma,), grey)


@dataclass(frozen=True, eq=False)
class Colours:
    """An RGB space other than sRGB: how its numbers become sRGB's, and how a restored photo gets back to it."""

    to_linear_srgb: np.ndarray
    """(3, 3), from the space's linear values."""
    curves: tuple[np.ndarray, ...]
    """For red, green and blue: the linear values of `GRID`."""

    def for_network(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) floats of this space in [0, 1] as sRGB in [0, 1]; what lies outside of it, at its edge."""
        linear = np.stack([np.interp(image[..., c], GRID, self.curves[c]) for c in range(3)], axis=-1)
        return _encoded(np.clip(linear @ self.to_linear_srgb.T, 0, 1)).astype(np.float32)

    def corrected(self, image: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """(H, W, 3) floats of this space, changed as the network changed what it was given, in sRGB, into `restored`.

        Both ends of that change are taken to this space, and their difference is added. It may leave [0, 1].
        """
        return image + (self._from_srgb(restored) - self._from_srgb(self.for_network(image)))

    def _from_srgb(self, image: np.ndarray) -> np.ndarray:
        linear = np.clip(_decoded(image.astype(np.float64)) @ np.linalg.inv(self.to_linear_srgb).T, 0, 1)
        own = [np.interp(linear[..., c], self.curves[c], GRID) for c in range(3)]
        return np.stack(own, axis=-1).astype(np.float32)


@functools.lru_cache(maxsize=32)
def colours_of(icc: bytes) -> Colours | None:
    """The colours that a profile describes; None where they are sRGB's, grey, or not told by primaries and curves."""
    try:
        tags = _tags(icc)
        columns = [np.array(struct.unpack(">3i", tags[name + b"XYZ"][8:20])) / 65536 for name in (b"r", b"g", b"b")]
        curves = tuple(_curve(tags[name + b"TRC"]) for name in (b"r", b"g", b"b"))
    except (KeyError, struct.error, ValueError, IndexError):
        return None
    if b"A2B0" in tags or icc[16:20] != b"RGB " or icc[20:24] != b"XYZ ":
        return None
    matrix = np.linalg.inv(_to_xyz(PRIMARIES[1])) @ np.stack(columns, axis=1)
    if abs(np.linalg.det(matrix)) < 1e-3 or any(curve[-1] - curve[0] < 0.5 for curve in curves):
        return None
    srgb = _decoded(GRID)
    if np.abs(matrix - np.eye(3)).max() < 0.01 and all(np.abs(curve - srgb).max() < 0.005 for curve in curves):
        return None
    return Colours(matrix, curves)


def _curve(tag: bytes) -> np.ndarray:
    """A curve's values at `GRID`, rising."""
    if tag[:4] == b"para":
        (kind,) = struct.unpack(">H", tag[8:10])
        values = [
            value / 65536
            for value in struct.unpack(f">{(1, 3, 4, 5, 7)[kind]}i", tag[12 : 12 + 4 * (1, 3, 4, 5, 7)[kind]])
        ]
        curve = _parametric(kind, values)
    elif tag[:4] == b"curv":
        (count,) = struct.unpack(">I", tag[8:12])
        table = np.frombuffer(tag[12 : 12 + 2 * count], ">u2")
        if len(table) != count:
            raise ValueError("a curve is cut short")
        curve = (
            GRID
            if not count
            else GRID ** (table[0] / 256)
            if count == 1
            else np.interp(GRID, np.linspace(0, 1, count), table / 65535)
        )
    else:
        raise ValueError("no curve")
    if not np.isfinite(curve).all():
        raise ValueError("no curve")
    return np.maximum.accumulate(np.clip(curve, 0, 1))


def _parametric(kind: int, values: list[float]) -> np.ndarray:
    """ICC's parametric curves, kinds 0 to 4, at `GRID`."""
    gamma, a, b, c, d, e, f = (values + [0.0] * 7)[:7] if kind else (values[0], 1, 0, 0, 0, 0, 0)
    if kind in (1, 2):  # The curve is a power from -b/a on, and flat below; kind 2 is raised by c.
        d, e, f, c = -b / a if a else 0.0, c if kind == 2 else 0.0, c if kind == 2 else 0.0, 0.0
    power = np.maximum(a * GRID + b, 0) ** gamma + e
    return np.where(GRID >= d, power, c * GRID + f)


def _tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(min(count, 100)))
    return {name: icc[start : start + length] for name, start, length in entries}


def _columns(primaries: tuple[float, ...]) -> np.ndarray:
    """XYZ of red, green and blue as columns, each of brightness 1."""
    points = np.reshape(primaries, (4, 2))[1:]
    return np.stack([[x / y, 1, (1 - x - y) / y] for x, y in points], axis=1)


def _to_xyz(primaries: tuple[float, ...]) -> np.ndarray:
    """The matrix from linear RGB to XYZ under D50, as ICC has it, by Bradford's adaptation."""
    x, y = primaries[:2]
    white, columns = np.array([x / y, 1, (1 - x - y) / y]), _columns(primaries)
    matrix = columns * np.linalg.solve(columns, white)
    return np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD @ matrix


def _fixed(values) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _decoded(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _encoded(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
