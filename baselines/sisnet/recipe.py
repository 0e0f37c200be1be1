"""SIS-Net's recipes: the published setting, its ablations and sweeps, and a narrow one for a CPU.

Paper: Liu, Luo, Huang, Qiao, Li, Xu, Luo, "Semantic Information Supplementary Pyramid Network for Dynamic Scene
Deblurring", IEEE Access 8 (2020). Licence of this file: MIT.

The published run: `python -m madn.train --recipe sisnet --data GOPRO --validation none --run runs/sisnet`; without a
way to download ImageNet weights, add `--backbone-weights none` (and `--vgg-weights FILE`).
    1,500,000 steps of one crop, about 3 EFLOP by count. The paper names no training hardware. Not run here.
    Expected on the 1,111 GoPro test pairs (the paper's Table 3): PSNR 30.28 dB, SSIM 0.912, of a kind not named. The
    scorers in the authors' repository compare the output with its own blurred input, so both are unverified.

When the paper decides and when its authors' released code: the paper, wherever it says something (its text, Algorithm
1, Table 1, the weights of Eq. 7), also where the code computes something else; the code, where the paper is silent or
names a thing without its sizes (backbone, widths, residual, the images' scale in the loss, all of the training). Where
this departs from the code for reasons of its own, it says so. So:
- Adam at 1e-4, constant for a tenth of the run, then falling by (1e-4 - 1e-7) / 1500 an epoch, down to 1.01e-5.
- 1500 epochs of 1000 crops, one a batch; the discriminators learn first. In the first three epochs the ImageNet
  backbone stays as it is, then both optimisers and the schedule start anew.
- crops of 704: that code's 720 is not a multiple of 32, which the network needs.
- flips and 90-degree turns; the code's distortions of the input (noise, JPEG, colour) are left out.
- tau_3 is the paper's 0.01, not the code's 0.001; the perceptual loss is of VGG16's relu3_3, not VGG19's conv3_3; the
  discriminators are Table 1's, with its sigmoid, not the code's two PatchGANs.
- left out: a preset of what the released code computes (the "sisnet_repo" of other accounts: another network, two
  PatchGANs on the whole image, means over a pool of the last 50 scores), because the paper does not describe it;
  and Eq. 3 as an enlargement with a convolution.
- GoPro's `blur` images (not stated).
The networks' and the losses' own choices are listed in generator.py, discriminator.py and objective.py.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from madn.errors import UserError
from madn.training.perceptual import PerceptualRecipe
from madn.training.recipe import INTERNAL, Named

VGG_REFERENCE = 7.037
"""`PerceptualLoss.magnitude` with torchvision's feature magnitudes, which tau_2 was chosen with."""
CONSTANT_SHARE = 0.1
"""The learning rate begins to fall after this share of the steps."""
LR_END = 1e-7
"""The learning rate would end here if it fell from the first step on, at the slope that it has."""
WARMUP_SHARE = 0.002
"""An ImageNet backbone stays as it is during this share of the steps."""


