"""MSR2B-CGAN's generator: nine multi-scale Res2Net blocks between two strided and two transposed convolutions.

Paper: Qi, Wang, "An End-to-End Multi-Scale Conditional Generative Adversarial Network for Image Deblurring", 2023.
Sections 3.1 and 3.2, Figures 3 and 4, Equations 4-9. Licence of this file: MIT.

    x = ReLU conv 7x7, 3x3 /2, 3x3 /2 (I_B)                      64, 128, 256 channels
    C_0 = x,  C_n = C_{n-1} + W_out(C_{n-1})                     MSR2B, n = 1..9
    y = ReLU transposed 3x3 x2, 3x3 x2 (ReLU conv 1x1 [C_1, ..., C_9])
    I_S = I_B + tanh(conv 1x1 (y))                               images in [-1, 1]

Where the paper leaves a choice open or contradicts itself, the default and its reason:
- the bottleneck's width is not stated: 128, four groups of 32. "One-fourth of the input channels" is read as a fourth
  of what is split, as Res2Net has it; a fourth of the block's 256 channels would leave nothing to decrease.
- the widths of W_1 and W_2 are not stated: 96 each, the width of [t_2, t_3, t_4].
- W_0 of Eq. 7 is not defined: [t_1, ..., t_4], for "the feature maps of Part A and Part B are concatenated".
- Res2Net as a block (Table 1) is Part A and the last 1x1 convolution: the same group goes without a convolution, and
  no ReLU follows the addition, as in Eq. 8. ResNet is the bottleneck of Figure 2a with the same inner width of 128;
  DeblurGAN's pair of 3x3 convolutions is `resnet_basic`.
- "each convolutional layer is followed by a ReLU": not the last 1x1 convolution of a block (Eq. 8), and tanh after
  the last one, since a residual has both signs.
- the local skip connections are a concatenation ("fusing the features of all of the output").
- padding with zeros, equal on all sides; transposed convolutions mirror the strided ones (both not stated).
- Eq. 9 has no clip: the result is clipped at inference only. Images are [0, 1] outside and [-1, 1] inside, so I_S is
  the input plus half of the tanh.
- initial weights are not stated: He-normal, as nothing normalises the activations (the lineage's N(0, 0.02) presumes
  that something does); a tenth of that for the last convolution of each block, without which a block multiplies its
  input by 2.3 and nine of them saturate the tanh; N(0, 0.001) for the last of all. Training starts near the blurred
  image.
"""

from dataclasses import dataclass

import keras
from keras import layers, ops

from baselines.layers import ClipImages, doubling_deconv, padded_conv
from madn.nn.layers import InstanceNormalization, RequireMultiple

GROUPS = 4
"""The channels of a block are split into this many groups (Eq. 4)."""
BLOCKS = ("msr2b", "res2net", "resnet_bottleneck", "resnet_basic")


def build_generator(
    widths: tuple[int, int, int] = (64, 128, 256),
    num_blocks: int = 9,
    block: str = "msr2b",
    group_width: int = 32,
    bypass_width: int = 96,
    part_b: str = "both",
    local_skip: bool = True,
    global_skip: bool = True,
    norm: str = "none",
    name: str = "msr2b_generator",
) -> keras.Model:
    """The generator G as a functional model (section 3.2, Figure 4).

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1]; height and width multiples of 4
    (`ValueError` otherwise). Returns a dictionary with `deblurred`, of the same shape: in [0, 1] at inference, and in
    [-0.5, 1.5] in training. 5,444,771 parameters by default.

    `block`: "msr2b"; "res2net" (Part A alone, the same as `part_b="none"`), "resnet_bottleneck" or "resnet_basic" for
    Table 1. `part_b`: which of Part B's bypasses there are, "both", "conv3", "conv5" or "none". `norm="instance"`
    puts the instance normalisation back that the paper leaves out. Without `global_skip`, I_S is the tanh itself;
    without `local_skip`, the 1x1 convolution sees the last block only.
    """
    if block not in BLOCKS:
        raise ValueError(f"block must be one of {', '.join(BLOCKS)}; received {block!r}")
    convs = _Convolutions(norm)
    c1, c2, c3 = widths
    blurred = keras.Input((None, None, 3), name="blurred")
    # Images stay float32 under mixed precision.
    image = RequireMultiple(4, dtype="float32", name="multiple_of_4")(blurred)
    x = layers.Rescaling(2.0, -1.0, dtype="float32", name="centred")(image)
    x = convs.conv(x, c1, 7, name="conv_1")
    x = convs.conv(x, c2, 3, 2, name="conv_2")
    x = convs.conv(x, c3, 3, 2, name="conv_3")

    outputs = []
    for k in range(1, num_blocks + 1):
        if block == "resnet_bottleneck":
            x = resnet_bottleneck(x, GROUPS * group_width, convs, f"resnet_{k}")
        elif block == "resnet_basic":
            x = resnet_basic(x, convs, f"resnet_{k}")
        elif block == "res2net":
            x = msr2b(x, group_width, bypass_width, "none", convs, f"res2net_{k}")
        else:
            x = msr2b(x, group_width, bypass_width, part_b, convs, f"msr2b_{k}")
        outputs.append(x)

    if local_skip and num_blocks > 1:
        x = layers.Concatenate(name="local_skip")(outputs)
    x = convs.conv(x, c3, 1, name="fusion")
    x = convs.deconv(x, c2, name="deconv_1")
    x = convs.deconv(x, c1, name="deconv_2")
    residual = layers.Conv2D(
        3,
        1,
        activation="tanh",
        kernel_initializer=keras.initializers.RandomNormal(stddev=1e-3),
        dtype="float32",
        name="residual",
    )(x)
    if global_skip:  # Eq. 9 adds the whole residual to images in [-1, 1]; these are in [0, 1].
        half = layers.Rescaling(0.5, dtype="float32", name="half_residual")(residual)
        restored = layers.Add(dtype="float32", name="global_skip")([image, half])
    else:
        restored = layers.Rescaling(0.5, 0.5, dtype="float32", name="restored")(residual)
    return keras.Model(
        blurred, {"deblurred": ClipImages("inference", dtype="float32", name="deblurred")(restored)}, name=name
    )


