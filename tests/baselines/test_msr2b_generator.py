"""MSR2B-CGAN's generator against the specification's counts, its equations and an independent PyTorch forward pass."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from baselines.msr2b.generator import _Convolutions, build_generator, msr2b
from madn.nn.layers import InstanceNormalization
from madn.nn.macs import network_macs

TINY = {"widths": (4, 6, 8), "num_blocks": 2, "group_width": 2, "bypass_width": 3}
EVERY_BLOCK = ("msr2b", "res2net", "resnet_bottleneck", "resnet_basic")
on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="operations are counted there")


def values(x):
    return ops.convert_to_numpy(x)


def images(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def zero(model, *names):
    for name in names:
        layer = model.get_layer(name)
        layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])


def taps(model, *names):
    """The model's layers of these names as outputs."""
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def count_block(model, name):
    return sum(layer.count_params() for layer in model.layers if layer.name.startswith(f"{name}_"))


def test_parameters_of_the_default():
    generator = build_generator()
    assert generator.count_params() == 5_444_771
    block = (256 * 128 + 128) + 3 * (9 * 32**2 + 32) + (9 * 96**2 + 96) + (25 * 96**2 + 96) + (320 * 256 + 256)
    assert count_block(generator, "msr2b_9") == block == 456_352
    assert not [
        layer
        for layer in generator._flatten_layers()
        if isinstance(layer, keras.layers.GroupNormalization | keras.layers.BatchNormalization)
    ]
    assert not generator.non_trainable_variables


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"num_blocks": 3}, 2_313_443),
        ({"num_blocks": 6}, 3_879_107),
        ({"num_blocks": 12}, 7_010_435),
        ({"group_width": 16, "bypass_width": 48}, 2_625_107),
        ({"group_width": 64, "bypass_width": 64}, 7_575_107),
        ({"block": "resnet_bottleneck"}, 1_337_603 + 9 * ((256 + 1) * 128 + (9 * 128 + 1) * 128 + (128 + 1) * 256)),
        ({"block": "resnet_basic"}, 1_337_603 + 9 * 2 * (9 * 256 + 1) * 256),
        ({"block": "res2net"}, 2_180_579),
        ({"part_b": "none"}, 2_180_579),
        ({"part_b": "conv3"}, 5_444_771 - 9 * ((25 * 96 + 1) * 96 + 96 * 256)),
        ({"part_b": "conv5"}, 5_444_771 - 9 * ((9 * 96 + 1) * 96 + 96 * 256)),
        ({"local_skip": False}, 5_444_771 - 8 * 256 * 256),
        ({"global_skip": False}, 5_444_771),
        ({"norm": "instance"}, 5_444_771),
    ],
)
def test_parameters_of_the_choices(options, count):
    assert build_generator(**options).count_params() == count


@on_tensorflow
def test_multiply_adds():
    assert network_macs(build_generator(), 720, 1280).total / 1e9 == pytest.approx(346.993, abs=5e-4)
    kernels = 456_352 - (128 + 3 * 32 + 2 * 96 + 256)  # of a block; the fusing convolution grows by 256 x 256 with it
    more, fewer = (network_macs(build_generator(num_blocks=k), 720, 1280).total for k in (2, 1))
    assert more - fewer == (kernels + 256 * 256) * 320 * 180
    assert (kernels + 256 * 256) * 320 * 180 / 1e9 == pytest.approx(30.022, abs=5e-4)
    for options, giga in (({"num_blocks": 3}, 11.866), ({"block": "res2net"}, 11.312)):
        assert network_macs(build_generator(**options), 256, 256).total / 1e9 == pytest.approx(giga, abs=5e-4), options


def block_model(**options):
    """One block of 8 channels by itself."""
    x = keras.Input((None, None, 8))
    sizes = {"group_width": 2, "bypass_width": 3, "part_b": "both", **options}
    return keras.Model(x, msr2b(x, **sizes, convs=_Convolutions("none"), name="b"))


