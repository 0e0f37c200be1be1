"""MADN's recipes: the published setting, ablations and readings of it, and those that start from SRN's weights.

The published run: `python -m madn.train --data GOPRO --validation none --run runs/madn`
    Hardware in the paper: one 24 GB NVIDIA 3090 Ti, TensorFlow 2.4. In float32 a step takes 30.1 GiB at batch 16
    and crops of 256 (computed: `python -m madn.bench --memory`), more than that card has; `--precision mixed_bfloat16`
    takes 16.3, `--remat blocks` 9.2 and `--accumulate 2` 15.4.
    262,000 steps (2000 epochs of 131, the whole batches of 16 in 2,103 pairs), 9.9 EFLOP by count: about 86 hours on
    that card in bfloat16 at an assumed 40% of its peak. Not run here.
    Expected on the 1,111 GoPro test pairs (the paper's Table 4): PSNR 30.18 dB, SSIM 0.9312, which by its Nah row is
    `ssim_matlab`. No score of a full training run has been measured with this code.

Differences from the paper, all of them choices where it says nothing or contradicts itself:
- power of the polynomial decay: 0.3, as the scale-recurrent lineage has it (not stated).
- gradient clipping "minimum value 1e-5, maximum value 2": the generator's global norm is clipped to 2, which leaves the
  minimum nothing to do. Read element by element the minimum soon replaces most of the gradient; that reading is not
  built.
- Algorithm 1 takes both gradients at the same weights (`simultaneous`); the prose also says "alternative manner".
- GoPro's `blur` images rather than `blur_gamma`; no augmentation; Glorot-uniform weights (none of them stated).
- an epoch counts for 131 steps; batches reach over its end and nothing is dropped, so the 262,000 steps are 1,993
  passes over the pairs.
- Adam's epsilon of 1e-8 stands where Algorithm 1's last step prints beta_1^t (which goes to 0, and is no constant).
- `--validation` holds a scene out of the training set unless it is `none`; the paper names no validation set.
The networks' and the losses' own choices are listed in generator.py, discriminator.py and objective.py.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from madn.errors import UserError
from madn.training.recipe import INTERNAL, Named, Recipe


@dataclass(frozen=True, kw_only=True)
class MADNRecipe(Recipe):
    """MADN (Zhu et al. 2023): multi-scale generative adversarial deblurring with gradient guidance."""

    paper: ClassVar[str] = "MADN, Zhu et al. 2023"
    retired: ClassVar[dict] = {
        **Recipe.retired,
        "phi2": 1.0,
        "init": ...,
        "nested_mode": "branch",
        "sn_skip": "add",
        "gn_skip": "add",
        "merge_kernel": 3,
        "fusion": "full",
        "gn_input": "blurred",
        "gradient_channels": 3,
        "sobel_epsilon": 1e-6,
        "residual_from": "blurred",
        "stem_stride": 1,
        "coarsest_second_input": "blurred",
        "antialias": True,
        "last_activation": "relu",
        "activation": "relu",
        "d_strides": "pair",
        "d_shared": True,
        "d_dense_activation": "leaky_relu",
        "scale_weights": "1 for each",
        "reduction": "mean",
        "image_norm": "l1",
        "pixel_norm": "l2",
    }

    clip_norm: float | None = 2.0
    """Gradients of the generator with a larger global norm are scaled down to it."""
    lr_power: float = 0.3
    """Power of the polynomial decay to 0: lr = lr_0 (1 - step / steps) ** power."""
    widths: tuple[int, int, int] = (64, 128, 256)
    """Channels at full, half and quarter resolution."""
    res_blocks: int = 4
    """Residual blocks in a group."""
    scales: int = 3
    """Scales of the recurrent network."""
    kernels: tuple[int, int] = (3, 3)
    """Kernels of the scale network's convolutions, and of the stride-2 deconvolutions."""
    gradient_network: Literal["decoder", "by_scale", "image", "none"] = "decoder"
    """The scale features that the gradient network takes; none: no gradient network."""
    stop_gradient_across_scales: bool = False
    """Keep a scale's gradient from reaching the coarser one."""
    residual: Literal["none", "blurred", "scale"] = "none"
    """What the restored image is added to: the blurred one, at every scale, or the scale network's image. Residual
    branches and output convolutions then start at zero, so that training starts at it."""
    resize: Literal["bicubic", "tf1"] = "bicubic"
    """Resize between the scales: antialiased bicubic, or TensorFlow 1's bilinear one, which the released SRN has."""
    gn_share: float = 0.0
    """Share of the steps in a first stage, which trains all but the scale network, whose weights --weights names."""
    gn_lr: float = 1e-4
    """Initial learning rate of that stage."""
    sn_frozen: bool = field(default=False, metadata=INTERNAL)
    """The scale network keeps the weights that training starts from, as in the first stage."""
    d_widths: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512)
    """Channels of the discriminator's five pairs of convolutions."""
    d_dense: int = 1024
    """Units of the discriminator's first dense layer."""
    adversarial: float = 0.05
    """Weight lambda of the adversarial loss (Eq. 10)."""
    adversarial_domains: Literal["both", "image", "none"] = "both"
    """The discriminator judges images and gradient maps, images, or nothing (Figure 9)."""
    phi1: float = 0.5
    """Weight of the gradient network's loss, L_content^GB (Eq. 13)."""
    alpha: float = 0.01
    """Weight of the multi-scale pixel loss, L_pixel (Eq. 11)."""
    gradient_weight: float = 0.01
    """Weight beta_1 of the error of the restored image's gradient map, in L_content^G (Eq. 13)."""
    image_weight: float = 1.0
    """Weight beta_2 of the error of the restored image, in L_content^G (Eq. 13)."""
    error: Literal["printed", "log"] = "printed"
    """Errors of images: Eq. 12's squared and Eq. 13's absolute one, or the logarithm of squared errors, as PSNR has."""

    def __post_init__(self):
        super().__post_init__()
        if min(*self.widths, *self.d_widths, *self.kernels, self.d_dense, self.res_blocks, self.scales) < 1:
            raise UserError("--widths, --d-widths, --d-dense, --res-blocks, --scales and kernels must be at least 1")
        if self.crop % self.multiple:
            raise UserError(
                f"--crop must be a multiple of {self.multiple} for --scales {self.scales}; received {self.crop}"
            )
        if self.gradient_network in ("by_scale", "image") and self.scales != 3:
            raise UserError(f"--gradient-network {self.gradient_network} needs --scales 3; received {self.scales}")
        if self.gradient_network == "none" and self.adversarial_domains == "both":
            raise UserError(
                "--gradient-network none makes no gradient maps to judge: give --adversarial-domains image or none"
            )
        if not 0 <= self.gn_share < 1:
            raise UserError(f"--gn-share must be at least 0 and below 1; received {self.gn_share:g}")
        if self.gradient_network == "none" and (self.gn_share or self.sn_frozen):
            raise UserError(
                "--gradient-network none leaves nothing to train beside the scale network: leave "
                "--gn-share and --sn-frozen out"
            )

    @property
    def multiple(self):
        return 4 * 2 ** (self.scales - 1)

    @classmethod
    def renamed(cls, fields):
        """Translate names from the time before the generator kept only what the paper or a recipe varies."""
        fields = super().renamed(fields)
        if {"sn_kernel", "deconv_kernel"} & set(fields):
            fields["kernels"] = (fields.pop("sn_kernel", 3), fields.pop("deconv_kernel", 3))
        if "global_residual" in fields:
            fields["residual"] = "blurred" if fields.pop("global_residual") else "none"
        if "scale_taps" in fields:
            fields["gradient_network"] = fields.pop("scale_taps")
        if set(fields.get("scale_weights", ())) == {1.0}:
            del fields["scale_weights"]
        for name, gone in (("gradient_network", "encoder"), ("resize", "bilinear")):
            if fields.get(name) == gone:
                raise UserError(f"{name} {gone} is no longer built; earlier versions of madn read what has it")
        return fields

    def learning_rate(self, initial, total_steps):
        from madn.training.schedules import polynomial

        return polynomial(initial, total_steps, self.lr_power)

    def build_generator(self):
        from madn.models.madn.generator import build_generator

        return build_generator(
            widths=self.widths,
            res_blocks=self.res_blocks,
            scales=self.scales,
            kernels=self.kernels,
            gradient_network=self.gradient_network,
            stop_gradient_across_scales=self.stop_gradient_across_scales,
            residual=self.residual,
            resize=self.resize,
        )

    def build_critics(self):
        if self.adversarial_domains == "none":
            return {}
        from madn.models.madn.discriminator import build_discriminator

        critic = build_discriminator(self.crop, self.d_widths, self.d_dense)
        return {"image": critic, "gradient": critic} if self.adversarial_domains == "both" else {"image": critic}

    def build_objective(self):
        from madn.models.madn.objective import MADNObjective

        return MADNObjective(
            adversarial=self.adversarial,
            phi1=self.phi1,
            alpha=self.alpha,
            gradient_weight=self.gradient_weight,
            image_weight=self.image_weight,
            adversarial_domains=self.adversarial_domains,
            error=self.error,
            scales=self.scales,
            gradient_network=self.gradient_network != "none",
            resize=self.resize,
        )

    @property
    def frozen(self):
        return ("sn",) if self.sn_frozen else ()

    @property
    def needs_weights(self):
        return self.sn_frozen or self.gn_share > 0

    @property
    def stage_name(self):
        return "the gradient network and the up-sampling block" if self.sn_frozen else "all of the network"

    def stages(self, total_steps):
        """First all but the scale network trains, where `gn_share` asks for it, then everything."""
        first = round(self.gn_share * total_steps)
        everything = replace(self, gn_share=0.0)
        if not first:
            return [(everything, total_steps)]
        return [(replace(everything, sn_frozen=True, lr_g=self.gn_lr), first), (everything, total_steps - first)]

    def grows_from(self, fields):
        """Weights of the scale network alone are enough to start from."""
        if fields.get("gradient_network") == "none" != self.gradient_network:
            return {
                "gradient_network": "none",
                "residual": "none",
                "adversarial_domains": "none",
                "sn_frozen": False,
                "gn_share": 0.0,
            }
        return None


