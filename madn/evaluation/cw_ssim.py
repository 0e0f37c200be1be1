"""The "complex wavelet SSIM" of the package pyssim, which the scripts of DeblurGAN and DeblurGAN-v2 print as SSIM.

It is not the CW-SSIM of Sampat et al. (2009), whose wavelets are complex, oriented and of two dimensions. pyssim writes
the grey image's rows one behind the other as a single signal, filters it by real Ricker wavelets of 1 to 30 pixels, and
puts the responses into Sampat's formula, over all widths at a pixel instead of a window of one band. So it sees
neither direction nor the columns, and is high: it is here because numbers that were printed can be compared with
nothing else.
"""

import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

from madn.imaging.arrays import to_uint8

WIDTHS = range(1, 31)  # Standard deviations of the wavelets, in pixels.
LENGTH = 10  # A wavelet is cut to so many times its width.
K = 0.01


def cw_ssim(restored: np.ndarray, sharp: np.ndarray) -> float:
    """pyssim's `SSIM(sharp).cw_ssim_value(restored)` of float (H, W, 3) images in [0, 1], rounded to 8 bits.

    Symmetric; 1 for identical images. Images need 300 pixels or more in all, the length of the longest wavelet.
    """
    x, y = (_signal(image) for image in (restored, sharp))
    products, magnitudes, energies = (np.zeros(x.shape) for _ in range(3))
    for width in WIDTHS:
        wavelet = _ricker(width)
        a, b = (fftconvolve(signal, wavelet, mode="same") for signal in (x, y))
        products += a * b
        magnitudes += np.abs(a * b)
        energies += a * a + b * b
    return float(np.mean((2 * magnitudes + K) / (energies + K) * (2 * np.abs(products) + K) / (2 * magnitudes + K)))


def _signal(image: np.ndarray) -> np.ndarray:
    """The grey image by Pillow's rounding, row behind row."""
    return np.asarray(Image.fromarray(to_uint8(image)).convert("L"), np.float64).ravel()


def _ricker(width: int) -> np.ndarray:
    """The second derivative of a Gaussian, of unit energy, at LENGTH * width points around its middle."""
    points = LENGTH * width
    t = (np.arange(points) - (points - 1) / 2) / width
    return 2 / (np.sqrt(3 * width) * np.pi**0.25) * (1 - t**2) * np.exp(-(t**2) / 2)
