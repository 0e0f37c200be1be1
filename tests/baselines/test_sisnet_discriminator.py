"""SIS-Net's discriminator: Table 1's counts and sizes (the specification's oracles 2 and 8)."""

import keras
import numpy as np
import pytest
from keras import ops

from baselines.sisnet.discriminator import build_discriminator


def score(discriminator, images):
    return ops.convert_to_numpy(discriminator(images))


def test_table_1():
    discriminator = build_discriminator()
    assert discriminator.count_params() == 186_497
    shapes = dict(
        zip(
            [layer.name for layer in discriminator.layers],
            [layer.output.shape for layer in discriminator.layers],
            strict=True,
        )
    )
    assert list(shapes)[1:] == [
        "conv_1",
        "conv_2",
        "pool_3",
        "conv_4",
        "pool_5",
        "conv_6",
        "pool_7",
        "conv_8",
        "conv_9",
        "pool_10",
        "score",
        "sigmoid_11",
    ]
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
    """Pooling takes the mean of a map of eighths, of which the outer three in each direction see across a border."""
    discriminator = build_discriminator(8, "linear")
    pooled = discriminator.get_layer("pool_10")
    maps = keras.Model(discriminator.input, [pooled.input, pooled.output])
    image = np.random.default_rng(1).uniform(-1, 1, (1, 128, 128, 3)).astype("float32")
    once, mean = map(ops.convert_to_numpy, maps(image))
    tiled = ops.convert_to_numpy(maps(np.tile(image, (1, 2, 2, 1)))[0])
    np.testing.assert_allclose(mean, once.mean(axis=(1, 2)), rtol=1e-5, atol=1e-7)
    assert once.shape == (1, 16, 16, 8) and tiled.shape == (1, 32, 32, 8)
    inside = once[:, 3:-3, 3:-3]
    assert inside.std() > 1e-3
    for top in (3, 19):
        for left in (3, 19):
            np.testing.assert_allclose(tiled[:, top : top + 10, left : left + 10], inside, atol=1e-6)
    assert np.abs(tiled[:, :16, :16] - once).max() > 1e-3