MADN = MADNRecipe()
"""The published setting."""

SRN = replace(
    MADN,
    widths=(32, 64, 128),
    res_blocks=3,
    kernels=(5, 4),
    gradient_network="none",
    stop_gradient_across_scales=True,
    resize="tf1",
    adversarial_domains="none",
    alpha=2.0,
    phi1=0.0,
    gradient_weight=0.0,
    image_weight=0.0,
    clip_norm=None,
)
"""SN alone, at the sizes of the scale-recurrent network (Tao et al., CVPR 2018): see `madn.models.madn.srn`.

The loss is its squared error at all scales (Eq. 12 has half of it, so alpha is 2), the schedule is MADN's, which is
its own: Adam 1e-4, power 0.3, batches of 16 crops of 256. Not trained here: `python -m madn.models.madn.srn` reads the
released weights.
"""

MADN_SRN = replace(
    MADN,
    widths=(32, 64, 128),
    res_blocks=3,
    kernels=(5, 4),
    residual="scale",
    gn_share=0.15,
    gn_lr=6e-4,
    adversarial_domains="none",
    error="log",
    alpha=1.0,
    gradient_weight=0.0,
    crop=192,
    batch=4,
    steps=1400,
    lr_g=5e-5,
    lr_power=1.0,
    augment="dihedral",
    precision="mixed_bfloat16",
)
"""MADN from the released weights of the network that its SN is made after, for photos: about an hour on two CPU cores.

    python -m madn.models.madn.srn deblur.model srn.weights.h5
    python -m madn.train --recipe madn-srn --weights srn.weights.h5 --data GOPRO REDS --photos PHOTOS --run runs/srn

Departures, all for a short training that keeps what the start knows:
- SN has SRN's sizes: widths 32/64/128, three residual blocks a group, kernels of 5, deconvolutions of 4.
- gradient network and up-sampling block correct I_1, and start at a correction of zero: so training starts at SN's
  score. They learn by themselves in the first seventh of the steps.
- a low learning rate for the whole, falling in a straight line.
- no adversarial loss, which costs PSNR, and no gradient loss of the restored image.
- the logarithm of squared errors, at all scales with the weight of the result: with absolute and squared errors the
  worst crops have most of the gradient.
- crops of 192 in batches of 4 with flips and turns, bfloat16.
"""

