"""Deblur a photo with the SavedModel beside this file: python example_tensorflow.py IN OUT

Needs tensorflow, numpy and pillow.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

if len(sys.argv) != 3:
    sys.exit(__doc__)
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if photo.mode.startswith("I"):  # 16-bit grey, of which convert() would make white
    photo = Image.fromarray(np.uint8(np.round(np.asarray(photo) / 257)))
photo = photo.convert("RGB")
model = tf.saved_model.load(str(Path(__file__).resolve().parent))
blurred = tf.constant(np.asarray(photo)[None])  # uint8 (batch, height, width, RGB), any size
deblurred = model.signatures["uint8"](blurred=blurred)["deblurred"]  # the same, rounded
Image.fromarray(deblurred[0].numpy()).save(sys.argv[2])
