"""Structures Guided's recipes: the published setting, Tables 4 and 5, and a narrow one for equal compute.

Paper: Qi, "Structures Guided Dynamic Scene Deblurring Method", 2022, sections 3.2 and 4.2. Licence of this file: MIT.

The published run: `python -m madn.train --recipe structure_guided --data GOPRO --validation none --run runs/sg`
    Hardware in the paper: one 11 GB NVIDIA 1080 Ti, PyTorch; hours not stated.
    78,750 steps (150 epochs of 525), about 0.2 EFLOP by count. Not run here.
    Expected on the 1,111 GoPro test pairs (Table 1): PSNR 29.2252 dB, SSIM 0.8714. An SSIM so low at this PSNR is
    `ssim`, not `ssim_matlab`. No score of a full training run has been measured with this code.
    Table 4: without content 26.3751 / 0.7921, without gradient 28.7011 / 0.8617.
    Table 5: without RGCL 29.0429 / 0.8691, MBRB 29.0859 / 0.884 (printed so), GradientNet 27.8708 / 0.8324.

Differences from the paper, all of them choices where it says nothing:
- the learning rate stays constant, and the discriminator's five steps take the generator's batch, as in DeblurGAN: an
  epoch is then 525 generator steps.
- no augmentation; GoPro's `blur` images rather than `blur_gamma`.
- "we replace RGCL with normal convolution layers": a 3x3 convolution and ReLU at each of its places, no residual.
- "replace the multipath reuse module with a single path": one RGCL on all channels; three of them in a chain would
  cost 1.8 times the operations.
- an epoch counts for 525 whole batches of 2,103 pairs; batches reach over its end, and nothing is dropped.
- the weight 10 of the content loss means the feature magnitudes of torchvision's VGG19 (the paper used PyTorch, and
  says nothing else), as far as they can be estimated: `madn.training.perceptual` says how. Files of other magnitudes
  are calibrated to them by a gain (`madn.nn.vgg`); with torchvision's own weights, `--vgg-gain 1` is the paper's loss.
- left out: other readings of RGCL's plain convolution and of the skips (concatenation), which miss the printed count.
The network's and the losses' own choices are listed in generator.py, discriminator.py and objective.py.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from madn.errors import UserError
from madn.training.perceptual import TORCHVISION_VGG19, PerceptualRecipe
from madn.training.recipe import Named

VGG_LAYER = "block4_conv3"
"""keras.applications' name of the paper's ReLU4_3."""
VGG_REFERENCE = TORCHVISION_VGG19 * 3.093
"""Magnitude of ReLU4_3 that `content_weight` 10 is taken for (`madn.nn.vgg`): that of the channel-normalised VGG19
file, brought to torchvision's."""


@dataclass(frozen=True, kw_only=True)
class StructureGuidedRecipe(PerceptualRecipe):
    """Structures Guided (Qi 2022): a U-Net with GradientNet, VGG19 content, image gradients and WGAN-GP."""

    paper: ClassVar[str] = "Structures Guided, Qi 2022"
    vgg_network: ClassVar[str] = "vgg19"
    update_order: ClassVar[str] = "alternating"
    critics_float32: ClassVar[bool] = True
    retired: ClassVar[dict] = {
        **PerceptualRecipe.retired,
        "rgcl_share": True,
        "init_std": ...,  # It changes the first weights alone.
        "penalty": 10.0,
        "content_norm": "mse",
        "penalty_norm": "sample",
    }

    width: int = 64
    """Channels at full resolution; twice and four times as many at half and quarter."""
    gradient_width: int = 128
    """Channels of GradientNet."""
    n_mbrb: int = 10
    """MBRBs in cascade."""
    rgcl_r: int = 3
    """Recurrences in an RGCL."""
    rgcl_tail: Literal["sigmoid", "gate", "fnorm"] = "sigmoid"
    """Eq. 7's end: CA(sigmoid(Conv(h))) as printed, CA(h sigmoid(Conv(h))), or CA(h + Conv(h))."""
    block: Literal["rgcl", "conv3x3"] = "rgcl"
    """What an MBRB is made of; conv3x3 is Table 5 without RGCL."""
    mbrb: Literal["multipath", "parallel", "single"] = "multipath"
    """How an MBRB joins its three RGCLs: multipath reuse, or side by side (Eq. 5 as printed); single: it has one
    (Table 5)."""
    gradient_net: bool = True
    """GradientNet at the bottleneck; Table 5 leaves it out."""
    global_residual: bool = True
    """Add the blurred image to the output and clip; otherwise the tanh is the image."""
    zero_outputs: bool = False
    """Start at the blurred image: the last convolution is zero."""
    d_widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the PatchGAN's convolutions."""
    content_weight: float = 10.0
    """Eq. 11's alpha: features of VGG19."""
    gradient_weight: float = 1.0
    """Eq. 11's beta: differences of neighbouring pixels."""
    adversarial: float = 1.0
    """Eq. 11's gamma."""

    batch: int = 4
    """Crops in a batch."""
    epochs: int = 150
    """Passes over all pairs, one random crop of each."""
    lr_d: float = 1e-4
    """Initial learning rate of the discriminator."""
    adam: tuple[float, float, float] = (0.5, 0.999, 1e-8)
    """Adam's decays of the first and the second moment, and its epsilon."""
    critic_steps: int = 5  # type: ignore[misc]  # It is a setting here, and not for every paper.
    """Discriminator updates for each generator update, all on its batch."""

    def __post_init__(self):
        super().__post_init__()
        if min(self.width, self.n_mbrb, self.rgcl_r, *self.d_widths) < 1:
            raise UserError("--width, --n-mbrb, --rgcl-r and --d-widths must be at least 1")
        if self.gradient_width < 4 or self.gradient_width % 4:
            raise UserError(f"--gradient-width must be a multiple of 4; received {self.gradient_width}")
        if min(self.content_weight, self.gradient_weight, self.adversarial) < 0:
            raise UserError("--content-weight, --gradient-weight and --adversarial must be 0 or more")
        if self.zero_outputs and not self.global_residual:
            raise UserError("--zero-outputs with --no-global-residual would start at grey: leave one of them out")

    @property
    def multiple(self):
        return 4

    @classmethod
    def renamed(cls, fields):
        fields = super().renamed(fields)
        if "output_init_std" in fields:
            fields["zero_outputs"] = fields.pop("output_init_std") == 0
        return fields

    def build_generator(self):
        from baselines.structure_guided.generator import build_generator

        return build_generator(
            width=self.width,
            gradient_width=self.gradient_width,
            n_mbrb=self.n_mbrb,
            rgcl_r=self.rgcl_r,
            rgcl_tail=self.rgcl_tail,
            block=self.block,
            mbrb=self.mbrb,
            gradient_net=self.gradient_net,
            global_residual=self.global_residual,
            zero_outputs=self.zero_outputs,
        )

    def build_critics(self):
        from baselines.structure_guided.discriminator import build_discriminator

        return {"image": build_discriminator(self.d_widths)}

    def perceptual(self):
        from madn.nn.vgg import PerceptualLoss

        if not self.content_weight:
            return None
        return PerceptualLoss("vgg19", VGG_LAYER, self.vgg_weights, reference=VGG_REFERENCE, gain=self.vgg_gain)

    def build_objective(self):
        from baselines.structure_guided.objective import StructureGuidedObjective

        return StructureGuidedObjective(self.perceptual(), self.content_weight, self.gradient_weight, self.adversarial)


