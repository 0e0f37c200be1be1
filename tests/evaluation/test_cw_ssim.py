"""pyssim's cw_ssim_value against a dense computation of what its source does."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from madn.evaluation.cw_ssim import cw_ssim
from madn.evaluation.metrics import ssim
from madn.imaging.arrays import to_float, to_uint8


def responses(image):
    """The rows, one behind the other, convolved with each of the 30 wavelets by numpy's direct sums, kept to the
    signal's length around its middle: what scipy.signal.cwt(signal, ricker, range(1, 31)) was, up to SciPy 1.14."""
    grey = Image.fromarray(to_uint8(image)).convert("L")
    signal = np.array(grey.getdata() if not hasattr(grey, "get_flattened_data") else grey.get_flattened_data(), float)
    rows = []
    for a in range(1, 31):
        n = min(10 * a, len(signal))
        x = np.arange(n) - (n - 1.0) / 2
        wavelet = 2 / (np.sqrt(3 * a) * np.pi**0.25) * (1 - x**2 / a**2) * np.exp(-(x**2) / (2 * a**2))
        rows.append(np.convolve(signal, wavelet[::-1], mode="same"))
    return np.array(rows)


def dense(x, y, k=0.01):
    c1, c2 = responses(x), responses(y)
    first = (2 * (abs(c1) * abs(c2)).sum(0) + k) / ((c1**2).sum(0) + (c2**2).sum(0) + k)
    second = (2 * abs((c1 * c2).sum(0)) + k) / (2 * abs(c1 * c2).sum(0) + k)
    return (first * second).mean()


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_it_equals_a_dense_computation(sigma):
    sharp = to_float(data.coffee()[100:160, 200:270])
    blurred = gaussian_filter(sharp, (sigma, sigma, 0))
    found = cw_ssim(blurred, sharp)
    assert found == pytest.approx(dense(blurred, sharp), abs=1e-9)
    assert found == pytest.approx(cw_ssim(sharp, blurred), abs=1e-12)


def test_it_is_1_for_the_same_image_and_above_ssim_for_a_blurred_one():
    sharp = to_float(data.coffee()[100:200, 200:320])
    blurred = gaussian_filter(sharp, (1.5, 1.5, 0))
    assert cw_ssim(sharp, sharp) == pytest.approx(1.0, abs=1e-12)
    assert ssim(blurred, sharp) < cw_ssim(blurred, sharp) < 1
