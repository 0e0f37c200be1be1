"""MSR2B-CGAN's recipes: the published setting, every switch of its ablations, and a small one for a CPU.

The published run: `python -m madn.train --recipe msr2b --data GOPRO --validation none --run runs/msr2b`
    Hardware in the paper: one NVIDIA Titan X, PyTorch.
    630,900 generator updates (300 epochs of 2,103 crops, one at a time) with five critic updates each, about 0.4 EFLOP
    by count. At batch 1 the launching of kernels takes longer than their work: `--jit` helps.
    Expected on the 1,111 GoPro test pairs (the paper's Table 2): PSNR 29.13 dB, SSIM 0.961. That SSIM sits with
    DeblurGAN's 0.958 and fits no two-dimensional SSIM at such a PSNR: compare it with `cw_ssim`, which DeblurGAN's
    scripts print (`madn.evaluate --metrics cw_ssim`). Table 1: ResNet blocks 28.11 dB, Res2Net blocks 28.90 dB. No
    score of a full training run has been measured with this code.

Differences from the paper, all of them choices where it says nothing or contradicts itself:
- five critic updates for each of the generator's, on the same crop (not stated; as DeblurGAN, whose training the paper
  follows, has them): the recipe `msr2b-one-critic-update` has one.
- the learning rate falls step by step, not epoch by epoch: constant for the first two thirds of the run, then linear,
  so that the last step is taken at 1e-7.
- GoPro's `blur` images rather than `blur_gamma`; no augmentation (neither stated).
- the weight 100 of the perceptual loss means the feature magnitudes of the paper's own VGG19 file, estimated from
  VGG16's (`VGG_REFERENCE`); the file at hand is calibrated to it by a gain (`madn.nn.vgg`).
The networks' and the losses' own choices are listed in baselines/msr2b/generator.py, discriminator.py, objective.py and
baselines/patchgan.py.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from madn.errors import UserError
from madn.training.perceptual import PerceptualRecipe
from madn.training.recipe import Named

VGG_REFERENCE = 24.7
"""Magnitude of VGG19's conv3_3 that lambda = 100 presumes; the loss is calibrated to it (madn.nn.vgg).

27 times that of the channel-normalised VGG19 file: what VGG16's conv3_3 in torchvision's magnitude, fed the way
DeblurGAN feeds it, has over that file. A VGG19 in torchvision's magnitude was not at hand.
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
        "d_first_norm": ...,  # of the critic alone: weights of generators that were trained against the other load
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
    critic_steps: int = 5  # type: ignore[misc]  # a setting here, which it is not for every paper
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

K3, K6, K12 = (replace(MSR2B, num_blocks=k) for k in (3, 6, 12))
"""Figure 5: other numbers of blocks than nine."""

RESNET = replace(MSR2B, block="resnet_bottleneck")
"""Table 1: ResNet's bottleneck blocks."""

RESNET_BASIC = replace(MSR2B, block="resnet_basic")
"""Table 1, the other reading of ResNet: DeblurGAN's two 3x3 convolutions."""

RES2NET = replace(MSR2B, block="res2net")
"""Table 1: Res2Net's blocks."""

CONV3 = replace(MSR2B, part_b="conv3")
"""Part B without its 5x5 convolution."""

CONV5 = replace(MSR2B, part_b="conv5")
"""Part B without its 3x3 convolution."""

NOPARTS = replace(MSR2B, part_b="none")
"""No Part B: the same network as RES2NET."""

NARROW = replace(MSR2B, group_width=16, bypass_width=48)
"""A bottleneck of 64, a fourth of the block's width as in ResNet."""

WIDE = replace(MSR2B, group_width=64, bypass_width=64)
"""Groups of a fourth of the block's input channels, section 3.1 taken literally."""

NOLOCAL = replace(MSR2B, local_skip=False)
"""Without the local skip connections."""

NOGLOBAL = replace(MSR2B, global_skip=False)
"""Without the global skip connection."""