@dataclass(frozen=True, kw_only=True)
class SISNetRecipe(PerceptualRecipe):
    """SIS-Net (Liu et al. 2020): semantic information supplementary pyramid network."""

    paper: ClassVar[str] = "SIS-Net, Liu et al. 2020"
    vgg_network: ClassVar[str] = "vgg16"
    update_order: ClassVar[str] = "alternating"
    retired: ClassVar[dict] = {
        **PerceptualRecipe.retired,
        "constant_share": CONSTANT_SHARE,
        "lr_end": LR_END,
        "warmup_share": WARMUP_SHARE,
        "mse_space": "imagenet",
    }

    batch: int = 1
    """Crops in a batch."""
    crop: int = 704
    """Side of a training crop, in pixels."""
    epochs: int = 1500
    """Passes over all pairs, one random crop of each."""
    steps: int | None = 1_500_000
    """Generator updates in all; overrides --epochs. The learning rate decays over them."""
    lr_g: float = 1e-4
    """Initial learning rate of the generator."""
    lr_d: float = 1e-4
    """Initial learning rate of the discriminators."""
    augment: Literal["none", "flips", "dihedral"] = "dihedral"
    """Flips, or flips and 90-degree turns, of both images alike."""
    backbone: Literal["inception_resnet_v2", "inception_v3", "blocks"] = "inception_resnet_v2"
    """Extracting path: a network of keras.applications, or five plain inception blocks."""
    backbone_weights: Literal["none", "imagenet"] = "imagenet"
    """What the backbone starts from: random weights, or those that keras.applications downloads."""
    freeze_backbone: bool = field(default=False, metadata=INTERNAL)
    """Keep the backbone as it is: what the warm-up does."""
    block_widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Channels of the five plain inception blocks; multiples of 4."""
    width: int = 256
    """Channels of the laterals, the info-box and the expanding path."""
    stem_width: int = 128
    """Channels at half resolution; full resolution has half of them."""
    laterals: bool = True
    """The intermediate layer path (Table 2: Nolatent leaves it out)."""
    infobox: Literal["direct", "cascade", "bilinear", "none"] = "direct"
    """Info-box: each map shuffled from info_0, each from the one before, info_0 enlarged, or none (Table 2: Nosis)."""
    products: Literal[3, 4] = 4
    """Fusion products that the last step sums: all four (Algorithm 1), or those of the three fusions before it."""
    zero_outputs: bool = False
    """Start at the blurred image: the last convolution is zero."""
    d_width: int = 64
    """Channels of the discriminators."""
    d_activation: Literal["sigmoid", "linear"] = "sigmoid"
    """Activation of the discriminators' score; Table 1 has the sigmoid."""
    d_shared: bool = False
    """One discriminator for whole images and windows, or two of one shape."""
    tau_1: float = 0.5
    """Weight of the mean squared error (Eq. 7)."""
    tau_2: float = 0.006
    """Weight of the perceptual loss; 0 leaves VGG out (Table 2: NoPloss)."""
    tau_3: float = 0.01
    """Weight of the adversarial loss; 0 leaves the discriminators out."""
    adversarial: Literal["ralsgan", "wgan", "lsgan", "rsgan"] = "ralsgan"
    """Adversarial loss: relativistic average least squares, or one that Figure 4 rejects."""

    def __post_init__(self):
        super().__post_init__()
        if min(self.width, self.d_width) < 1 or self.stem_width < 2:
            raise UserError("--width and --d-width must be at least 1, --stem-width at least 2")
        if any(width < 4 or width % 4 for width in self.block_widths):
            raise UserError(f"--block-widths must be multiples of 4; received {self.block_widths}")
        if self.backbone == "blocks" and self.backbone_weights == "imagenet":
            raise UserError("--backbone blocks has no ImageNet weights: add --backbone-weights none")
        if self.backbone != "blocks" and self.crop < 128:
            raise UserError(f"--crop must be at least 128 for --backbone {self.backbone}; received {self.crop}")
        if min(self.tau_1, self.tau_2, self.tau_3) < 0:
            raise UserError("--tau-1, --tau-2 and --tau-3 must be 0 or more")

    @property
    def multiple(self):
        return 32

    @property
    def critics_float32(self):
        return self.adversarial == "wgan"

    @property
    def frozen(self):
        return ("backbone",) if self.freeze_backbone else ()

    @property
    def stage_name(self):
        return "all but the backbone" if self.freeze_backbone else "all of the network"

    @classmethod
    def renamed(cls, fields):
        fields = super().renamed(fields)
        if "init" in fields:
            fields["zero_outputs"] = fields.pop("init") == "zero_output"
        return fields

    def without_downloads(self):
        return replace(self, backbone_weights="none")

    def build_generator(self):
        from baselines.sisnet.generator import build_generator

        return build_generator(
            backbone=self.backbone,
            block_widths=self.block_widths,
            width=self.width,
            stem_width=self.stem_width,
            laterals=self.laterals,
            infobox=self.infobox,
            products=self.products,
            zero_outputs=self.zero_outputs,
        )

    def build_critics(self):
        from baselines.sisnet.discriminator import build_discriminator
        from baselines.sisnet.objective import DOMAINS

        if not self.tau_3:
            return {}
        if self.d_shared:
            return dict.fromkeys(DOMAINS, build_discriminator(self.d_width, self.d_activation))
        return {
            domain: build_discriminator(self.d_width, self.d_activation, f"{domain}_discriminator")
            for domain in DOMAINS
        }

    def perceptual(self):
        from madn.nn.vgg import PerceptualLoss

        if not self.tau_2:
            return None
        return PerceptualLoss("vgg16", "block3_conv3", self.vgg_weights, reference=VGG_REFERENCE, gain=self.vgg_gain)

    def build_objective(self):
        from baselines.sisnet.objective import SISNetObjective

        return SISNetObjective(self.perceptual(), self.tau_1, self.tau_2, self.tau_3, self.adversarial)

    def build_model(self, total_steps, devices=None):
        from baselines.sisnet.generator import load_imagenet

        model = super().build_model(total_steps, devices)
        if self.backbone_weights == "imagenet":
            load_imagenet(model.generator, self.backbone)
        return model

    def prepare(self):
        from baselines.sisnet.generator import keras_backbone

        if self.backbone_weights == "imagenet":
            try:
                keras_backbone(self.backbone, "imagenet")
            except Exception as problem:  # Keras raises a bare Exception where a download fails.
                reason = " ".join(str(problem).split())[:160]
                raise UserError(
                    f"the ImageNet weights of --backbone {self.backbone} cannot be had ({reason}); "
                    "--backbone-weights none starts from random ones"
                ) from None
        return super().prepare()

    def stages(self, total_steps):
        warmup = round(WARMUP_SHARE * total_steps)
        if self.backbone_weights == "none" or self.freeze_backbone or not 0 < warmup < total_steps:
            return [(self, total_steps)]
        return [(replace(self, freeze_backbone=True), warmup), (self, total_steps - warmup)]

    def learning_rate(self, initial, total_steps):
        from madn.training.schedules import ConstantThenLinear

        if self.freeze_backbone:
            return initial
        constant = round(CONSTANT_SHARE * total_steps)
        end = initial - (1 - CONSTANT_SHARE) * (initial - LR_END)
        return ConstantThenLinear(initial, constant, total_steps - constant, end)


