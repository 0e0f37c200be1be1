"""Structures Guided's networks against the specification's counts and algebra."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from baselines.structure_guided.discriminator import build_discriminator
from baselines.structure_guided.generator import Blocks, build_generator, build_gradient_net, gradient_maps
from madn.nn.layers import luma, sobel_magnitude
from madn.nn.macs import network_macs

TINY = {"width": 4, "gradient_width": 16, "n_mbrb": 2}


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def values(x):
    return ops.convert_to_numpy(x)


def network(build, channels):
    """A model of one block: `build(features)` -> features."""
    x = keras.Input((None, None, channels))
    return keras.Model(x, build(x))


def scramble(model, seed=0, scale=0.3):
    """Random weights, biases too, so that no term of a formula vanishes."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, scale, weight.shape).astype("float32"))
    return model


@pytest.mark.parametrize(
    "options, parameters, gmacs",
    [
        ({}, 5_371_475, None),
        ({"block": "conv3x3"}, 5_762_395, 26.449),
        ({"mbrb": "single"}, 5_489_195, 33.291),
        ({"gradient_net": False}, 756_739, 6.065),
    ],
)
def test_counts_of_the_specification(options, parameters, gmacs):
    generator = build_generator(**options)
    assert generator.count_params() == parameters
    assert not generator.non_trainable_variables
    if gmacs and keras.backend.backend() == "tensorflow":
        assert network_macs(generator, 256, 256).total / 1e9 == pytest.approx(gmacs, abs=1e-3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="operations are counted in TensorFlow's graph")
@pytest.mark.slow
def test_operations_of_table_3():
    generator = build_generator()
    assert network_macs(generator, 256, 256).total / 1e9 == pytest.approx(31.805, abs=1e-3)
    gmacs = network_macs(generator, 720, 1280).total / 1e9
    assert gmacs == pytest.approx(447.256, abs=1e-3)
    assert gmacs == pytest.approx(446.98, rel=1e-3)


def test_counts_of_the_blocks():
    blocks = Blocks()
    assert {n: network(lambda x: blocks.rgcl(x, "rgcl"), n).count_params() for n in (96, 64, 32)} == {
        96: 57_606,
        64: 25_860,
        32: 6_658,
    }
    assert network(lambda x: blocks.reuse_block(x, "mbrb"), 128).count_params() == 387_476
    assert build_discriminator().count_params() == 2_764_737
    assert build_discriminator().compute_output_shape((1, 256, 256, 3)) == (1, 30, 30, 1)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="operations are counted in TensorFlow's graph")
def test_recurrences_share_their_kernels_and_cost_in_proportion():
    models = [network(lambda x, r=r: Blocks(rgcl_r=r).rgcl(x, "rgcl"), 16) for r in (1, 2, 3)]
    assert len({model.count_params() for model in models}) == 1
    counts = [network_macs(model, 12, 20, 16).total for model in models]
    assert counts[2] - counts[1] == counts[1] - counts[0] == 12 * 20 * 6 * 16 * 16