def test_first_group_passes_unchanged_and_eq_4():
    block = block_model()
    for weight in block.weights:  # biases too, so that nothing vanishes by chance
        weight.assign(np.random.default_rng(len(weight.shape)).normal(size=weight.shape) * 0.5)
    parts = taps(block, "b_reduce_relu", "b_h2_relu", "b_h3_relu", "b_h4_relu", "b_merged", "b_p")
    x = images(1, 12, 12, 8)
    y, t2, t3, t4, merged, p = (values(part) for part in parts(x))
    s1, s2, s3, s4 = np.split(y, 4, axis=-1)

    def h(i, source):
        return np.maximum(values(block.get_layer(f"b_h{i}")(source)), 0)

    assert_array_equal(merged[..., :2], s1)
    assert_allclose(t2, h(2, s2), atol=1e-6)
    assert_allclose(t3, h(3, s3 + t2), atol=1e-6)
    assert_allclose(t4, h(4, s4 + t3), atol=1e-6)
    assert_array_equal(merged[..., 2:8], np.concatenate([t2, t3, t4], axis=-1))
    assert_array_equal(p, merged[..., 2:8])

    zero(block, "b_h3")
    _, _, t3, t4, _, _ = (values(part) for part in parts(x))
    assert_array_equal(t3, 0)
    assert_allclose(t4, h(4, s4), atol=1e-6)


def test_impulse_supports():
    block = block_model()
    for weight in block.weights:
        weight.assign(np.full(weight.shape, 0.1 if len(weight.shape) > 1 else 0.0))
    impulse = np.zeros((1, 21, 21, 8), "float32")
    impulse[0, 10, 10] = 1
    names = ("b_reduce_relu", "b_h2_relu", "b_h3_relu", "b_h4_relu", "b_k1_relu", "b_k2_relu", "b")
    for side, name, part in zip((1, 3, 5, 7, 9, 11, 11), names, taps(block, *names)(impulse), strict=True):
        expected = np.zeros((21, 21), bool)
        expected[10 - side // 2 : 11 + side // 2, 10 - side // 2 : 11 + side // 2] = True
        assert_array_equal(values(part)[0].max(axis=-1) > 0, expected, err_msg=name)


@pytest.mark.parametrize("block", EVERY_BLOCK)
def test_a_block_with_a_zero_last_convolution_is_the_identity(block):
    generator = build_generator(**TINY, block=block)
    prefix = block.split("_")[0]
    zero(generator, f"{prefix}_1_kb", f"{prefix}_2_kb")
    parts = taps(generator, "conv_3_relu", f"{prefix}_2", "local_skip")(images(1, 16, 16, 3))
    c3, end, fused = (values(part) for part in parts)
    assert c3.max() > 0
    assert_array_equal(end, c3)
    assert_array_equal(fused, np.concatenate([c3, c3], axis=-1))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_zero_last_convolution_returns_the_image(precision):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        generator = build_generator(**TINY)
    finally:
        keras.config.set_dtype_policy(policy)
    zero(generator, "residual")
    x = images(2, 16, 24, 3)
    out = generator(x)["deblurred"]
    assert keras.backend.standardize_dtype(out.dtype) == "float32"
    assert_array_equal(values(out), x)


def test_clipped_at_inference_alone():
    x = images(1, 16, 16, 3)
    generator = build_generator(**TINY)
    kernel, bias = generator.get_layer("residual").get_weights()
    generator.get_layer("residual").set_weights([kernel, bias + [5, -5, 0]])
    out = values(generator(x, training=False)["deblurred"])
    assert out.min() == 0
    assert out.max() == 1
    out = values(generator(x, training=True)["deblurred"])
    assert -0.5 <= out.min() < 0
    assert 1 < out.max() <= 1.5


def test_training_starts_near_the_blurred_image():
    generator = build_generator((16, 32, 64), group_width=8, bypass_width=24)
    x = images(1, 32, 32, 3)
    step = values(generator(x, training=True)["deblurred"]) - x
    assert 1e-5 < np.sqrt(np.mean(step**2)) < 5e-3


def test_without_global_skip_the_tanh_is_the_image():
    generator = build_generator(**TINY, global_skip=False)
    zero(generator, "residual")
    assert_array_equal(values(generator(images(1, 8, 8, 3))["deblurred"]), 0.5)


def test_instance_normalisation_variant_normalises_every_convolution_but_the_last():
    generator = build_generator(**TINY, norm="instance")
    convolutions = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in generator.layers if isinstance(layer, InstanceNormalization)]
    transposed = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    assert len(norms) == len({*convolutions, *transposed}) - 1
    assert np.isfinite(values(generator(images(1, 16, 16, 3))["deblurred"])).all()


