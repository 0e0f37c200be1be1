"""Deblur a photo with the LiteRT file beside this file: python example_litert.py IN OUT

Needs ai-edge-litert, numpy and pillow.
"""

import os
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

if len(sys.argv) != 3:
    sys.exit(__doc__)
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if photo.mode.startswith("I"):  # 16-bit grey, of which convert() would make white
    photo = Image.fromarray(np.uint8(np.round(np.asarray(photo) / 257)))
photo = photo.convert("RGB")
interpreter = Interpreter(str(Path(__file__).resolve().with_name("model.tflite")), num_threads=os.cpu_count())
source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
blurred = np.float32(photo)[None] / 255  # (batch, height, width, RGB) in [0, 1]
_, height, width, _ = source["shape_signature"]  # -1: any
if height != -1 and (height, width) != blurred.shape[1:3]:
    sys.exit(f"this model takes photos of {width} x {height} pixels; {sys.argv[1]} has {photo.width} x {photo.height}")
interpreter.resize_tensor_input(source["index"], blurred.shape)
interpreter.allocate_tensors()
interpreter.set_tensor(source["index"], blurred)
interpreter.invoke()
deblurred = interpreter.get_tensor(target["index"])  # the same as `blurred`
Image.fromarray(np.uint8(np.round(deblurred[0] * 255))).save(sys.argv[2])
