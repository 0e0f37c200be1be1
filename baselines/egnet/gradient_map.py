"""The gradient map of EGNet (Zhao, Di, Gao, section 3.3.2, Eq. 15). Licence of this file: MIT.

    grad I = G(F(Ave(I))) * G(F(I))                                                            Eq. 15

Ave is the 3x3 mean, F the Laplacian, G a normalisation. The product of the two keeps what both the smoothed and the
plain image show: noise is damped, and faint edges are lifted to the range of strong ones.

Choices where the paper says nothing or contradicts itself:
- `*` is the element-wise product, as it is in Eq. 3 (convolution is written with another sign there).
- Eq. 14 calls its operator "the Laplacian", Eq. 15 defines it otherwise: Eq. 15 is built, "the proposed" one.
- F is the 4-neighbour Laplacian, applied to each colour; all filters reflect the image at its border.
- G, "normalization operation", is |x| / max |x| of each image and channel, the maximum being a constant for the
  derivative; `egnet-minmax` takes (x - min) / (max - min). On twelve official crops of 256, blurred against sharp, the
  weighted loss's gradient has 0.034 (median) of the norm of the mean squared error's, by minmax 0.084: both have a say.
  But 19% of minmax's loss is a constant offset between the two maps, which their two extreme pixels set (absmax: 1%),
  one wrong pixel costs 4.9 times what the whole blur costs (0.39 times), and flat areas lie at 0.25 to 0.34, not at 0.
  And noise is suppressed, as section 3.3.2 claims: on a GoPro frame with noise of 0.02 the map correlates with that of
  the clean frame by 0.87, by minmax 0.66, the Laplacian's by 0.54. Measured by
  `python -m pytest tests/baselines/test_egnet_objective.py -k "extreme or noise"`.
  A short training does not tell them apart: after 300 steps from the same start 28.01 dB on held-out crops by minmax,
  27.97 by absmax, blurred 28.07 (one run each of `python -m madn.train --recipe egnet-budget --gradient-norm NORM
  --seed 1 --steps 300 --round-steps 100 --data GOPRO REDS --validation GOPR0374_11_00,020,GOPR0477_11_00`).
"""

from typing import Literal

from keras import ops

from madn.nn.statistics import image_range

PYRAMID = (0.05, 0.25, 0.4, 0.25, 0.05)


Norm = Literal["absmax", "minmax"]


def gradient_map(images, norm: Norm = "absmax"):
    """The gradient map, float32 in [0, 1], of images (batch, height, width, channels), height and width at least 2.

    `norm`, the paper's G: "absmax", |x| / max |x|, or "minmax", (x - min) / (max - min).
    """
    images = ops.cast(images, "float32")
    return _normalise(laplacian(mean_filter(images)), norm) * _normalise(laplacian(images), norm)


def laplacian(images):
    """F: the sum of the four neighbours less four times the pixel, borders reflected."""
    x = _reflect(images)
    neighbours = (x[:, :-2, 1:-1] + x[:, 2:, 1:-1]) + (x[:, 1:-1, :-2] + x[:, 1:-1, 2:])
    return neighbours - 4 * images


def mean_filter(images):
    """Ave: the mean of the 3x3 pixels around each, borders reflected."""
    x = _reflect(images)
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9


def pyramid_edges(images):
    """The finest level of a Laplacian pyramid, as the edge loss of MPRNet takes it; borders repeated."""
    height, width = ops.shape(images)[1], ops.shape(images)[2]
    even_rows, even_columns = (ops.cast(ops.arange(n) % 2 == 0, "float32") for n in (height, width))
    kept = (
        4 * even_rows[:, None, None] * even_columns[None, :, None]
    )  # One pixel in four stays, at four times its value.
    return images - _blur(kept * _blur(images))


def _normalise(x, norm):
    """G of each image and channel; minimum and maximum are constants for the derivative."""
    low, high = map(ops.stop_gradient, image_range(x))
    if norm == "absmax":
        return ops.abs(x) / (ops.maximum(-low, high) + 1e-8)
    return (x - low) / (high - low + 1e-8)


def _reflect(images):
    return ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")


def _blur(images):
    """The 5-tap Gaussian of the pyramid, along columns and rows, borders repeated."""
    x = ops.concatenate([images[:, :1]] * 2 + [images] + [images[:, -1:]] * 2, axis=1)
    x = sum(weight * x[:, k : ops.shape(x)[1] - 4 + k] for k, weight in enumerate(PYRAMID))
    x = ops.concatenate([x[:, :, :1]] * 2 + [x] + [x[:, :, -1:]] * 2, axis=2)
    return sum(weight * x[:, :, k : ops.shape(x)[2] - 4 + k] for k, weight in enumerate(PYRAMID))