def test_batch_and_shift():
    generator = build_generator(**{**TINY, "num_blocks": 1})
    generator.get_layer("residual").set_weights([w + 0.1 for w in generator.get_layer("residual").get_weights()])
    x = images(3, 112, 8, 3)
    out = values(generator(x, training=True)["deblurred"])
    alone = np.concatenate([values(generator(image[None], training=True)["deblurred"]) for image in x])
    assert_allclose(out, alone, atol=1e-6)
    shifted = values(generator(np.roll(x, 4, axis=1), training=True)["deblurred"])
    assert_allclose(shifted[:, 44:72], out[:, 40:68], atol=1e-6)
    assert np.abs(out - x).max() > 1e-2


@on_tensorflow
def test_receptive_field():
    """Reach of an output row by the gradient: 3 + 1 + 2 + 4 (9 x 5) and the transposed convolutions, below 192."""
    import tensorflow as tf

    generator = build_generator((1, 1, 2), 9, group_width=1, bypass_width=1)
    for weight in generator.weights:
        weight.assign(np.full(weight.shape, 0.3 if len(weight.shape) > 1 else 0.0))
    x = tf.Variable(np.full((1, 512, 16, 3), 0.9, "float32"))
    features = keras.Model(generator.input, generator.get_layer("deconv_2_relu").output)
    reach = 0
    for row in range(256, 260):
        with tf.GradientTape() as tape:
            out = tf.reduce_sum(features(x)[:, row])
        rows = np.flatnonzero(np.abs(values(tape.gradient(out, x))).sum(axis=(0, 2, 3)))
        reach = max(reach, row - rows[0], rows[-1] - row)
    assert 186 <= reach <= 192


def test_sizes_that_are_no_multiple_of_4_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        build_generator(**TINY)(images(1, 18, 16, 3))
    with pytest.raises(ValueError, match="resnet_basic"):
        build_generator(block="resnet")


def test_saved_and_loaded(tmp_path):
    generator = build_generator(**TINY)
    generator.save(tmp_path / "generator.keras")
    x = images(1, 16, 16, 3)
    loaded = keras.models.load_model(tmp_path / "generator.keras")
    assert_array_equal(values(loaded(x)["deblurred"]), values(generator(x)["deblurred"]))


def test_against_pytorch():
    """Equations 4-9 written with torch.nn.functional, from the same weights."""
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    generator = build_generator(**TINY)
    rng = np.random.default_rng(1)
    for weight in generator.weights:
        weight.assign(rng.normal(size=weight.shape) * (0.3 if len(weight.shape) == 4 else 0.1))
    x = images(2, 24, 16, 3)

    def conv(source, name, strides=1):
        kernel, bias = (torch.tensor(w) for w in generator.get_layer(name).get_weights())
        kernel = kernel.permute(3, 2, 0, 1)
        return functional.conv2d(source, kernel, bias, strides, (kernel.shape[-1] - 1) // 2)

    def deconv(source, name):
        kernel, bias = (torch.tensor(w) for w in generator.get_layer(name).get_weights())
        return functional.conv_transpose2d(source, kernel.permute(3, 2, 0, 1), bias, 2, 1, 1)

    relu, blurred = torch.relu, torch.tensor(x).permute(0, 3, 1, 2) * 2 - 1
    c = relu(conv(relu(conv(relu(conv(blurred, "conv_1")), "conv_2", 2)), "conv_3", 2))
    blocks = []
    for n in ("msr2b_1", "msr2b_2"):
        s1, s2, s3, s4 = relu(conv(c, f"{n}_reduce")).chunk(4, 1)
        t2 = relu(conv(s2, f"{n}_h2"))
        t3 = relu(conv(s3 + t2, f"{n}_h3"))
        t4 = relu(conv(s4 + t3, f"{n}_h4"))
        p = torch.cat([t2, t3, t4], 1)
        w1, w2 = relu(conv(p, f"{n}_k1")), relu(conv(p, f"{n}_k2"))
        c = c + conv(torch.cat([s1, p, w1, w2], 1), f"{n}_kb")
        blocks.append(c)
    y = relu(deconv(relu(deconv(relu(conv(torch.cat(blocks, 1), "fusion")), "deconv_1")), "deconv_2"))
    restored = (blurred + torch.tanh(conv(y, "residual")) + 1) / 2
    assert_allclose(values(generator(x, training=True)["deblurred"]), restored.permute(0, 2, 3, 1).numpy(), atol=1e-5)
