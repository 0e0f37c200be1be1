"""The generator of `madn-small`: MADN's three networks at half the resolution, each scale correcting the coarser ones.

Made after Zhu, Xu, Choi, Su 2023 (see `madn.models.madn.generator`) for two CPU cores. Licence of this file: MIT.
Departures from MADN, with the reason of each:
- the InBlocks halve the resolution, the last deconvolutions double it, with kernels of 4: about a quarter of the
  operations, and the receptive field twice as wide.
- any number of scales; the recipe has a fourth, an eighth of the resolution, for long blurs.
- each scale corrects what the coarser ones have restored: I_{i+1} - blur_{i+1}, enlarged, is added to blur_i (a
  Laplacian pyramid), which is also SN's second input; the up-sampling block corrects I_1. Residual branches and output
  convolutions start at zero, so the network starts as the blurred image itself.
- leaky ReLU, and the kernels' start that belongs to it (He et al. 2015): with ReLU and Glorot's start, activations
  shrank from level to level, until whole layers at a quarter of the resolution were silent.
- no activation behind the deconvolutions that images are made from: their few channels die with ReLU.
"""

import keras
from keras import layers

from madn.nn.layers import RequireMultiple, Resize, SobelMagnitude, leaky_relu

HE, ZERO = "he_normal", "zeros"


def build_generator(widths: tuple[int, int, int] = (32, 64, 128), res_blocks: int = 1, scales: int = 4) -> keras.Model:
    """The generator as a functional model.

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1]; height and width multiples of
    8 * 2**(scales - 1), 64 by default (`ValueError` otherwise). Returns what `madn.models.madn.generator` does.
    `widths`: channels at half, quarter and eighth resolution; `res_blocks`: residual blocks in a group.
    """
    blurred = keras.Input((None, None, 3), name="blurred")
    # Images and gradient maps stay float32 under mixed precision: bfloat16 keeps 8 bits, too few for small differences.
    blur = [RequireMultiple(8 * 2 ** (scales - 1), dtype="float32", name="blur_1")(blurred)]
    blur += [Resize(0.5**i, dtype="float32", name=f"blur_{i + 1}")(blur[0]) for i in range(1, scales)]
    sn = scale_network(widths, res_blocks)
    passes: dict[int, dict] = {}
    for i in reversed(range(scales)):
        second = blur[i]
        if i < scales - 1:
            second = layers.Subtract(dtype="float32", name=f"correction_{i + 2}")([passes[i + 1]["image"], blur[i + 1]])
            second = Resize(2, dtype="float32", name=f"up_{i + 2}")(second)
            second = layers.Add(dtype="float32", name=f"corrected_{i + 1}")([second, blur[i]])
        passes[i] = sn(layers.Concatenate(dtype="float32", name=f"sn_input_{i + 1}")([blur[i], second]))
    finest = passes[0]
    gradient = gradient_network(widths, res_blocks)(
        [SobelMagnitude(dtype="float32", name="sobel")(blur[0]), finest["half"], finest["quarter"]]
    )
    correction = up_block(widths[0], res_blocks)([gradient["features"], finest["full"]])
    restored = layers.Add(dtype="float32", name="global_residual")([correction, finest["image"]])
    return keras.Model(
        blurred,
        {"deblurred": restored, "gradient": gradient["image"], "scales": [passes[i]["image"] for i in range(scales)]},
        name="madn_small_generator",
    )


def convolution(x, width, name, strides=1):
    """A 3x3 convolution with leaky ReLU."""
    return layers.Conv2D(width, 3, strides, padding="same", activation=leaky_relu, kernel_initializer=HE, name=name)(x)


def deconvolution(x, width, name, activation=leaky_relu):
    """A deconvolution that doubles the resolution."""
    return layers.Conv2DTranspose(
        width, 4, 2, padding="same", activation=activation, kernel_initializer=HE, name=f"{name}_deconv"
    )(x)


def residuals(x, blocks, name):
    """A chain of residual blocks, whose second convolutions start at zero."""
    for k in range(1, blocks + 1):
        y = convolution(x, x.shape[-1], f"{name}_res{k}_conv1")
        y = layers.Conv2D(x.shape[-1], 3, padding="same", kernel_initializer=ZERO, name=f"{name}_res{k}_conv2")(y)
        x = layers.Add(name=f"{name}_res{k}_add")([x, y])
    return x


def image(x, width, name, output):
    """Make an image at full resolution of features at half of it; in float32, also under mixed precision."""
    x = deconvolution(x, max(3, width // 2), name, activation=None)
    return layers.Conv2D(3, 1, kernel_initializer=ZERO, dtype="float32", name=output)(x)


def decode(x, skip, res_blocks, name):
    """A DBlock: residual blocks, then twice the resolution, joined with the encoder's features."""
    x = deconvolution(residuals(x, res_blocks, name), skip.shape[-1], name)
    return layers.Add(name=f"{name}_skip")([x, skip])


def scale_network(widths, res_blocks) -> keras.Model:
    """SN at one scale, shared by all: blurred image and what is restored so far (h, w, 6) -> image and features."""
    c1, c2, c3 = widths
    x = keras.Input((None, None, 6))
    e0 = residuals(convolution(x, c1, "inblock_conv", 2), res_blocks, "inblock")
    e1 = residuals(convolution(e0, c2, "eblock1_conv", 2), res_blocks, "eblock1")
    e2 = residuals(convolution(e1, c3, "eblock2_conv", 2), res_blocks, "eblock2")
    quarter = residuals(e2, res_blocks, "dblock1")
    d1 = layers.Add(name="dblock1_skip")([deconvolution(quarter, c2, "dblock1"), e1])
    half = residuals(d1, res_blocks, "dblock2")
    d2 = layers.Add(name="dblock2_skip")([deconvolution(half, c1, "dblock2"), e0])
    full = residuals(d2, res_blocks, "outblock")
    restored = layers.Add(dtype="float32", name="outblock_residual")(
        [image(full, c1, "outblock", "outblock_image"), x[..., 3:]]
    )
    return keras.Model(x, {"image": restored, "full": full, "half": half, "quarter": quarter}, name="sn")


def gradient_network(widths, res_blocks) -> keras.Model:
    """GN: a U-Net from the blurred gradient map and SN's features to the sharp gradient map."""
    c1, c2, c3 = widths
    gradient = keras.Input((None, None, 3))
    half, quarter = keras.Input((None, None, c2)), keras.Input((None, None, c3))

    def encode(x, features, width, name):
        x = residuals(convolution(x, width, f"{name}_conv", 2), res_blocks, name)
        return convolution(layers.Concatenate(name=f"{name}_concat")([x, features]), width, f"{name}_merge")

    g0 = residuals(convolution(gradient, c1, "inblock_conv", 2), res_blocks, "inblock")
    g1 = encode(g0, half, c2, "eblock1")
    g2 = encode(g1, quarter, c3, "eblock2")
    d2 = decode(decode(g2, g1, res_blocks, "dblock1"), g0, res_blocks, "dblock2")
    features = residuals(d2, res_blocks, "outblock")
    return keras.Model(
        [gradient, half, quarter],
        {"image": image(features, c1, "outblock", "outblock_image"), "features": features},
        name="gn",
    )


def up_block(width, res_blocks) -> keras.Model:
    """Fuses gradient and scale features and makes a correction of the whole resolution."""
    features = [keras.Input((None, None, width)), keras.Input((None, None, width))]
    x = convolution(layers.Concatenate(name="concat")(features), width, "merge")
    return keras.Model(features, image(residuals(x, res_blocks, "upblock"), width, "upblock", "image"), name="upblock")
