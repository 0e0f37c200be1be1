"""Writes what check_tf215.py checks: a tiny MADN as a SavedModel, and what Keras 3 computes with it.

Usage: python tests/interop/make_reference.py FOLDER
"""

import sys
from pathlib import Path

import keras
import numpy as np

from madn.export.exporting import export
from madn.models.madn.generator import build_generator
from madn.nn.layers import InstanceNormalization

SIZES = ((32, 48), (37, 53), (64, 80))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)

    generator = build_generator(widths=(4, 8, 16))
    into_image_range(generator)
    export(generator, folder / "savedmodel", overwrite=True)
    arrays = {}
    for i, (height, width) in enumerate(SIZES):
        images = random.random((2, height, width, 3), dtype=np.float32)
        padded = np.pad(images, [(0, 0), (0, -height % 16), (0, -width % 16), (0, 0)], mode="reflect")
        restored = keras.ops.convert_to_numpy(generator(padded)["deblurred"])[:, :height, :width]
        arrays |= {f"blurred_{i}": images, f"deblurred_{i}": np.clip(restored, 0, 1)}
    np.savez(folder / "images.npz", **arrays)

    features = random.normal(1.0, 2.0, (2, 9, 13, 8)).astype(np.float32)
    layer = InstanceNormalization()
    layer.build(features.shape)
    gamma, beta = (random.normal(size=8).astype(np.float32) for _ in range(2))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    np.savez(
        folder / "instance_normalization.npz",
        features=features,
        gamma=gamma,
        beta=beta,
        epsilon=layer.epsilon,
        normalized=keras.ops.convert_to_numpy(layer(features)),
    )


def into_image_range(generator: keras.Model) -> None:
    """Shrink and shift the last convolution, so that an untrained network's output lies in [0, 1] unclipped."""
    kernel, bias = generator.get_layer("upblock").get_layer("image").get_weights()
    generator.get_layer("upblock").get_layer("image").set_weights([0.03 * kernel, bias + 0.5])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