SAMPLE = replace(
    MADN,
    widths=(16, 32, 64),
    res_blocks=2,
    d_widths=(8, 8, 16, 32, 64),
    d_dense=64,
    residual="blurred",
    crop=64,
    batch=8,
    steps=700,
    lr_g=5e-4,
    adversarial=0.005,
    augment="dihedral",
)
"""A narrow network for the built-in samples: minutes on two CPU cores, `python -m madn.train` or `make train`.

Departures, all for the short run: narrow networks of two residual blocks a group, small crops and batches, a higher
learning rate, a tenth of the adversarial weight, flips and turns, and a start at the blurred image itself (its
addition to the output, and branches that start at zero): from random images a few hundred steps do not reach the
quality of their input.
"""

BUDGET = replace(SAMPLE, res_blocks=1, crop=128, batch=2, precision="mixed_bfloat16", steps=None)
"""A narrow network for `python -m madn.compare`: 7.5 GMACs for each 256x256 image, about a fiftieth of MADN's.

Departures beside those of the sample recipe: one residual block a group, bfloat16.
"""

_LOSS_A: dict[str, Any] = {"adversarial_domains": "none", "phi1": 0.0, "gradient_weight": 0.0}
_LOSS_B: dict[str, Any] = {**_LOSS_A, "adversarial_domains": "image"}
"""Figure 9's losses A (pixel and image content loss) and B (the adversarial loss in the image domain beside them)."""
_SRN_PUBLISHED = replace(MADN_SRN, error="printed", alpha=MADN.alpha, steps=None)
"""Figure 9 from SRN's weights: the paper's losses and weights in place of those of `madn-srn`."""

