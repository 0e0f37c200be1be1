"""SIS-Net's losses against hand-computed values (the specification's oracles 6, 7 and 9)."""

import numpy as np
import pytest
from keras import ops

from baselines.sisnet.objective import SISNetObjective, critic_loss, generator_loss, views


class Critic:
    """Scores by a rule; notes what it was shown."""

    def __init__(self, place=(0.0, 0.0), rule=lambda images: ops.mean(images, axis=(1, 2, 3))[:, None]):
        self.place, self.rule, self.seen, self.penalties = place, rule, [], []

    def __call__(self, images, domain):
        self.seen.append((domain, tuple(images.shape)))
        return self.rule(images)

    def uniform(self, count):
        assert count == 2
        return ops.convert_to_tensor(self.place, "float32")

    def gradient_penalty(self, real, fake, domain):
        self.penalties.append((domain, tuple(real.shape)))
        return ops.convert_to_tensor(0.25)


class Distance:
    """A stand-in for the perceptual loss."""

    def distance(self, images, sharp):
        return ops.mean(ops.abs(images - sharp))


def constant(value, size=32):
    return np.full((2, size, size, 3), value, "float32")


def scores(*values):
    return np.array(values, "float32")[:, None]


def test_relativistic_least_squares():
    for value in (0.0, 0.7):
        same = scores(value, value)
        assert float(critic_loss(same, same, "ralsgan")) == float(generator_loss(same, same, "ralsgan")) == 2
    a, b = scores(1, 1), scores(0, 0)
    assert (float(critic_loss(a, b, "ralsgan")), float(generator_loss(a, b, "ralsgan"))) == (0, 8)
    a, b = scores(0.3, -1.2, 2.0), scores(0.9, 0.1, -0.4)
    by_hand = np.mean((a - b.mean() - 1) ** 2) + np.mean((b - a.mean() + 1) ** 2)
    assert float(critic_loss(a, b, "ralsgan")) == pytest.approx(by_hand)
    assert float(generator_loss(b, a, "ralsgan")) == pytest.approx(by_hand)
    assert float(critic_loss(a + 3, b + 3, "ralsgan")) == pytest.approx(by_hand, rel=1e-5)


def test_figure_4s_other_losses():
    a, b = scores(2.0, 1.0), scores(0.5, -0.5)
    assert float(critic_loss(a, b, "wgan")) == pytest.approx(-1.5)
    assert float(generator_loss(a, b, "wgan")) == pytest.approx(0)
    assert float(critic_loss(a, b, "lsgan")) == pytest.approx(0.5 + 0.25)
    assert float(generator_loss(a, b, "lsgan")) == pytest.approx((0.25 + 2.25) / 2)
    assert float(critic_loss(a, b, "rsgan")) == pytest.approx(np.log1p(np.exp(-1.5)))
    assert float(generator_loss(a, b, "rsgan")) == pytest.approx(np.log1p(np.exp(1.5)))


def test_hand_values_of_the_whole_loss():
    """Error 0.1 everywhere; D is the mean in [-1, 1], 0.2 higher for the real image."""
    critic, objective = Critic(), SISNetObjective(Distance())
    outputs = {"deblurred": constant(0.5)}
    total, terms = objective.generator_losses(constant(0.4), constant(0.6), outputs, critic)
    assert float(terms["mse"]) == pytest.approx(19.58 * 0.01, rel=1e-3)
    content = 0.5 * float(terms["mse"]) + 0.006 * 0.1
    assert float(terms["content"]) == pytest.approx(content, rel=1e-5)
    assert float(terms["adversarial"]) == pytest.approx(2 * 1.2**2, rel=1e-5)
    assert float(total) == pytest.approx(content + 0.01 * 2.88, rel=1e-5)
    d_total, d_terms = objective.critic_losses(constant(0.4), constant(0.6), outputs, critic)
    assert float(d_total) == pytest.approx(2 * 0.8**2, rel=1e-5)
    assert set(objective.term_names) == set(terms) | set(d_terms)
    assert set(critic.seen) == {("global", (2, 32, 32, 3)), ("local", (2, 16, 16, 3))}


def test_identical_images_cost_nothing_and_the_error_is_in_imagenets_units():
    sharp = np.random.default_rng(0).random((1, 32, 32, 3), dtype=np.float32)
    factor = np.mean(np.array([0.229, 0.224, 0.225]) ** -2.0)
    objective = SISNetObjective(None, tau_2=0.0, tau_3=0.0)
    assert float(objective.generator_losses(sharp, sharp, {"deblurred": sharp}, None)[0]) == 0
    total, terms = objective.generator_losses(sharp, constant(0.5), {"deblurred": constant(0.6)}, None)
    assert float(terms["mse"]) == pytest.approx(0.01 * factor, rel=1e-4)
    assert float(total) == pytest.approx(0.005 * factor, rel=1e-4)
    assert objective.term_names == ("mse", "content")


def test_one_window_for_both_images_and_every_place():
    sharp = np.random.default_rng(1).random((2, 32, 64, 3), dtype=np.float32)
    for place, (top, left) in (((0.0, 0.0), (0, 0)), ((0.999999, 0.999999), (16, 32)), ((0.5, 0.25), (8, 8))):
        seen = views(sharp, 1 - sharp, Critic(place))
        real, fake = (ops.convert_to_numpy(x) for x in seen["local"])
        np.testing.assert_allclose(real, 2 * sharp[:, top : top + 16, left : left + 32] - 1, atol=1e-6)
        np.testing.assert_allclose(fake, -real, atol=1e-6)
        np.testing.assert_allclose(ops.convert_to_numpy(seen["global"][0]), 2 * sharp - 1, atol=1e-6)


def test_wgan_adds_ten_times_the_penalty_of_both_discriminators():
    critic = Critic()
    objective = SISNetObjective(None, tau_2=0.0, adversarial="wgan")
    total, _ = objective.critic_losses(constant(0), constant(0.6), {"deblurred": constant(0.5)}, critic)
    assert float(total) == pytest.approx(-0.2 + 2.5, rel=1e-5)
    assert critic.penalties == [("global", (2, 32, 32, 3)), ("local", (2, 16, 16, 3))]


def test_the_discriminators_loss_does_not_reach_the_generator():
    tf = pytest.importorskip("tensorflow")
    restored, factor = tf.Variable(constant(0.5)), tf.Variable(1.0)
    critic = Critic(rule=lambda images: factor * ops.mean(images, axis=(1, 2, 3))[:, None])
    objective = SISNetObjective(Distance())
    with tf.GradientTape(persistent=True) as tape:
        outputs = {"deblurred": tf.identity(restored)}
        d_total, _ = objective.critic_losses(constant(0.4), constant(0.6), outputs, critic)
        total, _ = objective.generator_losses(constant(0.4), constant(0.6), outputs, critic)
    assert tape.gradient(d_total, restored) is None and abs(float(tape.gradient(d_total, factor))) > 1e-3
    assert float(tf.reduce_max(tf.abs(tape.gradient(total, restored)))) > 1e-6
