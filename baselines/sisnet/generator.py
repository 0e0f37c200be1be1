"""SIS-Net's generator: extracting path, intermediate layer path, info-box and expanding path.

Paper: Liu, Luo, Huang, Qiao, Li, Xu, Luo, "Semantic Information Supplementary Pyramid Network for Dynamic Scene
Deblurring", IEEE Access 8 (2020). Section III-A, Eqs. 1-3, Algorithm 1, Figures 2 and 3. Licence of this file: MIT.

    p_1 = FSConv(info_0)                                                   step 1, to 1/16
    p_(k+1) = FSConv(p_k + Info_k + detail_k),  k = 1, 2, 3                step 2, to 1/8, 1/4, 1/2
    y = FSConv(smooth(p_1, ..., p_4) + Info_4 + detail_4)                  step 3, to full size
    restored = clip(blurred + tanh(Conv(y)) / 2, 0, 1)      in [-1, 1], as the paper's code has it, without the 1/2

Where the paper leaves a choice open or contradicts itself, the default and its reason:
- "five inception blocks [23]" that halve the size each: [23] is Inception-v3, which has no such five, and the paper
  names no network. The authors' code takes ImageNet's InceptionResNetV2 up to mixed_7a, and so does this; the printed
  times, 0.303 s where DeblurGAN-v2 has 0.35 s, are nearer to its share of that network's operations (0.86) than to that
  of Inception-v3 (0.60), which the recipe `sisnet-inception-v3` takes. `blocks` are five plain inception blocks, the
  words read literally, for narrow runs.
- the backbone's batch normalisation always uses its stored statistics: batches are of one crop. Without ImageNet
  weights it is therefore a bias, and nothing else.
- these backbones do not pad their first layers, so their maps come out a little small. A reflected border of 1 to 3
  pixels makes them exact powers of two, as in DeblurGAN-v2. It takes 128 pixels: smaller images are reflected until
  they have as many, and cropped back.
- widths: 256, and 128 at half size, as in that code. What is added must have one width, so Info_4 has 128 channels.
- "spliced" is an addition, as Algorithm 1 writes it. Its loops end inclusively: three merges, four details.
- detail_k is numbered from fine to coarse in the algorithm, but merged from coarse to fine: detail_k is block 5 - k.
- "Info_1 is only 22*40" for 720x1280 is info_0's size; Info_1 has twice that.
- FSConv: a 3x3 transposed convolution, instance normalisation without scale and shift, ReLU. Eq. 3 fixes only that
  zeros are put between the pixels. The last one is followed by a 3x3 convolution to the image.
- "previous_smooth" adds maps of four sizes: each p_k of the first three passes two 3x3 convolutions and a bilinear
  enlargement first. Algorithm 1 sums all four, which is built. The text has "the first three fusion products": step 1
  splices nothing, so they are p_2, p_3 and p_4 of step 2 (`sisnet-three-products`); p_1, p_2 and p_3 would leave p_4,
  and with it the third fusion, without use.
- tanh, the addition of the blurred image and the clip are not in the text; they are the code's.
Left out: the second network that the authors' released code computes (bilinear info-box, one convolution reused at
all scales, no transposed convolution), which the paper does not describe.
"""

import keras
from keras import layers, ops

from baselines.layers import ClipImages
from baselines.sisnet.layers import CropLike, GrowTo, ReflectPad, StoredStatistics
from madn.nn.layers import InstanceNormalization, RequireMultiple, Resize

# A backbone's map lacks these pixels before and after, on both axes, to be the image's size over a power of two.
REFLECTED = {"detail_4": (0, 1), "detail_3": (1, 1), "detail_2": (1, 2), "detail_1": (1, 1), "info_0": (1, 1)}
PRETRAINED = ("inception_resnet_v2", "inception_v3")
SMALLEST = 128  # Images need this many pixels a side for these backbones and the reflected borders.


