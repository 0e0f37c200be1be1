"""Resizes that become convolutions for an export give the same numbers."""

import keras
import numpy as np
import pytest
from skimage import data

from madn.export.resizing import ConvolvedResize, with_convolutions
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


def test_a_network_without_them_stays():
    image = keras.Input((None, None, 3))
    network = keras.Model(image, Resize(2, "bilinear")(image))
    assert with_convolutions(network) is network
