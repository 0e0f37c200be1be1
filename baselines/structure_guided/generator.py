"""Structures Guided: the generator, a U-Net with GradientNet at its bottleneck.

Paper: Qi, "Structures Guided Dynamic Scene Deblurring Method", 2022. Section 3.1, Eqs. 2-7, Figures 2 and 3.
Licence of this file: MIT.

    e1 = ReLU(IN(Conv7x7(2x - 1)));  e2, e3 = ReLU(IN(Conv3x3 stride 2))          64, 128, 256 channels
    g  = GradientNet(e3) + e3
    d2 = ReLU(IN(Deconv3x3(g))) + e2;  d1 = ReLU(IN(Deconv3x3(d2))) + e1
    deblurred = clip(x + 0.5 tanh(Conv7x7(d1)), 0, 1)      in [-1, 1]: clip(x + tanh(.), -1, 1)

    GradientNet:  U_0 = PRFTM(e3), two convolutions                                                Eqs. 2, 3
                  U_10 = MBRB_10(... MBRB_1(U_0)),  CA(U_10) + U_0, Conv3x3 back to 256            Eq. 4
    MBRB:   l1 = RGCL(U[q:]), l2 = RGCL(l1[q:]), l3 = RGCL(l2[q:]),  f = concat(U[:q], l1[:q], l2[:q], l3)
            U + Conv(ReLU(Conv(CA(f))))                                                            Eqs. 5, 6
    RGCL:   h_t = LeakyReLU(K_1x3 * h_{t-1} + K_3x1 * h_{t-1} + b), t = 1..3, h_0 = x
            x + CA(sigmoid(DepthwiseConv3x3(h_3)))                                                 Eq. 7

The widths are in Figure 2, which the text at hand lacks. The paper follows Cross-SRN (its reference 19), from which
the blocks take what the equations leave open, and DeblurGAN, from which the U-Net does. Then one width is free, and
128 channels in GradientNet give 447.26 G multiply-adds at 1280x720 where Table 3 says 446.98 G.

Where the paper leaves a choice open or contradicts itself, the default and its reason:
- the blurred image is added to the output and the sum clipped: not in the text; DeblurGAN does so with the same ends.
  Where it is clipped no gradient passes, and at the first weights that are 22 to 34% of the values (five seeds, four
  GoPro test crops of 256); the output then lies 10.7 to 11.7 dB from the blurred image. Without the addition, as the
  text has it (`structure_guided-noresidual`), nothing is clipped, and the tanh lies 8.5 to 9.4 dB from it. After the
  hundred steps named below, which start at the blurred image with the addition, it is 13.4 dB from the sharp one
  without, and 25.8 dB with it, at content losses of 73.3 and 34.8.
- Eq. 5 has three RGCLs on U_0, and a "+" inside "Con"; the text has "multipath reuse mode" and "fused by a concatenate
  operation". Built is Cross-SRN's hierarchical split, which has the printed operations at a plain width. As printed,
  side by side and concatenated, it is `structure_guided-parallel`: 442.86 G at 80 channels; summed, it has 450.70 G at
  90. So the printed 446.98 G does not exclude them.
- Eq. 7's recurrence reuses one pair of kernels ("recurrent"). With a pair for each step the network would have
  7,095,635 parameters, and as many operations.
- Eq. 7's Conv is depthwise, as in Cross-SRN; LeakyReLU has a slope of 0.01.
- Eq. 7 is literal about the sigmoid: each RGCL adds a value in (0, 1). At the first weights that is a constant: 0.5,
  with a standard deviation over the image of 1e-5 to 1.3e-4, and the gradient of all 1x3 and 3x1 kernels has 1.5e-4
  to 1.8e-4 of the norm of that of the MBRBs' 3x3 convolutions (three seeds; content and gradient loss; four GoPro
  test crops of 256). With Cross-SRN's end (`structure_guided-fnorm`) it has 0.018 to 0.021, with a gate
  (`structure_guided-gate`) 0.009 to 0.010. A hundred steps do not tell the two apart: the content loss of the last 50
  is 34.78 as printed and 34.81 with fnorm (one run each, the gate was not trained: `python -m madn.train --recipe
  structure_guided-budget --width 16 --gradient-width 32 --d-widths 16 32 64 128 --rgcl-tail fnorm --steps 100
  --round-steps 50 --data GOPRO REDS --validation GOPR0374_11_00,020,GOPR0477_11_00`, with a VGG19 file). So the printed
  end stays.
- of the 30 channel attentions in RGCLs, 4 to 6 are dead at the first weights (fnorm: 3 to 5, gate: 2 to 5): no unit of
  their squeeze is above zero in any of those crops. Most have 32 channels, of which the squeeze leaves two units. From
  a start in which none is dead (biases of 0.1 in the squeezes) the same hundred steps give 34.72 and 34.81.
- PRFTM "increases the number of channels"; here 256 -> 128, which the count of operations asks for, with ReLUs.
- GradientNet's input is added to its output, and U_0 to CA's: not in Eq. 4; Cross-SRN has the latter.
- skip connections are additions: concatenation costs 5.7% more than Table 3 says.
- CA reduces by 16 (SENet). Instance normalisation in the U-Net only, without affine parameters.
- weights start at N(0, 0.02), biases at zero, as in DeblurGAN.
"""