def build_generator(
    backbone: str = "inception_resnet_v2",
    block_widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512),
    width: int = 256,
    stem_width: int = 128,
    laterals: bool = True,
    infobox: str = "direct",
    products: int = 4,
    zero_outputs: bool = False,
    name: str = "sisnet_generator",
) -> keras.Model:
    """The generator as a functional model (Figure 2).

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1]; height and width multiples of 32
    (`ValueError` otherwise). Returns a dictionary with `deblurred`, of the same shape and range. `width` is that of the
    expanding path, `stem_width` that of its half-size end. `laterals=False` drops every detail_k (Nolatent),
    `infobox="none"` every Info_k (NoSIS), `products=3` leaves p_1 out of step 3's sum. `zero_outputs` starts the last
    convolution at zero: the network then returns its input. The backbone's weights are random: `load_imagenet` fills
    them.
    """
    blurred = keras.Input((None, None, 3), name="blurred")
    # Images stay float32 under mixed precision: bfloat16 keeps 8 bits of them.
    x = RequireMultiple(32, dtype="float32", name="size")(blurred)
    if backbone in PRETRAINED:
        x = GrowTo(SMALLEST, dtype="float32", name="grown")(x)
    signed = layers.Rescaling(2.0, -1.0, dtype="float32", name="signed")(x)

    path = inception_blocks(block_widths) if backbone == "blocks" else keras_backbone(backbone)
    maps = path(signed)
    widths = {"detail_4": stem_width, "detail_3": width, "detail_2": width, "detail_1": width, "info_0": width}
    kept = widths if laterals else ("info_0",)
    pads = dict.fromkeys(REFLECTED, (0, 0)) if backbone == "blocks" else REFLECTED
    taps = {tap: lateral(maps[i], widths[tap], tap, pads[tap]) for i, tap in enumerate(widths) if tap in kept}
    info = info_box(taps["info_0"], (width, width, width, stem_width), infobox)

    def merge(previous, k):
        """previous_k + Info_k + detail_k, less what an ablation leaves out."""
        parts = [previous] + [part for part in (info.get(k), taps.get(f"detail_{k}")) if part is not None]
        return layers.Add(name=f"merged_{k}")(parts) if len(parts) > 1 else previous

    p = {1: fs_conv(taps["info_0"], width, "previous_1")}
    for k in (1, 2, 3):
        p[k + 1] = fs_conv(merge(p[k], k), width if k < 3 else stem_width, f"previous_{k + 1}")
    smooth = [smoothed(p[k], stem_width, 2 ** (4 - k), k) for k in range(5 - products, 4)] + [p[4]]
    smooth = layers.Add(name="previous_smooth")(smooth)
    y = fs_conv(merge(smooth, 4), stem_width // 2, "sharp")

    last = "zeros" if zero_outputs else "glorot_uniform"
    change = layers.Conv2D(
        3, 3, padding="same", activation="tanh", kernel_initializer=last, dtype="float32", name="image"
    )(y)
    change = layers.Rescaling(0.5, dtype="float32", name="change")(change)
    restored = layers.Add(dtype="float32", name="global_residual")([x, change])
    if backbone in PRETRAINED:
        restored = CropLike(dtype="float32", name="cropped")([restored, blurred])
    restored = ClipImages("always", dtype="float32", name="deblurred")(restored)
    return keras.Model(blurred, {"deblurred": restored}, name=name)


def keras_backbone(name: str, weights: str | None = None) -> keras.Model:
    """Extracting path, five maps of 1/2 to 1/32: keras.applications' InceptionResNetV2 or InceptionV3, less its end.

    Takes images in [-1, 1]. `weights="imagenet"` downloads (about 215 and 90 MB). In Keras' names the maps are those
    after the first convolution's activation, the first two poolings, and mixed_6a and mixed_7a (mixed7, mixed10).
    """
    build, ends = {
        "inception_resnet_v2": (keras.applications.InceptionResNetV2, ("mixed_6a", "mixed_7a")),
        "inception_v3": (keras.applications.InceptionV3, ("mixed7", "mixed10")),
    }[name]
    network = build(include_top=False, weights=weights, input_shape=(None, None, 3))
    activation = next(layer for layer in network.layers if isinstance(layer, layers.Activation))
    pools = [layer for layer in network.layers if isinstance(layer, layers.MaxPooling2D)][:2]
    taps = [activation, *pools, *(network.get_layer(end) for end in ends)]
    return StoredStatistics(network.input, [layer.output for layer in taps], name="backbone")


def load_imagenet(generator: keras.Model, backbone: str) -> None:
    """Give the generator's backbone its ImageNet weights, which keras.applications downloads or has at hand."""
    generator.get_layer("backbone").set_weights(keras_backbone(backbone, "imagenet").get_weights())


def inception_blocks(widths: tuple[int, int, int, int, int]) -> keras.Model:
    """Extracting path of five plain inception blocks, without normalisation: images in [-1, 1] -> five maps."""
    images = keras.Input((None, None, 3))
    maps, x = [], images
    for k, width in enumerate(widths, start=1):
        x = inception_block(x, width, f"block_{k}")
        maps.append(x)
    return keras.Model(images, maps, name="backbone")


def inception_block(x, width: int, name: str):
    """Four branches of width / 4, each halving the size, concatenated: 1x1, 3x3, double 3x3, pooling."""

    def conv(x, kernel, branch, strides=1):
        return layers.Conv2D(
            width // 4,
            kernel,
            strides,
            padding="same",
            activation="relu",
            kernel_initializer="he_uniform",
            name=f"{name}_{branch}",
        )(x)

    single = conv(conv(x, 1, "3x3_reduce"), 3, "3x3", 2)
    double = conv(conv(conv(x, 1, "double_reduce"), 3, "double_1"), 3, "double_2", 2)
    pooled = conv(layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool")(x), 1, "pool_1x1")
    # Not a 1x1 convolution of stride 2: it drops pixels, and with fewer than 16 input channels its gradient writes out
    # of bounds in oneDNN and ends the program (uxlfoundation/oneDNN, issue 6035; seen in TensorFlow 2.21).
    pointwise = conv(layers.AveragePooling2D(2, name=f"{name}_mean")(x), 1, "1x1")
    return layers.Concatenate(name=name)([pointwise, single, double, pooled])


def lateral(x, width: int, tap: str, pad: tuple[int, int]):
    """Intermediate layer path: a linear 1x1 convolution, and the border that the map lacks, reflected."""
    x = layers.Conv2D(width, 1, use_bias=False, name=f"lateral_{tap}")(x)
    return ReflectPad(*pad, name=tap)(x) if any(pad) else x


def info_box(info_0, widths: tuple[int, int, int, int], mode: str) -> dict:
    """Number k -> Info_k: the semantic information at 2, 4, 8 and 16 times info_0's size (Eqs. 1 and 2).

    `mode`: "direct" makes each of info_0 by pixel shuffle, in TensorFlow's order: channel (i * r + j) * c + n goes to
    row i and column j of r x r pixels; "cascade" makes each of the one before, twice as large; "bilinear" enlarges
    info_0 instead; "none" gives an empty box.
    """
    info, x = {}, info_0
    for k, width in enumerate(widths if mode != "none" else (), start=1):
        if mode == "direct":
            channels = layers.Conv2D(4**k * width, 1, name=f"info_{k}_conv")(info_0)
            info[k] = ops.depth_to_space(channels, 2**k)
        elif mode == "cascade":
            channels = layers.Conv2D(4 * width, 1, name=f"info_{k}_conv")(x)
            info[k] = x = ops.depth_to_space(channels, 2)
        else:
            fitting = width == info_0.shape[-1]
            x = info_0 if fitting else layers.Conv2D(width, 1, name=f"info_{k}_conv")(info_0)
            info[k] = Resize(2**k, "bilinear", antialias=False, name=f"info_{k}")(x)
    return info


def fs_conv(x, width: int, name: str):
    """Fractionally strided convolution (Eq. 3): twice the height and width."""
    x = layers.Conv2DTranspose(width, 3, 2, padding="same", name=f"{name}_fsconv")(x)
    x = InstanceNormalization(center=False, scale=False, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)


def smoothed(x, width: int, scale: int, k: int):
    """previous_k brought to half the image's size for the sum "previous_smooth"."""
    for i in (1, 2):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", use_bias=False, name=f"head_{k}_conv{i}")(x)
    return Resize(scale, "bilinear", antialias=False, name=f"head_{k}")(x)
