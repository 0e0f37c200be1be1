"""Shared layers against hand-computed values and independent implementations."""

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from madn.nn.graphs import peak_bytes, trace
from madn.nn.layers import InstanceNormalization, nested_residual_group, residual_block, resize, sobel_magnitude
from madn.training.gradients import input_gradient, losses_and_gradients


def magnitude(image):
    return ops.convert_to_numpy(sobel_magnitude(ops.convert_to_tensor(image[None], "float32")))[0]


def test_sobel_of_ramps_and_steps():
    y, x = np.mgrid[:12, :16].astype("float32")
    ramp = np.repeat((0.1 * x)[..., None], 3, -1)
    assert_allclose(magnitude(ramp)[1:-1, 1:-1], np.sqrt(0.8**2 + 1e-6), rtol=1e-5)
    both = (0.05 * x + 0.1 * y)[..., None]
    assert_allclose(magnitude(both)[1:-1, 1:-1], np.sqrt(0.8), atol=1e-5)
    step = np.repeat((x >= 8).astype("float32")[..., None], 3, -1)
    found = magnitude(step)
    assert_allclose(found[:, 7:9], 4, atol=1e-5)
    assert_allclose(np.delete(found, (7, 8), axis=1), 1e-3, atol=1e-6)
    assert_allclose(magnitude(np.full((8, 8, 3), 0.7)), 1e-3, atol=1e-6)


def test_sobel_equals_opencv_and_ignores_inversion():
    image = np.random.default_rng(0).random((20, 31, 3), dtype=np.float32)
    gx, gy = (cv2.Sobel(image, cv2.CV_32F, dx, 1 - dx, ksize=3, borderType=cv2.BORDER_REFLECT_101) for dx in (1, 0))
    assert_allclose(magnitude(image), np.sqrt(gx**2 + gy**2 + 1e-6), atol=1e-5)
    assert_allclose(magnitude(1 - image), magnitude(image), atol=1e-5)
    assert magnitude(np.float32(np.random.default_rng(1).random((64, 64, 3)) > 0.5)).max() <= np.sqrt(20) + 1e-3


def test_sobel_gradient_is_finite_on_a_flat_image():
    tf = pytest.importorskip("tensorflow")
    image = tf.Variable(tf.fill((1, 8, 8, 3), 0.5))
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(sobel_magnitude(image))
    assert np.isfinite(tape.gradient(mean, image)).all()


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("scale", [0.25, 0.5, 2, 4])
def test_resize_equals_tensorflow(method, antialias, scale):
    tf = pytest.importorskip("tensorflow")
    images = np.random.default_rng(0).random((2, 24, 36, 3), dtype=np.float32)
    size = (int(24 * scale), int(36 * scale))
    expected = tf.image.resize(images, size, method, antialias=antialias)
    assert_allclose(resize(ops.convert_to_tensor(images), scale, method, antialias), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1 / 3, 1 / 8, 3])
@pytest.mark.parametrize("size", [(24, 9), (31, 100), (8, 8)])
def test_resize_of_other_sizes_is_the_weighted_mean_that_it_says(scale, size):
    """Against the matrix of Keys' kernel, written down as such; what is no whole block at the end counts, too."""
    images = np.random.default_rng(0).random((1, *size, 2), dtype=np.float32)
    expected = images
    for axis in (1, 2):
        count = images.shape[axis]
        resized = count * int(scale) if scale > 1 else count // round(1 / scale)
        centre = (np.arange(resized)[:, None] + 0.5) / scale
        x = np.abs(np.arange(count) + 0.5 - centre) * min(scale, 1)
        weights = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.moveaxis(np.tensordot(weights, expected, (1, axis)), 0, axis)
    assert_allclose(resize(ops.convert_to_tensor(images), scale), expected, atol=2e-6)