from dataclasses import dataclass

import keras
from keras import layers, ops

from baselines.layers import ClipImages, LeakyReLUOfSum, doubling_deconv, normal, padded_conv
from madn.nn.layers import ImageMean, InstanceNormalization, RequireMultiple, luma, sobel_magnitude


def build_generator(
    width: int = 64,
    gradient_width: int = 128,
    n_mbrb: int = 10,
    rgcl_r: int = 3,
    rgcl_tail: str = "sigmoid",
    block: str = "rgcl",
    mbrb: str = "multipath",
    gradient_net: bool = True,
    global_residual: bool = True,
    zero_outputs: bool = False,
    name: str = "structure_guided_generator",
) -> keras.Model:
    """The generator G as a functional model (section 3.1.1, Figure 2).

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1]; height and width multiples of 4
    (`ValueError` otherwise). Returns {"deblurred": image of the same shape in [0, 1]}. The recipe's fields say what the
    other arguments are. `zero_outputs` starts the last convolution at zero, and so the network at the blurred image.
    """
    blocks = Blocks(rgcl_r, rgcl_tail, block, mbrb)
    blurred = keras.Input((None, None, 3), name="blurred")
    image = RequireMultiple(4, dtype="float32", name="image")(blurred)
    x = layers.Rescaling(2.0, offset=-1.0, dtype="float32", name="signed")(image)
    e1 = blocks.normalized(blocks.conv(x, width, 7, "e1_conv"), "e1")
    e2 = blocks.normalized(blocks.conv(e1, 2 * width, 3, "e2_conv", strides=2), "e2")
    e3 = blocks.normalized(blocks.conv(e2, 4 * width, 3, "e3_conv", strides=2), "e3")
    x = e3
    if gradient_net:
        network = build_gradient_net(blocks, 4 * width, gradient_width, n_mbrb)
        x = layers.Add(name="gradient_net_add")([network(e3), e3])
    for level, channels, skip in (("d2", 2 * width, e2), ("d1", width, e1)):
        x = doubling_deconv(x, channels, name=f"{level}_deconv", kernel_initializer=normal())
        x = layers.Add(name=f"{level}_skip")([blocks.normalized(x, level), skip])
    x = layers.Conv2D(
        3,
        7,
        padding="same",
        dtype="float32",
        name="out_conv",
        kernel_initializer="zeros" if zero_outputs else normal(),
    )(x)
    x = layers.Activation("tanh", dtype="float32", name="out_tanh")(x)
    if global_residual:
        x = layers.Rescaling(0.5, dtype="float32", name="residual")(x)
        x = layers.Add(dtype="float32", name="global_residual")([image, x])
        x = ClipImages("always", dtype="float32", name="deblurred")(x)
    else:
        x = layers.Rescaling(0.5, offset=0.5, dtype="float32", name="deblurred")(x)
    return keras.Model(blurred, {"deblurred": x}, name=name)


