"""Networks rewritten for restoration agree with what they were, and share what was not rewritten."""

import keras
import numpy as np
import pytest
from keras import layers
from narrow import narrow
from skimage import data

from madn.nn.layers import Resize
from madn.restoration.graph_optimisation import Enlargement, FourPixels, optimised
from madn.restoration.inference import Inference
from madn.training.precision import dtype_policy

PHOTO = data.astronaut()[None, 40:104, 100:196].astype(np.float32) / 255
rewritten_on_cpu = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only where TensorFlow computes")


def randomized(model):
    """The model with weights and stored statistics of no special values."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        low, high = (0.5, 1.5) if "variance" in variable.path or "gamma" in variable.path else (-0.3, 0.3)
        variable.assign(rng.uniform(low, high, variable.shape))
    return model


def normalized(x, width, name, **options):
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv", **options)(x)
    return layers.Activation("relu")(layers.BatchNormalization(scale=width % 2 == 0, name=f"{name}_norm")(x))


def nested():
    """A network with pairs on its own and in two functional models, one inside the other and called twice."""
    inner = keras.Input((None, None, 6))
    inner = keras.Model(inner, normalized(inner, 6, "inner"), name="inner")
    middle = keras.Input((None, None, 5))
    middle = keras.Model(middle, inner(inner(normalized(middle, 6, "middle", strides=2))), name="middle")
    image = keras.Input((None, None, 3))
    x = middle(normalized(image, 5, "outer"))
    return randomized(keras.Model(image, layers.Conv2D(8, 1, name="last")(x)))


def called(model, images=PHOTO):
    return keras.ops.convert_to_numpy(model(images, training=False)).astype(np.float32)


def kinds(model):
    return [type(layer) for layer in model._flatten_layers()]


def test_pairs_become_one_also_inside_nested_models():
    model = nested()
    new = optimised(model)
    assert kinds(model).count(layers.BatchNormalization) == 3 and layers.BatchNormalization not in kinds(new)
    assert new.get_layer("last") is model.get_layer("last")
    assert [layer.name for layer in new.layers[1:]] == [layer.name for layer in model.layers[1:]]
    np.testing.assert_allclose(called(new), called(model), rtol=1e-5, atol=1e-5)


def test_pairs_in_bfloat16():
    with dtype_policy("mixed_bfloat16"):
        model = nested()
    new = optimised(model)
    assert layers.BatchNormalization not in kinds(new)
    assert new.output.dtype == "bfloat16"
    expected = called(model)
    assert np.abs(called(new) - expected).max() < 0.03 * np.abs(expected).max()


def test_the_network_keeps_its_weights():
    model = nested()
    before = [value.copy() for value in model.get_weights()]
    optimised(model)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: layers.BatchNormalization()(layers.Conv2D(8, 3)(x)),
        lambda x: layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False, activation="relu")(x)),
        lambda x: layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(x)),
        lambda x: layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3, use_bias=False)(x)),
        lambda x: layers.Add()([y := layers.Conv2D(8, 3, use_bias=False)(x), layers.BatchNormalization()(y)]),
        lambda x: layers.Conv2D(8, 3, padding="same")(x),
    ],
    ids=["bias", "activation", "depthwise", "axis", "taken", "none"],
)
def test_what_is_no_pair_stays(build):
    image = keras.Input((32, 48, 8))
    model = keras.Model(image, build(image))
    assert optimised(model) is model


@rewritten_on_cpu
@pytest.mark.parametrize("kernel", [3, 5, 7, (3, 5)])
@pytest.mark.parametrize("size", [(16, 24), (15, 24), (16, 23), (9, 3)])
def test_four_pixels_at_once(kernel, size):
    image = keras.Input((None, None, 5))
    layer = layers.Conv2D(3, kernel, padding="same", activation="tanh", name="image")
    model = randomized(keras.Model(image, layer(image)))
    new = optimised(model)
    assert type(new.get_layer("image")) is FourPixels and new.output.shape == model.output.shape
    images = np.random.default_rng(0).random((2, *size, 5), np.float32)
    np.testing.assert_allclose(called(new, images), called(model, images), atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(5, 3, padding="same"),
        layers.Conv2D(3, 1, padding="same"),
        layers.Conv2D(3, 3, 2, padding="same"),
        layers.Conv2D(3, 3),
        layers.Conv2D(3, 4, padding="same"),
        layers.Conv2D(3, 3, padding="same", dilation_rate=2),
    ],
    ids=["wide", "1x1", "strides", "valid", "even", "dilated"],
)
def test_other_convolutions_stay(layer):
    image = keras.Input((None, None, 8))
    model = keras.Model(image, layer(image))
    assert optimised(model) is model


@rewritten_on_cpu
@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_enlargements(scale, dtype):
    image = keras.Input((None, None, 3))
    layer = Resize(scale, "bilinear", antialias=False, dtype=dtype, name="large")
    model = keras.Model(image, layer(image))
    new = optimised(model)
    assert type(new.get_layer("large")) is Enlargement and new.output.dtype == dtype
    np.testing.assert_allclose(called(new), called(model), atol=1e-6 if dtype == "float32" else 0.01)


@rewritten_on_cpu
@pytest.mark.parametrize(
    "name, changes",
    [
        pytest.param("sisnet", {"backbone": "inception_v3", "crop": 128}, marks=pytest.mark.slow),
        ("structure_guided", {}),
    ],
)
def test_networks_of_papers(name, changes):
    generator = narrow(name, **changes).build_generator()
    rng = np.random.default_rng(0)
    for variable in generator.weights:
        value = 0.02 * rng.standard_normal(variable.shape)
        variable.assign_add(np.abs(value) if "variance" in variable.path else value)
    new = Inference(generator).generator
    assert FourPixels in kinds(new) and layers.BatchNormalization not in kinds(new)
    photo = data.astronaut()[None, :128, 100:260].astype(np.float32) / 255
    expected = keras.ops.convert_to_numpy(generator(photo, training=False)["deblurred"])
    assert np.abs(expected - photo).max() > 1e-3, "does nothing"
    np.testing.assert_allclose(called(new, photo), expected, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [None, "tanh"])
def test_a_projection_becomes_part_of_the_deconvolution_before_it(bias, activation):
    image = keras.Input((None, None, 3))
    x = layers.Conv2DTranspose(9, 4, 2, padding="same", use_bias=bias, name="larger")(image)
    x = layers.Conv2D(2, 1, use_bias=bias, activation=activation, name="projection")(x)
    model = randomized(keras.Model(image, x))
    new = optimised(model)
    assert new.get_layer("larger").filters == 2 and type(new.get_layer("projection")) is layers.Identity
    np.testing.assert_allclose(called(new), called(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "kernel, width, activation", [(3, 2, None), (1, 12, None), (1, 2, "relu")], ids=["wider", "more", "not linear"]
)
def test_other_convolutions_behind_a_deconvolution_stay(kernel, width, activation):
    image = keras.Input((None, None, 3))
    x = layers.Conv2DTranspose(9, 4, 2, padding="same", activation=activation)(image)
    model = keras.Model(image, layers.Conv2D(width, kernel, padding="same")(x))
    assert optimised(model, here=False) is model


def test_an_export_is_rewritten_for_no_machine():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Resize(2, "bilinear")(layers.Conv2D(3, 5, padding="same")(image)))
    assert optimised(model, here=False) is model
