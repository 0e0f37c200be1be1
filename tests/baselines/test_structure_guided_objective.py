"""Structures Guided's losses against hand-computed values."""

import keras
import numpy as np
import pytest
from keras import ops

from baselines.structure_guided.objective import StructureGuidedObjective, gradient_loss
from madn.training.critics import Critics
from madn.training.random_numbers import RandomNumbers


class Perceptual:
    """Stands in for the VGG loss: the images' channels are the features."""

    gain = 4.0

    def features(self, images):
        return ops.convert_to_tensor(images)

    def distance(self, images, sharp):
        return self.gain * ops.mean(ops.square(ops.convert_to_tensor(images) - sharp))


class MeanCritic:
    """Scores are the images' values; the penalty is what it is told."""

    def __call__(self, images, domain):
        assert domain == "image"
        return ops.mean(images, axis=-1, keepdims=True)

    def gradient_penalty(self, real, fake, domain):
        self.real, self.fake = real, fake
        return ops.convert_to_tensor(0.25)


def constant(value, n=2, size=8):
    return np.full((n, size, size, 3), value, "float32")


def linear_critic(weights):
    """D(x) = <w, x>, one score an image."""
    x = keras.Input(weights.shape)
    dense = keras.layers.Dense(1, use_bias=False)
    model = keras.Model(x, dense(keras.layers.Flatten()(x)))
    dense.kernel.assign(weights.reshape(-1, 1))
    return Critics({"image": model}, RandomNumbers(0))


def test_gradient_loss_of_ramps():
    rng = np.random.default_rng(0)
    sharp = rng.random((2, 6, 9, 3), dtype=np.float32)
    other = rng.random((2, 6, 9, 3), dtype=np.float32)
    assert float(gradient_loss(sharp + 0.25, sharp)) == pytest.approx(0, abs=1e-6)
    ramp = np.broadcast_to(0.1 * np.arange(9, dtype="float32")[:, None], (1, 6, 9, 3))
    assert float(gradient_loss(np.zeros_like(ramp), ramp)) == pytest.approx(0.1, rel=1e-5)
    down = ramp.transpose(0, 2, 1, 3)
    assert float(gradient_loss(np.zeros_like(down), -down)) == pytest.approx(0.1, rel=1e-5)
    assert float(gradient_loss(sharp, other)) == pytest.approx(float(gradient_loss(other, sharp)), rel=1e-6)
    difference = other.astype("float64") - sharp
    expected = np.abs(np.diff(difference, axis=2)).mean() + np.abs(np.diff(difference, axis=1)).mean()
    assert float(gradient_loss(other, sharp)) == pytest.approx(expected, rel=1e-5)


def test_generator_terms_and_weights():
    rng = np.random.default_rng(1)
    sharp, restored = rng.random((2, 2, 8, 8, 3), dtype=np.float32)
    objective = StructureGuidedObjective(Perceptual())
    total, terms = objective.generator_losses(sharp, sharp, {"deblurred": restored}, MeanCritic())
    assert float(terms["perceptual"]) == pytest.approx(4 * np.mean((restored - sharp) ** 2), rel=1e-5)
    assert float(terms["gradient"]) == pytest.approx(2 * float(gradient_loss(restored, sharp)), rel=1e-5)
    assert float(terms["adversarial"]) == pytest.approx(-np.mean(2 * restored - 1), rel=1e-4)
    assert float(terms["content"]) == pytest.approx(10 * float(terms["perceptual"]) + float(terms["gradient"]))
    assert float(total) == pytest.approx(float(terms["content"]) + float(terms["adversarial"]))
    critic_terms = objective.critic_losses(sharp, sharp, {"deblurred": restored}, MeanCritic())[1]
    assert set(objective.term_names) == set(terms) | set(critic_terms)


def test_critic_loss_is_wgan_gp():
    critic, objective = MeanCritic(), StructureGuidedObjective(Perceptual())
    total, terms = objective.critic_losses(constant(0), constant(1.0), {"deblurred": constant(0.25)}, critic)
    assert float(terms["critic_real"]) == pytest.approx(1) and float(terms["critic_fake"]) == pytest.approx(-0.5)
    assert float(total) == pytest.approx(-0.5 - 1 + 10 * 0.25)
    assert float(ops.min(critic.real)) == 1 and float(ops.max(critic.fake)) == -0.5
    swapped, _ = objective.critic_losses(constant(0), constant(0.25), {"deblurred": constant(1.0)}, critic)
    assert float(swapped) - 2.5 == pytest.approx(-(float(total) - 2.5))


def test_without_content_no_features_are_asked_for():
    objective = StructureGuidedObjective(None, content_weight=0.0)
    total, terms = objective.generator_losses(None, constant(0.5), {"deblurred": constant(1.0)}, MeanCritic())
    assert "perceptual" not in terms and "perceptual" not in objective.term_names
    assert float(terms["content"]) == 0 and float(total) == pytest.approx(-1)


def test_without_gradient_its_weight_is_zero():
    rng = np.random.default_rng(1)
    sharp, restored = rng.random((2, 1, 8, 8, 3), dtype=np.float32)
    _, terms = StructureGuidedObjective(Perceptual(), gradient_weight=0.0).generator_losses(
        sharp, sharp, {"deblurred": restored}, MeanCritic()
    )
    assert float(terms["gradient"]) > 0
    assert float(terms["content"]) == pytest.approx(10 * float(terms["perceptual"]))


@pytest.mark.parametrize("n", [1, 3])
def test_penalty_of_a_linear_critic(n):
    weights = np.random.default_rng(2).normal(0, 0.2, (4, 5, 3)).astype("float32")
    objective = StructureGuidedObjective(None, content_weight=0.0)
    rng = np.random.default_rng(n)
    sharp, restored = rng.random((2, n, 4, 5, 3), dtype=np.float32)
    _, terms = objective.critic_losses(None, sharp, {"deblurred": restored}, linear_critic(weights))
    penalty = float(ops.convert_to_numpy(terms["gradient_penalty"]))
    assert penalty == pytest.approx((np.linalg.norm(weights) - 1) ** 2, rel=1e-4)


def test_penalty_of_a_flat_critic_is_finite_and_so_is_its_gradient():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("takes its gradient with TensorFlow")
    critic = linear_critic(np.zeros((8, 8, 3), "float32"))
    objective = StructureGuidedObjective(None, content_weight=0.0)
    weights = critic.networks["image"].trainable_variables
    with tf.GradientTape() as tape:
        total, terms = objective.critic_losses(None, constant(1.0), {"deblurred": constant(0.0)}, critic)
    assert float(terms["gradient_penalty"]) == pytest.approx(1, abs=1e-4)
    assert np.isfinite(tape.gradient(total, [weight.value for weight in weights])[0]).all()


def test_relu4_3_features(real_data):
    from baselines.structure_guided.recipe import VGG_LAYER
    from madn.nn.vgg import PerceptualLoss

    weights = real_data.parent / "weights" / "vgg19_notop_float16.h5"
    if not weights.is_file():
        pytest.skip(f"{weights.name} is not beside the real pairs")
    features = ops.convert_to_numpy(
        PerceptualLoss("vgg19", VGG_LAYER, str(weights)).features(
            np.random.default_rng(0).random((1, 32, 48, 3), dtype=np.float32)
        )
    )
    assert features.shape == (1, 4, 6, 512)
    assert features.min() == 0 < features.max()
