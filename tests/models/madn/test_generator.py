"""MADN's networks against the specification's parameter counts, shapes and algebra."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from madn.models.madn.discriminator import build_discriminator
from madn.models.madn.generator import build_generator
from madn.nn.layers import resize
from madn.training.gradients import input_gradient

TINY = (4, 8, 16)


def images(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_default_counts():
    generator = build_generator()
    assert generator.count_params() == 29_071_817
    assert {name: generator.get_layer(name).count_params() for name in ("sn", "gn", "upblock")} == {
        "sn": 13_171_971,
        "gn": 14_645_187,
        "upblock": 1_254_659,
    }
    assert len(generator.trainable_variables) == 244
    assert not generator.non_trainable_variables
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in generator._flatten_layers())


def test_a_reader_meets_at_most_ten_arguments():
    assert len(inspect.signature(build_generator).parameters) <= 10


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"kernels": (3, 4)}, 29_645_257),
        ({"gradient_network": "by_scale"}, 28_555_721),
        ({"gradient_network": "image"}, 28_344_905),
        ({"gradient_network": "none"}, 13_171_971),
        ({"widths": (32, 64, 128)}, 7_273_705),
        ({"widths": (8, 16, 32)}, 456_769),
        ({"widths": TINY}, 114_917),
        # SRN has 6,881,251 (Tao et al. 2018); its last convolution, 5x5x32x3 + 3, is 5x5x32x32 + 32 and 32x3 + 3 here
        (
            {"widths": (32, 64, 128), "res_blocks": 3, "kernels": (5, 4), "gradient_network": "none"},
            6_881_251 - (25 * 32 * 3 + 3) + (25 * 32 * 32 + 32) + (32 * 3 + 3),
        ),
    ],
)
def test_counts_of_the_choices(options, count):
    assert build_generator(**options).count_params() == count


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_scales_share_their_weights(scales):
    assert build_generator(TINY, scales=scales).count_params() == 114_917


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_output_shapes(size):
    h, w = size
    outputs = build_generator(TINY)(images(2, h, w, 3))
    assert outputs["deblurred"].shape == outputs["gradient"].shape == (2, h, w, 3)
    assert [tuple(image.shape) for image in outputs["scales"]] == [
        (2, h, w, 3),
        (2, h // 2, w // 2, 3),
        (2, h // 4, w // 4, 3),
    ]


@pytest.mark.parametrize("size", [(256, 256), (720, 1280)])
def test_default_output_shapes(size):
    h, w = size
    outputs = build_generator().compute_output_spec(keras.KerasTensor((2, h, w, 3)))
    assert outputs["deblurred"].shape == outputs["gradient"].shape == (2, h, w, 3)
    assert [image.shape for image in outputs["scales"]] == [
        (2, h, w, 3),
        (2, h // 2, w // 2, 3),
        (2, h // 4, w // 4, 3),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_network": "by_scale"},
        {"gradient_network": "image"},
        {"residual": "blurred"},
        {"residual": "scale"},
        {"stop_gradient_across_scales": True},
        {"kernels": (5, 4)},
        {"resize": "tf1"},
        {"residual": "blurred"},
        {"scales": 1},
    ],
)
def test_every_choice_restores_an_image(options):
    outputs = build_generator(TINY, **options)(images(1, 32, 64, 3))
    assert outputs["deblurred"].shape == (1, 32, 64, 3)
    assert all(np.isfinite(ops.convert_to_numpy(x)).all() for x in (outputs["deblurred"], outputs["gradient"]))


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="multiples of 16; received 50 x 48"):
        build_generator(TINY)(np.zeros((1, 50, 48, 3), "float32"))


def test_zero_weights_give_zero_and_a_bias_gives_its_constant():
    generator = build_generator(TINY)
    for variable in generator.variables:
        variable.assign(ops.zeros_like(variable))
    outputs = generator(images(1, 32, 32, 3))
    for image in (outputs["deblurred"], outputs["gradient"], *outputs["scales"]):
        assert_array_equal(ops.convert_to_numpy(image), 0)
    generator.get_layer("upblock").get_layer("image").bias.assign([0.3] * 3)
    assert_allclose(generator(images(1, 32, 32, 3))["deblurred"], np.full((1, 32, 32, 3), 0.3), rtol=1e-6)


def zeros(**options):
    """A generator whose weights are all zero."""
    generator = build_generator(TINY, **options)
    for variable in generator.variables:
        variable.assign(ops.zeros_like(variable))
    return generator


def test_added_to_the_blurred_image_zero_weights_are_the_identity_at_every_scale():
    blurred = images(1, 32, 32, 3)
    outputs = zeros(residual="blurred")(blurred)
    assert_allclose(outputs["deblurred"], blurred, atol=1e-6)
    for image, scale in zip(outputs["scales"], (1, 0.5, 0.25), strict=True):
        assert_allclose(image, resize(ops.convert_to_tensor(blurred), scale), atol=1e-6)


def test_added_to_the_scale_networks_image_it_is_a_correction_of_it():
    generator, blurred = build_generator(TINY, residual="scale"), images(1, 32, 32, 3)
    sn = generator.get_layer("sn")
    sn.set_weights([np.random.default_rng(0).normal(0, 0.1, weight.shape) for weight in sn.get_weights()])
    outputs = generator(blurred)
    assert np.ptp(ops.convert_to_numpy(outputs["scales"][0])) > 0.01
    assert_array_equal(outputs["deblurred"], outputs["scales"][0])
    generator.get_layer("upblock").get_layer("image").bias.assign([0.1] * 3)
    after = generator(blurred)
    assert_allclose(after["deblurred"] - after["scales"][0], np.full((1, 32, 32, 3), 0.1), atol=1e-4)


def test_without_a_gradient_network_the_finest_scale_is_the_result():
    generator = build_generator(TINY, gradient_network="none")
    outputs = generator(images(1, 32, 32, 3))
    assert set(outputs) == {"deblurred", "scales"} and outputs["deblurred"] is outputs["scales"][0]
    assert [layer.name for layer in generator.layers if layer.weights] == ["sn"]


@pytest.mark.parametrize("stop", [False, True])
def test_gradients_cross_the_scales_unless_they_are_stopped(stop):
    """The finest image's gradient by the coarsest blurred image, which it sees through the coarser results alone."""
    generator = build_generator(TINY, scales=2, gradient_network="none", stop_gradient_across_scales=stop)
    crossing = keras.Model(generator.get_layer("blur_2").output, generator.get_layer("up_2").output)
    half = ops.convert_to_tensor(images(1, 16, 16, 3))
    gradient = input_gradient(lambda x: ops.sum(ops.square(crossing(x))), half)
    assert (gradient is None or not np.any(gradient)) == stop


