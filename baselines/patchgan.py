"""PatchGAN: a fully convolutional discriminator whose every output judges one patch of the image.

Paper: Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017,
section 3.2.2 and appendix 6.1.2; used by MSR2B-CGAN (section 3.2) and Structures Guided. Licence of this file: MIT.

    C64 - C128 - C256 - C512 - 1:   4x4 convolutions, LeakyReLU(0.2), instance normalisation between them

A 256x256 image gives a 30x30 map, each score from a patch of 70x70. The score of an image is the mean of its map.

Differences from the texts, and why:
- no normalisation on the first layer, as Isola et al. have it; MSR2B-CGAN's text has one there too (`first_norm`).
- instance normalisation has no scale and shift of its own. The output is linear: the score of a
  Wasserstein GAN is not a probability.
"""

import keras

from baselines.layers import normal, padded_conv
from madn.nn.layers import InstanceNormalization, LeakyReLU


def build_patchgan(
    widths: tuple[int, ...] = (64, 128, 256, 512),
    strides: tuple[int, ...] = (2, 2, 2, 1, 1),
    channels: int = 3,
    normalize: bool = True,
    first_norm: bool = False,
    name: str = "patchgan",
) -> keras.Model:
    """D as a functional model, for images of any size from 24 pixels.

    Takes images (batch, height, width, channels) in [-1, 1]; returns linear scores (batch, h, w, 1), one a patch:
    30x30 for 256x256. 2,764,737 parameters. `strides` has one more entry than `widths`, the last for the output
    (`ValueError` otherwise). `normalize=False` leaves instance normalisation out, so that a score sees its patch only.
    """
    if len(strides) != len(widths) + 1:
        raise ValueError(f"strides must have one entry more than widths; received {strides} and {widths}")
    images = keras.Input((None, None, channels), name="images")
    x = images
    for k, (width, stride) in enumerate(zip(widths, strides[:-1], strict=True), start=1):
        x = padded_conv(x, width, 4, stride, 1, kernel_initializer=normal(), name=f"conv_{k}")
        if normalize and (k > 1 or first_norm):
            x = InstanceNormalization(center=False, scale=False, name=f"conv_{k}_norm")(x)
        x = LeakyReLU(0.2, name=f"conv_{k}_leaky")(x)
    scores = padded_conv(x, 1, 4, strides[-1], 1, kernel_initializer=normal(), name="scores")
    return keras.Model(images, scores, name=name)
