"""MADN's loss functions (section 4, Eqs. 10-20). Licence of this file: MIT.

    L_G         = L_content + lambda (L_adv^G + L_adv^GB)                                     Eqs. 10, 14
    L_content   = alpha L_pixel + phi1 L_content^GB + phi2 L_content^G                        Eqs. 11, 13
    L_content^G = beta1 mean|M(X_t) - M(X_b^)| + beta2 mean|X_b^ - X_t|                       Eq. 13
    L_d         = L_d^G + L_d^GB                                                              Eq. 18

The terms, by the names that the log has:

    content                    L_content, all but the adversarial part: "the content loss" of the paper
    pixel                      L_pixel, of SN's images at all scales                          Eq. 12
    gradient_content           L_content^GB, of the gradient network's map                    Eq. 13
    restored_gradient          the part of L_content^G with beta1 (`gradient_weight`): the restored image's gradient map
    image                      the part of L_content^G with beta2 (`image_weight`): the restored image
    adversarial_image          L_adv^G                                                        Eq. 15
    adversarial_gradient       L_adv^GB                                                       Eq. 16
    critic_image_*             the two parts of L_d^G, of real and of restored images         Eq. 19
    critic_gradient_*          those of L_d^GB, of gradient maps                              Eq. 20
    scale_*_psnr               PSNR of SN's image at each scale, in dB; no part of a loss

Differences from the text, and why:
- every norm is a mean over elements: Eq. 12 divides by N^i, and the loss is named MAE. The "order of magnitude balance"
  that section 5.1 claims for the weighted terms is not there: with the blurred image, resized or as its gradient map,
  in the place of every output, on four GoPro test pairs of Figure 6's scenes in [0, 1], they are 0.00005 for `pixel`,
  0.063 for `gradient_content`, 0.0013 for `restored_gradient`, 0.037 for `image`, and 0.069 for both adversarial terms
  of a discriminator that guesses.
- Eq. 13 writes G_gb(X_b), Eq. 16 G_gb(M(X_b)): the gradient network takes the gradient map of the blurred image.
- Eq. 17 as printed drops lambda and writes "phi1 + L_GB"; Eq. 10 and "lambda = 0.05" decide.
- the true images at half and quarter size are resizes of the sharp image as the network's are of the blurred one; w^i
  is 1.
- phi2 is 1, and left out. beta1 and beta2 have other names here, for Adam has betas, too.
"""

import math
from dataclasses import dataclass

from keras import ops

from madn.nn.layers import resize, sobel_magnitude
from madn.nn.losses import batch_psnr, l1, l2, log_l2, log_loss
from madn.training.gan_monitor import column, loss_verdict


@dataclass(frozen=True)
class MADNObjective:
    """Turns a batch and the generator's outputs into named terms and their weighted sum.

    `adversarial_domains`: "both" (the paper), "image" or "none" (Figure 9's ablations).
    `error`: "printed", the squared error of Eq. 12 and the absolute one of the restored image in Eq. 13, or "log", the
    logarithm of squared errors (`log_l2`) for both.
    `gradient_network`: whether the generator has one; `resize`: between the scales, as in `build_generator`.
    """

    adversarial: float = 0.05
    phi1: float = 0.5
    alpha: float = 0.01
    gradient_weight: float = 0.01
    image_weight: float = 1.0
    adversarial_domains: str = "both"
    error: str = "printed"
    scales: int = 3
    gradient_network: bool = True
    resize: str = "bicubic"

    @property
    def is_adversarial(self) -> bool:
        return self.adversarial_domains != "none"

    @property
    def term_names(self) -> tuple[str, ...]:
        names = ["pixel", "restored_gradient", "image", "content"]
        if self.gradient_network:
            names.insert(1, "gradient_content")
        names += [f"scale_{i}_psnr" for i in range(1, self.scales + 1)]
        for domain in ("image", "gradient"):
            if self.adversarial_domains in (domain, "both"):
                names += [f"adversarial_{domain}", f"critic_{domain}_real", f"critic_{domain}_fake"]
        return tuple(names)

    def generator_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_G, terms) for images (batch, height, width, 3) in [0, 1] and the generator's outputs (Eqs. 10-17).

        `critic(images, domain)` gives the discriminator's logits; domain is "image" or "gradient". The terms are
        float32 scalars, unweighted but for `content`.
        """
        sharp, restored = ops.cast(sharp, "float32"), ops.cast(outputs["deblurred"], "float32")
        sharp_gradient, truths = sobel_magnitude(sharp), self._truths(sharp)
        pixel, image = (l2, l1) if self.error == "printed" else (log_l2, log_l2)
        terms = {
            "pixel": sum(0.5 * pixel(scale, truth) for scale, truth in zip(outputs["scales"], truths, strict=True)),
            "restored_gradient": l1(sharp_gradient, sobel_magnitude(restored)),
            "image": image(restored, sharp),
        }
        content = (
            self.alpha * terms["pixel"]
            + self.gradient_weight * terms["restored_gradient"]
            + self.image_weight * terms["image"]
        )
        if self.gradient_network:
            gradient = ops.cast(outputs["gradient"], "float32")
            terms["gradient_content"] = l1(sharp_gradient, gradient)
            content = content + self.phi1 * terms["gradient_content"]
        terms["content"] = content
        for i, (scale, truth) in enumerate(zip(outputs["scales"], truths, strict=True), start=1):
            terms[f"scale_{i}_psnr"] = batch_psnr(scale, truth)
        total = content
        if self.is_adversarial:
            terms["adversarial_image"] = log_loss(critic(restored, "image"), real=True)
            total = total + self.adversarial * terms["adversarial_image"]
        if self.adversarial_domains == "both":
            terms["adversarial_gradient"] = log_loss(critic(gradient, "gradient"), real=True)
            total = total + self.adversarial * terms["adversarial_gradient"]
        return total, terms

    def critic_losses(self, blurred, sharp, outputs: dict, critic) -> tuple:
        """(L_d, terms) for the same arguments; no gradient reaches the generator (Eqs. 18-20)."""
        sharp = ops.cast(sharp, "float32")
        restored = ops.stop_gradient(ops.cast(outputs["deblurred"], "float32"))
        terms = {
            "critic_image_real": log_loss(critic(sharp, "image"), real=True),
            "critic_image_fake": log_loss(critic(restored, "image"), real=False),
        }
        if self.adversarial_domains == "both":
            gradient = ops.stop_gradient(ops.cast(outputs["gradient"], "float32"))
            terms["critic_gradient_real"] = log_loss(critic(sobel_magnitude(sharp), "gradient"), real=True)
            terms["critic_gradient_fake"] = log_loss(critic(gradient, "gradient"), real=False)
        return sum(terms.values()), terms

    def critic_verdicts(self, rounds) -> dict:
        """Domain -> its discriminator's fault by the log's lines so far, or None; see `madn.training.gan_monitor`.

        A discriminator that guesses has the loss 2 ln 2.
        """
        both = {
            domain: zip(column(rounds, f"critic_{domain}_real"), column(rounds, f"critic_{domain}_fake"))
            for domain in ("image", "gradient")
            if self.adversarial_domains in (domain, "both")
        }
        return {
            domain: loss_verdict([real + fake for real, fake in terms], 2 * math.log(2))
            for domain, terms in both.items()
        }

    def _truths(self, sharp) -> list:
        """I_i^true: the sharp image at every scale, full resolution first."""
        return [sharp if i == 0 else resize(sharp, 0.5**i, self.resize) for i in range(self.scales)]