SISNET = SISNetRecipe()
"""The published setting."""

BUDGET = replace(
    SISNET,
    backbone="blocks",
    backbone_weights="none",
    block_widths=(64, 128, 256, 384, 512),
    d_width=32,
    zero_outputs=True,
    crop=128,
    batch=2,
    steps=3000,
    lr_g=3e-4,
    precision="mixed_bfloat16",
)
"""A narrow version for a comparison at the same compute on a CPU: 8.09 GMACs for each 256x256 image.

The info-box, the expanding path, the losses and the order of updates are the paper's. Departures, all for the short
run: five plain inception blocks for the backbone, which without ImageNet weights would be half of the cost and a
network that nothing normalises; discriminators of 32 channels; crops of 128, two a batch; a higher learning rate;
bfloat16; and a start at the blurred image itself.
"""


def _variant(summary: str, **changes) -> Named:
    """The published setting with other values; `summary` says of what."""
    return Named(replace(SISNET, **changes), f"SIS-Net (Liu et al. 2020){summary}")


RECIPES = {
    "sisnet": Named(SISNET, "SIS-Net (Liu et al. 2020) as published"),
    # The paper's Table 2 has 28.21, 29.10 and 28.44 dB for these three.
    "sisnet-nolatent": _variant(", Table 2: Nolatent, no intermediate layer path", laterals=False),
    "sisnet-noploss": _variant(", Table 2: NoPloss, no perceptual loss", tau_2=0.0),
    "sisnet-nosis": _variant(", Table 2: Nosis, no semantic information", infobox="none"),
    # WGAN's score is no probability, and its loss has a gradient penalty; RSGAN's loss holds the sigmoid.
    "sisnet-wgan": _variant(", Figure 4: WGAN's loss", adversarial="wgan", d_activation="linear"),
    "sisnet-cyclegan": _variant(
        ", Figure 4: cycleGAN's loss, least squares", adversarial="lsgan", d_activation="linear"
    ),
    "sisnet-rsgan": _variant(
        ", Figure 4: the relativistic standard GAN's loss", adversarial="rsgan", d_activation="linear"
    ),
    "sisnet-cascade": _variant(": info-box of pixel shuffles by two, one after the other", infobox="cascade"),
    # The authors' code has no pixel shuffle.
    "sisnet-bilinear": _variant(": info-box of bilinear enlargements", infobox="bilinear"),
    # Section III-A-3b has "the first three fusion products": those of step 2, without p_1 of step 1.
    "sisnet-three-products": _variant(": the last fusion sums three fusion products, not four", products=3),
    # The two are "completely consistent in network structure and parameters".
    "sisnet-shared": _variant(": one discriminator for whole images and windows", d_shared=True),
    "sisnet-inception-v3": _variant(" with the cited backbone, Inception-v3", backbone="inception_v3"),
    "sisnet-budget": Named(BUDGET, "SIS-Net (Liu et al. 2020), narrow: 8 GMACs, for a comparison at the same compute"),
    **{
        f"sisnet-fig5-{t}": _variant(f", Figure 5: tau_1 0.{t}, tau_2 0.005", tau_1=t / 10, tau_2=0.005)
        for t in range(1, 10)
    },
    **{
        f"sisnet-fig6-{t}-{p}": _variant(f", Figure 6: tau_1 0.{t}, tau_2 0.00{p}", tau_1=t / 10, tau_2=p / 1000)
        for t in (4, 5, 6)
        for p in range(1, 10)
    },
}
"""The recipes of this paper by name, for `madn.recipes`."""
