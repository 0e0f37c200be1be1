"""Each metric against scikit-image and against an independent float64 computation of its definition."""

import math

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from madn.evaluation.metrics import psnr, ssim, ssim_matlab
from madn.imaging.arrays import read_image, to_float, to_uint8

PHOTOS = ("astronaut", "chelsea", "coffee")


def blurred_photo(name, length=7):
    """A photograph of scikit-image with a horizontal box blur, and the photograph."""
    sharp = to_float(getattr(data, name)())
    return uniform_filter1d(sharp, length, axis=1, mode="nearest"), sharp


def real_pair(real_data, scene):
    """A GoPro test pair, 1280x720."""
    blurred = sorted((real_data / "GOPRO/test" / scene / "blur").glob("*.png"))[0]
    return read_image(blurred), read_image(blurred.parents[1] / "sharp" / blurred.name)


def dense_ssim(x, y, depth):
    """SSIM by its definition in float64: explicit windows of 11x11x`depth`, centred moments, two variances."""
    offsets = np.arange(11) - 5.0
    across = np.zeros(1) if depth == 1 else offsets
    weights = np.exp(-(offsets[:, None, None] ** 2 + offsets[None, :, None] ** 2 + across**2) / (2 * 1.5**2))
    weights /= weights.sum()
    x, y = (np.lib.stride_tricks.sliding_window_view(image, weights.shape) for image in (x, y))

    def mean(windows):
        return np.einsum("hwcijk,ijk->hwc", windows, weights)

    mean_x, mean_y = mean(x), mean(y)
    dx, dy = x - mean_x[..., None, None, None], y - mean_y[..., None, None, None]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * mean(dx * dy) + c2) / (mean(dx * dx) + mean(dy * dy) + c2)
    return (luminance * structure).mean()


def as_bytes(*images):
    return [np.rint(image.astype(np.float64) * 255) for image in images]


def test_psnr_of_one_grey_level_is_48_1308_db():
    sharp = np.full((20, 30, 3), 100 / 255, np.float32)
    assert psnr(sharp + np.float32(1 / 255), sharp) == pytest.approx(48.1308, abs=5e-5)


def test_identical_images():
    image = to_float(data.astronaut())[:40, :50]
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1.0, abs=1e-12)
    assert ssim_matlab(image, image) == pytest.approx(1.0, abs=1e-12)


def test_images_are_clipped_and_rounded_first():
    sharp = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    nearly = to_float(sharp) + np.float32(0.4 / 255)
    assert psnr(nearly, to_float(sharp)) == math.inf
    white = np.ones((16, 16, 3), np.float32)
    assert psnr(white * 1.5, white) == math.inf


@pytest.mark.parametrize("metric", [psnr, ssim, ssim_matlab])
def test_other_images_are_refused(metric):
    image = np.zeros((16, 16, 3), np.float32)
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) and \(16, 17, 3\)"):
        metric(image, np.zeros((16, 17, 3), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        metric(to_uint8(image), to_uint8(image))


@pytest.mark.parametrize("name", PHOTOS)
def test_psnr_and_ssim_equal_scikit_image(name):
    blurred, sharp = blurred_photo(name)
    x, y = to_uint8(blurred), to_uint8(sharp)
    assert psnr(blurred, sharp) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255), abs=1e-4)
    expected = structural_similarity(
        x, y, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(blurred, sharp) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scene", ["STORE", "GOPR0384_11_00", "GOPR0410_11_00", "GOPR0854_CAR"])
def test_real_pairs(real_data, scene):
    blurred, sharp = real_pair(real_data, scene)
    x, y = to_uint8(blurred), to_uint8(sharp)
    assert psnr(blurred, sharp) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255), abs=1e-4)
    expected = structural_similarity(
        x, y, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(blurred, sharp) == pytest.approx(expected, abs=1e-4)
    window = np.s_[300:348, 600:664]  # the dense computations keep 1331 numbers a voxel
    blurred, sharp = blurred[window], sharp[window]
    x, y = as_bytes(blurred, sharp)
    assert ssim(blurred, sharp) == pytest.approx(dense_ssim(x, y, 1), abs=1e-9)
    padded = (np.pad(image, 5, mode="edge") for image in (x, y))
    assert ssim_matlab(blurred, sharp) == pytest.approx(dense_ssim(*padded, 11), abs=1e-9)


@pytest.mark.parametrize("name", PHOTOS)
def test_both_ssims_equal_a_dense_computation(name):
    blurred, sharp = (image[100:140, 150:200] for image in blurred_photo(name))
    x, y = as_bytes(blurred, sharp)
    assert ssim(blurred, sharp) == pytest.approx(dense_ssim(x, y, 1), abs=1e-9)
    padded = (np.pad(image, 5, mode="edge") for image in (x, y))
    assert ssim_matlab(blurred, sharp) == pytest.approx(dense_ssim(*padded, 11), abs=1e-9)


@pytest.mark.parametrize("name", PHOTOS)
def test_the_volume_ssim_is_higher_on_a_blurred_colour_photo(name):
    blurred, sharp = blurred_photo(name)
    assert ssim_matlab(blurred, sharp) > ssim(blurred, sharp) + 0.02


def test_ssim_equals_tensorflow(real_data):
    """In windows of 120 rows: tf.image.ssim sums its map in float32, and drifts by 0.001 on a whole 1280x720 pair."""
    tf = pytest.importorskip("tensorflow")
    for scene in ("STORE", "GOPR0854_CAR"):
        blurred, sharp = (image[300:420] for image in real_pair(real_data, scene))
        expected = tf.image.ssim(to_uint8(blurred), to_uint8(sharp), max_val=255).numpy()
        assert ssim(blurred, sharp) == pytest.approx(expected, abs=1e-4)
