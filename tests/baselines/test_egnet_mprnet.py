"""MPRNet's blocks and sub-networks against the specification's facts; the whole is in test_egnet_generator.py."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal
from other_backend import run_on

from baselines.egnet.mprnet import (
    MergePatches,
    ScalarPReLU,
    SplitPatches,
    cab,
    decoder,
    encoder,
    orsnet,
    shallow_features,
    supervised_attention,
)
from madn.nn.layers import Resize

WIDTHS = (4, 8, 12)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def test_one_slope_for_the_whole_network():
    prelu = ScalarPReLU()
    x = np.array([[-2.0, -1.0, 0.0, 3.0]], np.float32)
    assert_array_equal(array(prelu(x)), [[-0.5, -0.25, 0.0, 3.0]])
    prelu(numbers(1, 2, 2, 5))
    assert [tuple(v.shape) for v in prelu.weights] == [(1,)]


PRELU = """
from baselines.egnet.mprnet import ScalarPReLU
import keras, torch
prelu = ScalarPReLU()
x = torch.tensor([[[[-2.0, 0.0, 3.0]]]], requires_grad=True, device=keras.ops.ones(1).device)
y = prelu(x)
(y * y.new_tensor([1.0, 5.0, 7.0])).sum().backward()
print(y.tolist(), x.grad.tolist(), prelu.slope.value.grad.tolist(), keras.ops.shape(prelu(keras.Input((4, 4, 3)))))
"""


@pytest.mark.process
@pytest.mark.torch
def test_the_slope_on_pytorch():
    """At 0 the derivative is that of the negative side, as by `where`; the slope's is the sum of what is below 0."""
    pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")
    expected = "[[[[-0.5, 0.0, 3.0]]]] [[[[0.25, 1.25, 7.0]]]] [-2.0] (None, 4, 4, 3)"
    assert run_on("torch", PRELU) == expected


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (1, 2), (2, 2)])
def test_split_and_merge(rows, columns):
    images = numbers(3, 8, 12, 2)
    patches = array(SplitPatches(rows, columns)(images))
    assert patches.shape == (3 * rows * columns, 8 // rows, 12 // columns, 2)
    assert_array_equal(patches[0], images[0, : 8 // rows, : 12 // columns])
    assert_array_equal(patches[-1], images[2, -(8 // rows) :, -(12 // columns) :])
    assert_array_equal(array(MergePatches(rows, columns)(patches)), images)


def test_quarters_are_merged_to_halves():
    images = numbers(2, 8, 12, 3)
    quarters = SplitPatches(2, 2)(images)
    assert_array_equal(array(quarters)[1], images[0, :4, 6:])
    halves = MergePatches(1, 2)(quarters)
    assert_array_equal(array(halves), array(SplitPatches(2, 1)(images)))
    assert_array_equal(array(MergePatches(2, 1)(halves)), images)


def test_patches_on_the_batch_axis_are_images_of_their_own():
    network = encoder(WIDTHS, ScalarPReLU(), "stage1_encoder")
    patches = numbers(4, 8, 8, 4)
    together = [array(level) for level in network(patches)]
    for i in range(4):
        for level, one in zip(together, network(patches[i : i + 1]), strict=True):
            assert_allclose(level[i : i + 1], array(one), atol=1e-6)


def test_cab_by_hand():
    x = keras.Input((None, None, 4))
    block = keras.Model(x, cab(x, ScalarPReLU(), "b"))
    for name in ("b_body_0", "b_body_2"):  # identity kernels
        kernel = np.zeros((3, 3, 4, 4), np.float32)
        kernel[1, 1] = np.eye(4)
        block.get_layer(name).set_weights([kernel])
    squeeze, excite = (block.get_layer(f"b_CA_conv_du_{i}").get_weights()[0][0, 0] for i in (0, 2))
    images = numbers(1, 5, 6, 4) - 0.5
    t = np.where(images > 0, images, 0.25 * images)
    hidden = np.maximum(t.mean((1, 2)) @ squeeze, 0)
    expected = images + t / (1 + np.exp(-hidden @ excite))
    assert_allclose(array(block(images)), expected, atol=1e-6)
    assert block.count_params() == 2 * 9 * 16 + 2 * 4 + 1


def test_shapes_of_the_sub_networks():
    prelu = ScalarPReLU()
    x, image = ops.convert_to_tensor(numbers(1, 16, 24, 4)), numbers(1, 16, 24, 3)
    assert shallow_features(4, prelu, "s")(image).shape == (1, 16, 24, 4)
    levels = encoder(WIDTHS, prelu, "e")(x)
    assert [tuple(level.shape) for level in levels] == [(1, 16, 24, 4), (1, 8, 12, 8), (1, 4, 6, 12)]
    decoded = decoder(WIDTHS, prelu, "d")(levels)
    assert [tuple(level.shape) for level in decoded] == [tuple(level.shape) for level in levels]
    fused = encoder(WIDTHS, prelu, "f", fuse=True)([x, *levels, *decoded])
    assert [tuple(level.shape) for level in fused] == [tuple(level.shape) for level in levels]
    stage3 = orsnet(WIDTHS, 8, 2, prelu, "o")
    assert stage3([ops.repeat(x, 2, axis=-1), *levels, *decoded]).shape == (1, 16, 24, 8)


def test_supervised_attention_by_hand():
    sam = supervised_attention(4, "sam", {})
    conv1, conv2, conv3 = (sam.get_layer(f"sam_conv{i}").get_weights()[0][0, 0] for i in (1, 2, 3))
    x, image = numbers(1, 3, 3, 4), numbers(1, 3, 3, 3, seed=1)
    restored = x @ conv2 + image
    expected = (x @ conv1) / (1 + np.exp(-(restored @ conv3))) + x
    attended, found = sam([x, image])
    assert_allclose(array(found), restored, atol=1e-6)
    assert_allclose(array(attended), expected, atol=1e-6)


def test_supervised_attention_that_starts_at_the_image():
    sam = supervised_attention(4, "sam", {"kernel_initializer": "zeros"})
    image = numbers(1, 4, 4, 3, seed=1)
    assert_array_equal(array(sam([numbers(1, 4, 4, 4), image])[1]), image)


def test_kernels_start_as_pytorch_starts_them():
    network = shallow_features(16, ScalarPReLU(), "s")
    kernel = network.get_layer("s_1_body_0").get_weights()[0]
    bound = 1 / np.sqrt(9 * 16)
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.05)


@pytest.mark.torch
def test_resizing_is_pytorchs():
    torch = pytest.importorskip("torch")
    images = numbers(2, 8, 12, 5)
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2))

    def theirs(scale):
        resized = torch.nn.functional.interpolate(
            channels_first, scale_factor=scale, mode="bilinear", align_corners=False
        )
        return resized.numpy().transpose(0, 2, 3, 1)

    assert_allclose(array(keras.layers.AveragePooling2D(2)(images)), theirs(0.5), atol=1e-6)
    assert_allclose(array(Resize(2, "bilinear", antialias=False)(images)), theirs(2), atol=1e-6)
