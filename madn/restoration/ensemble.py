"""The geometric self-ensemble: an image is restored in its eight flips and turns, and the mean of these is taken.

A network errs a little differently in each of them (Lim et al., "Enhanced deep residual networks for single image
super-resolution", 2017, section 4.3).
"""

from collections.abc import Callable
from itertools import product

import numpy as np

COUNT = 8


def ensembled(restored: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> np.ndarray:
    """The mean of `restored` over the flips and turns of an image (H, W, C): the same shape and type, rounded.

    `restored` takes an image of either orientation, (H, W, C) or (W, H, C), and keeps its shape and type.
    """
    whole = np.issubdtype(image.dtype, np.integer)
    kind = f"uint{16 * image.itemsize}" if whole else np.result_type(image.dtype, np.float32)
    total = np.zeros(image.shape, kind)
    for mirrored, turns in product((False, True), range(4)):
        view = np.rot90(image[:, ::-1] if mirrored else image, turns)
        back = np.rot90(restored(np.ascontiguousarray(view)), -turns)
        total += back[:, ::-1] if mirrored else back
    return ((total + COUNT // 2) // COUNT if whole else total / COUNT).astype(image.dtype)
