"""The page docs/worked-example.md as it stands, at a tiny size."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from madn.data.synthesis import blur_photo, camera_shake
from madn.imaging.arrays import to_uint8

PAGE = Path(__file__).resolve().parents[1] / "docs" / "worked-example.md"
SIZES = "WIDTHS, CROP, BATCH, STEPS, EPOCHS = (32, 64, 128), 256, 4, 500, 20"
TINY = "WIDTHS, CROP, BATCH, STEPS, EPOCHS = (4, 8, 16), 32, 2, 2, 2"


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of 96 pixels and a photo, where the page expects them."""
    rng = np.random.default_rng(0)
    for kind in ("blurred", "sharp"):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
    for name, picture in (("a.png", data.astronaut()), ("b.png", data.coffee())):
        sharp = np.ascontiguousarray(picture[100:196, 100:196])
        blurred = to_uint8(blur_photo(sharp, camera_shake(rng, 9, 8.0)))
        Image.fromarray(blurred).save(tmp_path / "pairs" / "blurred" / name)
        Image.fromarray(sharp).save(tmp_path / "pairs" / "sharp" / name)
    Image.fromarray(data.astronaut()[:50, :70]).save(tmp_path / "photo.jpg")
    return tmp_path


@pytest.mark.slow
def test_the_page_runs(pairs, monkeypatch):
    monkeypatch.chdir(pairs)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S))
    assert SIZES in code
    Path("example.py").write_text(code.replace(SIZES, TINY), encoding="utf-8")
    made = runpy.run_path("example.py")  # from a file: TensorFlow looks its functions up there
    losses = made["history"].history
    assert len(losses["loss"]) == 2 and np.isfinite(losses["loss"]).all()
    assert any("psnr" in name for name in losses)
    assert made["sharp"].shape == (50, 70, 3) and made["sharp"].dtype == np.uint8
    for mine, stored in zip(made["generator"].weights, made["same"].weights, strict=True):
        np.testing.assert_array_equal(mine, stored)
