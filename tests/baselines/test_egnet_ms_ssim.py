"""MS-SSIM against TensorFlow's and against one of its own in float64 (the specification's oracle 10)."""

import numpy as np
import pytest
from keras import ops
from scipy.ndimage import correlate1d, uniform_filter

from baselines.egnet.ms_ssim import WEIGHTS, ms_ssim, scale_weights


def pair(height, width, noise=0.1, n=2, seed=0):
    """Smooth images and noisy copies of them."""
    rng = np.random.default_rng(seed)
    a = uniform_filter(rng.random((n, height, width, 3)), (0, 5, 5, 0))
    a = (a - a.min()) / (a.max() - a.min())
    return a.astype("float32"), np.clip(a + noise * rng.normal(size=a.shape), 0, 1).astype("float32")


def score(a, b):
    return ops.convert_to_numpy(ms_ssim(a, b))


def reference(a, b, weights):
    """Wang et al. 2003 for one pair (height, width, 3) in [0, 1], in float64: covariances from deviations."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    taps /= taps.sum()

    def window(x):
        return correlate1d(correlate1d(x, taps, 0), taps, 1)[5:-5, 5:-5]

    scores = []
    for x, y in zip(np.moveaxis(a.astype("float64"), -1, 0), np.moveaxis(b.astype("float64"), -1, 0), strict=True):
        product = 1.0
        for scale, weight in enumerate(weights):
            if scale:
                x, y = (z.reshape(z.shape[0] // 2, 2, z.shape[1] // 2, 2).mean((1, 3)) for z in (x, y))
            mx, my = window(x), window(y)
            vx, vy, cov = window(x * x) - mx**2, window(y * y) - my**2, window(x * y) - mx * my
            term = (2 * cov + 9e-4) / (vx + vy + 9e-4)
            if scale == len(weights) - 1:
                term = term * (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
            product *= max(term.mean(), 1e-6) ** weight
        scores.append(product)
    return np.mean(scores)


@pytest.mark.parametrize(("height", "width", "noise"), [(256, 256, 0.1), (192, 176, 0.3), (179, 233, 0.02)])
def test_five_scales_equal_tensorflows(height, width, noise):
    tf = pytest.importorskip("tensorflow")
    a, b = pair(height, width, noise)
    np.testing.assert_allclose(score(a, b), tf.image.ssim_multiscale(a, b, 1.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "scales"), [(256, 5), (128, 4), (64, 3), (32, 2)])
def test_every_number_of_scales_equals_the_definition(side, scales):
    a, b = pair(side, side)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights = weights / weights.sum() if scales < 5 else weights
    expected = [reference(x, y, weights) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(score(a, b), expected, atol=1e-5, rtol=0)


def test_one_scale_is_ssim():
    from skimage.metrics import structural_similarity

    a, b = pair(20, 24, n=1)
    _, similarity = structural_similarity(
        a[0].astype("float64"),
        b[0].astype("float64"),
        channel_axis=-1,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert score(a, b)[0] == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-5)


def test_scales_follow_the_smaller_side():
    assert [len(scale_weights(n, 720)) for n in (11, 21, 41, 81, 161, 256)] == [1, 2, 3, 4, 5, 5]
    assert [len(scale_weights(720, n)) for n in (20, 40, 80, 160)] == [1, 2, 3, 4]
    assert scale_weights(161, 256) == WEIGHTS
    assert sum(scale_weights(64, 64)) == pytest.approx(1)
    with pytest.raises(ValueError, match="11 pixels or more; received 10 x 64"):
        scale_weights(10, 64)
    with pytest.raises(ValueError, match="known height and width"):
        scale_weights(None, 64)


def test_identical_images_score_one_and_the_rest_less():
    a, b = pair(64, 64, n=3)
    np.testing.assert_allclose(score(a, a), 1, atol=1e-6)
    assert (score(a, b) < 1).all() and (score(a, b) > 0).all()
    np.testing.assert_allclose(score(a, b), score(b, a), atol=1e-6)
    np.testing.assert_allclose(score(a, b), [score(a[i : i + 1], b[i : i + 1])[0] for i in range(3)], atol=1e-6)


@pytest.mark.parametrize("other", ["inverted", "uncorrelated", "black", "same"])
def test_gradients_are_finite(other):
    tf = pytest.importorskip("tensorflow")
    a = np.random.default_rng(0).random((1, 64, 64, 3), dtype=np.float32)
    b = {
        "inverted": 1 - a,
        "uncorrelated": np.random.default_rng(1).random(a.shape, dtype=np.float32),
        "black": np.zeros_like(a),
        "same": a,
    }[other]
    variable = tf.Variable(a)
    with tf.GradientTape() as tape:
        value = ms_ssim(variable, b)
    assert 0 <= float(value[0]) <= 1 + 1e-6
    assert np.isfinite(tape.gradient(value, variable)).all()


def test_the_gradient_leads_to_the_sharp_image():
    tf = pytest.importorskip("tensorflow")
    sharp, start = pair(32, 32, n=1)
    variable = tf.Variable(start)
    with tf.GradientTape() as tape:
        before = ms_ssim(variable, sharp)
    after = ms_ssim(variable + 0.5 * tape.gradient(before, variable), sharp)
    assert float(after[0]) > float(before[0])


def test_half_precision_is_computed_in_float32():
    a, b = pair(32, 32)
    half = ops.cast(a, "bfloat16")
    value = ms_ssim(half, b)
    assert ops.dtype(value) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(value), score(ops.cast(half, "float32"), b), atol=0)