STRUCTURE_GUIDED = StructureGuidedRecipe()
"""The published setting: 5,371,475 parameters, 447.26 G multiply-adds at 1280x720 (Table 3: 446.98 G)."""

BUDGET = replace(
    STRUCTURE_GUIDED,
    width=32,
    gradient_width=64,
    d_widths=(32, 64, 128, 256),
    zero_outputs=True,
    crop=128,
    batch=2,
    augment="dihedral",
    precision="mixed_bfloat16",
)
"""A narrow version for a comparison at the same compute on a CPU: 8.3 GMACs for each 256x256 image.

Departures, all for the short run: half the channels in every network, crops of 128 in batches of two, flips and turns,
bfloat16, and a last convolution that starts at zero, so that training starts at the blurred image. The learning rates
stay the paper's: at five times them a still narrower network's content loss did not fall in 500 steps, at them it did
(3.01 to 2.78 in 300). PSNR lay below the blurred images' in both: no term holds the colours, which drift by some
hundredths.
"""


def _variant(summary: str, **changes) -> Named:
    """The published setting with other values; `summary` says of what."""
    return Named(replace(STRUCTURE_GUIDED, **changes), f"Structures Guided{summary}")


RECIPES = {
    "structure_guided": Named(STRUCTURE_GUIDED, "Structures Guided (Qi 2022) as published"),
    "structure_guided-nocontent": _variant(", Table 4: without the content loss", content_weight=0.0),
    "structure_guided-nogradient": _variant(", Table 4: without the gradient loss", gradient_weight=0.0),
    "structure_guided-norgcl": _variant(", Table 5: 3x3 convolutions in the place of RGCLs", block="conv3x3"),
    "structure_guided-nombrb": _variant(", Table 5: a single path in the place of multipath reuse", mbrb="single"),
    "structure_guided-nogradientnet": _variant(", Table 5: without GradientNet", gradient_net=False),
    # A branch of either sign, as in the network that RGCL is taken from.
    "structure_guided-fnorm": _variant(": RGCL's end as in Cross-SRN, another reading of Eq. 7", rgcl_tail="fnorm"),
    "structure_guided-gate": _variant(": RGCL's end as a gate, another reading of Eq. 7", rgcl_tail="gate"),
    # All three RGCLs take U_0; at 80 channels that is 442.9 G multiply-adds at 1280x720.
    "structure_guided-parallel": _variant(
        ": three RGCLs side by side, Eq. 5 as printed", mbrb="parallel", gradient_width=80
    ),
    # The tanh is the image: the text does not add the blurred one.
    "structure_guided-noresidual": _variant(": without adding the blurred image to the output", global_residual=False),
    "structure_guided-budget": Named(
        BUDGET, "Structures Guided, narrow: 8 GMACs at 256x256, for a comparison on a CPU"
    ),
}
"""The recipes of this paper by name, for `madn.recipes`."""
