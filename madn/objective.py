"""MADN's loss functions (section 4, Eqs. 10-20). Licence of this file: MIT.

    L_G = alpha L_pixel + phi1 L_GB + phi2 L_G^content + lambda (L_adv^G + L_adv^GB)         Eqs. 10, 11, 13, 14
    L_d = L_d^G + L_d^GB                                                                      Eq. 18

Differences from the text, and why:
- every norm is a mean over elements: Eq. 12 divides by N^i, the loss is named MAE, and only means bring the terms to
  the "order of magnitude balance" that section 5.1 claims for images in [0, 1].
- Eq. 17 as printed drops lambda and writes "phi1 + L_GB"; Eq. 10 and "lambda = 0.05" decide.
- the true images at half and quarter size are bicubic, antialiased resizes of the sharp image; w^i is 1.
- the loss's beta1 and beta2 are called `gradient_weight` and `image_weight` here, for Adam has betas of its own.
"""

import math
from dataclasses import dataclass

from keras import ops

from madn.layers import luma, resize, sobel_magnitude
from madn.losses import batch_psnr, l1, l2, log_l2, log_loss
from madn.training.health import column, loss_verdict


@dataclass(frozen=True)
class MADNObjective:
    """Turns a batch and the generator's outputs into named terms and their weighted sum.

    `adversarial_domains`: "both" (the paper), "image" or "none" (Figure 9's ablations).
    `reduction`: "mean", or "sum" over each image's elements, for the norms of Eq. 13.
    `image_norm`: the restored image's term in Eq. 13: "l1" as it is printed, "l2", a mean of squares, "log", `log_l2`;
    the latter two whatever `reduction` says. `pixel_norm`: of Eq. 12, "l2" as it is printed, or "log", `log_l2`.
    """

    adversarial: float = 0.05
    phi1: float = 0.5
    phi2: float = 1.0
    alpha: float = 0.01
    gradient_weight: float = 0.01
    image_weight: float = 1.0
    scale_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    adversarial_domains: str = "both"
    reduction: str = "mean"
    sobel_epsilon: float = 1e-6
    antialias: bool = True
    image_norm: str = "l1"
    pixel_norm: str = "l2"

    @property
    def uses_critic(self) -> bool:
        return self.adversarial_domains != "none"

    @property
    def term_names(self) -> tuple[str, ...]:
        names = ["pixel", "gradient_content", "restored_gradient", "image", "content"]
        names += [f"scale_{i}_psnr" for i in range(1, len(self.scale_weights) + 1)]
        for domain in ("image", "gradient"):
            if self.adversarial_domains in (domain, "both"):
                names += [f"adversarial_{domain}", f"critic_{domain}_real", f"critic_{domain}_fake"]
        return tuple(names)

    def generator_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_G, terms) for images (batch, height, width, 3) in [0, 1] and the generator's outputs (Eqs. 10-17).

        `critic(images, domain)` gives logits; domain is "image" or "gradient". Terms are unweighted.
        """
        sharp = ops.cast(sharp, "float32")
        restored, gradient = ops.cast(outputs["deblurred"], "float32"), ops.cast(outputs["gradient"], "float32")
        sharp_gradient = self._gradient(sharp, gradient.shape[-1])
        truths = self._truths(sharp, len(outputs["scales"]))
        terms = {
            "pixel": self._pixel(outputs["scales"], truths),
            "gradient_content": self._l1(sharp_gradient, gradient),
            "restored_gradient": self._l1(sobel_magnitude(sharp, self.sobel_epsilon),
                                          sobel_magnitude(restored, self.sobel_epsilon)),
            "image": self._image(restored, sharp),
        }
        content = (self.alpha * terms["pixel"] + self.phi1 * terms["gradient_content"]
                   + self.phi2 * (self.gradient_weight * terms["restored_gradient"]
                                  + self.image_weight * terms["image"]))
        terms["content"] = content
        for i, (image, truth) in enumerate(zip(outputs["scales"], truths, strict=True), start=1):
            terms[f"scale_{i}_psnr"] = batch_psnr(image, truth)
        total = content
        if self.uses_critic:
            terms["adversarial_image"] = log_loss(critic(restored, "image"), real=True)
            total = total + self.adversarial * terms["adversarial_image"]
        if self.adversarial_domains == "both":
            terms["adversarial_gradient"] = log_loss(critic(gradient, "gradient"), real=True)
            total = total + self.adversarial * terms["adversarial_gradient"]
        return total, terms

    def critic_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_d, terms), the generator's outputs under stop_gradient (Eqs. 18-20)."""
        sharp = ops.cast(sharp, "float32")
        restored = ops.stop_gradient(ops.cast(outputs["deblurred"], "float32"))
        terms = {
            "critic_image_real": log_loss(critic(sharp, "image"), real=True),
            "critic_image_fake": log_loss(critic(restored, "image"), real=False),
        }
        if self.adversarial_domains == "both":
            gradient = ops.stop_gradient(ops.cast(outputs["gradient"], "float32"))
            sharp_gradient = self._gradient(sharp, gradient.shape[-1])
            terms["critic_gradient_real"] = log_loss(critic(sharp_gradient, "gradient"), real=True)
            terms["critic_gradient_fake"] = log_loss(critic(gradient, "gradient"), real=False)
        return sum(terms.values()), terms

    def critic_verdicts(self, rounds) -> dict:
        """Domain -> what is to be said of its discriminator, or None, by the lines of the log so far.

        One that guesses has the loss 2 ln 2.
        """
        both = {domain: zip(column(rounds, f"critic_{domain}_real"), column(rounds, f"critic_{domain}_fake"))
                for domain in ("image", "gradient") if self.adversarial_domains in (domain, "both")}
        return {domain: loss_verdict([real + fake for real, fake in terms], 2 * math.log(2))
                for domain, terms in both.items()}

    def _image(self, restored, sharp):
        """The restored image's term, by `image_norm`."""
        return {"l1": self._l1, "l2": l2, "log": log_l2}[self.image_norm](restored, sharp)

    def _pixel(self, scales, truths):
        """Eq. 12: the sum over scales of w^i / (2 N^i) ||I_i - I_i^true||^2, a mean whatever `reduction` says."""
        norm = {"l2": l2, "log": log_l2}[self.pixel_norm]
        return sum(0.5 * weight * norm(image, truth)
                   for weight, image, truth in zip(self.scale_weights, scales, truths, strict=True))

    def _truths(self, sharp, scales: int) -> list:
        """I_i^true: the sharp image at every scale, full resolution first."""
        return [sharp if i == 0 else resize(sharp, 0.5**i, antialias=self.antialias) for i in range(scales)]

    def _gradient(self, images, channels: int):
        return sobel_magnitude(luma(images) if channels == 1 else images, self.sobel_epsilon)

    def _l1(self, a, b):
        """The norms of Eq. 13, by `reduction`."""
        return l1(a, b) * (1 if self.reduction == "mean" else a.shape[1] * a.shape[2] * a.shape[3])
