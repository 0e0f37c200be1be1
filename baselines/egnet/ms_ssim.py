"""Multi-scale structural similarity, EGNet's L_ssim (section 3.3.3, Eq. 16). Licence of this file: MIT.

The constants that Eq. 16 leaves open are those of Wang, Simoncelli and Bovik, "Multiscale structural similarity for
image quality assessment" (2003), as `tf.image.ssim_multiscale` has them too: five scales with 2x2 means between them,
an 11x11 Gaussian of sigma 1.5 inside the image, c1 = 0.01^2, c2 = 0.03^2, weights of the contrast-structure term at
every scale, the luminance term at the last scale only. A colour image scores the mean of its channels' products.

Two departures. The mean of a scale is kept above 1e-6: it can be negative, and its power would be NaN. Images too
small for five scales take fewer: see `ms_ssim`.
"""

import numpy as np
from keras import ops

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
FLOOR = 1e-6


def ms_ssim(a, b):
    """MS-SSIM of each pair of images, in float32: (batch,), 1 for identical images.

    The scales are as many of the five as leave both sides 11 pixels or more: five from 161 pixels on (so at the
    published crop of 256), four at 128, three at 64, two at 32. Where they are fewer than five, the weights of those
    left are scaled to the sum 1.

    Args:
        a, b: (batch, height, width, channels) of any float type, in [0, 1]; one of the two must have a known size.
    Raises:
        ValueError: where a side is shorter than 11 pixels, or no size is known.
    """
    a, b = ops.cast(a, "float32"), ops.cast(b, "float32")
    sides = [a.shape[axis] or b.shape[axis] for axis in (1, 2)]
    weights = scale_weights(*sides)
    result = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            a, b = _halve(a, sides), _halve(b, sides)
            sides = [(side + 1) // 2 for side in sides]
        luminance, structure = _similarity(a, b)
        term = luminance * structure if scale == len(weights) - 1 else structure
        result = result * ops.maximum(ops.mean(term, axis=(1, 2)), FLOOR) ** weight
    return ops.mean(result, axis=-1)


def scale_weights(height: int | None, width: int | None) -> tuple[float, ...]:
    """The weights of the scales that an image of this size allows, finest first.

    Raises `ValueError` where a side is shorter than 11 pixels, or unknown.
    """
    if height is None or width is None:
        raise ValueError("MS-SSIM needs images of a known height and width: they decide its number of scales")
    side, scales = min(height, width), 0
    while scales < len(WEIGHTS) and side >= WINDOW:
        side, scales = (side + 1) // 2, scales + 1
    if not scales:
        raise ValueError(f"MS-SSIM needs sides of {WINDOW} pixels or more; received {height} x {width}")
    if scales == len(WEIGHTS):
        return WEIGHTS  # Their sum is 1.0001, as they are printed.
    return tuple(weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales])


def _similarity(a, b):
    """The maps of the luminance term and of the contrast-structure term, each pixel and channel its own."""
    channels = a.shape[-1]
    means = _window(ops.concatenate([a, b, a * b, a * a + b * b], axis=-1))
    mean_a, mean_b, products, squares = (means[..., k * channels : (k + 1) * channels] for k in range(4))
    both, each = 2 * mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    return (both + C1) / (each + C1), (2 * products - both + C2) / (squares - each + C2)


def _window(x):
    """The Gaussian mean around each pixel whose window lies inside the image."""
    taps = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    kernel = ops.convert_to_tensor(np.tile((taps / taps.sum())[:, None], x.shape[-1]), x.dtype)
    x = ops.depthwise_conv(x, kernel[:, None, :, None], padding="valid")
    return ops.depthwise_conv(x, kernel[None, :, :, None], padding="valid")


def _halve(x, sides):
    """2x2 means; an odd side repeats its last pixel first."""
    if sides[0] % 2:
        x = ops.concatenate([x, x[:, -1:]], axis=1)
    if sides[1] % 2:
        x = ops.concatenate([x, x[:, :, -1:]], axis=2)
    x = x[:, ::2] + x[:, 1::2]
    return (x[:, :, ::2] + x[:, :, 1::2]) / 4