INSTANCE_NORM = replace(MSR2B, g_norm="instance")
"""With the instance normalisation that section 3.2 removes."""

NOADVERSARIAL = replace(MSR2B, adversarial="none")
"""The perceptual loss alone."""

ONE_CRITIC_UPDATE = replace(MSR2B, critic_steps=1)
"""One update of the critic for each of the generator's; the paper does not speak of more."""

CONDITIONAL = replace(MSR2B, d_condition="blur")
"""A critic that sees the blurred image too."""

LITERAL_STRIDES = replace(MSR2B, d_strides=(2, 2, 2, 2, 1))
"""A critic of four strided convolutions as section 3.2 words it: 15x15 scores."""

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

Departures, all for a short run on a CPU: 0.6 of the generator's width and half of its groups', a critic of a quarter
of its width (its five updates with their second-order gradients would take most of the time), crops of 128 in
batches of two, flips and turns, bfloat16, and four times the learning rates.
"""

RECIPES = {
    "msr2b": Named(MSR2B, "MSR2B (Qi and Wang 2023) as published"),
    "msr2b-k3": Named(K3, "MSR2B (Qi and Wang 2023), Figure 5: 3 blocks in place of 9"),
    "msr2b-k6": Named(K6, "MSR2B (Qi and Wang 2023), Figure 5: 6 blocks"),
    "msr2b-k12": Named(K12, "MSR2B (Qi and Wang 2023), Figure 5: 12 blocks"),
    "msr2b-resnet": Named(RESNET, "MSR2B (Qi and Wang 2023), Table 1: ResNet's bottleneck blocks"),
    "msr2b-resnet-basic": Named(
        RESNET_BASIC, "MSR2B (Qi and Wang 2023), Table 1: ResNet blocks of two 3x3 convolutions"
    ),
    "msr2b-res2net": Named(RES2NET, "MSR2B (Qi and Wang 2023), Table 1: Res2Net blocks"),
    "msr2b-conv3": Named(CONV3, "MSR2B (Qi and Wang 2023): Part B without its 5x5 convolution"),
    "msr2b-conv5": Named(CONV5, "MSR2B (Qi and Wang 2023): Part B without its 3x3 convolution"),
    "msr2b-noparts": Named(NOPARTS, "MSR2B (Qi and Wang 2023): no Part B (the network of msr2b-res2net)"),
    "msr2b-narrow": Named(NARROW, "MSR2B (Qi and Wang 2023): four groups of 16 channels"),
    "msr2b-wide": Named(WIDE, "MSR2B (Qi and Wang 2023): four groups of 64 channels, bypasses of 64"),
    "msr2b-nolocal": Named(NOLOCAL, "MSR2B (Qi and Wang 2023): without the local skip connections"),
    "msr2b-noglobal": Named(NOGLOBAL, "MSR2B (Qi and Wang 2023): without the global skip connection"),
    "msr2b-instance-norm": Named(INSTANCE_NORM, "MSR2B (Qi and Wang 2023): instance normalisation in the generator"),
    "msr2b-noadversarial": Named(NOADVERSARIAL, "MSR2B (Qi and Wang 2023): the perceptual loss alone"),
    "msr2b-one-critic-update": Named(
        ONE_CRITIC_UPDATE, "MSR2B (Qi and Wang 2023): one critic update for each of the generator's, in place of five"
    ),
    "msr2b-conditional": Named(CONDITIONAL, "MSR2B (Qi and Wang 2023): a critic that sees the blurred image too"),
    "msr2b-literal-strides": Named(LITERAL_STRIDES, "MSR2B (Qi and Wang 2023): a critic of four strided convolutions"),
    "msr2b-budget": Named(BUDGET, "MSR2B (Qi and Wang 2023), narrow: 8 GMACs, for a comparison at the same compute"),
}
"""The recipes of this paper by name, for `madn.recipes`."""
