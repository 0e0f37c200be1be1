"""What the exported examples read of a photo; `test_formats.py` runs them whole."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from madn import export

FILES = sorted((Path(export.__file__).parent / "examples").glob("*.py"))
RAMP = np.linspace(0, 65535, 32 * 24).reshape(24, 32).astype(np.uint16)


@pytest.mark.parametrize("example", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", ["grey.png", "big.tif", "grey8.png", "alpha.png"])
def test_grey_of_any_depth_is_seen_as_it_is(example, name, tmp_path, monkeypatch):
    place = tmp_path / name
    if name in ("grey.png", "big.tif"):
        Image.fromarray(RAMP if name == "grey.png" else RAMP.astype(">u2")).save(place)
    else:
        grey = Image.fromarray((RAMP // 257).astype(np.uint8))
        (grey.convert("LA") if name == "alpha.png" else grey).save(place)
    code = example.read_text(encoding="utf-8")
    start, end = code.index("photo = "), code.index('.convert("RGB")')
    reading = code[start : code.index("\n", end)]
    monkeypatch.setattr(sys, "argv", ["example", str(place), "out.png"])
    found = {"sys": sys, "np": np, "Image": Image, "ImageOps": ImageOps}
    exec(reading, found)
    pixels = np.asarray(found["photo"], float)
    assert pixels.shape == (24, 32, 3) and np.abs(pixels - RAMP[..., None] / 257).max() <= 1
