"""MADN's losses against hand-computed values (the specification's oracles 12 to 15)."""

import math

import numpy as np
import pytest
from keras import ops

from madn.models.madn.objective import MADNObjective
from madn.nn.losses import batch_psnr, log_loss


def constant_outputs(n=2, size=16):
    half, quarter = size // 2, size // 4
    return {
        "deblurred": np.full((n, size, size, 3), 0.5, "float32"),
        "gradient": np.zeros((n, size, size, 3), "float32"),
        "scales": [np.full((n, side, side, 3), 0.5, "float32") for side in (size, half, quarter)],
    }


def zero_critic(images, domain):
    return ops.zeros((images.shape[0], 1))


def test_hand_values():
    black = np.zeros((2, 16, 16, 3), "float32")
    objective = MADNObjective()
    total, terms = objective.generator_losses(black, black, constant_outputs(), zero_critic)
    expected = {
        "pixel": 0.375,
        "gradient_content": 0.001,
        "restored_gradient": 0,
        "image": 0.5,
        "content": 0.50425,
        "adversarial_image": np.log(2),
        "adversarial_gradient": np.log(2),
    }
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, abs=1e-6), name
    assert float(total) == pytest.approx(0.5735647, abs=1e-6)
    d_total, d_terms = objective.critic_losses(black, black, constant_outputs(), zero_critic)
    assert float(d_total) == pytest.approx(4 * np.log(2), abs=1e-6)
    assert set(objective.term_names) == set(terms) | set(d_terms)


def test_log_loss_values_and_finite_extremes():
    logits = np.array([[2.0], [-1.0]], "float32")
    assert float(log_loss(logits, real=True)) == pytest.approx(0.7200948, abs=1e-6)
    assert float(log_loss(logits, real=False)) == pytest.approx(1.2200948, abs=1e-6)
    tf = pytest.importorskip("tensorflow")
    extreme = tf.Variable([[1e4], [-1e4]])
    for real in (True, False):
        with tf.GradientTape() as tape:
            loss = log_loss(extreme, real)
        assert np.isfinite(loss) and np.isfinite(tape.gradient(loss, extreme)).all()


def test_perfect_outputs_cost_nothing_and_tiling_changes_nothing():
    from madn.nn.layers import resize, sobel_magnitude

    sharp = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    perfect = {
        "deblurred": sharp,
        "gradient": sobel_magnitude(sharp),
        "scales": [sharp, resize(sharp, 0.5), resize(sharp, 0.25)],
    }
    objective = MADNObjective(adversarial_domains="none")
    assert float(objective.generator_losses(sharp, sharp, perfect, None)[0]) == pytest.approx(0, abs=1e-6)

    outputs = constant_outputs(2, 32)
    once, _ = objective.generator_losses(sharp, sharp, outputs, None)
    tiled = {
        key: [np.tile(x, (3, 1, 1, 1)) for x in value] if key == "scales" else np.tile(value, (3, 1, 1, 1))
        for key, value in outputs.items()
    }
    thrice = np.tile(sharp, (3, 1, 1, 1))
    assert float(objective.generator_losses(thrice, thrice, tiled, None)[0]) == pytest.approx(float(once), rel=1e-5)


def test_the_logarithm_of_squared_errors_takes_each_image_by_itself():
    """Errors of 0.1 and 0: ln(1 + 0.01 / 0.0001) and 0."""
    restored = np.stack([np.full((16, 16, 3), level, "float32") for level in (0.5, 0.4)])
    outputs = {**constant_outputs(), "deblurred": restored}
    term = MADNObjective(adversarial_domains="none", error="log").generator_losses(
        restored, np.full_like(restored, 0.4), outputs, None
    )[1]["image"]
    assert float(term) == pytest.approx(math.log(101) / 2, rel=1e-5)


def test_the_logarithm_of_the_pixel_loss_adds_up_the_scales():
    """Errors of 0.1, 0.2 and 0 at the scales: half of ln 101, of ln 401, and of nothing."""
    black = np.zeros((2, 16, 16, 3), "float32")
    outputs = {
        **constant_outputs(),
        "scales": [np.full((2, side, side, 3), error, "float32") for side, error in ((16, 0.1), (8, 0.2), (4, 0.0))],
    }
    term = MADNObjective(adversarial_domains="none", error="log").generator_losses(black, black, outputs, None)[1][
        "pixel"
    ]
    assert float(term) == pytest.approx((math.log(101) + math.log(401)) / 2, rel=1e-5)


def test_without_a_gradient_network_nothing_is_said_of_gradient_maps():
    black = np.zeros((1, 16, 16, 3), "float32")
    outputs = {name: value for name, value in constant_outputs(1).items() if name != "gradient"}
    objective = MADNObjective(adversarial_domains="image", gradient_network=False)
    total, terms = objective.generator_losses(black, black, outputs, zero_critic)
    assert float(total) == pytest.approx(0.50375 + 0.05 * np.log(2), abs=1e-6)  # less phi1 * 0.001
    terms |= objective.critic_losses(black, black, outputs, zero_critic)[1]
    assert set(terms) == set(objective.term_names) and "gradient_content" not in terms


def test_the_scales_are_compared_with_the_sharp_image_as_the_network_shrinks_its_own():
    """TensorFlow 1's half is every second sample; the antialiased one of these stripes is nearly grey."""
    stripes = np.zeros((1, 16, 16, 3), "float32")
    stripes[:, :, ::2] = 1
    outputs = {
        **constant_outputs(1),
        "deblurred": stripes,
        "scales": [stripes, *(np.ones((1, side, side, 3), "float32") for side in (8, 4))],
    }
    pixel = {
        resize: float(
            MADNObjective(adversarial_domains="none", resize=resize).generator_losses(stripes, stripes, outputs, None)[
                1
            ]["pixel"]
        )
        for resize in ("tf1", "bicubic")
    }
    assert pixel["tf1"] == 0 and pixel["bicubic"] > 0.2


def test_figure_9_domains():
    black, outputs = np.zeros((1, 16, 16, 3), "float32"), constant_outputs(1)
    seen = []

    def critic(images, domain):
        seen.append(domain)
        return zero_critic(images, domain)

    for domains, expected in (("none", set()), ("image", {"image"}), ("both", {"image", "gradient"})):
        seen.clear()
        objective = MADNObjective(adversarial_domains=domains)
        _, terms = objective.generator_losses(black, black, outputs, critic)
        if expected:
            terms |= objective.critic_losses(black, black, outputs, critic)[1]
        assert set(seen) == expected
        assert set(terms) == set(objective.term_names)


def test_batch_psnr_follows_the_8_bit_protocol():
    sharp = np.full((2, 8, 8, 3), 100 / 255, "float32")
    assert float(batch_psnr(sharp + 1 / 255, sharp)) == pytest.approx(48.1308, abs=1e-3)
    assert float(batch_psnr(sharp + 0.4 / 255, sharp)) == 100  # rounds to the same 8-bit value
    assert float(batch_psnr(np.full_like(sharp, 1.7), np.ones_like(sharp))) == 100  # clipped
