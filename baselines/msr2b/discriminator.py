"""MSR2B-CGAN's discriminator: PatchGAN (section 3.2, Figure 4), which both papers that use it share.

Licence of this file: MIT. What D sees is the paper's least certain point: the title says conditional, section 4.2 has
"the ground-truth sharp images as the constraint condition y", Eq. 11 has D(x) alone. With the sharp image beside it D
could compare with the answer, so the default is D(x), as in DeblurGAN; `condition="blur"` gives it the blurred image,
which is the usual reading of a conditional network.

Strides: "the front four layers, with Stride 2" and "identical to PatchGAN [27]" contradict each other, as do four
strides of 2 and the printed 30x30 scores of 70x70 patches. The printed numbers decide for three strides of 2 and two of
1, which are PatchGAN's; `strides=(2, 2, 2, 2, 1)` has the first words, 15x15 scores of 94x94 patches.
Normalisation: "the front four layers [...] are followed by an IN layer", so there is one behind the first convolution
too, where PatchGAN has none. It has no parameters, so the count is PatchGAN's.
"""

import keras

from baselines.patchgan import build_patchgan


def build_discriminator(
    widths: tuple[int, int, int, int] = (64, 128, 256, 512),
    strides: tuple[int, int, int, int, int] = (2, 2, 2, 1, 1),
    condition: str = "none",
) -> keras.Model:
    """D as a functional model: images (batch, height, width, 3) in [-1, 1] -> linear scores (batch, h, w, 1).

    There are 30x30 scores for 256x256 pixels. With `condition="blur"` it takes 6 channels, the blurred image first, and
    has 2,767,809 parameters in place of 2,764,737.
    """
    channels = 3 if condition == "none" else 6
    return build_patchgan(widths, strides, channels, first_norm=True, name="msr2b_discriminator")
