"""Structures Guided: the loss functions (section 3.2, Eqs. 8-11). Licence of this file: MIT.

    L_G = 10 L_content + L_gradient - E[D(G(b))]                                               Eqs. 8, 9, 11
    L_D = E[D(G(b))] - E[D(s)] + 10 E[(||grad D(x)||_2 - 1)^2],  x = e s + (1 - e) G(b)        Eq. 10

Differences from the text, and why:
- Eq. 8 prints a norm over the channels without its square, summed over positions and divided by C W H, and follows
  Johnson et al. in the same sentence, whose mean squared difference is built. As printed it is some thirty times less.
- Eq. 9's "gradient operations" are forward differences. It divides by W H; the mean here is also over the three
  colours (`gradient_weight=3` is the sum over them).
- Eq. 10 has a minus before the penalty and ||grad D||^p in it, and the text draws x "between s_k and b_k": WGAN-GP
  (its reference 43) has the form above, between real and generated images, with lambda 10, which the text leaves out.
- the penalty's norm is over all values of an image, as there; DeblurGAN's code takes it pixel by pixel.
"""

from dataclasses import dataclass

from keras import ops

from madn.nn.losses import l1
from madn.nn.vgg import PerceptualLoss
from madn.training.gan_monitor import column, wasserstein_verdict

GRADIENT_PENALTY = 10.0
"""The weight lambda of Eq. 10."""


def gradient_loss(images, sharp):
    """Eq. 9: mean |d_h s - d_h i| + mean |d_v s - d_v i|, where d is the difference of neighbouring pixels.

    Takes images (batch, height, width, channels) in [-1, 1]; in [0, 1] the value would be half as large. There are no
    differences across the border.
    """
    return l1(images[:, :, 1:] - images[:, :, :-1], sharp[:, :, 1:] - sharp[:, :, :-1]) + l1(
        images[:, 1:] - images[:, :-1], sharp[:, 1:] - sharp[:, :-1]
    )


@dataclass(frozen=True)
class StructureGuidedObjective:
    """Turns a batch and the generator's outputs into named terms and their weighted sum.

    `perceptual`: a `madn.nn.vgg.PerceptualLoss` on VGG19's relu4_3, or None where `content_weight` is 0 (Table 4).
    """

    perceptual: PerceptualLoss | None
    content_weight: float = 10.0
    gradient_weight: float = 1.0
    adversarial: float = 1.0

    @property
    def term_names(self) -> tuple[str, ...]:
        """`perceptual`, `gradient` unweighted, `content` their weighted sum; then the adversarial terms."""
        return (
            *(("perceptual",) if self.perceptual else ()),
            "gradient",
            "content",
            "adversarial",
            "critic_real",
            "critic_fake",
            "gradient_penalty",
        )

    def generator_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_G, terms) for images (batch, height, width, 3) in [0, 1]; `critic(images, "image")` gives the scores."""
        sharp, restored = ops.cast(sharp, "float32"), ops.cast(outputs["deblurred"], "float32")
        signed = 2 * restored - 1
        terms = {"gradient": gradient_loss(signed, 2 * sharp - 1)}
        terms["content"] = self.gradient_weight * terms["gradient"]
        if self.perceptual:
            terms["perceptual"] = self.perceptual.distance(restored, sharp)
            terms["content"] += self.content_weight * terms["perceptual"]
        terms["adversarial"] = -_score(critic, signed)
        return terms["content"] + self.adversarial * terms["adversarial"], terms

    def critic_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_D, terms), the generator's outputs under stop_gradient (Eq. 10)."""
        real = 2 * ops.cast(sharp, "float32") - 1
        fake = 2 * ops.stop_gradient(ops.cast(outputs["deblurred"], "float32")) - 1
        terms = {
            "critic_real": _score(critic, real),
            "critic_fake": _score(critic, fake),
            "gradient_penalty": critic.gradient_penalty(real, fake, "image"),
        }
        return terms["critic_fake"] - terms["critic_real"] + GRADIENT_PENALTY * terms["gradient_penalty"], terms

    def critic_verdicts(self, rounds) -> dict:
        """{"image": the discriminator's fault by the log's lines so far, or None}; see `madn.training.gan_monitor`."""
        gaps = [real - fake for real, fake in zip(column(rounds, "critic_real"), column(rounds, "critic_fake"))]
        return {"image": wasserstein_verdict(gaps, column(rounds, "gradient_penalty"))}


def _score(critic, images):
    """E[D(images)], a float32 scalar: the score of an image is the mean of its map."""
    return ops.mean(ops.cast(critic(images, "image"), "float32"))