def convolve(x, kernel):
    """Zero-padded correlation of (h, w, c) with (kh, kw, c, n), tap by tap."""
    kh, kw = kernel.shape[:2]
    padded = np.pad(x, ((kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    return sum(padded[i : i + x.shape[0], j : j + x.shape[1]] @ kernel[i, j] for i in range(kh) for j in range(kw))


@pytest.mark.parametrize("tail", ["sigmoid", "gate", "fnorm"])
def test_rgcl_is_equation_7(tail):
    model = scramble(network(lambda x: Blocks(rgcl_tail=tail).rgcl(x, "rgcl"), 16), scale=0.15)
    weights = {layer.name: [values(w) for w in layer.weights] for layer in model.layers}
    x = images(5, 6, 16) - 0.5
    h = x
    for _ in range(3):
        h = convolve(h, weights["rgcl_1x3"][0]) + convolve(h, weights["rgcl_3x1"][0]) + weights["rgcl_1x3"][1]
        h = np.where(h > 0, h, 0.01 * h)
    depthwise, bias = weights["rgcl_depthwise"]
    y = np.concatenate([convolve(h[..., [c]], depthwise[:, :, [c]]) for c in range(16)], axis=-1) + bias
    sigmoid = 1 / (1 + np.exp(-y))
    y = {"sigmoid": sigmoid, "gate": h * sigmoid, "fnorm": h + y}[tail]
    squeeze, excite = weights["rgcl_ca_squeeze"], weights["rgcl_ca_excite"]
    gate = np.maximum(y.mean((0, 1)) @ squeeze[0][0, 0] + squeeze[1], 0) @ excite[0][0, 0] + excite[1]
    assert_allclose(values(model(x[None]))[0], x + y / (1 + np.exp(-gate)), atol=1e-5)


def test_rgcl_with_zero_kernels_adds_a_constant_and_a_shut_gate_nothing():
    model = network(lambda x: Blocks().rgcl(x, "rgcl"), 16)
    for weight in model.weights:
        weight.assign(ops.zeros_like(weight))
    x = images(1, 5, 6, 16)
    assert_allclose(values(model(x)), x + 0.25, atol=1e-6)  # sigmoid(0) of sigmoid(0)
    model.get_layer("rgcl_ca_excite").bias.assign(np.full(16, -1e4, "float32"))
    assert_array_equal(values(model(x)), x)


def test_recurrences_see_diamonds():
    model = network(lambda x: Blocks().rgcl(x, "rgcl"), 1)
    for weight in model.weights:
        weight.assign(ops.ones_like(weight) if len(weight.shape) > 1 else ops.zeros_like(weight))
    impulse = np.zeros((1, 9, 9, 1), "float32")
    impulse[0, 4, 4] = 1
    distance = np.abs(np.arange(9)[:, None] - 4) + np.abs(np.arange(9) - 4)
    for t, pixels in ((1, 5), (2, 13), (3, 25)):
        h = values(keras.Model(model.input, model.get_layer(f"rgcl_h{t}").output)(impulse))[0, ..., 0]
        assert_array_equal(h > 0, distance <= t)
        assert (h > 0).sum() == pixels


def test_turning_the_image_and_swapping_the_kernels_turns_the_features():
    model = scramble(network(lambda x: Blocks().gradient_layers(x, "rgcl"), 8))
    x = images(1, 5, 7, 8)
    expected = values(model(x)).transpose(0, 2, 1, 3)
    row, column = model.get_layer("rgcl_1x3").kernel, model.get_layer("rgcl_3x1").kernel
    old_row, old_column = values(row).copy(), values(column).copy()
    row.assign(old_column.transpose(1, 0, 2, 3))
    column.assign(old_row.transpose(1, 0, 2, 3))
    assert_allclose(values(model(x.transpose(0, 2, 1, 3))), expected, atol=1e-5)


def test_mbrb_reuses_every_level():
    model = scramble(network(lambda x: Blocks().reuse_block(x, "mbrb"), 16))
    x = images(1, 6, 6, 16)
    parts = keras.Model(
        model.input,
        [model.get_layer("mbrb_concat").output]
        + [model.get_layer(f"mbrb_rgcl{level}_add").output for level in (1, 2, 3)],
    )
    f, l1, l2, l3 = (values(part) for part in parts(x))
    assert (l1.shape[-1], l2.shape[-1], l3.shape[-1]) == (12, 8, 4)
    assert_array_equal(f, np.concatenate([x[..., :4], l1[..., :4], l2[..., :4], l3], axis=-1))
    for weight in model.get_layer("mbrb_conv2").weights:
        weight.assign(ops.zeros_like(weight))
    assert_array_equal(values(model(x)), x)


def test_parallel_rgcls_all_see_the_input():
    model = scramble(network(lambda x: Blocks(mbrb="parallel").reuse_block(x, "mbrb"), 16))
    x = images(1, 6, 6, 16)
    tops = [model.get_layer(f"mbrb_rgcl{level}_add").output for level in (1, 2, 3)]
    f, *paths = (values(part) for part in keras.Model(model.input, [model.get_layer("mbrb_concat").output, *tops])(x))
    assert_array_equal(f, np.concatenate(paths, axis=-1))
    for level, path in enumerate(paths, start=1):
        block = network(lambda y, level=level: Blocks().rgcl(y, f"mbrb_rgcl{level}"), 16)
        for layer in block.layers:
            layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
        assert_allclose(values(block(x)), path, atol=1e-6)


def test_gradient_net_of_empty_blocks_is_attention_and_the_skip():
    model = scramble(build_gradient_net(Blocks(), 8, 16, 2))
    for n in (1, 2):
        for weight in model.get_layer(f"mbrb{n}_conv2").weights:
            weight.assign(ops.zeros_like(weight))
    x = images(1, 6, 6, 8)
    shallow, gate, mbru = (
        values(part)
        for part in keras.Model(
            model.input, [model.get_layer(name).output for name in ("prftm_conv2", "mbru_ca_excite", "mbru")]
        )(x)
    )
    assert_allclose(mbru, shallow * gate + shallow, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_last_convolution_of_zeros_returns_the_image(precision):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        generator = build_generator(**TINY, zero_outputs=True)
    finally:
        keras.config.set_dtype_policy(policy)
    x = images(2, 16, 24, 3)
    assert_array_equal(values(generator(x)["deblurred"]), x)
    assert keras.backend.standardize_dtype(generator(x)["deblurred"].dtype) == "float32"


def test_the_output_is_the_image_and_a_tanh_clipped_in_minus_one_to_one():
    generator = scramble(build_generator(**TINY))
    x = images(1, 16, 16, 3)
    tanh = values(keras.Model(generator.input, generator.get_layer("out_tanh").output)(x))
    signed = np.clip(2 * x - 1 + tanh, -1, 1)
    assert_allclose(values(generator(x)["deblurred"]), (signed + 1) / 2, atol=1e-6)
    assert np.abs(signed).max() == 1  # something was clipped
    plain = build_generator(**TINY, global_residual=False)
    plain.set_weights(generator.get_weights())
    assert_allclose(values(plain(x)["deblurred"]), (tanh + 1) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"block": "conv3x3"},
        {"mbrb": "single"},
        {"mbrb": "parallel"},
        {"global_residual": False},
        {"gradient_net": False},
        {"rgcl_tail": "gate"},
        {"rgcl_tail": "fnorm"},
    ],
)
def test_every_choice_restores_a_batch_as_it_does_its_images(options):
    generator = build_generator(**TINY, **options)
    x = images(2, 16, 20, 3)
    together = values(generator(x)["deblurred"])
    assert together.shape == x.shape and 0 <= together.min() <= together.max() <= 1
    alone = np.concatenate([values(generator(image[None])["deblurred"]) for image in x])
    assert_allclose(together, alone, atol=1e-5)


def test_sizes_must_be_multiples_of_4():
    with pytest.raises(ValueError, match="multiples of 4"):
        build_generator(**TINY)(images(1, 16, 18, 3))


def test_kernels_start_at_their_spread_and_differ():
    generator = build_generator(8, 32, 1)
    e3, d2 = (values(generator.get_layer(name).kernel) for name in ("e3_conv", "d2_deconv"))
    assert abs(e3.std() - 0.02) < 1e-3 and abs(d2.std() - 0.02) < 1e-3
    net = generator.get_layer("gradient_net")
    assert not np.array_equal(values(net.get_layer("mbrb1_conv1").kernel), values(net.get_layer("mbrb1_conv2").kernel))


def test_gradient_maps_of_figure_4():
    generator = build_generator(**TINY)
    x = images(2, 16, 24, 3)
    maps = gradient_maps(generator, x, mbrb=2, level=3)
    assert {key: tuple(value.shape) for key, value in maps.items()} == {
        "sobel": (2, 16, 24),
        "horizontal": (2, 4, 6),
        "vertical": (2, 4, 6),
        "rgcl": (2, 4, 6),
    }
    assert_allclose(values(maps["sobel"]), values(sobel_magnitude(luma(ops.convert_to_tensor(x))))[..., 0])
    net = generator.get_layer("gradient_net")
    e3 = keras.Model(generator.input, generator.get_layer("e3_relu").output)(x)
    before, after = keras.Model(
        net.input, [net.get_layer("mbrb2_rgcl2_add").output[..., 4:], net.get_layer("mbrb2_rgcl3_add").output]
    )(e3)
    assert_allclose(values(maps["rgcl"]), np.abs(values(after) - values(before)).mean(-1), atol=1e-6)


def test_a_compiled_rgcl_is_the_rgcl():
    """TensorFlow's graphs would give another slope to the LeakyReLU behind its sums."""
    block = scramble(network(lambda x: Blocks().rgcl(x, "rgcl"), 8))
    features = images(1, 12, 16, 8) - 0.5
    compiled = tf.function(block, autograph=False)(tf.constant(features))
    assert_allclose(values(compiled), values(block(features)), rtol=1e-4, atol=1e-5)
