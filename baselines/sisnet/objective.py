"""SIS-Net's loss functions (section III-C, Eqs. 4-7). Licence of this file: MIT.

Paper: Liu et al., "Semantic Information Supplementary Pyramid Network for Dynamic Scene Deblurring", IEEE Access 8
(2020).

    L_G = tau_1 L_MSE + tau_2 L_percep + tau_3 L_adv                                                      Eq. 7

Differences from the text, and why:
- Eq. 7 adds the discriminators' own loss to the generator's; the generator takes its mirror image, with real and
  restored exchanged, or it would help the discriminators.
- Eqs. 4 and 5 divide by w and h only; means over the channels too are what the authors' code computes.
- L_MSE is taken of images standardised as ImageNet's (19.58 times that of [0, 1], where [-1, 1] has 4 times), as that
  code does: only then does tau_1 "occupy a large proportion". The text does not speak of the images' range.
- E is the mean of a batch, not of the last 50 scores, and nothing is halved (both: the released code's).
- the adversarial loss is the mean over the two discriminators.
- the local discriminator's "local area" is a window of half the height and width at a random place, the same for the
  real and the restored image.
- Figure 4's other losses, as the literature has them: WGAN [30] with a gradient penalty of 10 in place of clipped
  weights; least squares with fixed targets, the loss of cycleGAN [31]; and the relativistic standard GAN, which
  "RSGAN [32]" can only mean. All take one discriminator step for one of the generator, as the paper's own does.
"""

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from madn.nn.losses import l2, relativistic_least_squares
from madn.training.gan_monitor import column, loss_verdict

DOMAINS = ("global", "local")
IMAGENET = (1 / 0.229, 1 / 0.224, 1 / 0.225)
"""1 / standard deviation of ImageNet's red, green and blue in [0, 1]."""
GRADIENT_PENALTY = 10.0
# The loss of a discriminator whose scores are all the same; a constant one has the whole gradient penalty.
GUESSING = {"ralsgan": 2.0, "wgan": GRADIENT_PENALTY, "lsgan": 0.5, "rsgan": math.log(2)}


@dataclass(frozen=True)
class SISNetObjective:
    """Turns a batch and the generator's outputs into named terms and their weighted sum.

    `perceptual` has `distance(images, sharp)`; None where tau_2 is 0. `adversarial`: "ralsgan" (the paper), "wgan",
    "lsgan" or "rsgan"; there is no discriminator where tau_3 is 0.
    """

    perceptual: Any
    tau_1: float = 0.5
    tau_2: float = 0.006
    tau_3: float = 0.01
    adversarial: str = "ralsgan"

    @property
    def term_names(self) -> tuple[str, ...]:
        return (
            ("mse",)
            + ("perceptual",) * bool(self.tau_2)
            + ("content",)
            + (("adversarial", "critic_global", "critic_local") if self.tau_3 else ())
        )

    def generator_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_G, terms) for images (batch, height, width, 3) in [0, 1]; the terms but `content` are unweighted.

        `critic(images, domain)` gives the scores of images in [-1, 1]; domain is "global" or "local".
        """
        sharp, restored = ops.cast(sharp, "float32"), ops.cast(outputs["deblurred"], "float32")
        factors = ops.convert_to_tensor(IMAGENET, "float32")
        terms = {"mse": l2(restored * factors, sharp * factors)}
        terms["content"] = self.tau_1 * terms["mse"]
        if self.tau_2:
            terms["perceptual"] = self.perceptual.distance(restored, sharp)
            terms["content"] = terms["content"] + self.tau_2 * terms["perceptual"]
        if not self.tau_3:
            return terms["content"], terms
        losses = [
            generator_loss(critic(real, domain), critic(fake, domain), self.adversarial)
            for domain, (real, fake) in views(sharp, restored, critic).items()
        ]
        terms["adversarial"] = sum(losses) / len(losses)
        return terms["content"] + self.tau_3 * terms["adversarial"], terms

    def critic_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_D, terms): the mean over both discriminators, the restored images under stop_gradient (Eq. 6)."""
        sharp = ops.cast(sharp, "float32")
        restored = ops.stop_gradient(ops.cast(outputs["deblurred"], "float32"))
        terms = {}
        for domain, (real, fake) in views(sharp, restored, critic).items():
            loss = critic_loss(critic(real, domain), critic(fake, domain), self.adversarial)
            if self.adversarial == "wgan":
                loss = loss + GRADIENT_PENALTY * critic.gradient_penalty(real, fake, domain)
            terms[f"critic_{domain}"] = loss
        return sum(terms.values()) / len(terms), terms

    def critic_verdicts(self, rounds) -> dict:
        """Domain -> its discriminator's fault by the log's lines so far, or None; see `madn.training.gan_monitor`.

        With "wgan", collapse is the only fault: the discriminator is trained for a loss that falls below 0.
        """
        verdicts = {
            domain: loss_verdict(column(rounds, f"critic_{domain}"), GUESSING[self.adversarial]) for domain in DOMAINS
        }
        if self.adversarial == "wgan":
            return {domain: None if verdict == "has won" else verdict for domain, verdict in verdicts.items()}
        return verdicts


def views(sharp, restored, critic) -> dict:
    """Domain -> (real, restored) in [-1, 1]: the whole images, and the same random half-size window of both."""
    real, fake = 2 * sharp - 1, 2 * restored - 1
    batch, height, width, channels = ops.shape(real)
    size = (batch, height // 2, width // 2, channels)
    rest = ops.cast(ops.stack([height - height // 2 + 1, width - width // 2 + 1]), "float32")
    place = ops.cast(critic.uniform(2) * rest, "int32")
    start = ops.stack([ops.zeros_like(place[0]), place[0], place[1], ops.zeros_like(place[0])])
    return {"global": (real, fake), "local": (ops.slice(real, start, size), ops.slice(fake, start, size))}


def critic_loss(real, fake, kind: str):
    """A discriminator's loss from its scores (batch, 1) of real and restored images."""
    if kind == "ralsgan":
        return relativistic_least_squares(real, fake)
    if kind == "wgan":
        return ops.mean(fake) - ops.mean(real)
    if kind == "lsgan":
        return ops.mean(ops.square(real - 1)) + ops.mean(ops.square(fake))
    return ops.mean(ops.softplus(fake - real))


def generator_loss(real, fake, kind: str):
    """The generator's loss from the same scores: restored images should look the more real."""
    if kind == "ralsgan":
        return relativistic_least_squares(fake, real)
    if kind == "wgan":
        return -ops.mean(fake)
    if kind == "lsgan":
        return ops.mean(ops.square(fake - 1))
    return ops.mean(ops.softplus(real - fake))
