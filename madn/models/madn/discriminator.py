"""MADN's discriminator D (section 3.4, Figure 5, Table 1). Licence of this file: MIT.

Table 1 read literally cannot be built as the prose tells it: twelve stride-2 convolutions bring 256 pixels down to
one after eight of them, and Conv_11-12 are 3x3 with stride 2 in the table but "dimensionally invariant 1x1
convolutions" in the text. What is built takes one stride 2 for each pair and 1x1 convolutions last; D then has
4,827,332 parameters at crops of 256. With a stride of 2 in the last pair, too, it would have 4,778,180, with strides
of 2 throughout 4,762,820. "Dense_1 3x3, stride 1" is a dense layer of 1024: a kernel and a stride mean nothing there.
Its activation is not stated: LeakyReLU(0.2), as everywhere else. The output is the logit; its sigmoid is the paper's
probability, 0.5 at logit 0. One D judges images and gradient maps: Table 1 has one.
"""

import keras
from keras import layers

from madn.nn.layers import LeakyReLU


def build_discriminator(
    crop: int = 256,
    widths: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512),
    dense: int = 1024,
) -> keras.Model:
    """D as a functional model: (batch, crop, crop, 3), image or gradient map -> logit (batch, 1).

    Raises `ValueError` where `crop` is not a multiple of 32: the dense layer fixes the size.
    """
    if crop % 32:
        raise ValueError(f"the discriminator takes crops that are multiples of 32; received {crop}")
    image = keras.Input((crop, crop, 3), name="image")
    x = image
    pairs = [(width, 3, stride) for width in widths for stride in (1, 2)] + [(1, 1, 1), (1, 1, 1)]
    for k, (width, kernel, stride) in enumerate(pairs, start=1):
        x = layers.Conv2D(width, kernel, stride, padding="same", name=f"conv_{k}")(x)
        x = LeakyReLU(0.2, name=f"conv_{k}_leaky")(x)
    x = layers.Dense(dense, name="dense_1")(layers.Flatten(name="flatten")(x))
    x = LeakyReLU(0.2, name="dense_1_leaky")(x)
    return keras.Model(image, layers.Dense(1, name="dense_2")(x), name="madn_discriminator")
