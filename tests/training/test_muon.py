"""Muon on convolution kernels against Keras' own Muon on matrices, and against Adam where Adam is to be used."""

import keras
import numpy as np
import pytest

from madn.training.muon import ConvolutionMuon

RNG = np.random.default_rng(0)
WIDE, SQUARE, IMAGE, BIAS = (3, 3, 16, 24), (1, 1, 32, 32), (3, 3, 24, 3), (24,)


def after_steps(optimizer, start, gradients):
    variable = keras.Variable(start)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return keras.ops.convert_to_numpy(variable)


@pytest.mark.parametrize("shape", (WIDE, SQUARE))
def test_kernel_moves_as_keras_moves_the_same_matrix(shape):
    start = RNG.normal(size=shape).astype("float32")
    gradients = RNG.normal(size=(3, *shape)).astype("float32")
    matrix = (-1, shape[-1])
    expected = after_steps(
        keras.optimizers.Muon(0.01, weight_decay=None, adam_weight_decay=None),
        start.reshape(matrix),
        gradients.reshape(3, *start.reshape(matrix).shape),
    )
    moved = after_steps(ConvolutionMuon(0.01), start, gradients)
    np.testing.assert_allclose(moved.reshape(matrix), expected, atol=1e-4)
    assert np.abs(moved - start).max() > 0.01


def test_every_direction_of_a_kernel_moves_by_about_the_learning_rate():
    moved = after_steps(
        ConvolutionMuon(0.01),
        np.zeros(WIDE, "float32"),
        [1e-6 * RNG.normal(size=WIDE).astype("float32") * np.geomspace(1, 10, 24, dtype="float32")],
    )
    lengths = np.linalg.svd(moved.reshape(-1, 24), compute_uv=False) / (0.01 * 0.2 * np.sqrt(9 * 16))
    assert lengths.shape == (24,) and 0.65 < lengths.min() and lengths.max() < 1.25


@pytest.mark.parametrize("shape", (IMAGE, BIAS))
def test_kernels_of_few_channels_and_biases_move_as_adam_moves_them(shape):
    start = RNG.normal(size=shape).astype("float32")
    gradients = RNG.normal(size=(3, *shape)).astype("float32")
    expected = after_steps(keras.optimizers.Adam(0.01, epsilon=1e-7), start, gradients)
    np.testing.assert_allclose(after_steps(ConvolutionMuon(0.01), start, gradients), expected, atol=1e-6)


def test_biases_learn_at_their_share_of_the_rate():
    moved = [
        after_steps(ConvolutionMuon(0.01, bias_lr_ratio=ratio), np.zeros(shape, "float32"), [np.ones(shape, "float32")])
        for shape in (BIAS, IMAGE)
        for ratio in (1.0, 0.1)
    ]
    for found, expected in zip(moved, (-0.01, -0.001, -0.01, -0.01), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_kernel_without_a_gradient_stays():
    start = np.ones(WIDE, "float32")
    np.testing.assert_array_equal(after_steps(ConvolutionMuon(0.01), start, [np.zeros(WIDE, "float32")]), start)
