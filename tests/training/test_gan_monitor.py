"""What is said of a discriminator, by made-up logs and by what each objective computes of known scores."""

import math

import pytest
from keras import ops

from baselines.msr2b.objective import MSR2BObjective
from baselines.sisnet.objective import GUESSING, SISNetObjective, critic_loss
from baselines.structure_guided.objective import StructureGuidedObjective
from madn.models.madn.objective import MADNObjective
from madn.training.gan_monitor import MEANING, loss_verdict, wasserstein_verdict


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([1.0, 0.6, 0.3], None),
        ([0.009, 0.008, 0.001], "has won"),
        ([0.5, 0.009, 0.008, 0.001], "has won"),
        ([0.009, 0.008, 0.02], None),  # not in every round
        ([0.001, 0.001], None),  # too early
        ([1.0002, 0.9995, 1.0], "has collapsed"),
        ([1.0002, 0.99, 1.0], None),
        ([1.2, 1.1, 1.05], None),  # worse than guessing is a discriminator that has not learned yet
    ],
)
def test_a_loss_of_a_discriminator(losses, verdict):
    assert loss_verdict(losses, 1.0) == verdict
    assert loss_verdict([2 * loss for loss in losses], 2.0) == verdict
    assert verdict is None or verdict in MEANING


@pytest.mark.parametrize(
    ("gaps", "penalties", "verdict"),
    [
        ([0.5, 3.0, 5.0], [0.4, 0.1, 0.05], None),
        ([3e-4, -2e-4, 1e-4], [1.0, 1.0, 1.0], "has collapsed"),
        ([3e-4, 1e-4], [1.0, 1.0], None),
        ([2.0, 5.0, 9.0], [1.5, 7.0, 3.0], "is not held by its gradient penalty"),
        ([2.0, 5.0, 9.0], [1.5, 0.7, 3.0], None),
        ([10.0, 30.0, 70.0, 150.0], [0.1] * 4, "runs away"),
        ([0.01, 0.03, 0.07, 0.15], [0.1] * 4, None),  # at its start, a gap grows fast
        ([100.0, 130.0, 140.0, 150.0], [0.1] * 4, None),
    ],
)
def test_a_wasserstein_critic(gaps, penalties, verdict):
    assert wasserstein_verdict(gaps, penalties) == verdict
    assert verdict is None or verdict in MEANING


def lines(count=3, **terms):
    """A log as it is read from the file, with a line of a stage without these terms at its start."""
    return [{"step": "1", **dict.fromkeys(terms, "")}, *({name: str(value) for name, value in terms.items()},) * count]


def test_madn_by_its_two_terms():
    objective = MADNObjective()
    chance = math.log(2)
    rounds = lines(
        critic_image_real=0.004,
        critic_image_fake=0.005,
        critic_gradient_real=chance - 0.2,
        critic_gradient_fake=chance + 0.2,
    )
    assert objective.critic_verdicts(rounds) == {"image": "has won", "gradient": "has collapsed"}
    rounds = lines(critic_image_real=0.3, critic_image_fake=0.5)
    assert MADNObjective(adversarial_domains="image").critic_verdicts(rounds) == {"image": None}


@pytest.mark.parametrize("kind", ["ralsgan", "lsgan", "rsgan"])
def test_sisnet_by_the_loss_of_its_kind(kind):
    scores = ops.full((4, 1), 0.5)  # the same for all images
    assert float(critic_loss(scores, scores, kind)) == pytest.approx(GUESSING[kind])
    objective = SISNetObjective(None, adversarial=kind)
    rounds = lines(critic_global=GUESSING[kind], critic_local=GUESSING[kind] / 200)
    assert objective.critic_verdicts(rounds) == {"global": "has collapsed", "local": "has won"}


def test_sisnet_with_wgan():
    rounds = lines(critic_global=-30.0, critic_local=10.0)
    assert SISNetObjective(None, adversarial="wgan").critic_verdicts(rounds) == {
        "global": None,
        "local": "has collapsed",
    }


def test_the_two_signs_of_a_real_score():
    """The gap is 5.0 in one and -0.0004 in the other, had the signs been mistaken."""
    guided, msr2b = StructureGuidedObjective(None), MSR2BObjective(None)
    alike = {"critic_real": 2.5, "critic_fake": 2.4996, "gradient_penalty": 0.9}
    assert guided.critic_verdicts(lines(**alike)) == {"image": "has collapsed"}
    assert msr2b.critic_verdicts(lines(**alike)) == {"image": None}
    assert msr2b.critic_verdicts(lines(**alike | {"critic_real": -2.5})) == {"image": "has collapsed"}
    assert guided.critic_verdicts(lines(**alike | {"critic_real": -2.5})) == {"image": None}


class Critic:
    """Scores of white images (sharp, here) and of black ones (restored); a penalty that is given."""

    def __init__(self, white, black, penalty=0.0):
        self.white, self.black, self.penalty = white, black, penalty

    def __call__(self, images, domain):
        return ops.where(ops.mean(images, axis=(1, 2, 3), keepdims=True) > 0.1, self.white, self.black)

    def uniform(self, count):
        return ops.zeros(count)

    def gradient_penalty(self, real, fake, domain):
        return self.penalty


@pytest.mark.parametrize(
    ("objective", "critic", "verdict"),
    [
        (MADNObjective(adversarial_domains="image"), Critic(8.0, -8.0), "has won"),
        (MADNObjective(adversarial_domains="image"), Critic(0.01, 0.01), "has collapsed"),
        (MADNObjective(adversarial_domains="image"), Critic(1.0, -1.0), None),
        (MADNObjective(adversarial_domains="image"), Critic(-1.0, 1.0), None),
        (SISNetObjective(None, tau_2=0), Critic(0.5, -0.5), "has won"),
        (SISNetObjective(None, tau_2=0), Critic(3.0, 3.0), "has collapsed"),
        (SISNetObjective(None, tau_2=0, adversarial="lsgan"), Critic(0.5, 0.5), "has collapsed"),
        (StructureGuidedObjective(None, content_weight=0), Critic(5.0, 5.0, 1.0), "has collapsed"),
        (StructureGuidedObjective(None, content_weight=0), Critic(5.0, -5.0, 0.1), None),
        (MSR2BObjective(None), Critic(5.0, 5.0, 1.0), "has collapsed"),
        (MSR2BObjective(None), Critic(5.0, -5.0, 0.1), None),
        (MSR2BObjective(None), Critic(5.0, -5.0, 4.0), "is not held by its gradient penalty"),
    ],
)
def test_the_objectives_own_terms(objective, critic, verdict):
    """What the losses compute of known scores is understood, in names, signs and levels."""
    white, black = ops.ones((2, 8, 8, 3)), ops.zeros((2, 8, 8, 3))
    _, terms = objective.critic_losses(black, white, {"deblurred": black}, critic)
    assert set(terms) <= set(objective.term_names)
    rounds = [{name: float(value) for name, value in terms.items()}] * 3
    assert set(objective.critic_verdicts(rounds).values()) == {verdict}
