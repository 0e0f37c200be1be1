"""MADN's recipes: the published setting, the loss ablations of Figure 9, and a small one for the sample set.

The published run: `python -m madn.train --data GOPRO --validation none --run runs/madn`
    Hardware in the paper: one 24 GB NVIDIA 3090 Ti, TensorFlow 2.4. In float32 a step takes 30.1 GiB at batch 16
    and crops of 256 (computed: `python -m madn.bench --memory`), more than that card has; `--precision mixed_bfloat16`
    takes 16.3, `--remat blocks` 9.2 and `--accumulate 2` 15.4.
    262,000 steps (2000 epochs of 131), 9.9 EFLOP by count: about 86 hours on that card in bfloat16 at an assumed 40%
    of its peak. Not run here.
    Expected on the 1,111 GoPro test pairs (the paper's Table 4): PSNR 30.18 dB, SSIM 0.9312, which by its Nah row is
    `ssim_matlab`. No score of a full training run has been measured with this code.

Differences from the paper, all of them choices where it says nothing or contradicts itself:
- power of the polynomial decay: 0.3, as the scale-recurrent lineage has it (not stated).
- gradient clipping "minimum value 1e-5, maximum value 2": the generator's global norm is clipped to 2, the minimum is
  inert. Read element by element (`--clip-mode magnitude`) the minimum soon replaces most of the gradient.
- Algorithm 1 takes both gradients at the same weights (`simultaneous`); the prose also says "alternative manner".
- GoPro's `blur` images rather than `blur_gamma`; no augmentation; Glorot-uniform weights (none of them stated).
- an epoch drops its last, partial batch: 131 steps of 16 for 2,103 pairs.
- `--validation` holds a scene out of the training set unless it is `none`; the paper names no validation set.
The networks' and the losses' own choices are listed in madn/generator.py, discriminator.py and objective.py.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import keras

from madn.discriminator import build_discriminator
from madn.errors import UserError
from madn.generator import build_generator
from madn.objective import MADNObjective
from madn.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class MADNRecipe(Recipe):
    """MADN (Zhu et al. 2023): multi-scale generative adversarial deblurring with gradient guidance."""

    paper: ClassVar[str] = "MADN, Zhu et al. 2023"

    lr_power: float = 0.3
    """Power of the polynomial decay to 0: lr = lr_0 (1 - step / steps) ** power."""
    widths: tuple[int, int, int] = (64, 128, 256)
    """Channels at full, half and quarter resolution."""
    res_blocks: int = 4
    """Residual blocks in a group."""
    scales: int = 3
    """Scales of the recurrent network."""
    nested_mode: Literal["branch", "block"] = "branch"
    """Eq. 9's R: the residual branch, or the whole residual block (unstable)."""
    deconv_kernel: int = 3
    """Kernel of the stride-2 deconvolutions."""
    sn_skip: Literal["add", "concat"] = "add"
    """How the scale network joins its skips: addition, or concatenation and a 3x3 convolution."""
    gn_skip: Literal["add", "concat"] = "add"
    """The same in the gradient network."""
    scale_taps: Literal["decoder", "encoder", "by_scale", "image"] = "decoder"
    """Which scale features the gradient network takes."""
    merge_kernel: int = 3
    """Kernel of the convolution after each concatenation in the gradient network."""
    fusion: Literal["full", "half"] = "full"
    """Resolution at which gradient and scale features are fused."""
    gn_input: Literal["blurred", "sn_output"] = "blurred"
    """Whose gradient map enters the gradient network."""
    gradient_channels: Literal[1, 3] = 3
    """Gradient maps of each colour, or of the luma."""
    sobel_epsilon: float = 1e-6
    """Added under the root of the Sobel magnitude."""
    global_residual: bool = False
    """Add the blurred image to each restored one."""
    residual_from: Literal["blurred", "restored"] = "blurred"
    """With --global-residual: add the blurred image, or what the coarser scales have restored of it."""
    stem_stride: Literal[1, 2] = 1
    """Of the InBlocks' convolutions and the last deconvolutions; with 2 the networks work at half the resolution."""
    stop_gradient_across_scales: bool = False
    """Keep a scale's gradient from reaching the coarser one."""
    coarsest_second_input: Literal["blurred", "zeros"] = "blurred"
    """What the coarsest scale gets in place of a coarser result."""
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    """Interpolation between the scales."""
    antialias: bool = True
    """Antialias when sizes shrink."""
    init: Literal["glorot_uniform", "zero_residual", "he_zero_residual"] = "glorot_uniform"
    """zero_residual: residual branches and output convolutions start at zero, which short, narrow runs need;
    he_zero_residual: the others as large as ReLU needs, so that activations do not shrink and units do not die."""
    last_activation: Literal["relu", "none"] = "relu"
    """Behind the deconvolutions that end OutBlock and the up-sampling block; with ReLU, narrow ones may die."""
    activation: Literal["relu", "leaky_relu"] = "relu"
    """Of all convolutions that have one; with leaky ReLU (slope 0.2) no unit dies."""
    d_widths: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512)
    """Channels of the discriminator's five pairs of convolutions."""
    d_dense: int = 1024
    """Units of the discriminator's first dense layer."""
    d_strides: Literal["pair", "six", "literal"] = "pair"
    """Reading of Table 1's strides: one for each pair, also for the last pair, or every convolution."""
    d_shared: bool = True
    """One discriminator for images and gradient maps, or two."""
    d_dense_activation: Literal["leaky_relu", "none"] = "leaky_relu"
    """After the discriminator's first dense layer."""
    adversarial: float = 0.05
    """Weight lambda of the adversarial loss (Eq. 10)."""
    adversarial_domains: Literal["both", "image", "none"] = "both"
    """Where the discriminator judges: images and gradient maps, images, or nowhere (Figure 9)."""
    phi1: float = 0.5
    """Weight of the gradient network's content loss (Eq. 13)."""
    phi2: float = 1.0
    """Weight of the restored image's content loss (Eq. 13)."""
    alpha: float = 0.01
    """Weight of the multi-scale pixel loss (Eq. 11)."""
    gradient_weight: float = 0.01
    """Eq. 13's beta_1: the restored image's gradient map."""
    image_weight: float = 1.0
    """Eq. 13's beta_2: the restored image itself."""
    image_norm: Literal["l1", "l2", "log"] = "l1"
    """Of the restored image's term: Eq. 13's absolute error, the squared error, or its logarithm, as PSNR is one."""
    pixel_norm: Literal["l2", "log"] = "l2"
    """Of the multi-scale pixel loss: Eq. 12's squared error, or its logarithm."""
    scale_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Eq. 12's w^i, full resolution first."""
    reduction: Literal["mean", "sum"] = "mean"
    """The norms of Eq. 13: over the elements of an image."""
    clip_mode: Literal["none", "global_norm", "value", "magnitude", "literal"] = "global_norm"
    """Gradient clipping: see madn.training.clipping."""

    def __post_init__(self):
        super().__post_init__()
        if min(*self.widths, *self.d_widths, self.d_dense, self.res_blocks, self.scales, self.deconv_kernel,
               self.merge_kernel) < 1:
            raise UserError("--widths, --d-widths, --d-dense, --res-blocks, --scales and kernels must be at least 1")
        if len(self.scale_weights) != self.scales:
            raise UserError(f"--scale-weights takes one weight for each of the {self.scales} scales; "
                            f"received {len(self.scale_weights)}")
        if self.crop % self.multiple:
            raise UserError(f"--crop must be a multiple of {self.multiple} for --scales {self.scales} and "
                            f"--stem-stride {self.stem_stride}; received {self.crop}")
        if self.residual_from == "restored" and not (self.global_residual and self.coarsest_second_input == "blurred"):
            raise UserError("--residual-from restored needs --global-residual and --coarsest-second-input blurred")
        if self.stem_stride == 2 and self.fusion == "half":
            raise UserError("--stem-stride 2 halves the resolution itself: leave out --fusion half")
        if self.scale_taps in ("by_scale", "image") and self.scales != 3:
            raise UserError(f"--scale-taps {self.scale_taps} needs --scales 3; received {self.scales}")

    @property
    def multiple(self):
        return 4 * self.stem_stride * 2 ** (self.scales - 1)

    def learning_rate(self, initial, total_steps):
        return keras.optimizers.schedules.PolynomialDecay(
            initial, decay_steps=total_steps, end_learning_rate=0.0, power=self.lr_power)

    def build_generator(self):
        return build_generator(
            self.widths, self.res_blocks, self.scales, self.nested_mode, self.deconv_kernel, self.sn_skip,
            self.gn_skip, self.scale_taps, self.merge_kernel, self.fusion, self.gn_input, self.gradient_channels,
            self.sobel_epsilon, self.global_residual, self.residual_from, self.stem_stride,
            self.stop_gradient_across_scales, self.coarsest_second_input, self.resize, self.antialias, self.init,
            self.last_activation, self.activation)

    def build_critics(self):
        if self.adversarial_domains == "none":
            return {}

        def critic(channels, name):
            return build_discriminator(self.crop, self.d_widths, self.d_dense, self.d_strides, channels,
                                       self.d_dense_activation, name)

        critics = {"image": critic(3, "discriminator")}
        if self.adversarial_domains == "both":
            critics["gradient"] = (critics["image"] if self.d_shared
                                   else critic(self.gradient_channels, "gradient_discriminator"))
        return critics

    def build_objective(self):
        return MADNObjective(
            self.adversarial, self.phi1, self.phi2, self.alpha, self.gradient_weight, self.image_weight,
            self.scale_weights, self.adversarial_domains, self.reduction, self.sobel_epsilon, self.antialias,
            self.image_norm, self.pixel_norm)


