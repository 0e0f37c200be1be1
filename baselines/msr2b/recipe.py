"""MSR2B-CGAN's recipes: the published setting, every switch of its ablations, and a small one for a CPU.

The published run: `python -m madn.train --recipe msr2b --data GOPRO --validation none --run runs/msr2b`
    Hardware in the paper: one NVIDIA Titan X, PyTorch.
    630,900 generator updates (300 epochs of 2,103 crops, one at a time) with five discriminator updates each, about
    0.4 EFLOP by count. At batch 1 the launching of kernels takes longer than their work: `--jit` helps.
    Expected on the 1,111 GoPro test pairs (the paper's Table 2): PSNR 29.13 dB, SSIM 0.961. That SSIM sits with
    DeblurGAN's 0.958 and fits no two-dimensional SSIM at such a PSNR: compare it with `cw_ssim`, which DeblurGAN's
    scripts print (`madn.evaluate --metrics cw_ssim`). Table 1: ResNet blocks 28.11 dB, Res2Net blocks 28.90 dB. No
    score of a full training run has been measured with this code.

Differences from the paper, all of them choices where it says nothing or contradicts itself:
- the discriminator has five updates for each of the generator's, on the same crop (not stated; DeblurGAN, whose
  training the paper follows, has five): the recipe `msr2b-one-critic-update` has one.
- the learning rate falls step by step, not epoch by epoch: constant for the first two thirds of the run, then linear,
  so that the last step is taken at 1e-7.
- GoPro's `blur` images rather than `blur_gamma`; no augmentation (neither stated).
- the weight 100 of the perceptual loss means the feature magnitudes of torchvision's VGG19 (the paper used PyTorch, and
  says nothing else), as far as they can be estimated: `madn.training.perceptual` says how. Files of other magnitudes
  are calibrated to them by a gain (`madn.nn.vgg`); with torchvision's own weights, `--vgg-gain 1` is the paper's loss.
The networks' and the losses' own choices are listed in baselines/msr2b/generator.py, discriminator.py, objective.py and
baselines/patchgan.py.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from madn.errors import UserError
from madn.training.perceptual import TORCHVISION_VGG19, PerceptualRecipe
from madn.training.recipe import Named

VGG_REFERENCE = TORCHVISION_VGG19 * 0.9156
"""Magnitude of conv3_3 before its ReLU that lambda = 100 is taken for (`madn.nn.vgg`): that of the channel-normalised
VGG19 file, brought to torchvision's.

Not VGG16's conv3_3: that layer closes its block, where VGG19's is the third of four. The squared difference there is 49
times the VGG19 file's, which says more of the two layers than of the two files.
"""


@dataclass(frozen=True, kw_only=True)
class MSR2BRecipe(PerceptualRecipe):
    """MSR2B-CGAN (Qi and Wang 2023): an end-to-end multi-scale conditional GAN for image deblurring."""

    paper: ClassVar[str] = "MSR2B, Qi and Wang 2023"
    vgg_network: ClassVar[str] = "vgg19"
    update_order: ClassVar[str] = "alternating"
    critics_float32: ClassVar[bool] = True
    retired: ClassVar[dict] = {
        **PerceptualRecipe.retired,
        "split_groups": 4,
        "clip_output": "inference",
        "d_first_norm": ...,  # It changes the discriminator alone, and stored generators load.
        "gp_weight": 10.0,
        "gp_norm": "sample",
        "perceptual_reduction": "mean",
        "vgg_activated": False,
        "vgg_inputs": "imagenet",
    }

    batch: int = 1
    """Crops in a batch."""
    epochs: int = 300
    """Passes over all pairs, one random crop of each."""
    lr_d: float = 1e-4
    """Initial learning rate of the discriminator."""
    lr_end: float = 1e-7
    """Learning rate of the last step."""
    lr_constant: float = 2 / 3
    """Share of the run before the learning rate falls: the first 200 of 300 epochs."""
    adam: tuple[float, float, float] = (0.5, 0.999, 1e-8)
    """Adam's decays of the first and the second moment, and its epsilon."""
    critic_steps: int = 5  # type: ignore[misc]  # It is a setting here, and not for every paper.
    """Discriminator updates for each generator update, all on its batch."""
    widths: tuple[int, int, int] = (64, 128, 256)
    """Channels at full, half and quarter resolution."""
    num_blocks: int = 9
    """Residual blocks k (Figure 5)."""
    block: Literal["msr2b", "res2net", "resnet_bottleneck", "resnet_basic"] = "msr2b"
    """Kind of residual block (Table 1)."""
    group_width: int = 32
    """Channels of each of a block's groups; together they are its bottleneck."""
    bypass_width: int = 96
    """Channels of W_1 and W_2 (Eqs. 5 and 6)."""
    part_b: Literal["both", "conv3", "conv5", "none"] = "both"
    """Which of Part B's two bypasses there are."""
    local_skip: bool = True
    """Fuse the outputs of all blocks, or take the last one's."""
    global_skip: bool = True
    """Learn the difference from the blurred image (Eq. 9), or the sharp image itself."""
    g_norm: Literal["none", "instance"] = "none"
    """Normalisation in the generator."""
    d_widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the discriminator's first four convolutions."""
    d_strides: tuple[int, int, int, int, int] = (2, 2, 2, 1, 1)
    """Strides of its five convolutions."""
    d_condition: Literal["none", "blur"] = "none"
    """What it sees beside the image it judges."""
    adversarial: Literal["wgan_gp", "none"] = "wgan_gp"
    """Adversarial loss; none trains on the perceptual loss alone."""
    perceptual_weight: float = 100.0
    """Weight lambda of the perceptual loss (Eq. 10)."""

    def __post_init__(self):
        super().__post_init__()
        if min(*self.widths, *self.d_widths, *self.d_strides, self.num_blocks, self.group_width, self.bypass_width) < 1:
            raise UserError(
                "--widths, --d-widths, --d-strides, --num-blocks, --group-width and --bypass-width must be at least 1"
            )
        if not 0 <= self.lr_constant <= 1:
            raise UserError(f"--lr-constant is a share of the run, from 0 to 1; received {self.lr_constant}")
        if self.perceptual_weight < 0:
            raise UserError(f"--perceptual-weight must be 0 or more; received {self.perceptual_weight:g}")

    @property
    def multiple(self):
        return 4

    def learning_rate(self, initial, total_steps):
        """`initial` for the first `lr_constant` of the steps, then linear; `lr_end` at the last one (section 4.2)."""
        from madn.training.schedules import ConstantThenLinear

        constant = round(self.lr_constant * total_steps)
        return ConstantThenLinear(initial, max(0, constant - 1), total_steps - constant, self.lr_end)

    def build_generator(self):
        from baselines.msr2b.generator import build_generator

        return build_generator(
            widths=self.widths,
            num_blocks=self.num_blocks,
            block=self.block,
            group_width=self.group_width,
            bypass_width=self.bypass_width,
            part_b=self.part_b,
            local_skip=self.local_skip,
            global_skip=self.global_skip,
            norm=self.g_norm,
        )

    def build_critics(self):
        from baselines.msr2b.discriminator import build_discriminator

        if self.adversarial == "none":
            return {}
        return {"image": build_discriminator(self.d_widths, self.d_strides, self.d_condition)}

    def perceptual(self):
        from madn.nn.vgg import PerceptualLoss

        return PerceptualLoss(
            "vgg19",
            "block3_conv3",
            self.vgg_weights,
            activated=False,
            reference=VGG_REFERENCE,
            gain=self.vgg_gain,
        )

    def build_objective(self):
        from baselines.msr2b.objective import MSR2BObjective

        return MSR2BObjective(self.perceptual(), self.perceptual_weight, self.adversarial, self.d_condition)


