"""EGNet's gradient map and loss (the specification's section 4, oracles 9, 10 and 12)."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from baselines.egnet.gradient_map import gradient_map, laplacian, pyramid_edges
from baselines.egnet.objective import EGNetObjective, charbonnier
from madn.nn.losses import l2


def image(height=32, width=40, n=2, seed=0):
    return np.random.default_rng(seed).random((n, height, width, 3), dtype=np.float32)


def found(images, operator=gradient_map):
    return ops.convert_to_numpy(operator(images))


def by_minmax(images):
    return gradient_map(images, "minmax")


def reference(images, norm="absmax"):
    """Eq. 15 by SciPy in float64."""
    normalise = {
        "minmax": lambda x: (x - x.min()) / (x.max() - x.min()),
        "absmax": lambda x: abs(x) / abs(x).max(),
    }[norm]
    result = np.empty(images.shape)
    for i, photo in enumerate(images.astype("float64")):
        for c in range(3):
            channel = photo[..., c]
            smooth = ndimage.uniform_filter(channel, 3, mode="mirror")
            result[i, ..., c] = normalise(ndimage.laplace(smooth, mode="mirror")) * normalise(
                ndimage.laplace(channel, mode="mirror")
            )
    return result


def test_eq15_equals_scipys():
    x = image(17, 22)
    np.testing.assert_allclose(found(x), reference(x), atol=2e-5)
    np.testing.assert_allclose(found(x, by_minmax), reference(x, "minmax"), atol=2e-5)


def test_laplacian_and_pyramid_edges_equal_scipys():
    taps = np.array([0.05, 0.25, 0.4, 0.25, 0.05])

    def blur(x):
        return ndimage.correlate1d(ndimage.correlate1d(x, taps, 0, mode="nearest"), taps, 1, mode="nearest")

    for height, width in ((16, 24), (17, 23)):
        x = image(height, width)
        for photo, edges, plain in zip(x.astype("float64"), found(x, pyramid_edges), found(x, laplacian), strict=True):
            for c in range(3):
                sparse = np.zeros((height, width))
                sparse[::2, ::2] = 4 * blur(photo[..., c])[::2, ::2]
                np.testing.assert_allclose(edges[..., c], photo[..., c] - blur(sparse), atol=1e-6)
                np.testing.assert_allclose(plain[..., c], ndimage.laplace(photo[..., c], mode="mirror"), atol=2e-6)


def test_one_bright_pixel_by_hand():
    x = np.zeros((1, 9, 9, 1), "float32")
    x[0, 4, 4] = 0.9
    # F(I): -3.6 at the pixel, 0.9 beside it. F(Ave I), Ave 0.1 on 3x3: -0.2 at corners, -0.1 at edges, 0 in the middle,
    # 0.1 beside the square. Divided by the largest: 0.25 and 0.5 beside the pixel, 1 and 0 at it.
    expected = np.zeros((9, 9))
    expected[3, 4] = expected[5, 4] = expected[4, 3] = expected[4, 5] = 0.25 * 0.5
    np.testing.assert_allclose(found(x)[0, ..., 0], expected, atol=1e-6)
    # By minimum and maximum 0 becomes 0.8 and 2/3.
    expected = np.full((9, 9), 0.8 * 2 / 3)
    expected[3:6, 3:6] = [[0, 1 / 3, 0], [1 / 3, 0, 1 / 3], [0, 1 / 3, 0]]
    for row, column in ((3, 3), (3, 5), (5, 3), (5, 5)):
        expected[row, column] = 0
    expected[2, 3:6] = expected[6, 3:6] = expected[3:6, 2] = expected[3:6, 6] = 0.8
    np.testing.assert_allclose(found(x, by_minmax)[0, ..., 0], expected, atol=1e-6)


def test_constant_images_have_no_gradient():
    x = np.full((1, 16, 16, 3), 0.3, "float32")
    for operator in (gradient_map, by_minmax, laplacian):
        np.testing.assert_array_equal(found(x, operator), 0)
    np.testing.assert_allclose(found(x, pyramid_edges)[:, 4:-4, 4:-4], 0, atol=1e-6)


def test_contrast_and_brightness_do_not_matter():
    x = image()
    for operator in (gradient_map, by_minmax):
        np.testing.assert_allclose(found(0.25 * x + 0.5, operator), found(x, operator), atol=1e-5)


def test_values_lie_between_0_and_1():
    for operator in (gradient_map, by_minmax):
        result = found(image(), operator)
        assert result.min() >= 0 and result.max() <= 1


def test_turning_the_image_turns_the_map():
    x = image()
    for operator in (gradient_map, laplacian):
        np.testing.assert_allclose(
            np.rot90(found(x, operator), axes=(1, 2)), found(np.rot90(x, axes=(1, 2)).copy(), operator), atol=1e-6
        )


def test_every_image_and_channel_has_its_own_range():
    x = image()
    alone = np.concatenate([found(x[i : i + 1]) for i in range(2)])
    np.testing.assert_array_equal(found(x), alone)
    x[..., 0] *= 0.1
    np.testing.assert_allclose(found(x)[..., 1:], alone[..., 1:], atol=0)


def test_gradient_map_at_unknown_sizes():
    import keras

    x, operators = keras.Input((None, None, 3)), (gradient_map, laplacian, pyramid_edges)
    model = keras.Model(x, [keras.layers.Lambda(operator, lambda s: s)(x) for operator in operators])
    photo = image()
    for result, operator in zip(model.predict(photo, verbose=0), operators, strict=True):
        np.testing.assert_allclose(result, found(photo, operator), atol=1e-6)


def outputs(*stages):
    return {"deblurred": stages[0], "stages": list(stages)}


def test_hand_values_of_flat_images():
    """Flat images have flat gradient maps and no structure: MS-SSIM is the luminance at the last scale."""
    grey, dark = np.full((2, 32, 32, 3), 0.5, "float32"), np.full((2, 32, 32, 3), 0.3, "float32")
    total, terms = EGNetObjective().generator_losses(grey, dark, outputs(grey, dark, dark + 0.1))
    weight = 0.2856 / (0.0448 + 0.2856)

    def luminance(a, b):
        return ((2 * a * b + 1e-4) / (a * a + b * b + 1e-4)) ** weight

    similarity = 2 - luminance(0.5, 0.3) - luminance(0.4, 0.3)
    expected = {
        "content": 0.05,
        "gradient": 0,
        "ms_ssim_loss": similarity,
        "mse_stage_1": 0.01,
        "mse_stage_2": 0,
        "mse_stage_3": 0.04,
    }
    assert set(terms) == set(expected) == set(EGNetObjective().term_names)
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, abs=2e-4 if name == "ms_ssim_loss" else 1e-6), name
    assert float(total) == pytest.approx(0.05 + 0.1 * similarity, abs=2e-5)


def test_terms_are_those_of_eq17():
    tf = pytest.importorskip("tensorflow")
    sharp, restored = image(192, 192, 1), image(192, 192, 1, seed=1)
    restored = 0.7 * sharp + 0.3 * restored
    objective = EGNetObjective(alpha=2.0, beta=0.3, gamma=0.4, stages=1)
    total, terms = objective.generator_losses(sharp, sharp, outputs(restored))
    mse = np.mean((restored - sharp) ** 2)
    gradient = np.mean((reference(restored) - reference(sharp)) ** 2)
    similarity = 1 - float(tf.image.ssim_multiscale(restored, sharp, 1.0)[0])
    assert float(terms["mse_stage_1"]) == pytest.approx(mse, rel=1e-5)
    assert float(terms["content"]) == pytest.approx(2 * mse, rel=1e-5)
    assert float(terms["gradient"]) == pytest.approx(gradient, rel=1e-3)
    assert float(terms["ms_ssim_loss"]) == pytest.approx(similarity, abs=1e-5)
    assert float(total) == pytest.approx(2 * mse + 0.3 * gradient + 0.4 * similarity, rel=1e-4)


def test_mprnets_loss():
    sharp, restored = image(), image(seed=1)
    objective = EGNetObjective(loss="mprnet", stages=1)
    total, terms = objective.generator_losses(sharp, sharp, outputs(restored))

    def distance(a, b):
        return np.mean(np.sqrt((a.astype("float64") - b) ** 2 + 1e-6))

    content, edge = distance(restored, sharp), distance(found(restored, pyramid_edges), found(sharp, pyramid_edges))
    assert set(terms) == set(objective.term_names) == {"content", "edge", "charbonnier_stage_1"}
    assert float(terms["content"]) == float(terms["charbonnier_stage_1"]) == pytest.approx(content, rel=1e-5)
    assert float(total) == pytest.approx(content + 0.05 * edge, rel=1e-5)
    assert float(charbonnier(sharp, sharp)) == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("loss", ["eq17", "mprnet"])
def test_three_equal_stages_cost_three_times_one(loss):
    sharp, restored = image(), image(seed=1)
    one, _ = EGNetObjective(loss=loss, stages=1).generator_losses(sharp, sharp, outputs(restored))
    three, terms = EGNetObjective(loss=loss).generator_losses(sharp, sharp, outputs(*[restored] * 3))
    assert float(three) == pytest.approx(3 * float(one), rel=1e-6)
    assert set(terms) == set(EGNetObjective(loss=loss).term_names)


def test_perfect_stages_cost_nothing_and_stray_ones_are_not_clipped():
    sharp = image()
    perfect, _ = EGNetObjective().generator_losses(sharp, sharp, outputs(*[sharp] * 3))
    assert float(perfect) == pytest.approx(0, abs=1e-6)
    _, terms = EGNetObjective(stages=1).generator_losses(sharp, np.ones_like(sharp), outputs(np.full_like(sharp, 1.5)))
    assert float(terms["content"]) == pytest.approx(0.25) and float(terms["ms_ssim_loss"]) == pytest.approx(0, abs=1e-6)


def test_gradients_are_finite_on_flat_and_busy_images():
    tf = pytest.importorskip("tensorflow")
    objective = EGNetObjective(stages=1)
    for restored in (image(), np.full((2, 32, 40, 3), 0.9, "float32")):
        for sharp in (image(seed=1), np.ones((2, 32, 40, 3), "float32")):
            variable = tf.Variable(restored)
            with tf.GradientTape() as tape:
                total, _ = objective.generator_losses(sharp, sharp, outputs(variable))
            assert np.isfinite(tape.gradient(total, variable)).all()


def test_half_precision_costs_what_float32_costs():
    sharp, restored = image(), ops.cast(image(seed=1), "bfloat16")
    total, terms = EGNetObjective(stages=1).generator_losses(sharp, sharp, outputs(restored))
    exact, _ = EGNetObjective(stages=1).generator_losses(sharp, sharp, outputs(ops.cast(restored, "float32")))
    assert float(total) == float(exact)
    assert {ops.dtype(term) for term in terms.values()} == {"float32"}


@pytest.mark.slow
def test_what_extreme_pixels_do_to_the_gradient_loss(real_data):
    """Why G is "absmax": with "minmax" two extreme pixels lift or lower a whole map, and the loss is led by that."""
    from PIL import Image

    folder = real_data / "GOPRO" / "train" / "CROPS256"
    names = sorted(path.name for path in (folder / "sharp").glob("*.png"))[:12]
    blurred, sharp = (
        np.stack([np.asarray(Image.open(folder / kind / name), "float32") / 255 for name in names])
        for kind in ("blur", "sharp")
    )
    wrong = sharp.copy()
    wrong[:, 128, 128] = 1 - wrong[:, 128, 128].round()
    offset, pixel, flat = {}, {}, {}
    for norm in ("absmax", "minmax"):
        truth = reference(sharp, norm)
        blur = reference(blurred, norm) - truth
        offset[norm] = np.mean(np.mean(blur, axis=(1, 2)) ** 2) / np.mean(blur**2)
        pixel[norm] = np.mean((reference(wrong, norm) - truth) ** 2) / np.mean(blur**2)
        flat[norm] = np.median(truth, axis=(1, 2, 3))
    assert offset == pytest.approx({"absmax": 0.013, "minmax": 0.188}, abs=2e-3)
    assert pixel == pytest.approx({"absmax": 0.39, "minmax": 4.92}, abs=0.02)
    assert flat["absmax"].max() < 0.002
    assert (flat["minmax"].min(), flat["minmax"].max()) == pytest.approx((0.253, 0.337), abs=1e-3)
    tf = pytest.importorskip("tensorflow")
    image, shares = tf.constant(blurred), {}
    for norm in ("absmax", "minmax"):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(image)
            content = l2(image, sharp)
            gradient = EGNetObjective.beta * l2(gradient_map(image, norm), gradient_map(sharp, norm))
        norms = [np.sqrt(np.sum(tape.gradient(loss, image) ** 2, (1, 2, 3))) for loss in (gradient, content)]
        shares[norm] = np.median(norms[0] / norms[1])
    assert shares == pytest.approx({"absmax": 0.034, "minmax": 0.084}, abs=1e-3)


def test_noise_is_suppressed(real_data):
    """Section 3.3.2's claim, by the correlation of a frame's map with that of its noisy copy."""
    from PIL import Image

    file = real_data / "GOPRO" / "test" / "GOPR0384_11_00" / "sharp" / "000001.png"
    clean = np.asarray(Image.open(file), "float32")[None] / 255
    noisy = clean + np.random.default_rng(0).normal(0, 0.02, clean.shape[1:]).astype("float32")
    alike = [
        np.corrcoef(found(clean, operator).ravel(), found(noisy, operator).ravel())[0, 1]
        for operator in (gradient_map, by_minmax, laplacian)
    ]
    assert alike == pytest.approx([0.865, 0.664, 0.537], abs=2e-3)


SCRIPT = """
import json, sys
sys.modules["tensorflow"] = None
import numpy as np, torch
from baselines.egnet.objective import EGNetObjective
images = np.load(sys.argv[1])
result = {}
for loss in ("eq17", "mprnet"):
    restored = torch.tensor(images[1], requires_grad=True)
    total, terms = EGNetObjective(loss=loss, stages=1).generator_losses(images[0], images[0], {"stages": [restored]})
    total.backward()
    result[loss] = {name: float(value.detach()) for name, value in terms.items()}
    result[loss]["slope"] = float(restored.grad.abs().sum())
print(json.dumps(result))
"""


@pytest.mark.process
@pytest.mark.torch
@pytest.mark.slow
def test_pytorch_computes_the_same(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")
    tf = pytest.importorskip("tensorflow")
    images = np.stack([image(48, 33), image(48, 33, seed=1)])
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "images.npy"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": os.getcwd()},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for loss, found_terms in json.loads(done.stdout).items():
        restored = tf.Variable(images[1])
        with tf.GradientTape() as tape:
            total, terms = EGNetObjective(loss=loss, stages=1).generator_losses(images[0], images[0], outputs(restored))
        slope = np.abs(tape.gradient(total, restored)).sum()
        assert found_terms.pop("slope") == pytest.approx(slope, rel=1e-3)
        assert found_terms == pytest.approx({name: float(value) for name, value in terms.items()}, rel=1e-4)
