"""SIS-Net's generator: counts, map sizes and what each part computes (the specification's oracles 1 to 5, 11)."""

import keras
import numpy as np
import pytest
from keras import ops

from baselines.sisnet import generator as module
from baselines.sisnet.generator import build_generator, info_box, keras_backbone
from baselines.sisnet.layers import GrowTo, ReflectPad

NARROW = {"backbone": "blocks", "block_widths": (8, 8, 8, 16, 16), "width": 16, "stem_width": 8}


@pytest.fixture(scope="module")
def resnet():
    """The default backbone, which takes seconds to build."""
    return keras_backbone("inception_resnet_v2")


@pytest.fixture(scope="module")
def narrow_v3():
    """A narrow generator on the smaller of the two large backbones."""
    keras.utils.set_random_seed(0)
    return build_generator("inception_v3", width=16, stem_width=8)


def numbers(shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def run(generator, images):
    return ops.convert_to_numpy(generator(images, training=False)["deblurred"])


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_parameter_counts(resnet, monkeypatch):
    monkeypatch.setattr(module, "keras_backbone", lambda name: resnet)
    assert resnet.count_params() == 30_774_368
    default = build_generator()
    assert (default.count_params(), trainable(default)) == (49_070_819, 49_030_627)
    boxes = [default.get_layer(f"info_{k}_conv").count_params() for k in (1, 2, 3, 4)]
    assert boxes == [257 * 4**k * width for k, width in zip((1, 2, 3, 4), (256, 256, 256, 128), strict=True)]
    assert sum(boxes) == 13_947_904


@pytest.mark.slow
def test_parameter_counts_of_the_choices(resnet, monkeypatch):
    monkeypatch.setattr(module, "keras_backbone", lambda name: resnet)
    assert build_generator(infobox="none").count_params() == 35_122_915
    assert build_generator(laterals=False).count_params() == 48_722_659
    assert build_generator(infobox="cascade").count_params() == 36_044_003


def test_every_lateral_is_exactly_the_image_over_a_power_of_two(resnet, monkeypatch):
    monkeypatch.setattr(module, "keras_backbone", lambda name: resnet)
    generator = build_generator(width=8, stem_width=8)
    names = ("detail_4", "detail_3", "detail_2", "detail_1", "info_0")
    taps = keras.Model(generator.input, [generator.get_layer(name).output for name in names])
    for height, width in ((256, 1280), (736, 256), (288, 288)):
        shapes = taps.compute_output_shape((1, height, width, 3))
        assert [shape[1:3] for shape in shapes] == [(height // 2**k, width // 2**k) for k in (1, 2, 3, 4, 5)]
    assert [shape[-1] for shape in resnet.output_shape] == [32, 64, 192, 1088, 2080]


@pytest.mark.slow
def test_inception_v3(narrow_v3):
    backbone = narrow_v3.get_layer("backbone")
    assert [shape[-1] for shape in backbone.output_shape] == [32, 64, 192, 768, 2048]
    # 40,009,123 in all at the published widths: the rest differs from the default's in the laterals alone
    laterals = 256 * (2048 + 768 + 192 + 64) - 256 * (2080 + 1088 + 192 + 64)
    assert backbone.count_params() + 49_070_819 - 30_774_368 + laterals == 40_009_123


@pytest.mark.slow
def test_a_large_backbone_runs_and_its_batch_statistics_stay(narrow_v3):
    images = numbers((1, 128, 160, 3))
    statistics = narrow_v3.get_layer("backbone").non_trainable_variables
    before = [ops.convert_to_numpy(variable) for variable in statistics]
    trained = ops.convert_to_numpy(narrow_v3(images, training=True)["deblurred"])
    assert all(np.array_equal(a, ops.convert_to_numpy(b)) for a, b in zip(before, statistics, strict=True))
    assert trained.shape == images.shape and 0 <= trained.min() and trained.max() <= 1
    assert len(before) == 2 * 94 and narrow_v3.get_layer("backbone").trainable_variables
    assert np.array_equal(trained, run(narrow_v3, images))


@pytest.mark.slow
def test_weights_load_into_a_network_built_later(narrow_v3, tmp_path):
    """keras.applications numbers its layers on from network to network; files must not depend on it."""
    narrow_v3.save_weights(tmp_path / "g.weights.h5")
    other = build_generator("inception_v3", width=16, stem_width=8)
    other.load_weights(tmp_path / "g.weights.h5")
    for mine, theirs in zip(narrow_v3.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(mine, theirs)


def test_sizes_that_do_not_fit_are_refused(narrow_v3):
    with pytest.raises(ValueError, match="multiples of 32; received 128 x 144"):
        narrow_v3(numbers((1, 128, 144, 3)))


def test_small_images_are_reflected_to_what_the_backbone_takes(narrow_v3):
    small = numbers((1, 32, 96, 3))
    grown = np.pad(small, ((0, 0), (0, 96), (0, 32), (0, 0)), mode="reflect")
    np.testing.assert_allclose(run(narrow_v3, small), run(narrow_v3, grown)[:, :32, :96], atol=1e-6)
    assert GrowTo(128)(numbers((1, 1, 1, 3))).shape == (1, 128, 128, 3)
    assert GrowTo(128).compute_output_shape((None, None, 160, 3)) == (None, None, 160, 3)


@pytest.mark.parametrize("infobox", ["direct", "cascade", "bilinear", "none"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_zero_last_convolution_returns_the_input_exactly(infobox, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        generator = build_generator(**NARROW, infobox=infobox, zero_outputs=True)
    finally:
        keras.config.set_dtype_policy(before)
    images = numbers((2, 32, 64, 3))
    assert np.array_equal(run(generator, images), images)


def test_the_change_is_half_a_tanh_and_clipped():
    generator = build_generator(**NARROW)
    image = generator.get_layer("image")
    kernel = np.zeros(image.kernel.shape, "float32")
    for bias in (0.3, 5.0, -5.0):
        image.set_weights([kernel, np.full(3, bias, "float32")])
        images = numbers((1, 32, 32, 3))
        signed = np.clip(2 * images - 1 + np.tanh(bias), -1, 1)
        np.testing.assert_allclose(run(generator, images), (signed + 1) / 2, atol=1e-6)


def copy(source, target):
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ablation", "prefixes"),
    [
        ({"infobox": "none"}, ("info_1", "info_2", "info_3", "info_4")),
        ({"laterals": False}, ("lateral_detail",)),
        ({"products": 3}, ("head_1",)),
    ],
)
def test_an_ablation_is_the_whole_network_with_that_part_at_zero(ablation, prefixes):
    whole, less = build_generator(**NARROW), build_generator(**NARROW, **ablation)
    copy(whole, less)
    images = numbers((1, 64, 32, 3))
    assert np.abs(run(whole, images) - run(less, images)).max() > 1e-3
    for layer in whole.layers:
        if layer.name.startswith(prefixes):
            layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
    np.testing.assert_allclose(run(whole, images), run(less, images), atol=1e-6)
    assert not [layer.name for layer in less.layers if layer.name.startswith(prefixes)]


def shuffled(x, mode, kernels):
    """The info-box's maps of x, its convolutions with these kernels and no bias."""
    info_0 = keras.Input((None, None, x.shape[-1]))
    model = keras.Model(info_0, info_box(info_0, [kernels[0].shape[-1] // 4] * len(kernels), mode))
    for k, kernel in enumerate(kernels, start=1):
        model.get_layer(f"info_{k}_conv").set_weights([kernel[None, None], np.zeros(kernel.shape[-1])])
    return {k: ops.convert_to_numpy(y) for k, y in model(x).items()}


def test_pixel_shuffle_of_copies_is_nearest_neighbour_enlargement():
    x = numbers((2, 3, 5, 7))
    copies = [np.tile(np.eye(7, dtype="float32"), 4**k) for k in (1, 2, 3)]
    for k, y in shuffled(x, "direct", copies).items():
        np.testing.assert_array_equal(y, x.repeat(2**k, axis=1).repeat(2**k, axis=2))


def test_pixel_shuffle_puts_channels_row_by_row():
    x = numbers((2, 3, 4, 48))
    y = shuffled(x, "cascade", [np.eye(48, dtype="float32")])[1]
    for i, j in np.ndindex(2, 2):
        np.testing.assert_array_equal(y[:, i::2, j::2], x[..., 12 * (2 * i + j) :][..., :12])


def test_the_info_box_holds_four_sizes():
    info_0 = keras.Input((6, 9, 16))
    for mode in ("direct", "cascade", "bilinear"):
        box = info_box(info_0, (16, 16, 16, 8), mode)
        assert [tuple(box[k].shape[1:]) for k in (1, 2, 3, 4)] == [
            (12, 18, 16),
            (24, 36, 16),
            (48, 72, 16),
            (96, 144, 8),
        ]


def test_reflected_border():
    x = np.arange(1, 4, dtype="float32").reshape(1, 1, 3, 1).repeat(3, axis=1)
    padded = ops.convert_to_numpy(ReflectPad(1, 2)(x))
    assert padded.shape == (1, 6, 6, 1) and padded[0, 0, :, 0].tolist() == [2, 1, 2, 3, 2, 1]


@pytest.mark.slow
def test_any_size_in_one_graph():
    """Odd maps double too: 96 pixels have an info_0 of 3."""
    tf = pytest.importorskip("tensorflow")
    generator = build_generator(**NARROW)
    compiled = tf.function(
        lambda x: generator(x, training=False)["deblurred"], input_signature=[tf.TensorSpec((None, None, None, 3))]
    )
    for shape in ((1, 96, 160, 3), (2, 32, 32, 3)):
        images = numbers(shape)
        np.testing.assert_allclose(compiled(images).numpy(), run(generator, images), atol=2e-6)


def test_a_batch_is_its_images_one_by_one():
    generator = build_generator(**NARROW)
    images = numbers((2, 64, 64, 3))
    singles = np.concatenate([run(generator, image[None]) for image in images])
    np.testing.assert_allclose(run(generator, images), singles, atol=2e-6)
