"""Two traditional references without a network: one kernel for the whole image, then Richardson-Lucy deconvolution.

Neither is a method that the papers compare with: Whyte et al. (2012), traditional, and Sun et al. (2015), a network
that predicts kernels, estimate one that differs from place to place, and are not run here. Their published numbers are
not these references' numbers, nor the other way round.

- "deconvolution-fitted" is an oracle: it sees the sharp image. Its kernel is the uniform one that explains the blurred
  image and its sharp partner best. What it gives is what Richardson-Lucy recovers with that kernel: no method that has
  the blurred image alone is to be held against it as a rival, and it is no bound for them either.
- "deconvolution-blind" finds a linear motion kernel in the blurred image alone, or none; it then returns the image.

The deconvolution is scikit-image's, of each channel. In the mean PSNR of six GoPro training pairs it was ahead of
scikit-image's Wiener filter (at every balance tried), and better with 10 iterations than with 5 or 20.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import fft
from skimage.color import rgb2gray

ITERATIONS = 10
SIZE = 45  # The fitted kernel has at most so many pixels a side.
LONGEST = 36  # The blind search looks for linear kernels of at most so many pixels.
LENGTHS = range(3, LONGEST, 2)  # It begins with these lengths in pixels,
ANGLES = range(0, 180, 15)  # in these directions in degrees.
CROP = 384  # The blind search looks at the middle of the image, so many pixels a side.
# The prior's strengths that are tried are variances of a photograph's gradients.
STRENGTHS = [10.0 ** (n / 3) for n in range(-15, -5)]
NOISE = 0.002  # The blind search presumes noise of this standard deviation, half a step of 8 bits.


def fitted_kernel(blurred: np.ndarray, sharp: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The kernel k that minimises |gradient of (blurred - k * sharp)|^2: an oracle, since it sees the sharp image.

    Least squares on the luminance, faded out towards the borders, with k >= 0, a small ridge and (sum(k) - 1)^2; then
    k is made to sum to exactly 1.

    Args:
        blurred, sharp: float (H, W, 3) in [0, 1], one shape.
        size: odd side of the kernel in pixels; at most half of the image's shorter side is used.
    Returns:
        float32 (size, size), not negative, sum 1.
    """
    from scipy.optimize import minimize  # Like Richardson-Lucy's, its import takes long, and no other method needs it.

    size = min(size, (min(sharp.shape[:2]) // 2 - 1) | 1)
    shape = [fft.next_fast_len(n + size, real=True) for n in sharp.shape[:2]]
    before, after = (
        fft.rfft2(np.stack(np.gradient(rgb2gray(image))) * _window(sharp.shape[:2]), shape)
        for image in (sharp, blurred)
    )
    # This correlates the sharp image with itself, by displacement.
    products = fft.irfft2((np.abs(before) ** 2).sum(0), shape)
    mixed = fft.irfft2((np.conj(before) * after).sum(0), shape) / products[0, 0]
    y, x = (axis.ravel() for axis in np.indices((size, size)))
    normal = products[y[:, None] - y, x[:, None] - x] / products[0, 0] + 1e-3 * np.eye(size * size) + 1.0
    wanted = mixed[y - size // 2, x - size // 2] + 1.0

    def error(kernel: np.ndarray) -> tuple[float, np.ndarray]:
        gradient = normal @ kernel - wanted
        return 0.5 * kernel @ (gradient - wanted), gradient

    found = minimize(
        error,
        np.full(size * size, size**-2.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * size**2,
        options={"maxiter": 1000, "ftol": 0.0, "gtol": 1e-7},
    ).x
    return (found / found.sum()).reshape(size, size).astype(np.float32)


def linear_kernel(length: float, angle: float) -> np.ndarray:
    """A straight motion at constant speed: `length` pixels at `angle` degrees, counter-clockwise from the right.

    Returns float32 with odd sides, not negative, sum 1; length 0 is the single pixel.
    """
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 2, 2 * half + 2))  # The interpolation needs one more row and column.
    along = np.linspace(-0.5, 0.5, 64 * half + 1) * length
    y, x = half - along * np.sin(np.radians(angle)), half + along * np.cos(np.radians(angle))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            np.add.at(kernel, (top + down, left + right), share)
    return (kernel[:-1, :-1] / kernel[:-1, :-1].sum()).astype(np.float32)


def blind_kernel(blurred: np.ndarray) -> np.ndarray:
    """The linear kernel that is most likely from a float (H, W, 3) image in [0, 1] alone, as `linear_kernel` gives it.

    Among none (1x1) and a grid of lengths and angles, then their neighbours, the one with the largest likelihood of
    the luminance's spectrum: a Gaussian image prior, 1/f^2, times the kernel's spectrum, plus noise, with the prior's
    strength fitted. This is the marginal likelihood of Levin et al. (2011) for a Gaussian prior. It looks for the
    kernel's zeros; the sparsity of the deconvolved gradients (Krishnan et al. 2011) was tried and took short
    kernels whatever the blur.
    """
    height, width = (min(n, CROP) for n in blurred.shape[:2])
    top, left = (blurred.shape[0] - height) // 2, (blurred.shape[1] - width) // 2
    luminance = rgb2gray(blurred[top : top + height, left : left + width])
    window = _window((height, width))
    power = np.abs(fft.rfft2((luminance - luminance.mean()) * window)) ** 2 / np.sum(window**2)
    waves = [2 - 2 * np.cos(2 * np.pi * f) for f in (np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))]
    steepness = (waves[0] + waves[1]).astype(np.float32)
    steepness[0, 0] = np.inf  # The mean was subtracted, so that this wave has nothing to say.

    def unlikeliness(motion: tuple[float, float]) -> float:
        prior = np.abs(fft.rfft2(linear_kernel(*motion), (height, width))) ** 2 / steepness
        expected = (strength * prior + NOISE**2 for strength in STRENGTHS)
        return min(float(np.mean(np.log(each) + power / each)) for each in expected)

    def likeliest(motions: Iterable[tuple[float, float]]) -> tuple[float, float]:
        return min(motions, key=unlikeliness)

    longest = min(height // 2, width // 2, LONGEST + 1)
    length, angle = likeliest(
        [(0, 0), *((length, angle) for length in LENGTHS if length < longest for angle in ANGLES)]
    )
    # A kernel of half or a third of the true length shares some of its zeros, so longer ones are tried, too.
    for turn in (5, 2) if length else ():
        length, angle = likeliest(
            (longer, angle + many * turn)
            for many in (-2, -1, 0, 1, 2)
            for longer in {times * length + more for times in (1, 2, 3) for more in (-1, 0, 1)}
            if 0 < longer < longest
        )
    return linear_kernel(length, angle % 180)


def deconvolve(blurred: np.ndarray, kernel: np.ndarray, iterations: int = ITERATIONS) -> np.ndarray:
    """Richardson-Lucy deconvolution of a float (H, W, 3) image in [0, 1], which gives float32 of the same kind.

    The image is continued by reflection, so that its borders do not ring. A 1x1 kernel gives the image back.
    """
    image = blurred.astype(np.float32, copy=False)
    if kernel.size == 1:
        return image
    from skimage.restoration import richardson_lucy  # Its import takes a second, which no other method needs.

    height, width = image.shape[:2]
    y, x = (2 * n for n in kernel.shape)
    padded = np.pad(image, ((y, y), (x, x), (0, 0)), mode="symmetric")
    # The transforms leave some 1e-8 where an image is black, also below 0: nothing is divided by that.
    restored = [
        richardson_lucy(channel, kernel, iterations, filter_epsilon=1e-4)[y : y + height, x : x + width]
        for channel in np.moveaxis(padded, 2, 0)
    ]
    return np.clip(np.stack(restored, axis=2), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Reference:
    """A traditional method: called with (blurred, sharp), float32 (H, W, 3) in [0, 1], it returns the restored image.

    `title` is for legends, `description` says what was measured, and whether the sharp image was used.
    """

    title: str
    description: str
    restore: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __call__(self, blurred: np.ndarray, sharp: np.ndarray) -> np.ndarray:
        return self.restore(blurred, sharp)


REFERENCES = {
    "deconvolution-fitted": Reference(
        "Richardson-Lucy, kernel fitted to the sharp image (oracle)",
        "deconvolution-fitted: scikit-image's Richardson-Lucy with one uniform kernel, fitted to the blurred image and "
        "its sharp partner: an oracle, for the sharp image was used",
        lambda blurred, sharp: deconvolve(blurred, fitted_kernel(blurred, sharp)),
    ),
    "deconvolution-blind": Reference(
        "Richardson-Lucy, blind linear kernel",
        "deconvolution-blind: scikit-image's Richardson-Lucy with one linear motion kernel, found in the blurred image "
        "alone",
        lambda blurred, sharp: deconvolve(blurred, blind_kernel(blurred)),
    ),
}


def _window(shape: tuple[int, int]) -> np.ndarray:
    return np.outer(*map(np.hanning, shape)).astype(np.float32)