MADN = MADNRecipe()
"""The published setting."""

FIGURE_9A = replace(MADN, adversarial_domains="none", phi1=0.0, gradient_weight=0.0)
"""Pixel and image content loss only."""

FIGURE_9B = replace(MADN, adversarial_domains="image", phi1=0.0, gradient_weight=0.0)
"""A and the adversarial loss in the image domain."""

FIGURE_9C = MADN
"""The full loss: B and content and adversarial losses in the gradient domain."""

SAMPLE = replace(MADN, widths=(16, 32, 64), res_blocks=2, d_widths=(8, 8, 16, 32, 64), d_dense=64, global_residual=True,
                 init="zero_residual", crop=64, batch=8, steps=700, lr_g=5e-4, adversarial=0.005, augment="dihedral")
"""For the built-in sample set: minutes on two CPU cores, `python -m madn.train` or `make train`.

Departures, all for the short run: narrow networks of two residual blocks a group, small crops and batches, a higher
learning rate, a tenth of the adversarial weight, flips and turns, and a start at the blurred image itself (its
addition to the output, and branches that start at zero): from random images a few hundred steps do not reach the
quality of their input.
"""

BUDGET = replace(SAMPLE, res_blocks=1, crop=128, batch=2, precision="mixed_bfloat16", steps=None)
"""For `python -m madn.compare`: a generator of 7.5 billion multiply-adds for 256x256 pixels, about a fiftieth.

Departures beside those of the sample recipe: one residual block a group, bfloat16.
"""

