"""PSNR and the two SSIMs of the deblurring literature, on one pair of images.

Protocol (GoPro, as SRN and later papers measure): both images are clipped to [0, 1], multiplied by 255 and rounded to
uint8 first; each image is measured whole, and tables give the mean over images.

There are two SSIMs, about 0.03 apart on the same images. `ssim_matlab` is what MATLAB's `ssim` gives for an RGB array,
which it takes for a volume: SRN, MPRNet, NAFNet and MADN's Table 4 (the 0.9135 of Nah) print this one. `ssim` is the
SSIM of Wang et al. (2004) per channel, as scikit-image and `tf.image.ssim` have it. Never print one as plain "SSIM".
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from skimage.metrics import structural_similarity

from madn.imaging.arrays import to_uint8

SMALLEST = 11  # The window of both SSIMs has so many pixels a side.


def psnr(restored: np.ndarray, sharp: np.ndarray) -> float:
    """10 log10(255^2 / MSE) in dB over all RGB values of two (H, W, 3) images in [0, 1]; inf when identical."""
    restored, sharp = _as_uint8(restored, sharp)
    error = np.mean((restored.astype(np.float64) - sharp.astype(np.float64)) ** 2)
    return float(10.0 * np.log10(255.0**2 / error)) if error else float("inf")


def ssim(restored: np.ndarray, sharp: np.ndarray) -> float:
    """Mean over channels of the 2-D SSIM (11x11 Gaussian, sigma 1.5, population covariance), by scikit-image.

    The mean leaves out the 5 pixels at each edge where the window would hang over, as `tf.image.ssim` does (which sums
    in float32, and was found 0.0013 off on a whole 1280x720 pair).
    Images are (H, W, 3) in [0, 1], 11 pixels or more each way.
    """
    restored, sharp = _as_uint8(restored, sharp)
    return float(
        structural_similarity(
            restored,
            sharp,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
    )


def ssim_matlab(restored: np.ndarray, sharp: np.ndarray) -> float:
    """MATLAB's `ssim` of two RGB arrays: a volume SSIM with an 11x11x11 Gaussian (sigma 1.5) over H, W and C.

    Replicate padding, K = (0.01, 0.03), population covariance, mean over all voxels, in float64.
    Images are (H, W, 3) in [0, 1]. Nah et al. name it as the source of their number (DeepDeblur_release, issue 51).
    """
    x, y = (image.astype(np.float64) for image in _as_uint8(restored, sharp))
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    mean_xy, mean_squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _window_mean(x * y) - mean_xy
    variances = _window_mean(x**2 + y**2) - mean_squares  # Only the sum of the two variances is needed.
    similarity = (2.0 * mean_xy + c1) * (2.0 * covariance + c2) / ((mean_squares + c1) * (variances + c2))
    return float(similarity.mean())


def _window_mean(volume: np.ndarray) -> np.ndarray:
    for axis in range(3):
        volume = gaussian_filter1d(volume, 1.5, axis=axis, radius=5, mode="nearest")
    return volume


def _as_uint8(restored: np.ndarray, sharp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if restored.shape != sharp.shape or restored.ndim != 3 or restored.shape[2] != 3:
        raise ValueError(f"two (H, W, 3) images of one size are compared; received {restored.shape} and {sharp.shape}")
    if not (np.issubdtype(restored.dtype, np.floating) and np.issubdtype(sharp.dtype, np.floating)):
        raise ValueError(f"images are float in [0, 1]; received {restored.dtype} and {sharp.dtype}")
    return to_uint8(restored), to_uint8(sharp)
