"""MSR2B-CGAN's discriminator: PatchGAN (section 3.2, Figure 4), which both papers that use it share.

Licence of this file: MIT. What the critic sees is the paper's least certain point: the title says conditional, section
4.2 has "the ground-truth sharp images as the constraint condition y", Eq. 11 has D(x) alone. With the sharp image
beside it D could compare with the answer, so the default is D(x), as in DeblurGAN; `condition="blur"` gives it the
blurred image, which is a conditional network's usual reading. baselines/patchgan.py tells of strides and normalisation.
"""

import keras

from baselines.patchgan import build_patchgan


def build_discriminator(
    widths: tuple[int, int, int, int] = (64, 128, 256, 512),
    strides: tuple[int, int, int, int, int] = (2, 2, 2, 1, 1),
    first_norm: bool = False,
    condition: str = "none",
) -> keras.Model:
    """The critic D: images (batch, height, width, 3) in [-1, 1] -> linear scores, 30x30 for 256x256.

    `condition="blur"`: 6 channels, the blurred image first. 2,764,737 parameters, or 2,767,809.
    """
    return build_patchgan(
        widths, strides, 3 if condition == "none" else 6, first_norm=first_norm, name="msr2b_discriminator"
    )