SMALL = replace(MADN, widths=(32, 64, 128), res_blocks=1, scales=4, scale_weights=(1.0,) * 4, stem_stride=2,
                deconv_kernel=4, global_residual=True, residual_from="restored", init="he_zero_residual",
                last_activation="none", activation="leaky_relu", adversarial_domains="none", image_norm="log",
                image_weight=0.2, pixel_norm="log", alpha=0.2, clip_maximum=0.5, crop=128, batch=8, steps=6_000,
                optimizer="muon", bias_lr_ratio=0.1, lr_g=1e-3, lr_power=1.0, augment="dihedral")
"""For photos: a network that two CPU cores train within hours.

Departures, all for the short training of a narrow network:
- 2.5 million parameters in residual groups of one block, at half the resolution and below: the InBlocks halve it, the
  last deconvolutions double it, with kernels of 4. A crop costs less, and blurs are half as long for the networks.
- a fourth scale, an eighth of the resolution, for long blurs.
- each scale corrects what the coarser ones have restored, and the up-sampling block what SN has; a start at zero makes
  that the blurred image itself.
- no ReLU in front of the output convolutions, whose few channels die with it.
- leaky ReLU, and a start of the kernels in front of it as He et al. have it: with ReLU and Glorot's start, activations
  shrank from level to level, until whole layers at a quarter of the resolution were silent.
- no adversarial loss, which costs PSNR.
- the logarithm of squared errors for the restored image. With absolute errors a network that is not sure of a blur
  returns its input; squared ones let the worst crops lead. The weights of this and of the coarser scales bring them to
  the order of the gradient network's loss. The coarser scales are compared by the logarithm, too, or the worst crops
  alone would teach them.
- Muon instead of Adam for the convolutions, which needs fewer steps; its learning rate, of other units than Adam's,
  falls in a straight line. At higher rates activations shrink, and then the loss runs away. Biases learn at a tenth of
  it. Gradients are clipped at a norm of 0.5.
- crops of 128 in batches of 8 with flips and turns.
"""
