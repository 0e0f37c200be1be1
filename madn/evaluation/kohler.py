"""The scores of Köhler et al. (2012), "Recording and playback of camera shake", by the script that comes with it.

A restored image is held against each sharp frame along the camera's motion, and the best frame counts. Before that the
image is multiplied by the factor that brings it nearest to the frame, and moved by the whole pixels that align their
means over R, G and B. What the move leaves empty is 0 in both, and counts. The two scores, of the luma
0.299 R + 0.587 G + 0.114 B, from 0 to 255, are those of the MeTriX MuX package that the script calls:

- PSNR, 10 log10(255^2 / MSE);
- MSSIM, the multi-scale SSIM of Wang et al. (2003) over five scales, each half the one before, behind the low-pass of
  the 9/7 wavelet; luminance at the last scale, contrast and structure, averaged one by one, at all.

The script is eval_image.m of start_eval_image.m (Hirsch and Köhler 2012).
"""

from collections.abc import Iterable

import numpy as np
from scipy import fft
from scipy.ndimage import correlate1d, gaussian_filter1d

from madn.errors import UserError
from madn.imaging.arrays import to_uint8

LUMA = np.array([0.299, 0.587, 0.114])
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # The exponents of the five scales, the finest first.
LOW_PASS = np.array([0.037828455507260, -0.023849465019560, -0.110624404418440, 0.377402855612830, 0.852698679008890])
LOW_PASS = np.concatenate([LOW_PASS, LOW_PASS[-2::-1]])
LOW_PASS /= LOW_PASS.sum()
SMALLEST = 161  # Halved four times this leaves the 11 pixels of MSSIM's window.


def best_scores(image: np.ndarray, frames: Iterable[np.ndarray]) -> tuple[float, float]:
    """The highest PSNR in dB, and the highest MSSIM, of an image over the frames; the two may be of different ones.

    Args:
        image: float (H, W, 3) in [0, 1], 161 pixels or more each way; it is rounded to 8 bits, as a file is.
        frames: such images of the same size, at least one.
    Raises `UserError` for an image that is too small for the five scales.
    """
    if min(image.shape[:2]) < SMALLEST:
        raise UserError(
            f"{image.shape[1]}x{image.shape[0]} pixels are too few for the five scales of MSSIM; {SMALLEST} are needed"
        )
    restored = to_uint8(image).astype(np.float64)
    spectrum = fft.rfft2(restored.mean(axis=2))
    scores = []
    for frame in frames:
        sharp, moved = _aligned(restored, spectrum, to_uint8(frame).astype(np.float64))
        scores.append((_psnr(sharp, moved), mssim(sharp, moved)))
    psnrs, mssims = zip(*scores, strict=True)
    return max(psnrs), max(mssims)


def mssim(x: np.ndarray, y: np.ndarray) -> float:
    """MSSIM of two float64 (H, W) images in [0, 255], 161 pixels or more each way."""
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = (_low_pass(image)[::2, ::2] for image in (x, y))
        luminance, contrast, structure = _components(x, y)
        # A negative mean, of images that are each other's negatives, has no power of that kind.
        result *= contrast**weight * max(structure, 0.0) ** weight
    return float(result * luminance ** WEIGHTS[-1])


def _aligned(restored: np.ndarray, spectrum: np.ndarray, sharp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The luma of the frame and of the image, which is scaled and moved to it; 0 where the image does not reach."""
    energy = np.sum(restored**2)
    factor = np.sum(sharp * restored) / energy if energy else 0.0
    correlation = fft.irfft2(fft.rfft2(sharp.mean(axis=2)) * np.conj(spectrum), restored.shape[:2])
    place = np.unravel_index(np.argmax(correlation), correlation.shape)
    shift = [at - n if at >= n // 2 else at for at, n in zip(place, correlation.shape, strict=True)]
    into = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, correlation.shape, strict=True))
    out_of = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, correlation.shape, strict=True))
    moved, reference = np.zeros(restored.shape[:2]), np.zeros(restored.shape[:2])
    moved[into] = factor * (restored[out_of] @ LUMA)
    reference[into] = sharp[into] @ LUMA
    return reference, moved


def _psnr(x: np.ndarray, y: np.ndarray) -> float:
    error = np.mean((x - y) ** 2)
    return float(10.0 * np.log10(255.0**2 / error)) if error else float("inf")


def _components(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """The means of SSIM's luminance, contrast and structure over all places where the 11x11 window fits."""
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    deviation_x, deviation_y = (
        np.sqrt(np.maximum(_window_mean(image**2) - mean**2, 0.0)) for image, mean in ((x, mean_x), (y, mean_y))
    )
    covariance = _window_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast = (2 * deviation_x * deviation_y + c2) / (deviation_x**2 + deviation_y**2 + c2)
    structure = (covariance + c2 / 2) / (deviation_x * deviation_y + c2 / 2)
    return float(luminance.mean()), float(contrast.mean()), float(structure.mean())


def _window_mean(image: np.ndarray) -> np.ndarray:
    for axis in range(2):
        image = gaussian_filter1d(image, 1.5, axis=axis, radius=5)
    return image[5:-5, 5:-5]


def _low_pass(image: np.ndarray) -> np.ndarray:
    for axis in range(2):
        image = correlate1d(image, LOW_PASS, axis=axis, mode="reflect")
    return image
