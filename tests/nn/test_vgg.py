"""The perceptual loss: against keras.applications' own preprocessing and layers, its calibration, its errors."""

import urllib.error
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose

from baselines.msr2b import recipe as msr2b
from baselines.structure_guided import recipe as structure_guided
from madn.errors import UserError
from madn.nn import vgg
from madn.nn.vgg import PerceptualLoss, fixed_pair
from madn.training.gradients import input_gradient
from madn.training.perceptual import TORCHVISION_VGG19


def images(seed, size=16):
    return np.random.default_rng(seed).random((2, size, size, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def loss(vgg_weights):
    return PerceptualLoss("vgg16", "block3_conv3", vgg_weights("vgg16"))


@pytest.fixture(scope="module")
def reference(vgg_weights):
    """relu3_3 and the map before its ReLU, as keras.applications itself would be used."""
    whole = keras.applications.VGG16(include_top=False, weights=vgg_weights("vgg16"))
    layer = whole.get_layer("block3_conv3")
    kernel, bias = layer.get_weights()

    def features(x):
        prepared = keras.applications.vgg16.preprocess_input(255 * x.copy())
        before = keras.Model(whole.input, layer.input)(prepared)
        return ops.convert_to_numpy(ops.conv(before, kernel, padding="same") + bias)

    return features


def test_features_are_those_of_keras_applications(loss, reference, vgg_weights):
    before = reference(images(0))
    assert before.shape == (2, 4, 4, 256)
    scale = np.abs(before).max()
    assert_allclose(loss.features(images(0)), np.maximum(before, 0), atol=1e-5 * scale)
    linear = PerceptualLoss("vgg16", "block3_conv3", vgg_weights("vgg16"), activated=False)
    assert_allclose(linear.features(images(0)), before, atol=1e-5 * scale)


def test_distance_by_hand(loss):
    a, b = (np.asarray(loss.features(images(seed)), np.float64) for seed in (0, 1))
    assert float(loss.distance(images(0), images(1))) == pytest.approx(np.mean((a - b) ** 2), rel=1e-5)
    assert float(loss.distance(images(0), images(0))) == 0


def test_no_gradient_reaches_the_sharp_image(loss):
    first, second = (ops.convert_to_tensor(images(seed)) for seed in (0, 1))
    assert np.any(input_gradient(lambda x: loss.distance(x, second), first))
    found = input_gradient(lambda x: loss.distance(first, x) + 0 * ops.sum(x), first)
    assert not np.any(found)


def test_the_gain_brings_the_fixed_pair_to_the_reference(loss, vgg_weights):
    calibrated = PerceptualLoss("vgg16", "block3_conv3", vgg_weights("vgg16"), reference=5.0)
    sharp, blurred = fixed_pair()
    assert sharp.shape == blurred.shape == (1, 256, 256, 3) and 0 <= blurred.min() and blurred.max() <= 1
    assert float(calibrated.distance(blurred, sharp)) == pytest.approx(5.0, rel=1e-5)
    assert (calibrated.magnitude, loss.gain) == (loss.magnitude, 1.0)
    assert calibrated.gain == pytest.approx(5.0 / loss.magnitude)
    given = PerceptualLoss("vgg16", "block3_conv3", vgg_weights("vgg16"), reference=5.0, gain=2.0)
    assert given.gain == 2.0
    facts = calibrated.facts()
    assert facts["gain"] == calibrated.gain and facts["magnitude"] == loss.magnitude and "sha256" in facts["weights"]


def test_features_stay_float32_and_frozen(vgg_weights):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        vgg._extractor.cache_clear()
        built = PerceptualLoss("vgg16", "block1_conv2", vgg_weights("vgg16"))
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in built.extractor.layers} == {"float32"}
    assert built.features(ops.cast(images(0), "bfloat16")).dtype == "float32"
    assert not built.extractor.trainable_variables


def test_a_layer_without_weights_is_named(tmp_path):
    whole = keras.applications.VGG16(include_top=False, weights=None)
    layer = whole.get_layer("block3_conv1")
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    whole.save_weights(tmp_path / "cut.weights.h5")
    with pytest.raises(UserError, match="holds no weights for block3_conv1 of VGG16"):
        PerceptualLoss("vgg16", "block3_conv1", str(tmp_path / "cut.weights.h5"))


def test_missing_foreign_and_undownloadable_weights(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="nothing.h5: no such file"):
        PerceptualLoss("vgg19", "block3_conv3", str(tmp_path / "nothing.h5"))
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(UserError, match="text.h5: not a readable .weights.h5 file"):
        PerceptualLoss("vgg19", "block3_conv3", str(tmp_path / "text.h5"))

    def offline(**_):
        raise Exception("URL fetch failure: " + str(urllib.error.URLError("no network")))

    monkeypatch.setattr(vgg.keras, "applications", SimpleNamespace(VGG16=offline, VGG19=offline))
    with pytest.raises(UserError, match="could not be downloaded .*--vgg-weights"):
        PerceptualLoss("vgg19", "block3_conv3")


@pytest.mark.slow
def test_the_real_weights_have_the_magnitudes_that_the_recipes_expect(vgg_weights):
    """torchvision's magnitude for VGG16; channels of mean 1 for VGG19."""
    file = vgg_weights("vgg19")
    if "float16" not in file:
        pytest.skip("the real VGG weights are not here: set MADN_TEST_WEIGHTS to their folder")
    found = PerceptualLoss("vgg16", "block3_conv3", vgg_weights("vgg16")).magnitude
    assert found == pytest.approx(7.04, rel=1e-2)
    found = PerceptualLoss("vgg19", "block4_conv3", file)
    assert TORCHVISION_VGG19 * found.magnitude == pytest.approx(structure_guided.VGG_REFERENCE, rel=1e-2)
    assert float(ops.mean(found.features(fixed_pair()[0]))) == pytest.approx(1.0, rel=0.2)
    found = PerceptualLoss("vgg19", "block3_conv3", file, activated=False)
    assert TORCHVISION_VGG19 * found.magnitude == pytest.approx(msr2b.VGG_REFERENCE, rel=1e-2)


@pytest.mark.slow
def test_one_estimate_of_torchvisions_magnitude_serves_both_papers(vgg_weights):
    """Block 3's mean activation in torchvision's VGG16, against that in the normalised VGG19, on one photograph."""
    if "float16" not in vgg_weights("vgg19"):
        pytest.skip("the real VGG weights are not here: set MADN_TEST_WEIGHTS to their folder")
    sharp = fixed_pair()[0]
    means = {
        network: np.mean(
            [
                float(ops.mean(PerceptualLoss(network, f"block3_conv{k}", vgg_weights(network)).features(sharp)))
                for k in range(1, last + 1)
            ]
        )
        for network, last in (("vgg16", 3), ("vgg19", 4))
    }
    assert (means["vgg16"] / means["vgg19"]) ** 2 == pytest.approx(TORCHVISION_VGG19, rel=0.2)
    gains = [recipe.VGG_REFERENCE / magnitude for recipe, magnitude in ((structure_guided, 3.093), (msr2b, 0.9156))]
    assert gains == pytest.approx([TORCHVISION_VGG19] * 2)
