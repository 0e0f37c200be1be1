"""How many photos with damage behind an intact end are refused: python scripts/damaged_photos.py FOLDER [COUNT]

Each photo of the folder, shrunk to 320 pixels, is written in each format; then, in turn, one bit of its pixels' data is
flipped, a kilobyte zeroed, or a tenth cut out of the middle. Its head and its end stay as they are, and lengths that a
format stores stand for what is there. Printed is a Markdown table: how many of how many were refused.
"""

import collections
import io
import random
import struct
import sys
from pathlib import Path

from PIL import Image

from madn.errors import UserError
from madn.imaging.decoding import decode_photo
from madn.imaging.finding import image_files
from madn.system.tables import markdown_table

FORMATS = {
    "JPEG": ("JPEG", {"quality": 92}),
    "JPEG, progressive": ("JPEG", {"quality": 92, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP, lossy": ("WEBP", {"quality": 90}),
    "WebP, lossless": ("WEBP", {"lossless": True}),
    "TIFF, deflated": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, not compressed": ("TIFF", {}),
    "BMP": ("BMP", {}),
    "AVIF": ("AVIF", {"quality": 90, "speed": 10}),
}
KINDS = ("bit", "kilobyte", "tenth")


def damaged(content: bytes, kind: str, name: str, draw: random.Random) -> bytes:
    """The file with one damage between 30% and 80% of its length, where every format has pixels."""
    at = draw.randrange(len(content) * 3 // 10, len(content) * 8 // 10)
    changed = bytearray(content)
    if kind == "bit":
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == "kilobyte":
        changed[at : at + 1024] = bytes(len(changed[at : at + 1024]))
    else:
        length = len(content) // 10
        del changed[at : at + length]
        if name.startswith("WebP"):  # The sizes of the file and of its only chunk.
            changed[4:8] = struct.pack("<I", len(changed) - 8)
            changed[16:20] = struct.pack("<I", len(changed) - 20)
    return bytes(changed)


def main(folder: Path, count: int) -> None:
    """Print the table."""
    draw, refused = random.Random(0), collections.Counter()
    files = image_files(folder)
    for number in range(count):
        picture = Image.open(files[number % len(files)]).convert("RGB")
        picture.thumbnail((320, 320))
        kind = KINDS[number % len(KINDS)]
        for name, (format, options) in FORMATS.items():
            whole = io.BytesIO()
            picture.save(whole, format, **options)
            try:
                decode_photo(io.BytesIO(damaged(whole.getvalue(), kind, name, draw)), "photo")
            except UserError:
                refused[name, kind] += 1
    each = [len(range(start, count, len(KINDS))) for start in range(len(KINDS))]
    header = ("format", "a flipped bit", "a zeroed kilobyte", "a tenth cut out", "all")
    rows = []
    for name in FORMATS:
        cells = [f"{refused[name, kind]} of {all_}" for kind, all_ in zip(KINDS, each, strict=True)]
        total = sum(refused[name, kind] for kind in KINDS)
        rows.append([name, *cells, f"{total} of {count}"])
    print(markdown_table(header, rows, right=[False, True, True, True, True]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200)
