"""Multiply-adds against hand counts, one kind of operation at a time, and against the specifications."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from madn import recipes
from madn.nn.macs import Macs, network_macs, step_macs
from madn.restoration.restorer import padded_size


def count(outputs, size=(12, 20)) -> Macs:
    """Macs of a function from images (h, w, 3) to outputs."""
    image = keras.Input((None, None, 3))
    return network_macs(keras.Model(image, outputs(image)), *size)


@pytest.mark.parametrize(
    "layer, expected",
    [
        (layers.Conv2D(5, 3, padding="same"), 12 * 20 * 9 * 3 * 5),
        (layers.Conv2D(5, (1, 3), use_bias=False, padding="same"), 12 * 20 * 3 * 3 * 5),
        (layers.Conv2D(5, 3), 10 * 18 * 9 * 3 * 5),
        (layers.Conv2D(5, 4, 2, padding="same"), 6 * 10 * 16 * 3 * 5),
        (layers.Conv2D(5, 3, dilation_rate=2, padding="same"), 12 * 20 * 9 * 3 * 5),
        (layers.Conv2D(6, 3, groups=3, padding="same"), 12 * 20 * 9 * 1 * 6),
        (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 12 * 20 * 9 * 3 * 2),
        (layers.SeparableConv2D(7, 3, padding="same"), 12 * 20 * (9 * 3 + 3 * 7)),
        (layers.Conv2DTranspose(5, 3, 2, padding="same"), 12 * 20 * 9 * 3 * 5),  # input pixels
        (layers.Conv2DTranspose(5, 4, 2), 12 * 20 * 16 * 3 * 5),
        (layers.Conv2DTranspose(5, 3, padding="same"), 12 * 20 * 9 * 3 * 5),
    ],
)
def test_convolutions(layer, expected):
    assert count(layer) == Macs(convolutions=expected, products=0)


def test_dense_layers_and_products():
    assert count(layers.Dense(7)) == Macs(0, 12 * 20 * 3 * 7)

    class Attention(layers.Layer):
        """softmax(q k^T) v over n = 240 positions, once with the transposition written out, once in the product."""

        def call(self, x):
            flat = ops.reshape(x, (1, -1, 3))
            weights = ops.softmax(ops.matmul(flat, ops.transpose(flat, (0, 2, 1))))
            return ops.matmul(weights, flat)

    assert count(Attention()) == Macs(0, 2 * 240 * 240 * 3)


def test_transposed_arguments_of_a_product():
    import tensorflow as tf

    class Gram(layers.Layer):
        def call(self, x):
            flat = tf.reshape(x, (1, 240, 3))
            return tf.matmul(flat, flat, transpose_a=True), tf.matmul(flat[0], flat[0], transpose_b=True)

        def compute_output_spec(self, x):
            return keras.KerasTensor((1, 3, 3)), keras.KerasTensor((240, 240))

    assert count(Gram()) == Macs(0, 3 * 3 * 240 + 240 * 240 * 3)


def test_what_is_called_twice_counts_twice_also_in_nested_models():
    conv = layers.Conv2D(3, 3, padding="same")
    once = 12 * 20 * 81
    assert count(lambda x: conv(conv(x))).total == 2 * once
    x = keras.Input((None, None, 3))
    inner = keras.Model(x, layers.Conv2D(3, 3, padding="same")(layers.ReLU()(conv(x))))
    assert count(lambda x: {"a": inner(inner(x)), "b": [x]}).total == 4 * once


def test_functions_are_counted_and_loops_refused():
    import tensorflow as tf

    kernel = np.ones((3, 3, 3, 3), "float32")

    class Function(layers.Layer):
        def call(self, x):
            return tf.function(lambda y: tf.nn.conv2d(y, kernel, 1, "SAME"))(x)

    class Loop(layers.Layer):
        def call(self, x):
            return ops.fori_loop(0, 3, lambda i, y: ops.conv(y, kernel, padding="same"), x)

    assert count(Function()).convolutions == 12 * 20 * 81
    with pytest.raises(ValueError, match="cannot count Conv2D inside a loop"):
        count(Loop())


def test_resizing_and_mixed_precision_change_nothing():
    from madn.nn.layers import Resize

    assert count(lambda x: Resize(2)(x)).total == 0
    assert count(layers.Conv2D(5, 3, padding="same", dtype="mixed_bfloat16")).total == 12 * 20 * 9 * 3 * 5


@pytest.mark.parametrize(
    "name, billions",
    [
        ("madn", 5304.158),  # 377.185 at 256x256
        pytest.param("sisnet", 234.756, marks=pytest.mark.slow),  # at 1280x736; 14.793
        pytest.param("structure_guided", 447.256, marks=pytest.mark.slow),  # 31.805
        ("msr2b", 346.993),  # 24.675
    ],
)
def test_the_papers_networks_cost_at_1280x720_what_the_specifications_say(name, billions):
    recipe = recipes.get(name)
    counts = network_macs(recipe.build_generator(), padded_size(720, recipe.multiple), 1280)
    assert counts.total / 1e9 == pytest.approx(billions, abs=1e-3) and counts.products == 0


@pytest.mark.slow
def test_egnet_costs_what_its_specification_says():
    from baselines.egnet.generator import build_egnet

    backbone, whole = network_macs(build_egnet(egn=False), 256, 256), network_macs(build_egnet(), 256, 256)
    assert backbone.total / 1e9 == pytest.approx(759.411, abs=1e-3) and backbone.products == 0
    assert whole.total / 1e9 == pytest.approx(786.667, abs=1e-3)
    tokens = 4 * 32**2, 2 * (64 * 32)  # positions in the maps of stage 1 and 2, and in all of a stage's maps
    assert whole.products == 2 * (2 * 24) * (tokens[0] * 32**2 + tokens[1] * 64 * 32)  # two blocks; q k^T and ( ) v


def test_a_training_step_counts_forward_and_backward_passes():
    """The first layer needs no gradient by its input, a frozen one none by its kernel."""
    import tensorflow as tf

    class Trained(keras.Model):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def train_step(self, data):
            blurred, sharp = data
            with tf.GradientTape() as tape:
                loss = ops.mean(ops.square(self.network(blurred) - sharp))
            return tape.gradient(loss, [v.value for v in self.network.trainable_variables])

    network = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(5, 3, padding="same"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.Conv2DTranspose(4, 3, padding="same"),
            layers.Dense(3),
        ]
    )
    first, depthwise, transposed = 9 * 3 * 5, 9 * 5, 9 * 5 * 4
    pixels = 2 * 8 * 8
    assert step_macs(Trained(network), 2, 8) == Macs(
        pixels * (2 * first + 3 * depthwise + 3 * transposed), pixels * 3 * 4 * 3
    )
    network.layers[1].trainable = False
    assert step_macs(Trained(network), 2, 8).convolutions == pixels * (2 * first + 2 * depthwise + 3 * transposed)
