"""Resizes and deconvolutions that become convolutions for an export give the same numbers."""

import keras
import numpy as np
import pytest
from skimage import data

from madn.export.convolutions import ConvolvedDeconvolution, ConvolvedResize, with_convolutions
from madn.nn.layers import Resize

PHOTO = data.astronaut()[None, :101, :66].astype(np.float32) / 255


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("scale", [0.5, 0.25, 0.125, 2.0, 3.0])
@pytest.mark.parametrize("shape", [(101, 66), (8, 64), (24, 8)])
def test_as_sums_of_shifted_images(scale, antialias, shape):
    image = PHOTO[:, : shape[0], : shape[1]]
    expected = Resize(scale, antialias=antialias)(image)
    found = ConvolvedResize(scale, antialias=antialias)(image)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_bicubic_resizes_are_replaced_also_in_networks_inside():
    inner_image, image = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    inner = keras.Model(inner_image, Resize(2, name="larger")(inner_image), name="inner")
    first = Resize(2, "bilinear", name="bilinear")(Resize(0.5, name="smaller")(image))
    network = keras.Model(image, inner(keras.layers.Conv2D(3, 1, name="weights")(first)))
    changed = with_convolutions(network)
    kinds = {layer.name: type(layer) for layer in [*changed.layers, *changed.get_layer("inner").layers]}
    assert (kinds["smaller"], kinds["larger"], kinds["bilinear"]) == (ConvolvedResize, ConvolvedResize, Resize)
    assert changed.get_layer("weights") is network.get_layer("weights")
    np.testing.assert_allclose(changed(PHOTO[:, :100]), network(PHOTO[:, :100]), atol=1e-6)


def test_many_channels_stay_sums_of_shifted_images():
    images = np.random.default_rng(0).random((1, 16, 12, 5), dtype=np.float32)
    np.testing.assert_array_equal(ConvolvedResize(0.5)(images), Resize(0.5)(images))


@pytest.mark.parametrize("kernel, stride", [(4, 2), (2, 2), (6, 3), (3, 1), (5, 1), (8, 2), (6, 2)])
@pytest.mark.parametrize("bias, activation", [(True, "relu"), (False, None)])
def test_a_deconvolution_as_a_convolution(kernel, stride, bias, activation):
    image = keras.Input((None, None, 5))
    layer = keras.layers.Conv2DTranspose(
        3, kernel, stride, padding="same", use_bias=bias, activation=activation, name="larger"
    )
    network = keras.Model(image, layer(image))
    if bias:
        layer.bias.assign([0.1, -0.2, 0.3])
    changed = with_convolutions(network)
    assert type(changed.get_layer("larger")) is ConvolvedDeconvolution
    assert {id(weight) for weight in changed.weights} == {id(weight) for weight in network.weights}
    images = np.random.default_rng(1).standard_normal((2, 7, 4, 5), np.float32)
    np.testing.assert_allclose(changed(images), network(images), atol=1e-5)
    assert changed.compute_output_shape((2, 7, 4, 5)) == (2, 7 * stride, 4 * stride, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "strides": 2},
        {"kernel_size": 4, "strides": 2, "padding": "valid"},
        {"kernel_size": 4, "strides": 2, "activation": "softmax"},
    ],
)
def test_other_deconvolutions_stay(options):
    image = keras.Input((None, None, 5))
    network = keras.Model(image, keras.layers.Conv2DTranspose(3, **{"padding": "same", **options})(image))
    assert with_convolutions(network) is network


def test_a_network_without_them_stays():
    image = keras.Input((None, None, 3))
    network = keras.Model(image, Resize(2, "bilinear")(image))
    assert with_convolutions(network) is network
