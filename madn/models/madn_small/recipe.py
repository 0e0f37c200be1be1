"""The recipe of `madn-small`: a network for photos that two CPU cores train within hours.

    python -m madn.train --recipe madn-small --data GOPRO REDS --photos PHOTOS --run runs/small

The published weights, their runs and scores: weights/README.md. Departures from MADN, all for the short training of a
narrow network; those of the network itself stand in its file:
- no adversarial loss, which costs PSNR.
- the logarithm of squared errors for the restored image and the scales. With absolute errors a network that is not
  sure of a blur returns its input; with squared ones the worst crops have most of the gradient.
  The weights bring the terms to the order of the gradient network's loss.
- Muon instead of Adam for the convolutions, which needs fewer steps; its learning rate, of other units than Adam's,
  falls in a straight line. At higher rates activations shrink, and then the loss runs away. Biases learn at a tenth of
  it. Gradients are clipped at a norm of 0.5.
- crops of 128 in batches of 8 with flips and turns.
"""

from dataclasses import dataclass
from typing import ClassVar

from madn.errors import UserError
from madn.models.madn.recipe import MADNRecipe
from madn.training.recipe import Named, Recipe


@dataclass(frozen=True, kw_only=True)
class MADNSmallRecipe(Recipe):
    """A small network after MADN (Zhu et al. 2023)."""

    paper: ClassVar[str] = "MADN, Zhu et al. 2023"
    retired: ClassVar[dict] = {
        **MADNRecipe.retired,
        "optimizer": "muon",
        "bias_lr_ratio": 0.1,
        "deconv_kernel": 4,
        "scale_taps": "decoder",
        "global_residual": True,
        "residual_from": "restored",
        "stem_stride": 2,
        "stop_gradient_across_scales": False,
        "resize": "bicubic",
        "init": "he_zero_residual",
        "last_activation": "none",
        "activation": "leaky_relu",
        "adversarial_domains": "none",
        "scale_weights": [1.0, 1.0, 1.0, 1.0],
        "image_norm": "log",
        "pixel_norm": "log",
        "d_widths": ...,
        "d_dense": ...,
        "d_strides": ...,
        "d_shared": ...,
        "d_dense_activation": ...,
        "adversarial": ...,
        "gradient_weight": 0.01,
    }

    lr_power: float = 1.0
    """Power of the polynomial decay to 0: lr = lr_0 (1 - step / steps) ** power."""
    widths: tuple[int, int, int] = (32, 64, 128)
    """Channels at half, quarter and eighth resolution."""
    res_blocks: int = 1
    """Residual blocks in a group."""
    scales: int = 4
    """Scales of the recurrent network."""
    phi1: float = 0.5
    """Weight of the gradient network's loss."""
    alpha: float = 0.2
    """Weight of the scales' loss."""
    image_weight: float = 0.2
    """Weight of the restored image's loss."""

    def __post_init__(self):
        super().__post_init__()
        if min(*self.widths, self.res_blocks, self.scales) < 1:
            raise UserError("--widths, --res-blocks and --scales must be at least 1")
        if self.crop % self.multiple:
            raise UserError(
                f"--crop must be a multiple of {self.multiple} for --scales {self.scales}; received {self.crop}"
            )

    @property
    def multiple(self):
        return 8 * 2 ** (self.scales - 1)

    def learning_rate(self, initial, total_steps):
        from madn.training.schedules import polynomial

        return polynomial(initial, total_steps, self.lr_power)

    def build_g_optimizer(self, total_steps):
        """Muon for the convolutions and Adam for the rest, with biases at a tenth of the learning rate."""
        from madn.training.muon import ConvolutionMuon

        beta_1, beta_2, epsilon = self.adam
        return ConvolutionMuon(
            self.learning_rate(self.lr_g, total_steps),
            bias_lr_ratio=0.1,
            adam_beta_1=beta_1,
            adam_beta_2=beta_2,
            epsilon=epsilon,
            global_clipnorm=self.clip_norm,
        )

    def build_generator(self):
        from madn.models.madn_small.generator import build_generator

        return build_generator(self.widths, self.res_blocks, self.scales)

    def build_critics(self):
        return {}

    def build_objective(self):
        from madn.models.madn.objective import MADNObjective

        return MADNObjective(
            phi1=self.phi1,
            alpha=self.alpha,
            image_weight=self.image_weight,
            adversarial_domains="none",
            error="log",
            scales=self.scales,
        )


SMALL = MADNSmallRecipe(crop=128, batch=8, steps=6_000, lr_g=1e-3, augment="dihedral", clip_norm=0.5)

RECIPES = {"madn-small": Named(SMALL, "MADN at reduced width, for photos: hours on two CPU cores")}
"""The recipes of this network by name, for `madn.recipes`."""
