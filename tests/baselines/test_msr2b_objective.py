"""MSR2B-CGAN's losses against hand-computed values, and its critic."""

import keras
import numpy as np
import pytest
from keras import ops

from baselines.msr2b.discriminator import build_discriminator
from baselines.msr2b.objective import MSR2BObjective
from madn.training.critics import Critics
from madn.training.gradients import losses_and_gradients
from madn.training.random_numbers import RandomNumbers


def values(x):
    return ops.convert_to_numpy(x)


class Pixels:
    """Stands in for the perceptual loss: the mean squared difference of the images themselves."""

    def distance(self, images, sharp):
        return ops.mean(ops.square(images - sharp))


class MeanCritic:
    """Scores a 2x2 map of the image's mean; remembers what it was given."""

    def __init__(self):
        self.seen, self.penalised = [], None

    def __call__(self, images, domain):
        assert domain == "image"
        self.seen.append(values(images))
        return ops.mean(images, axis=(1, 2, 3), keepdims=True) * ops.ones((1, 2, 2, 1))

    def gradient_penalty(self, real, fake, domain):
        self.penalised = values(real), values(fake), domain
        return ops.convert_to_tensor(0.25)


def constant(value, size=8):
    return np.full((2, size, size, 3), value, "float32")


def test_hand_values():
    objective, critic = MSR2BObjective(Pixels()), MeanCritic()
    blurred, sharp, outputs = constant(0.9), constant(0.5), {"deblurred": constant(0.7)}
    total, terms = objective.generator_losses(blurred, sharp, outputs, critic)
    d_total, d_terms = objective.critic_losses(blurred, sharp, outputs, critic)
    expected = {
        "perceptual": 0.04,
        "content": 4.0,
        "adversarial": -0.4,
        "critic_real": 0.0,
        "critic_fake": 0.4,
        "gradient_penalty": 0.25,
    }
    for name, value in expected.items():
        assert float({**terms, **d_terms}[name]) == pytest.approx(value, abs=1e-5), name
    assert float(total) == pytest.approx(3.6, abs=1e-5)
    assert float(d_total) == pytest.approx(0.4 + 2.5, abs=1e-5)
    assert objective.term_names == (*terms, *d_terms)
    real, fake, domain = critic.penalised
    np.testing.assert_allclose(real, 0, atol=1e-6)
    np.testing.assert_allclose(fake, 0.4, atol=1e-6)
    assert domain == "image"


def test_nothing_lost_on_the_sharp_image_itself():
    sharp = np.random.default_rng(0).random((2, 8, 8, 3), dtype=np.float32)
    objective = MSR2BObjective(Pixels(), adversarial="none")
    total, terms = objective.generator_losses(sharp, sharp, {"deblurred": sharp}, None)
    assert float(total) == 0
    assert set(terms) == set(objective.term_names) == {"perceptual", "content"}


def test_bfloat16_outputs_are_judged_in_float32():
    outputs = {"deblurred": ops.cast(constant(0.5), "bfloat16")}
    objective, critic = MSR2BObjective(Pixels()), MeanCritic()
    for losses in (objective.generator_losses, objective.critic_losses):
        total, terms = losses(constant(0.25), constant(0), outputs, critic)
        assert {keras.backend.standardize_dtype(value.dtype) for value in (total, *terms.values())} == {"float32"}


def test_condition_puts_the_blurred_image_first():
    objective, critic = MSR2BObjective(Pixels(), condition="blur"), MeanCritic()
    blurred, sharp, outputs = constant(0.25), constant(0), {"deblurred": constant(1)}
    objective.generator_losses(blurred, sharp, outputs, critic)
    objective.critic_losses(blurred, sharp, outputs, critic)
    for seen, image in zip((*critic.seen, *critic.penalised[:2]), (1, -1, 1, -1, 1), strict=True):
        assert seen.shape[-1] == 6
        np.testing.assert_array_equal(seen[..., :3], -0.5)
        np.testing.assert_array_equal(seen[..., 3:], image)


def test_condition_changes_the_first_kernel_alone():
    plain, conditional = build_discriminator(), build_discriminator(condition="blur")
    assert plain.count_params() == 2_764_737
    assert conditional.count_params() - plain.count_params() == 4 * 4 * 3 * 64 == 3_072
    assert [v.shape for v in plain.weights[1:]] == [v.shape for v in conditional.weights[1:]]


def test_the_front_four_layers_are_normalised():
    names = {layer.name for layer in build_discriminator((4, 4, 4, 4)).layers}
    assert {name for name in names if name.endswith("_norm")} == {f"conv_{k}_norm" for k in (1, 2, 3, 4)}


@pytest.mark.parametrize("condition", ["none", "blur"])
def test_gradients_of_the_real_critic(condition):
    """Each player's loss moves every kernel of its own and, for the critic, none of the generator."""
    network = build_discriminator((4, 4, 4, 4), condition=condition)
    critics = Critics({"image": network}, RandomNumbers(0))
    objective = MSR2BObjective(Pixels(), condition=condition)
    rng = np.random.default_rng(0)
    blurred, sharp = (rng.random((2, 32, 32, 3), dtype=np.float32) for _ in range(2))
    step = keras.Variable(np.zeros((1, 32, 32, 3), "float32"))

    def compute():
        outputs = {"deblurred": ops.add(step, blurred)}
        g_loss, d_loss = (
            losses(blurred, sharp, outputs, critics)[0]
            for losses in (objective.generator_losses, objective.critic_losses)
        )
        return [g_loss, d_loss, d_loss], None

    (g_loss, d_loss, _), _, (g_gradient, d_gradients, stopped) = losses_and_gradients(
        compute, [[step], network.trainable_variables, [step]]
    )
    assert np.isfinite([values(g_loss), values(d_loss)]).all()
    assert np.abs(values(g_gradient[0])).max() > 0
    np.testing.assert_array_equal(values(stopped[0]), 0)
    for variable, gradient in zip(network.trainable_variables, d_gradients, strict=True):
        assert np.isfinite(values(gradient)).all()
        if variable.name == "kernel":  # the biases before instance normalisation do nothing; the last one cancels
            assert np.abs(values(gradient)).max() > 0, variable.path
