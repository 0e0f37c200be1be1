"""Deblur a photo with the ONNX file beside this file: python example_onnxruntime.py IN OUT

Needs onnxruntime, numpy and pillow.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if len(sys.argv) != 3:
    sys.exit(__doc__)
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if photo.mode.startswith("I"):  # 16-bit grey, of which convert() would make white
    photo = Image.fromarray(np.uint8(np.round(np.asarray(photo) / 257)))
photo = photo.convert("RGB")
session = onnxruntime.InferenceSession(Path(__file__).resolve().with_name("model.onnx"),
                                       providers=onnxruntime.get_available_providers())
blurred = np.float32(photo)[None] / 255  # (batch, height, width, RGB) in [0, 1], any size
deblurred = session.run(["deblurred"], {"blurred": blurred})[0]  # the same
Image.fromarray(np.uint8(np.round(deblurred[0] * 255))).save(sys.argv[2])
