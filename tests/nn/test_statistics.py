import keras
import numpy as np
import pytest
from keras import ops

from madn.nn import statistics
from madn.nn.layers import ImageMean, InstanceNormalization
from madn.nn.statistic_kinds import MEAN, MOMENTS, RANGE
from madn.nn.statistics import exchange, image_mean, image_moments, image_range

VALUES = np.random.default_rng(0).normal(2, 3, (2, 8, 12, 3)).astype(np.float32)


def numpy(values):
    return [ops.convert_to_numpy(value) for value in values]


def test_ordinarily_they_are_the_images_own():
    np.testing.assert_allclose(numpy([image_mean(VALUES)])[0], VALUES.mean((1, 2), keepdims=True), rtol=1e-5)
    for got, expected in zip(
        numpy([*image_moments(VALUES), *image_range(VALUES)]),
        (VALUES.mean((1, 2)), VALUES.var((1, 2)), VALUES.min((1, 2)), VALUES.max((1, 2))),
        strict=True,
    ):
        np.testing.assert_allclose(got[:, 0, 0], expected, rtol=1e-5)


def test_the_core_is_noted_and_what_is_given_is_used():
    core = (2, 6, 4, 8, 8, 12)  # rows 2 to 5 and columns 4 to 7 of a tile of 8 x 12
    with exchange(core, [(np.full((1, 1, 1, 3), 7, np.float32),)]) as taken:
        told = image_mean(VALUES)
    np.testing.assert_array_equal(numpy([told])[0], np.full((1, 1, 1, 3), 7))
    assert taken.kinds == [MEAN]
    np.testing.assert_allclose(numpy(taken.found[0])[0][:, 0, 0], VALUES[:, 2:6, 4:8].mean((1, 2)), rtol=1e-5)


def test_maps_of_other_scales_are_cut_in_proportion():
    with exchange((8, 24, 16, 32, 32, 48)) as taken:  # a map at a quarter of the tile's size
        image_range(VALUES)
    assert taken.kinds == [RANGE]
    np.testing.assert_array_equal(numpy(taken.found[0])[0][:, 0, 0], VALUES[:, 2:6, 4:8].min((1, 2)))


@pytest.mark.parametrize("affine", [False, True])
def test_instance_normalisation_by_its_own_and_by_given_moments(affine):
    layer = InstanceNormalization(center=affine, scale=affine)
    layer.build(VALUES.shape)
    if affine:
        layer.set_weights([np.float32([1, 2, 3]), np.float32([-1, 0, 1])])
    plain = ops.convert_to_numpy(layer(VALUES))
    with exchange() as taken:
        exchanged = ops.convert_to_numpy(layer(VALUES))
    np.testing.assert_allclose(exchanged, plain, atol=2e-6)
    assert taken.kinds == [MOMENTS]
    mean, variance = np.float32([1, 2, 3]).reshape(1, 1, 1, 3), np.float32([4, 5, 6]).reshape(1, 1, 1, 3)
    with exchange(given=[(mean, variance)]):
        given = ops.convert_to_numpy(layer(VALUES))
    expected = (VALUES - mean) / np.sqrt(variance + 1e-5)
    if affine:
        expected = expected * [1, 2, 3] + [-1, 0, 1]
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_image_mean_is_global_average_pooling():
    expected = keras.layers.GlobalAveragePooling2D(keepdims=True)(VALUES)
    np.testing.assert_allclose(numpy([ImageMean()(VALUES)])[0], numpy([expected])[0], rtol=1e-5)


def test_a_layer_learns_that_it_sees_a_tile():
    assert not statistics.is_tile()
    with exchange() as taken:
        assert not taken.asked and statistics.is_tile() and taken.asked
