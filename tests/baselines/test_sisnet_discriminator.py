"""SIS-Net's discriminator: Table 1's counts and sizes (the specification's oracles 2 and 8)."""

import numpy as np
import pytest
from keras import ops

from baselines.sisnet.discriminator import build_discriminator


def score(discriminator, images):
    return ops.convert_to_numpy(discriminator(images))


def test_table_1():
    discriminator = build_discriminator()
    assert discriminator.count_params() == 186_497
    shapes = dict(zip([layer.name for layer in discriminator.layers],
                      [layer.output.shape for layer in discriminator.layers], strict=True))
    assert list(shapes)[1:] == ["conv_1", "conv_2", "pool_3", "conv_4", "pool_5", "conv_6", "pool_7", "conv_8",
                                "conv_9", "pool_10", "score", "sigmoid_11"]
    assert discriminator.get_layer("conv_1").kernel.shape == (3, 3, 3, 64)


def test_sizes_scores_and_range():
    discriminator = build_discriminator(8)
    for size in (8, 24, 104):
        scores = score(discriminator, np.random.default_rng(0).uniform(-1, 1, (2, size, 16, 3)).astype("float32"))
        assert scores.shape == (2, 1) and ((0 < scores) & (scores < 1)).all()
    assert build_discriminator(8, "linear").layers[-1].name == "score"


def test_dense_at_zero_gives_a_half():
    discriminator = build_discriminator(8)
    dense = discriminator.get_layer("score")
    dense.set_weights([np.zeros_like(weights) for weights in dense.get_weights()])
    assert score(discriminator, np.ones((1, 16, 16, 3), "float32")) == pytest.approx(0.5)


def test_tiling_an_image_changes_its_borders_alone():
    discriminator = build_discriminator(8, "linear")
    images = np.random.default_rng(1).uniform(-1, 1, (1, 256, 256, 3)).astype("float32")
    once, tiled = (float(score(discriminator, x)[0, 0]) for x in (images, np.tile(images, (1, 2, 2, 1))))
    other = float(score(discriminator, np.full_like(images, 1.0))[0, 0])
    assert abs(tiled - once) < 0.2 * abs(other - once)
