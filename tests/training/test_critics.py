"""The gradient penalty against its definition, and the random numbers behind it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from madn.training.critics import Critics
from madn.training.gradients import losses_and_gradients
from madn.training.random_numbers import RandomNumbers


def critics(network, seed=0):
    return Critics({"image": network}, RandomNumbers(seed))


def linear(weights):
    """D(x) = <w, x>, one score an image."""
    shape = weights.shape
    image = keras.Input(shape)
    dense = layers.Dense(1, use_bias=False)
    network = keras.Model(image, dense(layers.Flatten()(image)))
    dense.set_weights([weights.reshape(-1, 1)])
    return network


def images(seed, shape=(3, 4, 4, 3)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("scale", [0.01, 0.3, 2.0])
def test_a_linear_critic_has_the_penalty_of_its_norm(scale):
    weights = scale * images(0, (4, 4, 3))
    found = critics(linear(weights)).gradient_penalty(images(1), images(2), "image")
    assert float(found) == pytest.approx((np.linalg.norm(weights) - 1) ** 2, rel=1e-5)


def test_a_flat_critic_has_penalty_one_and_a_finite_gradient():
    network = linear(np.zeros((4, 4, 3), np.float32))
    critic = critics(network)

    def compute():
        return [critic.gradient_penalty(images(1), images(2), "image")], None

    losses, _, gradients = losses_and_gradients(compute, [network.trainable_variables])
    assert float(losses[0]) == pytest.approx(1, abs=1e-4)
    assert all(np.isfinite(ops.convert_to_numpy(g)).all() for g in gradients[0])


def score_map():
    """A small critic with a curved score map: its score is the mean of the map."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3, activation="tanh"), layers.Conv2D(1, 2)])


def test_against_finite_differences():
    """The penalty's norm by central differences of D's mean score, at the place that the seed draws."""
    network, real, fake = score_map(), images(1, (2, 6, 6, 3)), images(2, (2, 6, 6, 3))
    found = float(critics(network, 5).gradient_penalty(real, fake, "image"))
    share = ops.convert_to_numpy(RandomNumbers(5).uniform_per_image(real))
    middle = (share * real + (1 - share) * fake).astype(np.float64)
    kernels = [w.astype(np.float64) for w in network.get_weights()]

    def score(x):  # the same network in float64
        def conv(x, k, b):
            h, w = x.shape[0] - k.shape[0] + 1, x.shape[1] - k.shape[1] + 1
            return (
                sum(
                    np.tensordot(x[i : i + h, j : j + w], k[i, j], 1)
                    for i in range(k.shape[0])
                    for j in range(k.shape[1])
                )
                + b
            )

        return conv(np.tanh(conv(x, *kernels[:2])), *kernels[2:]).mean()

    norms = []
    for x in middle:
        gradient = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = 1e-5
            gradient[place] = (score(x + step) - score(x - step)) / 2e-5
        norms.append(np.linalg.norm(gradient))
    assert found == pytest.approx(np.mean((np.array(norms) - 1) ** 2), rel=1e-4)


def test_the_penalty_trains_the_critic():
    """Its own gradient, which goes through a gradient, against finite differences of one weight."""
    network = score_map()
    real, fake = images(1, (2, 6, 6, 3)), images(2, (2, 6, 6, 3))

    def penalty():
        return critics(network, 5).gradient_penalty(real, fake, "image")

    gradients = losses_and_gradients(lambda: ([penalty()], None), [network.trainable_variables])[2][0]
    kernel = network.trainable_variables[0]
    start, place = ops.convert_to_numpy(kernel.value).copy(), (1, 1, 0, 2)
    values = []
    for step in (1e-2, -1e-2):
        moved = start.copy()
        moved[place] += step
        kernel.assign(moved)
        values.append(float(penalty()))
    assert float(gradients[0][place]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=1e-2)
