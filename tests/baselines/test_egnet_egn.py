"""The enhanced gradient network and its position attention (EGNet, Eqs. 2-9)."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from baselines.egnet.egn import (
    GradientMap,
    enhanced_gradient_network,
    position_attention,
    residual_spatial_attention,
)
from baselines.egnet.mprnet import ScalarPReLU
from baselines.egnet.position_attention import PositionAttention


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def array(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def qkv():
    """Unscaled scores with a spread of 4, so that the softmax is far from flat."""
    return [2 * numbers(2, 10, 13, 4, seed=seed) for seed in range(3)]


def by_hand(q, k, v):
    q, k, v = (x.reshape(len(x), -1, x.shape[-1]).astype(np.float64) for x in (q, k, v))
    scores = q @ k.transpose(0, 2, 1)
    z = np.exp(scores - scores.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True) @ v


def test_dense_attention_by_hand(qkv):
    assert_allclose(array(PositionAttention("dense")(qkv)).reshape(2, 130, 4), by_hand(*qkv), atol=1e-5)


@pytest.mark.parametrize("mode", ["auto", "dense", "chunked", "window", "pooled"])
def test_weights_add_up_to_one(qkv, mode):
    q, k, v = qkv
    attention = PositionAttention(mode, window=(4, 8), block=32)
    assert_allclose(array(attention([q, k, np.ones_like(v)])), 1, atol=1e-5)


@pytest.mark.parametrize("mode", ["dense", "chunked"])
def test_permuted_positions_permute_the_result(qkv, mode):
    order = np.random.default_rng(3).permutation(130)
    permuted = [x.reshape(2, 130, 4)[:, order].reshape(x.shape) for x in qkv]
    attention = PositionAttention(mode, block=32)
    expected = array(attention(qkv)).reshape(2, 130, 4)[:, order]
    assert_allclose(array(attention(permuted)).reshape(2, 130, 4), expected, atol=1e-5)


@pytest.mark.parametrize("block", [1, 32, 65, 130, 1024])
def test_chunked_is_dense(qkv, block):
    assert_allclose(
        array(PositionAttention("chunked", block=block)(qkv)), array(PositionAttention("dense")(qkv)), atol=1e-5
    )


def test_auto_is_dense_in_training_and_chunked_in_inference(qkv, monkeypatch):
    attention, called = PositionAttention("auto"), []
    monkeypatch.setattr(PositionAttention, "_chunked", lambda self, q, k, v: called.append("chunked") or q)
    attention(qkv, training=True)
    assert not called
    attention(qkv, training=False)
    assert called == ["chunked"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs of unknown size are TensorFlow's")
@pytest.mark.parametrize("mode", ["dense", "chunked", "window", "pooled"])
def test_graphs_of_unknown_size(qkv, mode):
    import tensorflow as tf

    attention = PositionAttention(mode, window=(4, 8), block=32)
    graph = tf.function(lambda *maps: attention(list(maps)), input_signature=[tf.TensorSpec((None, None, None, 4))] * 3)
    for maps in (qkv, [x[:1, :3, :5] for x in qkv]):
        assert_allclose(array(graph(*maps)), array(attention(maps)), atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow")
def test_gradients_of_chunked_are_those_of_dense(qkv):
    import tensorflow as tf

    def gradients(attention):
        maps = [tf.constant(x[:, :4, :4]) for x in qkv]
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(attention(maps) ** 2)
        return tape.gradient(total, maps)

    for mine, dense in zip(
        gradients(PositionAttention("chunked", block=8)), gradients(PositionAttention("dense")), strict=True
    ):
        assert_allclose(array(mine), array(dense), atol=1e-4)


def test_windows_see_their_own_positions_only(qkv):
    attention, whole = PositionAttention("window", window=(4, 8)), PositionAttention("dense")
    found = array(attention(qkv))
    assert found.shape == (2, 10, 13, 4)
    for rows, columns in ((slice(0, 4), slice(0, 8)), (slice(4, 8), slice(8, 13)), (slice(8, 10), slice(0, 8))):
        own = array(whole([x[:, rows, columns] for x in qkv]))  # the last two are cut by the border
        assert_allclose(found[:, rows, columns], own, atol=1e-5)
    assert_allclose(array(PositionAttention("window", window=(16, 16))(qkv)), array(whole(qkv)), atol=1e-5)


def test_pooled_positions(qkv):
    q, k, v = [x[:, :8, :12] for x in qkv]
    pooled = [x.reshape(2, 4, 2, 6, 2, 4).mean((2, 4)) for x in (k, v)]
    expected = by_hand(q, *pooled).reshape(2, 8, 12, 4)
    assert_allclose(array(PositionAttention("pooled", window=(4, 6))([q, k, v])), expected, atol=1e-5)
    assert_array_equal(
        array(PositionAttention("pooled", window=(32, 32))(qkv)), array(PositionAttention("dense")(qkv))
    )  # a map no larger than the grid is not pooled


def test_scores_of_hundreds_do_not_overflow():
    maps = [np.full((1, 2, 2, 4), 30, np.float32) for _ in range(3)]
    assert_allclose(array(PositionAttention("dense")(maps)), 30)


def test_unknown_mode():
    with pytest.raises(ValueError, match="mode must be auto, dense, chunked, window or pooled; received 'sparse'"):
        PositionAttention("sparse")


def test_position_attention_of_equal_scores_is_the_mean():
    x = keras.Input((None, None, 8))
    block = keras.Model(x, position_attention(x, 4, PositionAttention("dense"), "pa"))
    block.get_layer("pa_l1").set_weights([np.zeros((1, 1, 8, 4), np.float32)])  # q = 0
    c3, l3, l4 = (block.get_layer(f"pa_{name}").get_weights()[0][0, 0] for name in ("c3", "l3", "l4"))
    maps = numbers(1, 3, 5, 8)
    expected = maps + (maps @ c3 @ l3).mean((1, 2), keepdims=True) @ l4
    assert_allclose(array(block(maps)), expected, atol=1e-5)


def test_spatial_attention_by_hand():
    x = keras.Input((None, None, 4))
    block = keras.Model(x, residual_spatial_attention(x, ScalarPReLU(), "rsa"))
    for name in ("rsa_c1", "rsa_c2"):
        kernel = np.zeros((3, 3, 4, 4), np.float32)
        kernel[1, 1] = np.eye(4)
        block.get_layer(name).set_weights([kernel])
    kernel = np.zeros((7, 7, 2, 1), np.float32)
    kernel[3, 3, :, 0] = [2, -1]
    block.get_layer("rsa_c3").set_weights([kernel])
    maps = numbers(1, 5, 5, 4)
    t = np.where(maps > 0, maps, 0.25 * maps)
    logits = 2 * t.mean(-1, keepdims=True) - t.max(-1, keepdims=True)
    assert_allclose(array(block(maps)), maps + t / (1 + np.exp(-logits)), atol=1e-5)


def test_space_to_depth():
    x = numbers(2, 8, 12, 3)
    network = enhanced_gradient_network(4, "egn", egms=0)
    y = array(keras.Model(network.input, network.get_layer("egn_head").input)(x))
    assert y.shape == (2, 2, 3, 48)
    assert_array_equal(y[1, 1, 2].reshape(4, 4, 3), x[1, 4:8, 8:12])


def test_gradient_map_layer():
    flat = np.full((1, 8, 8, 3), 0.5, np.float32)
    layer = GradientMap()
    assert_allclose(array(layer(flat)), 0, atol=1e-6)
    image = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
    found = array(layer(image))
    assert found.shape == image.shape
    assert found.min() >= 0
    assert found.max() <= 1
    config = layer.get_config()
    assert GradientMap.from_config(config).norm == config.pop("norm") == "absmax"
    assert GradientMap.from_config(config).norm == "minmax"  # as stored before there was a choice


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 3_216_581),
        ({"egms": 1}, 3_216_581 - 1_400_930),
        ({"pa_dim": 192}, 3_216_581 + 2 * 4 * 192 * 168),
        ({"attention": False}, 82_944 + 2 * (4 * 331_776 + 36_864) + 331_776 + 1),
        ({"random": (0.0, 0.02)}, 3_216_581 + 48),
    ],
)
def test_counts(options, count):
    assert enhanced_gradient_network(192, "egn1", **options).count_params() == count


@pytest.mark.parametrize("options", [{}, {"attention": False}, {"random": (1.0, 0.02)}])
def test_starts_at_zero_and_learns(options):
    network = enhanced_gradient_network(8, "egn1", pa_dim=4, **options)
    maps = np.random.default_rng(0).random((2, 16, 24, 3), dtype=np.float32)
    assert network(maps).shape == (2, 4, 6, 8)
    assert_array_equal(array(network(maps)), 0)
    network.get_layer("egn1_tail").set_weights([numbers(3, 3, 8, 8)])
    found = array(network(maps))
    assert np.isfinite(found).all()
    same = np.abs(found - array(network(maps[::-1]))).max() < 1e-6
    assert same == ("random" in options)  # a learned vector takes the map's place


def test_random_input_starts_where_it_is_told():
    vector = enhanced_gradient_network(8, "egn1", random=(1.0, 0.02)).get_layer("egn1_random").get_weights()[0]
    assert vector.shape == (1, 1, 1, 48)
    assert abs(vector.mean() - 1) < 0.02
    assert 0.01 < vector.std() < 0.03