@pytest.mark.parametrize("scale", [0.5, 2])
def test_the_gradient_of_a_resize_has_no_strided_slices(scale):
    """TensorFlow's gradient of these is slow."""
    tf = pytest.importorskip("tensorflow")
    images = np.random.default_rng(0).random((2, 8, 12, 3), dtype=np.float32)
    methods = ("bicubic", "bilinear")

    @tf.function
    def gradients(images):
        results = [resize(images, scale, method, antialias=False) for method in methods]
        return [tf.gradients(tf.reduce_sum(result**2), images)[0] for result in results]

    graph = gradients.get_concrete_function(tf.TensorSpec((None, 8, 12, 3), tf.float32)).graph
    assert "StridedSliceGrad" not in {operation.type for operation in graph.get_operations()}
    with tf.GradientTape(persistent=True) as tape:
        variable = tf.Variable(images)
        size = [round(n * scale) for n in images.shape[1:3]]
        squares = [tf.reduce_sum(tf.image.resize(variable, size, method) ** 2) for method in methods]
    for found, square in zip(gradients(images), squares, strict=True):
        assert_allclose(found, tape.gradient(square, variable), atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the memory is read from TensorFlow's graph")
@pytest.mark.parametrize("scale", [0.25, 0.5, 2])
def test_the_memory_of_a_resize_grows_with_the_image_and_not_with_its_side(scale):
    peaks = [
        peak_bytes(trace(lambda images: resize(images, scale), shape)) for shape in ((1, 128, 128, 3), (1, 16, 1024, 3))
    ]
    assert max(peaks) < 10 * max(scale, 1) ** 2 * 128 * 128 * 3 * 4 and peaks[1] < 1.5 * peaks[0]


def test_resize_keeps_constants_and_known_impulse_responses():
    flat = ops.full((1, 16, 16, 3), 0.3)
    assert_allclose(resize(flat, 0.5), np.full((1, 8, 8, 3), 0.3), atol=1e-6)
    impulse = np.zeros((1, 16, 16, 1), "float32")
    impulse[0, 7] = 1
    row = ops.convert_to_numpy(resize(ops.convert_to_tensor(impulse), 0.5))[0, :, 0, 0]
    assert_allclose(row[2:6], [-0.0352, 0.4336, 0.1133, -0.0117], atol=1e-4)
    row = ops.convert_to_numpy(resize(ops.convert_to_tensor(impulse), 0.5, antialias=False))[0, :, 0, 0]
    assert_allclose(row[3:5], [0.5625, -0.0625], atol=1e-4)
    step = np.zeros((1, 16, 16, 1), "float32")
    step[0, 8:] = 1
    up = ops.convert_to_numpy(resize(ops.convert_to_tensor(step), 2))
    assert_allclose([up.min(), up.max()], [-0.0703125, 1.0703125], atol=1e-5)


def test_tensorflow_1s_resize_has_no_half_pixel_centres():
    tf = pytest.importorskip("tensorflow")
    images = np.random.default_rng(0).random((2, 24, 36, 3), dtype=np.float32)
    for scale in (0.25, 0.5, 2, 4):
        expected = tf.compat.v1.image.resize_images(images, (int(24 * scale), int(36 * scale)))
        assert_allclose(resize(ops.convert_to_tensor(images), scale, "tf1"), expected, atol=1e-6)
    odd = resize(ops.convert_to_tensor(images[:, :23, :35]), 0.5, "tf1")
    assert_array_equal(odd, images[:, :22:2, :34:2])


def group(channels, blocks=4):
    x = keras.Input((None, None, channels))
    return keras.Model(x, nested_residual_group(x, blocks, "g"))


def set_branches(model, kernel):
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([kernel, np.zeros(kernel.shape[-1])])


def delta(channels):
    kernel = np.zeros((3, 3, channels, channels), "float32")
    kernel[1, 1] = np.eye(channels)
    return kernel


def test_residual_group_counts():
    x = keras.Input((None, None, 64))
    block = keras.Model(x, residual_block(x, "r"))
    assert block.count_params() == 73856
    assert [group(width).count_params() for width in (64, 128, 256)] == [295424, 1180672, 4720640]


def test_residual_group_gains():
    model = group(3)
    image = np.random.default_rng(0).random((1, 8, 8, 3), dtype=np.float32)
    set_branches(model, np.zeros((3, 3, 3, 3)))
    assert_array_equal(ops.convert_to_numpy(model(image)), image)
    set_branches(model, delta(3))  # non-negative input: the ReLU is the identity, so is the branch
    assert_allclose(model(image), 16 * image, rtol=1e-5)


def test_two_scalar_branches_give_equation_9():
    model, (a, b) = group(2, blocks=2), (0.5, 0.25)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer, gain in zip(convolutions, (a, 1, b, 1), strict=True):
        layer.set_weights([gain * delta(2), np.zeros(2)])
    image = np.random.default_rng(0).random((1, 4, 4, 2), dtype=np.float32)
    assert_allclose(model(image), image * (1 + a + b + a * b), rtol=1e-5)


def test_chain_equals_the_dense_nested_sum():
    model = group(4)
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype("float32")
    layers = {layer.name: layer for layer in model.layers}
    total = ops.convert_to_tensor(image)
    terms = []
    for k in range(1, 5):  # P + R1 + R2 + ..., R_k evaluated at P + R1 + ... + R_(k-1)
        terms.append(layers[f"g_res{k}_conv2"](layers[f"g_res{k}_conv1"](total)))
        total = ops.convert_to_tensor(image) + sum(terms)
    assert_allclose(model(image), total, atol=1e-5)


def test_residual_output_keeps_negative_values():
    assert ops.min(group(4)(np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype("float32"))) < 0


def test_instance_normalization_statistics():
    layer = InstanceNormalization()
    images = np.random.default_rng(0).normal(3, 2, (2, 9, 7, 5)).astype("float32")
    mean, variance = images.mean((1, 2), keepdims=True), images.var((1, 2), keepdims=True)
    assert_allclose(layer(images), (images - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    assert keras.layers.deserialize(keras.layers.serialize(layer)).epsilon == 1e-5


def test_a_penalty_on_gradients_through_instance_normalization():
    """Its derivative against a central difference: the mean must not be hidden from the second derivative."""
    rng = np.random.default_rng(0)
    images, change = rng.normal(size=(2, 1, 8, 8, 2)).astype("float32")
    first, second = rng.normal(size=(3, 3, 2, 4)).astype("float32"), rng.normal(size=(3, 3, 4, 4)).astype("float32")
    norm = InstanceNormalization(center=False, scale=False)
    norm.build((1, 8, 8, 4))
    share = keras.Variable(0.0)

    def penalty():
        def score(x):  # convolutions of stride 2 before it, as a critic has: with none, the mean's part cancels
            x = norm(ops.conv(x + share * change, first, 2, "same"))
            return ops.sum(ops.tanh(ops.conv(x, second, 1, "same")))

        return ops.sum(ops.square(input_gradient(score, ops.convert_to_tensor(images))))

    _, _, ((derivative,),) = losses_and_gradients(lambda: ([penalty()], None), [[share]])
    ends = []
    for value in (-1e-3, 1e-3):
        share.assign(value)
        ends.append(float(ops.stop_gradient(penalty())))
    assert float(derivative) == pytest.approx((ends[1] - ends[0]) / 2e-3, rel=3e-3)
