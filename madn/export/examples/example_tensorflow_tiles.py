"""Deblur a photo of any size in tiles, with the SavedModel beside this file: python example_tensorflow_tiles.py IN OUT

Memory is that of one tile, not of the photo. Needs tensorflow, numpy and pillow.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

TILE = 768  # sides of a tile in pixels; a multiple of 64
MARGIN = 128  # so many pixels inside a tile's edges lack a part of what the network looks at; a multiple of 64


def spans(length):
    """(start, end) of each tile along a side, and (first, last) of the part that is kept of it."""
    starts = range(0, max(1, length - 2 * MARGIN), TILE - 2 * MARGIN)
    for start in starts:
        end = min(start + TILE, length)
        yield start, end, start + MARGIN if start else 0, end if start == starts[-1] else end - MARGIN


if len(sys.argv) != 3:
    sys.exit(__doc__)
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if photo.mode.startswith("I"):  # 16-bit grey, of which convert() would make white
    photo = Image.fromarray(np.uint8(np.round(np.asarray(photo) / 257)))
photo = np.asarray(photo.convert("RGB"))
model = tf.saved_model.load(str(Path(__file__).resolve().parent))
deblurred = np.empty_like(photo)
for top, bottom, first_row, last_row in spans(photo.shape[0]):
    for left, right, first, last in spans(photo.shape[1]):
        tile = tf.constant(photo[None, top:bottom, left:right])  # uint8 (batch, height, width, RGB)
        restored = model.signatures["uint8"](blurred=tile)["deblurred"][0].numpy()  # the same
        deblurred[first_row:last_row, first:last] = restored[first_row - top:last_row - top, first - left:last - left]
Image.fromarray(deblurred).save(sys.argv[2])
