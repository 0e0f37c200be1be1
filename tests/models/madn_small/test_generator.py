"""The small network: its size, its start, and how a coarse correction reaches every finer image."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose

from madn.models.madn_small.generator import build_generator

TINY = (4, 8, 16)


def images(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_counts():
    assert build_generator().count_params() == 2_495_881
    assert build_generator(TINY, 1, 3).count_params() == build_generator(TINY, 1, 2).count_params()


def test_it_works_at_half_the_resolution():
    generator = build_generator(TINY, scales=3)
    sn = generator.get_layer("sn")
    shapes = {name: shape.shape for name, shape in sn.compute_output_spec(keras.KerasTensor((1, 64, 96, 6))).items()}
    assert shapes == {
        "image": (1, 64, 96, 3),
        "full": (1, 32, 48, 4),
        "half": (1, 16, 24, 8),
        "quarter": (1, 8, 12, 16),
    }
    outputs = generator(images(1, 32, 64, 3))
    assert outputs["deblurred"].shape == outputs["gradient"].shape == (1, 32, 64, 3)
    assert [image.shape[1] for image in outputs["scales"]] == [32, 16, 8]
    with pytest.raises(ValueError, match="multiples of 32; received 48 x 64"):
        generator(np.zeros((1, 48, 64, 3), "float32"))


def test_it_starts_as_the_blurred_image_and_a_coarse_correction_reaches_every_finer_one():
    """A pass that adds 0.1 everywhere leaves I_3 0.1 brighter, I_2 0.2, I_1 0.3 and the result with I_1."""
    generator, blurred = build_generator(TINY, scales=3), images(1, 32, 64, 3)
    before = generator(blurred)
    assert_allclose(before["deblurred"], blurred, atol=1e-6)
    generator.get_layer("sn").get_layer("outblock_image").bias.assign([0.1] * 3)
    after = generator(blurred)
    for name, amount in (("deblurred", 0.3),):
        assert_allclose(after[name] - before[name], np.full((1, 32, 64, 3), amount), atol=1e-5)
    for new, old, amount in zip(after["scales"], before["scales"], (0.3, 0.2, 0.1), strict=True):
        assert_allclose(new - old, np.full(new.shape, amount), atol=1e-5)


def test_kernels_start_as_large_as_their_activation_needs():
    """He et al. (2015): variance 2 / fan_in in front of ReLU. Residual branches' last kernels and outputs at zero."""
    kernels = [
        (v.path, ops.convert_to_numpy(v))
        for v in build_generator((16, 32, 64)).trainable_variables
        if "kernel" in v.path
    ]
    assert len(kernels) > 40
    for path, kernel in kernels:
        zero = "conv2/" in path or path.split("/")[-2].endswith("image")
        assert kernel.any() == (not zero), path
        if not zero and "deconv" not in path:  # of a transposed kernel Keras takes the outputs for the inputs
            height, width, inputs, _ = kernel.shape
            assert kernel.var() == pytest.approx(2 / (height * width * inputs), rel=0.2), path


def test_leaky_relu_everywhere_but_where_images_are_made():
    activations = [
        layer.activation.__name__ for layer in build_generator(TINY)._flatten_layers() if hasattr(layer, "activation")
    ]
    assert set(activations) == {"leaky_relu", "linear"}
    # 16 residual blocks' second convolutions, and for each of three images a deconvolution and a convolution
    assert activations.count("linear") == 13 + 6
