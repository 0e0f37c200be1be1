"""MSR2B-CGAN's loss functions (section 3.3, Eqs. 10-12). Licence of this file: MIT.

    L_G = -E[D(G(B))] + 100 L_pers                                                       Eq. 10
    L_D = E[D(G(B))] - E[D(S)] + 10 E[(||grad D(x)||_2 - 1)^2]                           Eq. 11
    L_pers = mean (phi(S) - phi(G(B)))^2,  phi: conv3_3 of VGG19                         Eq. 12

Where the paper leaves a choice open or contradicts itself, the default and its reason:
- Eq. 11's first two terms have the opposite sign: minimised as printed, D would score sharp images low and restored
  ones high. The sign is that of its source (Gulrajani et al. 2017), and so is the weight 10, which is not stated.
- Eq. 12 divides by width and height only; a mean over channels too is what its lineage's code computes.
  `reduction="sum_channels"` is the literal reading, 256 times as much.
- the features are those before the ReLU, of images normalised as VGG was trained (both not stated).
- there is no pixel loss: "instead of the classic L1 or L2 loss".
"""

from dataclasses import dataclass
from typing import Any

from keras import ops

from madn.training.gan_monitor import column, wasserstein_verdict

CHANNELS = 256
"""Of VGG19's conv3_3."""


@dataclass(frozen=True)
class MSR2BObjective:
    """Turns a batch and the generator's outputs into named terms and their weighted sum.

    perceptual: has `distance(images, sharp)`, the mean squared difference of features (`madn.nn.vgg.PerceptualLoss`).
    adversarial: "wgan_gp" (the paper) or "none".
    gp_norm: of the gradient, over all values of a "sample" or over the channels of each "pixel".
    reduction: "mean", or "sum_channels".
    condition: "none", or "blur": the critic gets the blurred image too.
    """

    perceptual: Any
    perceptual_weight: float = 100.0
    adversarial: str = "wgan_gp"
    gp_weight: float = 10.0
    gp_norm: str = "sample"
    reduction: str = "mean"
    condition: str = "none"

    @property
    def term_names(self) -> tuple[str, ...]:
        critic = ("adversarial", "critic_real", "critic_fake", "gradient_penalty")
        return ("perceptual", "content") + (critic if self.adversarial == "wgan_gp" else ())

    def generator_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_G, terms) for images (batch, height, width, 3) in [0, 1] (Eq. 10).

        `perceptual` is L_pers, `content` 100 L_pers, `adversarial` -E[D(G(B))], the mean over images and patches.
        """
        restored, sharp = ops.cast(outputs["deblurred"], "float32"), ops.cast(sharp, "float32")
        perceptual = self.perceptual.distance(restored, sharp) * (CHANNELS if self.reduction == "sum_channels" else 1)
        terms = {"perceptual": perceptual, "content": self.perceptual_weight * perceptual}
        total = terms["content"]
        if self.adversarial == "wgan_gp":
            terms["adversarial"] = -self._score(critic, self._judged(blurred, restored))
            total = total + terms["adversarial"]
        return total, terms

    def critic_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_D, terms), the generator's outputs under stop_gradient (Eq. 11).

        `critic_real` is -E[D(S)] and `critic_fake` E[D(G(B))], so that the three terms, the penalty weighted, add up
        to L_D.
        """
        real = self._judged(blurred, sharp)
        fake = ops.stop_gradient(self._judged(blurred, outputs["deblurred"]))
        terms = {
            "critic_real": -self._score(critic, real),
            "critic_fake": self._score(critic, fake),
            "gradient_penalty": critic.gradient_penalty(real, fake, "image", self.gp_norm),
        }
        return terms["critic_real"] + terms["critic_fake"] + self.gp_weight * terms["gradient_penalty"], terms

    def critic_verdicts(self, rounds) -> dict:
        """What is to be said of the discriminator, or None, by the lines of the log so far."""
        gaps = [-real - fake for real, fake in zip(column(rounds, "critic_real"), column(rounds, "critic_fake"))]
        return {"image": wasserstein_verdict(gaps, column(rounds, "gradient_penalty"))}

    def _judged(self, blurred, images):
        """What the critic sees: images in [-1, 1], with `condition="blur"` behind the blurred one."""
        images = 2 * ops.cast(images, "float32") - 1
        if self.condition == "none":
            return images
        return ops.concatenate([2 * ops.cast(blurred, "float32") - 1, images], axis=-1)

    def _score(self, critic, images):
        """E[D(x)]: an image's score is the mean of its patches'."""
        return ops.mean(ops.cast(critic(images, "image"), "float32"))
