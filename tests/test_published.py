"""The paper's tables against their own arithmetic (the specification's oracle 22)."""

import json
from pathlib import Path

import numpy as np
import pytest

import madn

MADN = json.loads((Path(madn.__file__).parent / "published.json").read_text())["madn"]


@pytest.mark.parametrize("method", ["Whyte", "Sun", "Nah", "MADN"])
@pytest.mark.parametrize(("metric", "rounding"), [("psnr", 5e-4), ("ssim", 5e-5)])
def test_averages_of_table_3(method, metric, rounding):
    *images, average = MADN["table 3"][method][metric]
    assert len(images) == 4
    assert np.mean(images) == pytest.approx(average, abs=rounding * 1.01)


def test_gains_that_the_text_claims():
    table = MADN["table 4"]
    psnr, ssim = ({name: table["MADN"][key] - table[name][key] for name in ("Sun", "Nah")} for key in ("psnr", "ssim_matlab"))
    assert np.mean(list(psnr.values())) == pytest.approx(3.32, abs=5e-3)
    assert np.mean(list(ssim.values())) == pytest.approx(0.053, abs=5e-4)
    assert psnr["Nah"] == pytest.approx(1.1) and ssim["Nah"] == pytest.approx(0.0177)