RECIPES = {
    "madn": Named(MADN, "MADN (Zhu et al. 2023) as published"),
    "madn-fig9a": Named(replace(MADN, **_LOSS_A), "MADN, Figure 9: pixel and content loss, image domain only"),
    "madn-fig9b": Named(replace(MADN, **_LOSS_B), "MADN, Figure 9: A and the adversarial loss, image domain only"),
    "madn-fig9c": Named(MADN, "MADN, Figure 9: the full loss (the same as madn)"),
    # The gradient network is the paper's second contribution; without it I_1 is the restored image.
    "madn-sn": Named(
        replace(MADN, gradient_network="none", adversarial_domains="image", phi1=0.0),
        "MADN without its gradient network",
    ),
    "madn-by-scale": Named(
        replace(MADN, gradient_network="by_scale"),
        "MADN whose gradient network takes the features of the coarser scales",
    ),
    "madn-image": Named(
        replace(MADN, gradient_network="image"), "MADN whose gradient network takes the images of the coarser scales"
    ),
    "madn-stop-gradient": Named(
        replace(MADN, stop_gradient_across_scales=True),
        "MADN in which no gradient crosses the scales, as in the scale-recurrent lineage",
    ),
    "srn": Named(SRN, "MADN's scale network alone, at the sizes of the one that it is made after (Tao et al. 2018)"),
    "madn-srn": Named(MADN_SRN, "MADN from SRN's weights, for photos: about an hour on two CPU cores"),
    "madn-srn-fig9a": Named(replace(_SRN_PUBLISHED, **_LOSS_A), "MADN, Figure 9's loss A, from SRN's weights"),
    "madn-srn-fig9b": Named(replace(_SRN_PUBLISHED, **_LOSS_B), "MADN, Figure 9's loss B, from SRN's weights"),
    "madn-srn-fig9c": Named(
        replace(_SRN_PUBLISHED, adversarial_domains="both", gradient_weight=MADN.gradient_weight),
        "MADN, Figure 9's loss C, from SRN's weights",
    ),
    "madn-sample": Named(SAMPLE, "MADN, narrow and short: minutes on two CPU cores, for the samples"),
    "madn-budget": Named(BUDGET, "MADN, narrow: the same compute as the other -budget recipes"),
}
"""The recipes of this paper by name, for `madn.recipes`."""
