"""MPRNet's blocks and sub-networks: EGNet's backbone.

Paper: Zamir, Arora, Khan, Hayat, Khan, Yang, Shao, "Multi-Stage Progressive Image Restoration", CVPR 2021 (EGNet's
[7]), in its deblurring setting. Licence of this file: MIT; MPRNet's own code and weights have a non-commercial one.

    CAB(x) = x + CA(conv(PReLU(conv(x))))                   channel attention block
    U-Nets: CABs at 96, 144 and 192 channels                encoders and decoders of stages 1 and 2
    ORSNet: original-resolution blocks at 128 channels      stage 3
    SAM:    img = conv(x) + image;  x1 * sigmoid(conv(img)) + x      supervised attention between the stages

20,127,073 parameters at 96/48/32, which is EGNet's "20.13": the 80 channels of other texts are the denoising network.
Facts of the code that the text does not have: no biases; one PReLU slope shared by the whole network; SAM's
convolutions are 1x1; resizing is bilinear, which for one half is the 2x2 mean. Layers are called as in that code
(with `_` for `.`), so that weights convert by name; `generator.py` puts the parts together.
"""

import keras
from keras import layers, ops

from madn.nn.layers import Resize
from madn.nn.statistics import is_tile

REDUCTION = 4  # Channel attention divides the channels by this.


@keras.saving.register_keras_serializable("madn")
class ScalarPReLU(layers.Layer):
    """max(0, x) + slope * min(0, x) with one slope for all channels, 0.25 at first; shared by being one layer."""

    def build(self, shape):
        self.slope = self.add_weight(name="slope", shape=(1,), initializer=keras.initializers.Constant(0.25))

    def call(self, x):
        slope = ops.cast(self.slope, x.dtype)
        if keras.backend.backend() == "torch":  # Its own function is faster, and keeps x alone.
            from torch.nn.functional import prelu

            return prelu(x, slope)
        return ops.where(x > 0, x, slope * x)