MSR2B = MSR2BRecipe()
"""The published setting."""

BUDGET = replace(
    MSR2B,
    widths=(40, 80, 160),
    group_width=16,
    bypass_width=48,
    d_widths=(16, 32, 64, 128),
    crop=128,
    batch=2,
    augment="dihedral",
    precision="mixed_bfloat16",
    lr_g=4e-4,
    lr_d=4e-4,
)
"""A narrow version for a comparison at the same compute: 7.7 GMACs for each 256x256 image.

Departures, all for a short run on a CPU: 0.6 of the generator's width and half of its groups', a discriminator of a
quarter of its width (its five updates with their second-order gradients would take most of the time), crops of 128 in
batches of two, flips and turns, bfloat16, and four times the learning rates.
"""


def _variant(summary: str, **changes) -> Named:
    """The published setting with other values; `summary` says of what."""
    return Named(replace(MSR2B, **changes), f"MSR2B (Qi and Wang 2023){summary}")


RECIPES = {
    "msr2b": Named(MSR2B, "MSR2B (Qi and Wang 2023) as published"),
    "msr2b-k3": _variant(", Figure 5: 3 blocks in place of 9", num_blocks=3),
    "msr2b-k6": _variant(", Figure 5: 6 blocks", num_blocks=6),
    "msr2b-k12": _variant(", Figure 5: 12 blocks", num_blocks=12),
    "msr2b-resnet": _variant(", Table 1: ResNet's bottleneck blocks", block="resnet_bottleneck"),
    # Table 1's ResNet may also mean DeblurGAN's block.
    "msr2b-resnet-basic": _variant(", Table 1: ResNet blocks of two 3x3 convolutions", block="resnet_basic"),
    "msr2b-res2net": _variant(", Table 1: Res2Net blocks", block="res2net"),
    "msr2b-conv3": _variant(": Part B without its 5x5 convolution", part_b="conv3"),
    "msr2b-conv5": _variant(": Part B without its 3x3 convolution", part_b="conv5"),
    "msr2b-noparts": _variant(": no Part B (the network of msr2b-res2net)", part_b="none"),
    # The bottleneck then has 64 channels, a fourth of the block's width, as in ResNet.
    "msr2b-narrow": _variant(": four groups of 16 channels", group_width=16, bypass_width=48),
    # This takes section 3.1 literally: a group has a fourth of the block's input channels.
    "msr2b-wide": _variant(": four groups of 64 channels, bypasses of 64", group_width=64, bypass_width=64),
    "msr2b-nolocal": _variant(": without the local skip connections", local_skip=False),
    "msr2b-noglobal": _variant(": without the global skip connection", global_skip=False),
    # Section 3.2 removes this normalisation.
    "msr2b-instance-norm": _variant(": instance normalisation in the generator", g_norm="instance"),
    "msr2b-noadversarial": _variant(": the perceptual loss alone", adversarial="none"),
    # The paper does not speak of more than one.
    "msr2b-one-critic-update": _variant(
        ": one discriminator update for each of the generator's, in place of five", critic_steps=1
    ),
    "msr2b-conditional": _variant(": a discriminator that sees the blurred image too", d_condition="blur"),
    # These are the words of section 3.2; there are then 15x15 scores.
    "msr2b-literal-strides": _variant(": a discriminator of four strided convolutions", d_strides=(2, 2, 2, 2, 1)),
    "msr2b-budget": Named(BUDGET, "MSR2B (Qi and Wang 2023), narrow: 8 GMACs, for a comparison at the same compute"),
}
"""The recipes of this paper by name, for `madn.recipes`."""
