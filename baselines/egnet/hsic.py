"""The dependence measures of EGNet's Table 5: HSIC between features and images. Licence of this file: MIT.

The paper asks whether the input of the network's last convolution depends more on the sharp image than on the blurred
one, by the Hilbert-Schmidt independence criterion as Ma, Lewis and Kleijn have it ("The HSIC bottleneck", 2020):

    K_ij = exp(-||x_i - x_j||^2 / (2 sigma^2 d)),  sigma = 5, d the length of x_i;  C_X = K H,  H = I - 1/m
    HSIC(X, Y)  = tr(C_X C_Y) / m^2
    nHSIC(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))
    or            tr(R_X R_Y),  R = C (C + epsilon m I)^-1,  epsilon = 1e-5

Their text has the last, their code all three (choasma/HSIC-bottleneck), and EGNet's paper does not say which it took:
all three are measured. Nor does it say what a sample is. Here it is a pixel, m = 2000 random ones of an image: x has
the pixel's features, y the 7x7 pixels of the image around it, each of their numbers with zero mean and unit variance
over the samples. The paper's absolute values (1.68 and 1.81) therefore need not come out; their order may. By the first
nHSIC two independent samples do not score 0 but about sqrt(d_x d_y) / m.
"""

import keras
import numpy as np

SIGMA = 5.0
PATCH = 7
RIDGE = 1e-5
"""epsilon of the third measure."""


def hsic(x, y, sigma: float = SIGMA) -> float:
    """HSIC of two samples, in float64.

    Args:
        x, y: (m, d_x) and (m, d_y), row i of both belonging together.
    """
    return _hsic(_centred_kernel(x, sigma), _centred_kernel(y, sigma))


def nhsic(x, y, sigma: float = SIGMA) -> float:
    """HSIC of two samples by that of each with itself: 1 for identical samples. Arguments as of `hsic`."""
    return _nhsic(_centred_kernel(x, sigma), _centred_kernel(y, sigma))


def nhsic_cca(x, y, sigma: float = SIGMA) -> float:
    """The normalised HSIC of Ma et al.'s text, a sum of squared correlations. Arguments as of `hsic`."""
    return _cca(_centred_kernel(x, sigma), _centred_kernel(y, sigma))


def hsic_ratios(features, sharp, blurred, samples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Dependence on the sharp image by that on the blurred one, the mean over the images: Table 5, where blurred is 1.

    Args:
        features: (batch, height, width, channels), such as `tail_features` gives.
        sharp, blurred: (batch, height, width, 3) in [0, 1].
        samples: pixels of each image, the same ones of all images; all pixels that have a whole patch where those
            are fewer.
        seed: decides the choice of pixels.
    Returns:
        The ratio by each measure of `MEASURES`.
    Raises:
        ValueError: where the three do not have one batch, height and width, or a side is shorter than 7 pixels.
    """
    features, sharp, blurred = (np.asarray(array, "float64") for array in (features, sharp, blurred))
    if not features.shape[:3] == sharp.shape[:3] == blurred.shape[:3] or min(features.shape[1:3]) < PATCH:
        raise ValueError(
            f"features and images must have one batch, height and width, sides of {PATCH} or more; "
            f"received {features.shape}, {sharp.shape} and {blurred.shape}"
        )
    height, width = (side - PATCH + 1 for side in features.shape[1:3])
    chosen = np.random.default_rng(seed).permutation(height * width)[:samples]
    rows, columns = np.unravel_index(chosen, (height, width))  # These are the first pixels of the patches.
    ratios: dict[str, list[float]] = {name: [] for name in MEASURES}
    for feature, *images in zip(features, sharp, blurred, strict=True):
        x = _centred_kernel(_standardise(feature[rows + PATCH // 2, columns + PATCH // 2]), SIGMA)
        ys = [_centred_kernel(_standardise(_patches(image, rows, columns)), SIGMA) for image in images]
        for name, measure in MEASURES.items():
            to_sharp, to_blurred = (measure(x, y) for y in ys)
            ratios[name].append(to_sharp / to_blurred)
    return {name: float(np.mean(each)) for name, each in ratios.items()}


def tail_features(generator: keras.Model, images) -> np.ndarray:
    """What enters the last convolution, the layer `tail`: (batch, height, width, channels), float32.

    Args:
        generator: EGNet's, or its backbone's; not the self-ensemble, which runs it three times.
        images: (batch, height, width, 3) in [0, 1], sides multiples of 8.
    """
    features = keras.Model(generator.input, generator.get_layer("tail").input)
    return keras.ops.convert_to_numpy(keras.ops.cast(features(images, training=False), "float32"))


def _centred_kernel(x, sigma: float) -> np.ndarray:
    """K H of the samples x."""
    x = np.asarray(x, "float64")
    squares = np.sum(x * x, axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * x @ x.T, 0)
    kernel = np.exp(-distances / (2 * sigma**2 * x.shape[1]))
    return kernel - np.mean(kernel, axis=1, keepdims=True)


def _hsic(c_x, c_y) -> float:
    return float(np.sum(c_x * c_y.T) / len(c_x) ** 2)


def _nhsic(c_x, c_y) -> float:
    return _hsic(c_x, c_y) / np.sqrt(_hsic(c_x, c_x) * _hsic(c_y, c_y))


def _cca(c_x, c_y) -> float:
    # R is I - epsilon m (C + epsilon m I)^-1.
    identity = np.eye(len(c_x))
    r_x, r_y = (identity - RIDGE * len(c) * np.linalg.inv(c + RIDGE * len(c) * identity) for c in (c_x, c_y))
    return float(np.sum(r_x * r_y.T))


MEASURES = {"HSIC": _hsic, "nHSIC": _nhsic, "nHSIC by correlations": _cca}
"""The measures of two samples' centred kernels."""


def _standardise(x) -> np.ndarray:
    """Zero mean and unit variance of each column; a constant column becomes zero."""
    return (x - np.mean(x, axis=0)) / np.maximum(np.std(x, axis=0), 1e-8)


def _patches(image, rows, columns) -> np.ndarray:
    """(m, 7 * 7 * channels): the pixels around the chosen ones."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    return windows[rows, columns].reshape(len(rows), -1)