def test_one_sn_kernel_moves_every_scale():
    generator = build_generator(TINY)
    blurred = images(1, 32, 32, 3)
    before = generator(blurred)["scales"]
    kernel = generator.get_layer("sn").get_layer("eblock1_conv").kernel
    kernel.assign(kernel + 0.1)
    for old, new in zip(before, generator(blurred)["scales"], strict=True):
        assert np.abs(ops.convert_to_numpy(new) - ops.convert_to_numpy(old)).max() > 1e-4


def test_a_batch_equals_its_images_one_by_one():
    generator, batch = build_generator(TINY), images(3, 32, 48, 3)
    singles = np.concatenate([generator(batch[i : i + 1])["deblurred"] for i in range(3)])
    assert_allclose(generator(batch)["deblurred"], singles, atol=1e-5 * np.abs(singles).max())


def test_discriminator_counts_and_shapes():
    discriminator = build_discriminator()
    assert discriminator.count_params() == 4_827_332
    assert len(discriminator.trainable_variables) == 28
    assert discriminator.get_layer("conv_12").output.shape == (None, 8, 8, 1)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in discriminator.layers)


def test_discriminator_on_small_crops():
    discriminator = build_discriminator(64, (4, 4, 8, 8, 8), 16)
    assert discriminator.get_layer("conv_12").output.shape == (None, 2, 2, 1)
    assert discriminator(images(3, 64, 64, 3)).shape == (3, 1)
    with pytest.raises(ValueError, match="multiples of 32; received 48"):
        build_discriminator(48)