@dataclass(frozen=True)
class Blocks:
    """The paper's blocks; every method takes and returns NHWC features, `name` is the prefix of its layers' names."""

    rgcl_r: int = 3
    rgcl_tail: str = "sigmoid"
    block: str = "rgcl"
    mbrb: str = "multipath"

    def conv(self, x, width, kernel, name, **options):
        return padded_conv(x, width, kernel, name=name, kernel_initializer=normal(), **options)

    def normalized(self, x, name):
        """Instance normalisation, its statistics in float32, and ReLU."""
        x = InstanceNormalization(center=False, scale=False, dtype="float32", name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def channel_attention(self, x, name):
        """CA, the squeeze-and-excitation block: x * sigmoid(Conv1x1(ReLU(Conv1x1(mean over the image))))."""
        width = x.shape[-1]
        gate = ImageMean(dtype="float32", name=f"{name}_mean")(x)
        gate = self.conv(gate, max(width // 16, 1), 1, f"{name}_squeeze", activation="relu", dtype="float32")
        gate = self.conv(gate, width, 1, f"{name}_excite", activation="sigmoid", dtype="float32")
        return layers.Multiply(name=name)([x, gate])

    def gradient_layers(self, x, name):
        """h_r of Eq. 7: horizontal (1x3) and vertical (3x1) convolutions in parallel, `rgcl_r` times."""
        width, h = x.shape[-1], x
        pair = [
            layers.Conv2D(
                width, kernel, padding="same", use_bias=bias, kernel_initializer=normal(), name=f"{name}_{label}"
            )
            for kernel, bias, label in (((1, 3), True, "1x3"), ((3, 1), False, "3x1"))
        ]
        for t in range(1, self.rgcl_r + 1):
            h = layers.Add(name=f"{name}_sum{t}")([conv(h) for conv in pair])
            h = LeakyReLUOfSum(0.01, name=f"{name}_h{t}")(h)
        return h

    def rgcl(self, x, name):
        """The recurrent gradient convolutional layer (Eq. 7); with `block="conv3x3"` the plain one of Table 5."""
        if self.block == "conv3x3":
            return self.conv(x, x.shape[-1], 3, name, activation="relu")
        h = self.gradient_layers(x, name)
        y = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=normal(), name=f"{name}_depthwise")(h)
        if self.rgcl_tail == "fnorm":
            y = layers.Add(name=f"{name}_fnorm")([h, y])
        else:
            y = layers.Activation("sigmoid", dtype="float32", name=f"{name}_sigmoid")(y)
            if self.rgcl_tail == "gate":
                y = layers.Multiply(name=f"{name}_gate")([h, y])
        return layers.Add(name=f"{name}_add")([x, self.channel_attention(y, f"{name}_ca")])

    def reuse_block(self, x, name):
        """MBRB (Eqs. 5, 6): RGCLs on ever fewer channels; each level passes its first quarter on as it is.

        `mbrb="parallel"`: three RGCLs of the full width on U, concatenated (Eq. 5 as printed); "single": one (Table 5).
        """
        width = x.shape[-1]
        if self.mbrb == "multipath":
            quarter = width // 4
            kept, rest = [], x
            for level in (1, 2, 3):
                kept.append(rest[..., :quarter])
                rest = self.rgcl(rest[..., quarter:], f"{name}_rgcl{level}")
            f = layers.Concatenate(name=f"{name}_concat")([*kept, rest])
        elif self.mbrb == "parallel":
            paths = [self.rgcl(x, f"{name}_rgcl{level}") for level in (1, 2, 3)]
            f = layers.Concatenate(name=f"{name}_concat")(paths)
        else:
            f = self.rgcl(x, f"{name}_rgcl1")
        f = self.channel_attention(f, f"{name}_ca")
        f = self.conv(f, width, 3, f"{name}_conv1", activation="relu")
        return layers.Add(name=f"{name}_add")([self.conv(f, width, 3, f"{name}_conv2"), x])


def build_gradient_net(blocks: Blocks, channels: int, width: int, n_mbrb: int) -> keras.Model:
    """GradientNet (section 3.1.2): PRFTM, MBRU and a convolution back to `channels`, all at one resolution."""
    features = keras.Input((None, None, channels), name="features")
    x = blocks.conv(features, width, 3, "prftm_conv1", activation="relu")
    shallow = x = blocks.conv(x, width, 3, "prftm_conv2", activation="relu")
    for n in range(1, n_mbrb + 1):
        x = blocks.reuse_block(x, f"mbrb{n}")
    x = layers.Add(name="mbru")([blocks.channel_attention(x, "mbru_ca"), shallow])
    return keras.Model(features, blocks.conv(x, channels, 3, "out_conv"), name="gradient_net")


def gradient_maps(generator: keras.Model, images, mbrb: int = 1, level: int = 1) -> dict:
    """What Figure 4 compares: the Sobel magnitude of the images and what one RGCL of the network makes of them.

    Args:
        generator: a network of `build_generator` with its GradientNet and RGCLs.
        images: (batch, height, width, 3) in [0, 1].
        mbrb, level: which block, and which RGCL in it, from 1.
    Returns:
        `sobel` (batch, height, width), and at a quarter of the size `horizontal` and `vertical`, the responses to the
        1x3 and 3x1 kernels at the first of the recurrences, and `rgcl`, what the layer adds to its input. Each is the
        mean absolute value over the channels, of any scale.
    """
    network, prefix = generator.get_layer("gradient_net"), f"mbrb{mbrb}_rgcl{level}"
    features = keras.Model(generator.input, generator.get_layer("e3_relu").output)(images)
    inputs, added = keras.Model(network.input, network.get_layer(f"{prefix}_add").input)(features)
    maps = {
        "horizontal": network.get_layer(f"{prefix}_1x3")(inputs),
        "vertical": network.get_layer(f"{prefix}_3x1")(inputs),
        "rgcl": added,
    }
    maps = {key: ops.mean(ops.abs(ops.cast(value, "float32")), axis=-1) for key, value in maps.items()}
    return {"sobel": sobel_magnitude(luma(ops.convert_to_tensor(images)))[..., 0], **maps}
