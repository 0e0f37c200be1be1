"""The dependence measure of EGNet's Table 5: normalised HSIC between features and images. Licence of this file: MIT.

The paper asks whether the input of the network's last convolution depends more on the sharp image than on the blurred
one, by the Hilbert-Schmidt independence criterion as Ma, Lewis and Kleijn have it ("The HSIC bottleneck", 2020):

    K_ij = exp(-||x_i - x_j||^2 / (2 sigma^2 d)),  sigma = 5, d the length of x_i
    HSIC(X, Y) = tr(K H L H) / m^2,  H = I - 1/m;     nHSIC = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))

The paper does not say what a sample is. Here it is a pixel, m = 2000 random ones of an image: x has the pixel's
features, y the 7x7 pixels of the image around it, each of their numbers with zero mean and unit variance over the
samples. The
paper's absolute values (1.68 and 1.81) therefore need not come out; their order may. Two independent samples do not
score 0 but about sqrt(d_x d_y) / m.
"""

import keras
import numpy as np

SIGMA = 5.0
PATCH = 7


def nhsic(x, y, sigma: float = SIGMA) -> float:
    """Normalised HSIC of two samples, in float64: 1 for identical samples.

    Args:
        x, y: (m, d_x) and (m, d_y), row i of both belonging together.
    """
    k_x, k_y = _centred_kernel(x, sigma), _centred_kernel(y, sigma)
    return float(np.sum(k_x * k_y.T) / np.sqrt(np.sum(k_x * k_x.T) * np.sum(k_y * k_y.T)))


def hsic_ratio(features, sharp, blurred, samples: int = 2000, seed: int = 0) -> float:
    """nHSIC(features, sharp) / nHSIC(features, blurred), the mean over the images: Table 5, where blurred is 1.

    Args:
        features: (batch, height, width, channels), such as `tail_features` gives.
        sharp, blurred: (batch, height, width, 3) in [0, 1].
        samples: pixels of each image, the same ones of all images; all pixels that have a whole patch where those
            are fewer.
        seed: decides the choice of pixels.
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
    ratios = []
    for feature, *images in zip(features, sharp, blurred, strict=True):
        x = _standardise(feature[rows + PATCH // 2, columns + PATCH // 2])
        to_sharp, to_blurred = (nhsic(x, _standardise(_patches(image, rows, columns))) for image in images)
        ratios.append(to_sharp / to_blurred)
    return float(np.mean(ratios))


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


def _standardise(x) -> np.ndarray:
    """Zero mean and unit variance of each column; a constant column becomes zero."""
    return (x - np.mean(x, axis=0)) / np.maximum(np.std(x, axis=0), 1e-8)


def _patches(image, rows, columns) -> np.ndarray:
    """(m, 7 * 7 * channels): the pixels around the chosen ones."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (PATCH, PATCH), axis=(0, 1))
    return windows[rows, columns].reshape(len(rows), -1)
