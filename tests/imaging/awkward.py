"""A folder of awkward photo files, and what is to become of each: python tests/imaging/awkward.py FOLDER"""

import io
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms

from madn.imaging.exif import directory_of

ARTIST = "José Müller"
ARTIST_TAG = (2, 12, ARTIST.encode("latin-1") + b"\0")  # as EXIF has it
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIZE = (46, 31)  # width, height


@dataclass(frozen=True, eq=False)
class Expected:
    """What a file becomes: refused with a word in the message, or restored with the facts below."""

    refused: str | None = None
    size: tuple[int, int] = SIZE
    """Upright width and height."""
    channels: int = 3
    depth: int = 8
    alpha: bool = False
    format: str = "PNG"
    """What the content is, whatever the suffix says."""
    artist: bool = False
    """EXIF keeps the artist's name `ARTIST`."""
    icc: bytes = b""
    """The colour profile that is kept."""
    pixels: np.ndarray | None = None
    """Upright (H, W, C) values, with alpha as the last channel, of a file that is decoded exactly."""


def scene(channels: int = 3, depth: int = 8, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Smooth colours with a diagonal edge, (H, W, C) uint8 or uint16; no two sides alike."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    waves = [0.5 + 0.3 * np.sin(3 * x + 2 * y + c) + 0.15 * (x > y) * (-1) ** c for c in range(channels)]
    return (np.stack(waves, axis=2) * (2**depth - 1)).astype(np.uint8 if depth == 8 else np.uint16)


def tags(orientation: int = 1) -> Image.Exif:
    """EXIF of a camera: artist, exposure, place, pixel dimensions of the stored picture."""
    exif = Image.Exif()
    exif[0x0112], exif[0x013B], exif[0x010F] = orientation, ARTIST.encode("latin-1"), "Maker"
    exif.get_ifd(0x8769).update({0x829A: 0.004, 0xA002: SIZE[0], 0xA003: SIZE[1], 0x927C: b"maker's note"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 30.0)})
    return exif


def exif_tags(exif: bytes) -> dict:
    """The tags of an EXIF block as (type, count, bytes); those of its directories, in dictionaries."""

    def plain(directory):
        return {
            tag: plain(entry.inner) if entry.inner else (entry.type, entry.count, entry.value)
            for tag, entry in directory.items()
        }

    return plain(directory_of(exif)[1])


