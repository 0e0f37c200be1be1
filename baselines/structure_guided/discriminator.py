"""Structures Guided: the discriminator (section 3.1.3), a PatchGAN. Licence of this file: MIT.

One image, generated or real, not a pair: "receives a generated image or a real image". The text names Isola et al.'s
PatchGAN and no sizes: the 70x70 one, whose details are in baselines/patchgan.py. It "returns a probability in the
range of [0, 1]" in the text, but WGAN-GP (section 3.2.3) needs an unbounded critic: the output stays linear, and an
image's score is the mean of its map.
"""

import keras

from baselines.patchgan import build_patchgan


def build_discriminator(
    widths: tuple[int, int, int, int] = (64, 128, 256, 512), name: str = "structure_guided_discriminator"
) -> keras.Model:
    """D: images (batch, height, width, 3) in [-1, 1] -> linear scores (batch, h, w, 1), 30x30 for 256x256."""
    return build_patchgan(widths, name=name)
