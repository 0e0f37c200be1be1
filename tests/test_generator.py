"""MADN's networks against the specification's parameter counts, shapes and algebra."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from madn.models.madn.discriminator import build_discriminator
from madn.models.madn.generator import build_generator

TINY = (4, 8, 16)


def images(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_default_counts():
    generator = build_generator()
    assert generator.count_params() == 29_071_817
    assert {name: generator.get_layer(name).count_params() for name in ("sn", "gn", "upblock")} == {
        "sn": 13_171_971, "gn": 14_645_187, "upblock": 1_254_659}
    assert len(generator.trainable_variables) == 244
    assert not generator.non_trainable_variables
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in generator._flatten_layers())


@pytest.mark.parametrize(("options", "count"), [
    ({"deconv_kernel": 4}, 29_645_257),
    ({"gn_skip": "concat"}, 29_440_649),
    ({"gn_skip": "concat", "sn_skip": "concat"}, 29_809_481),
    ({"fusion": "half"}, 29_366_857),
    ({"scale_taps": "encoder"}, 29_071_817),
    ({"scale_taps": "by_scale"}, 28_555_721),
    ({"scale_taps": "image"}, 28_344_905),
    ({"merge_kernel": 1}, 27_761_097),
    ({"gradient_channels": 1}, 29_070_535),
    ({"widths": (32, 64, 128)}, 7_273_705),
    ({"widths": (8, 16, 32)}, 456_769),
    ({"widths": TINY}, 114_917),
    ({"widths": TINY, "stem_stride": 2}, 111_457),  # narrower ends: 2 x 40 less, up-sampling block 4,979 -> 1,599
])
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
        (2, h, w, 3), (2, h // 2, w // 2, 3),
                                                          (2, h // 4, w // 4, 3)]


@pytest.mark.parametrize("size", [(256, 256), (720, 1280)])
def test_default_output_shapes(size):
    h, w = size
    outputs = build_generator().compute_output_spec(keras.KerasTensor((2, h, w, 3)))
    assert outputs["deblurred"].shape == outputs["gradient"].shape == (2, h, w, 3)
    assert [image.shape for image in outputs["scales"]] == [(2, h, w, 3), (2, h // 2, w // 2, 3),
                                                          (2, h // 4, w // 4, 3)]


@pytest.mark.parametrize("options", [
    {"fusion": "half"}, {"scale_taps": "encoder"}, {"scale_taps": "by_scale"}, {"scale_taps": "image"},
    {"gn_input": "sn_output"}, {"global_residual": True}, {"stop_gradient_across_scales": True},
    {"coarsest_second_input": "zeros"}, {"sn_skip": "concat", "gn_skip": "concat"}, {"gradient_channels": 1},
    {"resize": "bilinear", "antialias": False}, {"stem_stride": 2},
    {"global_residual": True, "residual_from": "restored", "stem_stride": 2},
])
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


def test_global_residual_with_zero_weights_is_the_identity():
    generator = build_generator(TINY, global_residual=True)
    for variable in generator.variables:
        variable.assign(ops.zeros_like(variable))
    blurred = images(1, 32, 32, 3)
    assert_allclose(generator(blurred)["deblurred"], blurred, atol=1e-6)


def test_the_restored_pyramid_carries_a_coarse_correction_to_every_finer_image():
    """With all else at zero: a pass that adds 0.1 everywhere leaves I_3 0.1 brighter, I_2 0.2, I_1 0.3 and the result,
    to which the up-sampling block adds nothing, with I_1. From the blurred image each would be 0.1 brighter."""
    blurred = images(1, 32, 48, 3)
    brighter = {}
    for source in ("restored", "blurred"):
        generator = build_generator(TINY, global_residual=True, residual_from=source)
        for variable in generator.variables:
            variable.assign(ops.zeros_like(variable))
        before = generator(blurred)
        for new, old in zip([before["deblurred"], *before["scales"]], [blurred, blurred], strict=False):
            assert_allclose(new, old, atol=1e-6)
        generator.get_layer("sn").get_layer("outblock_image").bias.assign([0.1] * 3)
        after = generator(blurred)
        brighter[source] = [ops.convert_to_numpy(new - old) for new, old in zip(
            [after["deblurred"], *after["scales"]], [before["deblurred"], *before["scales"]], strict=True)]
    for images_brighter, amounts in ((brighter["restored"], (0.3, 0.3, 0.2, 0.1)),
                                     (brighter["blurred"], (0.0, 0.1, 0.1, 0.1))):
        for image, amount in zip(images_brighter, amounts, strict=True):
            assert_allclose(image, np.full_like(image, amount), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"global_residual": True, "coarsest_second_input": "zeros"}])
def test_the_pyramid_needs_a_blurred_image_to_start_from(options):
    with pytest.raises(ValueError, match="residual_from='restored' needs global_residual=True and coarsest_second"):
        build_generator(TINY, residual_from="restored", **options)


def test_a_stem_of_stride_2_halves_what_the_networks_work_on():
    generator = build_generator(TINY, stem_stride=2)
    sn = generator.get_layer("sn")
    shapes = {name: shape.shape for name, shape in sn.compute_output_spec(keras.KerasTensor((1, 64, 96, 6))).items()}
    assert shapes == {"image": (1, 64, 96, 3), "full": (1, 32, 48, 4), "decoded_half": (1, 16, 24, 8),
                      "half": (1, 16, 24, 8), "quarter": (1, 8, 12, 16)}
    assert generator(images(1, 32, 64, 3))["gradient"].shape == (1, 32, 64, 3)
    with pytest.raises(ValueError, match="multiples of 32; received 48 x 64"):
        generator(np.zeros((1, 48, 64, 3), "float32"))
    with pytest.raises(ValueError, match="fusion must be 'full'; received 'half'"):
        build_generator(TINY, stem_stride=2, fusion="half")


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
    singles = np.concatenate([generator(batch[i:i + 1])["deblurred"] for i in range(3)])
    assert_allclose(generator(batch)["deblurred"], singles, atol=1e-5 * np.abs(singles).max())


def test_discriminator_counts_and_shapes():
    discriminator = build_discriminator()
    assert discriminator.count_params() == 4_827_332
    assert len(discriminator.trainable_variables) == 28
    assert discriminator.get_layer("conv_12").output.shape == (None, 8, 8, 1)
    assert build_discriminator(strides="six").count_params() == 4_778_180
    assert build_discriminator(strides="literal").count_params() == 4_762_820
    assert build_discriminator(channels=1).count_params() == 4_826_180
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in discriminator.layers)


def test_discriminator_on_small_crops():
    discriminator = build_discriminator(64, (4, 4, 8, 8, 8), 16)
    assert discriminator.get_layer("conv_12").output.shape == (None, 2, 2, 1)
    assert discriminator(images(3, 64, 64, 3)).shape == (3, 1)
    with pytest.raises(ValueError, match="multiples of 32; received 48"):
        build_discriminator(48)


@pytest.mark.parametrize("last", ["relu", "none"])
def test_the_features_that_images_are_made_from_may_be_negative(last):
    generator = build_generator((4, 6, 8), 1, last_activation=last)
    assert generator.count_params() == build_generator((4, 6, 8), 1).count_params()
    for part, layer in (("sn", "outblock_deconv"), ("gn", "outblock_deconv"), ("upblock", "upblock_deconv")):
        features = generator.get_layer(part).get_layer(layer)(np.random.default_rng(0).normal(
            size=(1, 8, 8, 8 if part == "upblock" else 4)).astype("float32"))
        assert (ops.min(features) >= 0) == (last == "relu")
    assert generator.get_layer("sn").get_layer("dblock1_deconv").activation is keras.activations.relu


def test_kernels_start_as_large_as_their_activation_needs():
    """He et al. (2015): variance 2 / fan_in in front of ReLU. Residual branches' last kernels and outputs at zero."""
    generator = build_generator((16, 32, 64), 1, init="he_zero_residual", gn_skip="concat")
    glorot = build_generator((16, 32, 64), 1, init="zero_residual", gn_skip="concat")
    kernels, others = ([(v.path, ops.convert_to_numpy(v)) for v in g.trainable_variables if "kernel" in v.path]
                       for g in (generator, glorot))
    assert len(kernels) == len(others) > 40
    for (path, kernel), (_, other) in zip(kernels, others, strict=True):
        zero = "conv2/" in path or path.split("/")[-2].endswith("image")
        assert kernel.any() == other.any() == (not zero), path
        if not zero and "deconv" not in path:  # of a transposed kernel Keras takes the outputs for the inputs
            height, width, inputs, _ = kernel.shape
            assert kernel.var() == pytest.approx(2 / (height * width * inputs), rel=0.2), path


def test_leaky_relu_stands_wherever_relu_does():
    """Every convolution keeps its place; output convolutions stay linear."""
    def activations(**options):
        generator = build_generator(TINY, 1, sn_skip="concat", gn_skip="concat", **options)
        return [layer.activation.__name__ for layer in generator._flatten_layers() if hasattr(layer, "activation")]

    plain, leaky = activations(), activations(activation="leaky_relu")
    assert plain.count("relu") > 30 and set(plain) == {"relu", "linear"}
    assert leaky == ["leaky_relu" if name == "relu" else name for name in plain]
    assert float(keras.activations.leaky_relu(np.float32(-1.0))) == pytest.approx(-0.2)
    open_ended = activations(activation="leaky_relu", last_activation="none")
    # SN's, GN's and the up-sampling block's last
    assert open_ended.count("leaky_relu") == leaky.count("leaky_relu") - 3