def png(pixels: np.ndarray, colour: int, depth: int, *chunks: tuple[bytes, bytes], frames: bytes = b"") -> bytes:
    """A PNG written by hand: `pixels` (H, W, C) as colour type `colour`; `chunks` (name, content) before the pixels."""
    height, width, _ = pixels.shape
    if depth < 8:
        rows = np.packbits(np.unpackbits(pixels.astype(np.uint8), axis=2)[:, :, -depth:].reshape(height, -1), axis=1)
    else:
        rows = pixels.astype(f">u{depth // 8}").view(np.uint8).reshape(height, -1)
    data = zlib.compress(np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes())
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def cmyk_profile() -> bytes:
    """A CMYK colour profile by which cyan ink prints red: its table of 2^4 corners is either red or white paper."""
    red, white = (138, 209, 195), (255, 128, 128)  # 8-bit Lab
    corners = b"".join(bytes(red if cyan else white) for cyan in (0, 1) for _ in range(8))
    matrix = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + bytes(range(256)) * 4 + corners + bytes(range(256)) * 3
    parts = {
        b"A2B0": table,
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
    }
    body, index = b"", struct.pack(">I", len(parts))
    for name, content in parts.items():
        index += name + struct.pack(">II", 128 + 4 + 12 * len(parts) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", 128 + len(index) + len(body), b"none", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + index + body


def make(folder: str | Path) -> dict[str, Expected]:
    """Write the files into a folder that is made; returns name -> what is to become of it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Expected] = {}
    for part in (_jpegs, _pngs, _tiffs, _others, _names, _faults):
        for name, (content, expected) in part().items():
            (folder / name).write_bytes(content)
            made[name] = expected
    return made | _no_files(folder)


def _saved(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    if not isinstance(pixels, Image.Image):
        pixels = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    pixels.save(file, kind, **options)
    return file.getvalue()


def _tiff(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def _opencv(suffix: str, pixels: np.ndarray) -> bytes:
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 1 else [0]
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[:, :, order]))[1].tobytes()


def _jpegs() -> dict[str, tuple[bytes, Expected]]:
    rgb, jpeg = scene(), Expected(format="JPEG")
    cmyk = Image.fromarray(rgb).convert("CMYK")
    inked = Image.new("CMYK", SIZE, (255, 0, 0, 0))
    grey = Expected(format="JPEG", channels=1)
    kept = Expected(format="JPEG", artist=True, icc=ICC)
    full = {"exif": tags(), "icc_profile": ICC, "dpi": (300, 300)}
    plain, whole = _saved(rgb, "JPEG", quality=90), _saved(rgb, "JPEG", **full)
    exif_at = whole.index(b"Exif\0\0")
    files = {
        "camera.jpg": (_saved(rgb, "JPEG", quality=92, **full), kept),
        "progressive.jpeg": (_saved(rgb, "JPEG", progressive=True, subsampling=2), jpeg),
        "best.jpg": (_saved(rgb, "JPEG", quality=100, subsampling=0), jpeg),
        "worst.jpg": (_saved(rgb, "JPEG", quality=5), jpeg),
        "grey.jpg": (_saved(scene(1), "JPEG"), grey),
        "cmyk.jpg": (_saved(cmyk, "JPEG"), jpeg),
        "cmyk with profile.jpg": (_saved(inked, "JPEG", icc_profile=cmyk_profile()), jpeg),
        "cmyk with broken profile.jpg": (_saved(cmyk, "JPEG", icc_profile=cmyk_profile()[:300]), jpeg),
        "two pictures.jpg": (
            _saved(Image.fromarray(rgb), "MPO", save_all=True, append_images=[Image.fromarray(255 - rgb)]),
            jpeg,
        ),
        "video behind.jpg": (plain + b"\0\0\0\x18ftypmp42" + bytes(500), jpeg),
        "corrupt exif.jpg": (
            whole[: exif_at + 14] + b"\xff\xff" + whole[exif_at + 16 :],
            Expected(format="JPEG", icc=ICC),
        ),
        "exif of noise.jpg": (_saved(rgb, "JPEG", exif=b"Exif\0\0" + bytes(range(7, 200))), jpeg),
        "corrupt profile.jpg": (_saved(rgb, "JPEG", icc_profile=b"no colour profile" * 20), jpeg),
        "cut profile.jpg": (_saved(rgb, "JPEG", icc_profile=ICC[:200]), jpeg),
    }
    for turned in range(1, 9):
        size = SIZE if turned < 5 else SIZE[::-1]
        files[f"turned {turned}.jpg"] = (
            _saved(rgb, "JPEG", exif=tags(turned)),
            Expected(format="JPEG", artist=True, size=size),
        )
    return files


def _pngs() -> dict[str, tuple[bytes, Expected]]:
    rgb, grey, rgba, la = scene(), scene(1), scene(4), scene(2)
    deep = {channels: scene(channels, 16) for channels in (1, 2, 3, 4)}
    bits, two, index = grey // 128, grey // 64, grey // 32
    palette = np.random.default_rng(0).integers(0, 256, (8, 3), np.uint8)
    veil = np.array([0, 40, 80, 120, 160, 200, 240, 255], np.uint8)
    plte = (b"PLTE", palette.tobytes())

    def key(pixels: np.ndarray, size: int = 2) -> tuple[tuple[bytes, bytes], np.ndarray]:
        """A chunk that makes the middle pixel's colour transparent, and the alpha channel that this means."""
        colour = pixels[15, 20]
        opaque = 255 if size == 2 and pixels.dtype == np.uint8 else 65535
        alpha = np.where((pixels == colour).all(axis=2, keepdims=True), 0, opaque).astype(pixels.dtype)
        return (b"tRNS", colour.astype(">u2").tobytes()), alpha

    def exact(pixels: np.ndarray, alpha: np.ndarray | None = None, **facts) -> Expected:
        pixels = pixels if alpha is None else np.dstack([pixels, alpha])
        channels = pixels.shape[2] - (pixels.shape[2] % 2 == 0)
        return Expected(
            channels=channels, depth=8 * pixels.dtype.itemsize, alpha=pixels.shape[2] > channels, pixels=pixels, **facts
        )

    files = {
        "full.png": (
            _saved(rgb, "PNG", exif=tags(6), icc_profile=ICC, dpi=(72, 72)),
            exact(np.rot90(rgb, -1), size=SIZE[::-1], artist=True, icc=ICC),
        ),
        "grey.png": (_saved(grey, "PNG"), exact(grey)),
        "grey alpha.png": (_saved(la, "PNG"), exact(la)),
        "rgba.png": (_saved(rgba, "PNG"), exact(rgba)),
        "1 bit.png": (png(bits, 0, 1), exact(bits * 255)),
        "2 bits.png": (png(two, 0, 2), exact(two * 85)),
        "palette.png": (png(index, 3, 8, plte), exact(palette[index[:, :, 0]])),
        "palette of 4 bits.png": (png(index, 3, 4, plte), exact(palette[index[:, :, 0]])),
        "palette with alpha.png": (
            png(index, 3, 8, plte, (b"tRNS", veil.tobytes())),
            exact(palette[index[:, :, 0]], veil[index]),
        ),
        "palette with a hole.png": (
            png(index, 3, 8, plte, (b"tRNS", b"\xff\xff\0")),
            exact(palette[index[:, :, 0]], np.where(index == 2, 0, 255).astype(np.uint8)),
        ),
        "palette too short.png": (png(index, 3, 8, (b"PLTE", palette[:3].tobytes())), Expected()),
        "palette missing.png": (png(index, 3, 8), Expected(refused="damaged")),
    }
    for name, pixels, colour, depth in (
        ("grey", grey, 0, 8),
        ("rgb", rgb, 2, 8),
        ("deep grey", deep[1], 0, 16),
        ("deep rgb", deep[3], 2, 16),
    ):
        chunk, alpha = key(pixels)
        files[f"{name} with a hole.png"] = (png(pixels, colour, depth, chunk), exact(pixels, alpha))
    for name, values, depth, scale in (("1 bit", bits, 1, 255), ("2 bits", two, 2, 85)):
        chunk, alpha = key(values)
        files[f"{name} with a hole.png"] = (png(values, 0, depth, chunk), exact(values * scale, alpha))
    for channels, colour in ((1, 0), (2, 4), (3, 2), (4, 6)):
        files[f"deep {channels}.png"] = (png(deep[channels], colour, 16), exact(deep[channels]))
    files["deep by OpenCV.png"] = (_opencv(".png", deep[4]), exact(deep[4]))
    exif = tags(8).tobytes()[6:]
    iccp = b"name\0\0" + zlib.compress(ICC)
    files["deep full.png"] = (
        png(deep[3], 2, 16, (b"iCCP", iccp), (b"eXIf", exif)),
        exact(np.rot90(deep[3]), size=SIZE[::-1], artist=True, icc=ICC),
    )
    return files


def _tiffs() -> dict[str, tuple[bytes, Expected]]:
    rgb, grey, rgba = scene(), scene(1), scene(4)
    deep, deep_grey, deep_rgba = scene(3, 16), scene(1, 16), scene(4, 16)

    def exact(pixels: np.ndarray, **facts) -> Expected:
        channels = min(pixels.shape[2], 3)
        return Expected(
            format="TIFF",
            channels=channels,
            depth=8 * pixels.dtype.itemsize,
            alpha=pixels.shape[2] == 4,
            pixels=pixels,
            **facts,
        )

    files = {
        f"{name}.tif": (_saved(rgb, "TIFF", compression=name, icc_profile=ICC), exact(rgb, icc=ICC))
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    }
    files |= {
        "camera.tif": (
            _tiff(rgb, photometric="rgb", iccprofile=ICC, extratags=[(315, 2, None, ARTIST.encode("latin-1"), True)]),
            exact(rgb, artist=True, icc=ICC),
        ),
        "jpeg inside.tif": (_saved(rgb, "TIFF", compression="jpeg"), Expected(format="TIFF")),
        "fax.tiff": (
            _saved(Image.fromarray(grey[:, :, 0]).convert("1", dither=Image.Dither.NONE), "TIFF", compression="group4"),
            exact(np.where(grey > 127, 255, 0).astype(np.uint8)),
        ),
        "grey.tif": (_saved(grey, "TIFF"), exact(grey)),
        "rgba.tif": (_tiff(rgba, extrasamples=[2]), exact(rgba)),
        "deep grey.tif": (_saved(deep_grey, "TIFF"), exact(deep_grey)),
        "deep grey, big-endian.tif": (_tiff(deep_grey, byteorder=">"), exact(deep_grey)),
        "deep grey, white is zero.tif": (_tiff(65535 - deep_grey, photometric="miniswhite"), exact(deep_grey)),
        "deep.tif": (_tiff(deep, photometric="rgb"), exact(deep)),
        "deep, big-endian.tif": (_tiff(deep, photometric="rgb", byteorder=">"), exact(deep)),
        "deep, deflated.tif": (_tiff(deep, photometric="rgb", compression="zlib", predictor=True), exact(deep)),
        "deep, deflated, big-endian.tif": (
            _tiff(deep, photometric="rgb", compression="zlib", byteorder=">"),
            exact(deep),
        ),
        "deep, by OpenCV.tif": (_opencv(".tif", deep), exact(deep)),
        "deep, with alpha.tif": (_tiff(deep_rgba, photometric="rgb", extrasamples=[2]), exact(deep_rgba)),
        "deep, in tiles.tif": (_tiff(deep, photometric="rgb", tile=(16, 16)), exact(deep)),
        "deep, BigTIFF.tif": (_tiff(deep, photometric="rgb", bigtiff=True), exact(deep)),
        "in planes.tif": (_tiff(np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate"), exact(rgb)),
        "turned.tif": (
            _tiff(rgb, photometric="rgb", extratags=[(274, 3, 1, 6, True)]),
            exact(np.rot90(rgb, -1), size=SIZE[::-1]),
        ),
        "deep, turned.tif": (
            _tiff(deep, photometric="rgb", extratags=[(274, 3, 1, 6, True)]),
            exact(np.rot90(deep, -1), size=SIZE[::-1]),
        ),
    }
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(rgb, photometric="rgb")
        writer.write(rgb[::4, ::4], photometric="rgb", subfiletype=1)
    files["thumbnail as second page.tif"] = (file.getvalue(), exact(rgb))
    pages = _saved(Image.fromarray(rgb), "TIFF", save_all=True, append_images=[Image.fromarray(rgb)] * 2)
    premultiplied = {"photometric": "rgb", "extrasamples": [1]}
    return files | {
        "three pages.tif": (pages, Expected(refused="pages")),
        "float.tif": (_saved(grey.astype(np.float32), "TIFF"), Expected(refused="floating-point")),
        "float colour.tif": (_tiff(rgb.astype(np.float32), photometric="rgb"), Expected(refused="not an image")),
        "32 bits.tif": (_tiff(grey.astype(np.uint32)), Expected(refused="32-bit")),
        "deep, in planes.tif": (
            _tiff(np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate"),
            Expected(refused="planes"),
        ),
        "deep, multiplied by alpha.tif": (_tiff(deep_rgba, **premultiplied), Expected(refused="RGBa")),
    }


def _others() -> dict[str, tuple[bytes, Expected]]:
    rgb, rgba = scene(), scene(4)
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    moving = {"save_all": True, "append_images": frames[1:]}
    flat = Image.fromarray(rgb).quantize(16)
    return {
        "lossy.webp": (
            _saved(rgb, "WEBP", quality=80, exif=tags(), icc_profile=ICC),
            Expected(format="WEBP", artist=True, icc=ICC),
        ),
        "lossless.webp": (_saved(rgb, "WEBP", lossless=True), Expected(format="WEBP", pixels=rgb)),
        "alpha.webp": (
            _saved(rgba, "WEBP", lossless=True, exact=True),
            Expected(format="WEBP", alpha=True, pixels=rgba),
        ),
        "lossy alpha.webp": (_saved(rgba, "WEBP", quality=80), Expected(format="WEBP", alpha=True)),
        "colour.bmp": (_saved(rgb, "BMP", dpi=(200, 200)), Expected(format="BMP", pixels=rgb)),
        "grey.bmp": (_saved(scene(1), "BMP"), Expected(format="BMP", channels=1, pixels=scene(1))),
        "palette.bmp": (_saved(flat, "BMP"), Expected(format="BMP", pixels=np.asarray(flat.convert("RGB")))),
        "moving.webp": (_saved(frames[0], "WEBP", **moving), Expected(refused="animation")),
        "moving.png": (_saved(frames[0], "PNG", **moving), Expected(refused="animation")),
        "gif.png": (_saved(flat, "GIF"), Expected(refused="not an image")),
    }


def _names() -> dict[str, tuple[bytes, Expected]]:
    rgb = scene()
    content, expected = _saved(rgb, "PNG"), Expected(pixels=rgb)
    sizes = {"one pixel.png": (1, 1), "one row.png": (77, 1), "one column.png": (1, 77), "odd.png": (33, 17)}
    files = {
        name: (_saved(scene(size=size), "PNG"), Expected(size=size, pixels=scene(size=size)))
        for name, size in sizes.items()
    }
    for name in (
        "UPPER.PNG",
        "été 夏 ☀.png",
        "  spaces  .png",
        "quote's [1] %20.png",
        "-option.png",
        "two.dots.png",
        "x" * 230 + ".png",
    ):
        files[name] = (content, expected)
    return files | {
        "one pixel.jpg": (_saved(scene(size=(1, 1)), "JPEG"), Expected(size=(1, 1), format="JPEG")),
        "one row.webp": (_saved(scene(size=(77, 1)), "WEBP"), Expected(size=(77, 1), format="WEBP")),
        "png inside.jpg": (content, expected),
        "jpeg inside.png": (_saved(rgb, "JPEG"), Expected(format="JPEG")),
    }


def _faults() -> dict[str, tuple[bytes, Expected]]:
    rgb = scene()
    bomb = png(rgb, 2, 8)
    crc = bytearray(bomb)
    crc[bomb.index(b"IDAT") + 20] ^= 255
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge)) + bomb[33:]
    tiff = bytearray(_saved(rgb, "TIFF"))
    for tag in (256, 257):  # width and height of 60000
        at = tiff.index(struct.pack("<HHI", tag, 4, 1)) + 8
        tiff[at : at + 4] = struct.pack("<I", 60000)
    samples = bytearray(_saved(rgb, "TIFF"))
    at = samples.index(struct.pack("<HHI", 277, 3, 1)) + 8
    samples[at : at + 2] = struct.pack("<H", 65281)
    strip = bytearray(_saved(rgb, "TIFF", compression="tiff_adobe_deflate"))
    strip[60:64] = bytes(4)
    files = {
        "absurd.tif": (bytes(samples), "not an image"),
        "damaged.tif": (bytes(strip), "cannot be read"),
        "empty.jpg": (b"", "empty"),
        "text.png": (b"no picture at all\n" * 20, "not an image"),
        "zeros.jpg": (bytes(4000), "not an image"),
        "start only.jpg": (b"\xff\xd8\xff", "cannot be read"),
        "page.png": (b"<!DOCTYPE html><html></html>", "not an image"),
        "bomb.png": (huge, "megapixels"),
        "bomb.tif": (bytes(tiff), "megapixels"),
        "text bomb.png": (
            png(rgb, 2, 8, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(9_000_000)))),
            "cannot be read",
        ),
        "profile bomb.png": (
            png(rgb, 2, 8, (b"iCCP", b"name\0\0" + zlib.compress(bytes(9_000_000)))),
            "cannot be read",
        ),
        "damaged.png": (bytes(crc), "cannot be read"),
    }
    for name, kind in (("jpg", "JPEG"), ("png", "PNG"), ("tif", "TIFF"), ("webp", "WEBP"), ("bmp", "BMP")):
        whole = _saved(rgb, kind)
        files[f"half.{name}"] = (whole[: len(whole) // 2], "cannot be read")
        files[f"head.{name}"] = (whole[:20], "cannot be read")
    return {name: (content, Expected(refused=word)) for name, (content, word) in files.items()}


def _no_files(folder: Path) -> dict[str, Expected]:
    """What has an image's name and is no file to be read; links and pipes only where the system has them."""
    (folder / "folder.jpg").mkdir(exist_ok=True)
    made = {"folder.jpg": Expected(refused="folder")}
    if hasattr(os, "mkfifo"):
        for name, create in (
            ("pipe.jpg", os.mkfifo),
            ("link to nothing.png", lambda path: path.symlink_to("nothing")),
            ("link to itself.png", lambda path: path.symlink_to(path.name)),
        ):
            if not os.path.lexists(folder / name):
                create(folder / name)
        made |= {
            "pipe.jpg": Expected(refused="regular"),
            "link to nothing.png": Expected(refused="no such file"),
            "link to itself.png": Expected(refused="no such file"),
        }
        if os.geteuid():  # root may read everything
            (folder / "locked.png").write_bytes(_saved(scene(), "PNG"))
            (folder / "locked.png").chmod(0)
            made["locked.png"] = Expected(refused="ermission")
    return made


if __name__ == "__main__":
    for name, expected in make(sys.argv[1]).items():
        print(f"{name}: {expected.refused and 'refused: ' + expected.refused or 'restored'}")