@keras.saving.register_keras_serializable("madn")
class SplitPatches(layers.Layer):
    """Cuts maps into rows x columns patches of one size and stacks them on the batch axis.

    (batch, h, w, c) -> (batch * rows * columns, h / rows, w / columns, c), the patches of an image side by side, row
    by row. Patches are thus processed as images of their own, in one call. A tile of a large photo is not cut: it is a
    patch already, and cuts through its middle would show in the photo.
    """

    def __init__(self, rows: int, columns: int, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def call(self, x):
        if is_tile():
            return x
        batch, height, width, channels = ops.shape(x)
        h, w = height // self.rows, width // self.columns
        x = ops.reshape(x, (batch, self.rows, h, self.columns, w, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (batch * self.rows * self.columns, h, w, channels))

    def compute_output_shape(self, shape):
        batch, height, width, channels = shape
        return (
            batch and batch * self.rows * self.columns,
            height and height // self.rows,
            width and width // self.columns,
            channels,
        )


@keras.saving.register_keras_serializable("madn")
class MergePatches(SplitPatches):
    """Undoes `SplitPatches`; where that cut 2 x 2, (1, 2) joins left and right halves and leaves top and bottom."""

    def call(self, x):
        if is_tile():
            return x
        batch, h, w, channels = ops.shape(x)
        batch = batch // (self.rows * self.columns)
        x = ops.reshape(x, (batch, self.rows, self.columns, h, w, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (batch, self.rows * h, self.columns * w, channels))

    def compute_output_shape(self, shape):
        batch, height, width, channels = shape
        return (
            batch and batch // (self.rows * self.columns),
            height and height * self.rows,
            width and width * self.columns,
            channels,
        )


def features(width: int):
    """The input of a sub-network: a map of the precision that layers compute in."""
    return keras.Input((None, None, width), dtype=keras.config.dtype_policy().compute_dtype)


def conv(width: int, kernel: int, name: str, **options):
    """A convolution without bias, size preserving; initialised as PyTorch does, U(-1, 1) / sqrt(fan in)."""
    options.setdefault("kernel_initializer", keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"))
    return layers.Conv2D(width, kernel, padding="same", use_bias=False, name=name, **options)


def channel_attention(x, name: str):
    """x * sigmoid(conv(ReLU(conv(GAP(x))))): each channel weighted by its mean over the patch (CALayer)."""
    width = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = conv(width // REDUCTION, 1, f"{name}_conv_du_0", activation="relu")(weights)
    weights = conv(width, 1, f"{name}_conv_du_2", activation="sigmoid")(weights)
    return layers.Multiply()([x, weights])


def cab(x, prelu, name: str):
    """The channel attention block, width preserving."""
    width = x.shape[-1]
    residual = conv(width, 3, f"{name}_body_2")(prelu(conv(width, 3, f"{name}_body_0")(x)))
    return layers.Add()([channel_attention(residual, f"{name}_CA"), x])


def down_sample(x, width: int, name: str):
    return conv(width, 1, f"{name}_down_1")(layers.AveragePooling2D(2)(x))


def up_sample(x, width: int, name: str):
    return conv(width, 1, f"{name}_up_1")(Resize(2, "bilinear", antialias=False)(x))


def shallow_features(width: int, prelu, name: str) -> keras.Model:
    """An image (h, w, 3) -> (h, w, width): one convolution and one CAB; each stage has its own."""
    image = keras.Input((None, None, 3))
    return keras.Model(image, cab(conv(width, 3, f"{name}_0")(image), prelu, f"{name}_1"), name=name)


def encoder(widths, prelu, name: str, fuse: bool = False) -> keras.Model:
    """A U-Net's encoder: x -> [enc1, enc2, enc3] at full, half and quarter size of the patch.

    `fuse`: cross-stage feature fusion (csff), of stage 2: takes [x, enc1, enc2, enc3, dec1, dec2, dec3], the maps of
    the stage before.
    """
    inputs = x = features(widths[0])
    before = [features(width) for _ in range(2) for width in widths]
    levels = []
    for level, width in enumerate(widths, start=1):
        if level > 1:
            x = down_sample(x, width, f"{name}_down{level - 1}{level}")
        for i in range(2):
            x = cab(x, prelu, f"{name}_encoder_level{level}_{i}")
        if fuse:
            x = layers.Add()(
                [
                    x,
                    conv(width, 1, f"{name}_csff_enc{level}")(before[level - 1]),
                    conv(width, 1, f"{name}_csff_dec{level}")(before[level + 2]),
                ]
            )
        levels.append(x)
    return keras.Model([inputs, *before] if fuse else inputs, levels, name=name)


def decoder(widths, prelu, name: str) -> keras.Model:
    """A U-Net's decoder: [enc1, enc2, enc3] -> [dec1, dec2, dec3]; a CAB on each skip connection."""
    inputs = [features(width) for width in widths]
    x, levels = inputs[-1], []
    for level in (3, 2, 1):
        if level < 3:
            skip = cab(inputs[level - 1], prelu, f"{name}_skip_attn{level}")
            x = layers.Add()([up_sample(x, widths[level - 1], f"{name}_up{level + 1}{level}"), skip])
        for i in range(2):
            x = cab(x, prelu, f"{name}_decoder_level{level}_{i}")
        levels.insert(0, x)
    return keras.Model(inputs, levels, name=name)


def supervised_attention(width: int, name: str, output_options: dict) -> keras.Model:
    """SAM: [features, image] -> [features for the next stage, restored image]; the image in float32."""
    x, image = features(width), keras.Input((None, None, 3))
    residual = conv(3, 1, f"{name}_conv2", dtype="float32", **output_options)(x)
    restored = layers.Add(dtype="float32")([residual, image])
    attention = conv(width, 1, f"{name}_conv3", activation="sigmoid", dtype="float32")(restored)
    attended = layers.Multiply()([conv(width, 1, f"{name}_conv1")(x), attention])
    return keras.Model([x, image], [layers.Add()([attended, x]), restored], name=name)


def orsnet(widths, width: int, blocks: int, prelu, name: str) -> keras.Model:
    """The original-resolution sub-network: [x, enc1, enc2, enc3, dec1, dec2, dec3] of stage 2 -> `width` channels.

    Three blocks (ORB) of `blocks` CABs and a convolution; before each next one come the maps of one level of stage 2,
    brought to full size, level k by k - 1 up-samplings.
    """
    inputs = [features(width)] + [features(w) for _ in range(2) for w in widths]
    x = inputs[0]
    for level in (1, 2, 3):
        start = x
        for i in range(blocks):
            x = cab(x, prelu, f"{name}_orb{level}_body_{i}")
        x = layers.Add()([conv(width, 3, f"{name}_orb{level}_body_{blocks}")(x), start])
        brought = []
        for kind, maps in (("enc", inputs[1:4]), ("dec", inputs[4:])):
            y, up = maps[level - 1], f"{name}_up_{kind}{level - 1}"
            if level == 2:
                y = up_sample(y, widths[0], up)
            elif level == 3:
                y = up_sample(up_sample(y, widths[1], f"{up}_0"), widths[0], f"{up}_1")
            brought.append(conv(width, 1, f"{name}_conv_{kind}{level}")(y))
        x = layers.Add()([x, *brought])
    return keras.Model(inputs, x, name=name)
