"""Kernels found in photographs blurred with a known one, and what deconvolution with them gains."""

import cv2
import numpy as np
import pytest
from skimage import data

from madn.evaluation.deconvolution import REFERENCES, blind_kernel, deconvolve, fitted_kernel, linear_kernel
from madn.evaluation.metrics import psnr
from madn.imaging.arrays import to_float

MARGIN = 30


def blur(kernel, photo="astronaut", noise=0.002):
    """A photograph and its blurred partner as 8-bit files hold them; what lies outside of them is the real scene."""
    scene = to_float(getattr(data, photo)())
    blurred = cv2.filter2D(scene, -1, kernel[::-1, ::-1].copy())  # filter2D correlates
    blurred += np.random.default_rng(0).normal(0.0, noise, blurred.shape)
    inside = (slice(MARGIN, -MARGIN),) * 2
    return to_float(np.rint(255 * np.clip(blurred, 0, 1)).astype(np.uint8))[inside], scene[inside]


def curve():
    """A kernel that no straight line is: two strokes of a camera shake, off the middle."""
    kernel = np.zeros((15, 15), np.float32)
    kernel[2, 3:12] = 1.0
    kernel[3:11, 11] = 2.0
    return kernel / kernel.sum()


def middle(kernel, size):
    """The kernel with zeros around it, or cut, to size x size."""
    most = max(size, *kernel.shape)
    kernel = np.pad(kernel, [((most - n) // 2,) * 2 for n in kernel.shape])
    cut = (most - size) // 2
    return kernel[cut : most - cut, cut : most - cut]


def stretch(kernel):
    """Length and angle of the uniform line with the kernel's second moments."""
    y, x = np.indices(kernel.shape) - np.array(kernel.shape)[:, None, None] // 2
    xx, xy, yy = (float((kernel * each).sum()) for each in (x * x, -x * y, y * y))
    values, vectors = np.linalg.eigh([[xx, xy], [xy, yy]])
    return np.sqrt(12 * values[1]), np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180


@pytest.mark.parametrize("length, angle, shape", [(0, 0, (1, 1)), (5, 0, (7, 7)), (9, 45, (11, 11))])
def test_linear_kernels_have_their_length_and_angle(length, angle, shape):
    kernel = linear_kernel(length, angle)
    assert kernel.shape == shape and kernel.dtype == np.float32
    assert kernel.min() >= 0.0 and kernel.sum() == pytest.approx(1.0)
    y, x = np.indices(shape) - np.array(shape)[:, None, None] // 2
    along = x * np.cos(np.radians(angle)) - y * np.sin(np.radians(angle))
    across = x * np.sin(np.radians(angle)) + y * np.cos(np.radians(angle))
    assert (kernel * along).sum() == pytest.approx(0.0, abs=1e-6)  # about the middle
    # A uniform stretch has variance length^2 / 12; the interpolation between pixels adds up to 1/4.
    assert length**2 / 12 - 1e-3 <= (kernel * along**2).sum() <= length**2 / 12 + 0.25
    assert (kernel * across**2).sum() <= 0.25


def test_angles_are_counter_clockwise_from_the_right():
    kernel = linear_kernel(9, 30)
    y, x = np.nonzero(kernel)
    assert np.corrcoef(x, y)[0, 1] < 0  # to the right is up
    np.testing.assert_allclose(linear_kernel(9, 90), linear_kernel(9, 0).T, atol=1e-6)


@pytest.mark.parametrize("kernel", [curve(), linear_kernel(19, 25)])
def test_the_kernel_of_a_pair_is_recovered(kernel):
    found = fitted_kernel(*blur(kernel), size=25)
    assert found.shape == (25, 25) and found.dtype == np.float32
    assert found.min() >= 0.0 and found.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.abs(found - middle(kernel, 25)).sum() < 0.25  # of 2, where nothing coincides


def test_the_kernel_of_equal_images_is_a_point():
    sharp = blur(linear_kernel(0, 0))[1]
    found = fitted_kernel(sharp, sharp, size=15)
    assert found[7, 7] > 0.98


def test_small_images_have_small_kernels():
    sharp = blur(linear_kernel(0, 0))[1][:24, :40]
    assert fitted_kernel(sharp, sharp).shape == (11, 11)
    for name, restore in REFERENCES.items():
        for size in ((11, 11), (24, 40)):
            restored = restore(sharp[: size[0], : size[1]], sharp[: size[0], : size[1]])
            assert restored.shape == (*size, 3) and np.isfinite(restored).all(), name


@pytest.mark.parametrize("kernel, gain", [(curve(), 4.0), (linear_kernel(15, 60), 2.5)])
def test_the_true_kernel_gains_and_borders_do_not_ring(kernel, gain):
    blurred, sharp = blur(kernel)
    restored = deconvolve(blurred, kernel)
    assert restored.dtype == np.float32 and restored.min() >= 0.0 and restored.max() <= 1.0
    assert psnr(restored, sharp) > psnr(blurred, sharp) + gain
    inner = (slice(16, -16),) * 2
    edge = np.ones(sharp.shape[:2], bool)
    edge[inner] = False

    def errors(image):
        squares = ((image - sharp) ** 2).mean(2)
        return squares[edge].mean(), squares[inner].mean()

    (before, _), (near, far) = errors(blurred), errors(restored)
    assert near < before and near < 3 * far


def test_black_stays_black():
    blurred = np.zeros((64, 64, 3), np.float32)
    blurred[20:40, 20:40] = 1.0
    blurred = cv2.filter2D(blurred, -1, linear_kernel(9, 0))
    for image in (blurred, np.zeros_like(blurred)):
        restored = deconvolve(image, linear_kernel(9, 0))
        assert np.isfinite(restored).all() and restored[:8].max() < 1e-3


@pytest.mark.parametrize("photo, length, angle", [("coffee", 8, 100), ("astronaut", 18, 37), ("coffee", 29, 0)])
def test_the_blind_search_finds_a_linear_motion(photo, length, angle):
    blurred, sharp = blur(linear_kernel(length, angle), photo)
    found = blind_kernel(blurred)
    assert found.min() >= 0.0 and found.sum() == pytest.approx(1.0)
    length_found, angle_found = stretch(found)
    assert length_found == pytest.approx(length, abs=1.5)
    assert abs((angle_found - angle + 90) % 180 - 90) <= 4
    assert psnr(deconvolve(blurred, found), sharp) > psnr(blurred, sharp) + 2


@pytest.mark.parametrize("photo", ["astronaut", "chelsea"])
def test_the_blind_search_leaves_a_sharp_photo_nearly_alone(photo):
    sharp = blur(linear_kernel(0, 0), photo)[0]
    assert psnr(REFERENCES["deconvolution-blind"](sharp, None), sharp) > 30


def test_the_references_gain_and_say_what_they_are():
    blurred, sharp = blur(curve())
    fitted, blind = REFERENCES["deconvolution-fitted"], REFERENCES["deconvolution-blind"]
    assert psnr(fitted(blurred, sharp), sharp) > psnr(blurred, sharp) + 3
    assert psnr(blind(blurred, sharp), sharp) > psnr(blurred, sharp) - 1.5
    for name, reference in REFERENCES.items():
        assert reference.description.startswith(f"{name}: ")
        assert ("oracle" in reference.title) == ("oracle" in reference.description) == (reference is fitted)
    assert "sharp image was used" in fitted.description and "blurred image alone" in blind.description