@dataclass(frozen=True)
class _Convolutions:
    """The generator's convolutions: He-normal kernels, ReLU, and none or instance normalisation between the two."""

    norm: str

    def conv(self, x, width, kernel, strides=1, *, name):
        return self._relu(self._norm(padded_conv(x, width, kernel, strides, name=name, **self._kernel()), name), name)

    def deconv(self, x, width, *, name):
        return self._relu(self._norm(doubling_deconv(x, width, name=name, **self._kernel()), name), name)

    def close(self, x, y, kernel, *, name):
        """x + K_b(y), linear (Eqs. 7, 8): the end of every kind of block, `name`."""
        y = padded_conv(y, x.shape[-1], kernel, name=f"{name}_kb", **self._kernel(0.1))
        return layers.Add(name=name)([x, self._norm(y, f"{name}_kb")])

    def _norm(self, x, name):
        if self.norm == "none":
            return x
        return InstanceNormalization(center=False, scale=False, name=f"{name}_norm")(x)

    def _relu(self, x, name):
        return layers.ReLU(name=f"{name}_relu")(x)

    def _kernel(self, gain=1.0):
        """He-normal times `gain`, in Keras' count of inputs (for the transposed convolutions, half of what meets)."""
        return {"kernel_initializer": keras.initializers.VarianceScaling(2 * gain**2, "fan_in", "truncated_normal")}


def msr2b(x, group_width: int, bypass_width: int, part_b: str, convs: _Convolutions, name: str):
    """The multi-scale Res2Net block (section 3.1, Figure 3, Eqs. 4-8), width preserving.

    Part A: a 1x1 convolution, then four groups, each of which but the first sees the one before it through its
    own 3x3 convolution H_i. Part B: K_1 (3x3) and K_2 (5x5) over t_2 and the following. K_b fuses both.
    """
    s = ops.split(convs.conv(x, GROUPS * group_width, 1, name=f"{name}_reduce"), GROUPS, axis=-1)
    t = [s[0]]
    for i in range(2, GROUPS + 1):
        source = s[1] if i == 2 else layers.Add(name=f"{name}_sum{i}")([s[i - 1], t[-1]])
        t.append(convs.conv(source, group_width, 3, name=f"{name}_h{i}"))
    merged = list(t)
    if part_b != "none":
        p = layers.Concatenate(name=f"{name}_p")(t[1:])
        if part_b in ("both", "conv3"):
            merged.append(convs.conv(p, bypass_width, 3, name=f"{name}_k1"))
        if part_b in ("both", "conv5"):
            merged.append(convs.conv(p, bypass_width, 5, name=f"{name}_k2"))
    merged = layers.Concatenate(name=f"{name}_merged")(merged)
    return convs.close(x, merged, 1, name=name)


def resnet_bottleneck(x, width: int, convs: _Convolutions, name: str):
    """The bottleneck block of ResNet (Figure 2a): 1x1, 3x3, 1x1, without a ReLU after the addition."""
    y = convs.conv(x, width, 1, name=f"{name}_reduce")
    y = convs.conv(y, width, 3, name=f"{name}_conv")
    return convs.close(x, y, 1, name=name)


def resnet_basic(x, convs: _Convolutions, name: str):
    """DeblurGAN's residual block: two 3x3 convolutions, without a ReLU after the addition."""
    y = convs.conv(x, x.shape[-1], 3, name=f"{name}_conv")
    return convs.close(x, y, 3, name=name)
