"""The three HSICs of EGNet's Table 5 (the specification's oracle 14)."""

import keras
import numpy as np
import pytest

from baselines.egnet.hsic import MEASURES, hsic, hsic_ratios, nhsic, nhsic_cca, tail_features


def normal(m, d, seed):
    return np.random.default_rng(seed).normal(size=(m, d))


def images(seed, channels=3, size=24):
    return np.random.default_rng(seed).random((2, size, size, channels))


def test_the_definition_with_its_matrices():
    x, y = normal(40, 5, 0), normal(40, 3, 1)
    y[:, 0] += x[:, 0]
    h = np.eye(40) - 1 / 40

    def kernel(z):
        return np.array([[np.exp(-np.sum((a - b) ** 2) / (2 * 25 * len(a))) for b in z] for a in z])

    def trace(k_x, k_y):
        return np.trace(k_x @ h @ k_y @ h) / 40**2

    def inverted(k):
        return k @ h @ np.linalg.inv(k @ h + 1e-5 * 40 * np.eye(40))

    k_x, k_y = kernel(x), kernel(y)
    assert hsic(x, y) == pytest.approx(trace(k_x, k_y), rel=1e-9)
    assert nhsic(x, y) == pytest.approx(trace(k_x, k_y) / np.sqrt(trace(k_x, k_x) * trace(k_y, k_y)), rel=1e-9)
    assert nhsic_cca(x, y) == pytest.approx(np.trace(inverted(k_x) @ inverted(k_y)), rel=1e-6)


def test_identity_symmetry_and_joint_permutation():
    x, y = normal(200, 16, 0), normal(200, 9, 1)
    assert nhsic(x, x) == pytest.approx(1, abs=1e-12)
    assert nhsic(x, y) == pytest.approx(nhsic(y, x), rel=1e-9)
    order = np.random.default_rng(2).permutation(200)
    assert nhsic(x[order], y[order]) == pytest.approx(nhsic(x, y), rel=1e-9)
    assert nhsic(x[order], y) < 2 * nhsic(x, y)  # both are independent of one another
    assert nhsic(x, x @ normal(16, 9, 3)) > 2 * nhsic(x, y)


def test_independent_samples_do_not_score_zero():
    m, d_x, d_y = 2000, 128, 147
    assert nhsic(normal(m, d_x, 0), normal(m, d_y, 1)) == pytest.approx(np.sqrt(d_x * d_y) / m, rel=0.1)


@pytest.mark.parametrize("measure", MEASURES)
def test_ratio_is_one_for_equal_images_and_falls_with_the_image_left_behind(measure):
    sharp, other = images(0), images(1)
    features = np.concatenate([sharp, np.roll(sharp, 1, axis=1)], axis=-1)

    def ratio(*arguments, **options):
        return hsic_ratios(features, *arguments, **options)[measure]

    assert ratio(sharp, sharp) == pytest.approx(1, abs=1e-12)
    found = ratio(sharp, other)
    assert found > 1.2 and ratio(other, sharp) < 1
    assert ratio(sharp, other) == found != ratio(sharp, other, samples=200)
    assert ratio(sharp, other, samples=200) != ratio(sharp, other, samples=200, seed=1)


def test_scale_and_offset_of_channels_do_not_matter_and_flat_ones_do_no_harm():
    sharp, other = images(0), images(1)
    features = np.concatenate([sharp, np.full((2, 24, 24, 1), 0.25)], axis=-1)
    expected = hsic_ratios(features, sharp, other)
    assert np.isfinite(list(expected.values())).all()
    assert hsic_ratios(100 * features - 3, sharp, other) == pytest.approx(expected, rel=1e-6)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="one batch, height and width"):
        hsic_ratios(images(0), images(0, size=32), images(0))
    with pytest.raises(ValueError, match="sides of 7"):
        hsic_ratios(images(0, size=6), images(0, size=6), images(0, size=6))


def test_tail_features_are_the_last_convolutions_input():
    image = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    residual = keras.layers.Conv2D(3, 3, padding="same", name="tail")(features)
    generator = keras.Model(image, {"deblurred": image + residual})
    photos = images(0, size=16).astype("float32")
    found = tail_features(generator, photos)
    assert found.shape == (2, 16, 16, 8) and found.dtype == np.float32
    tail = keras.ops.convert_to_numpy(generator.get_layer("tail")(found))
    np.testing.assert_allclose(photos + tail, keras.ops.convert_to_numpy(generator(photos)["deblurred"]), atol=1e-6)
