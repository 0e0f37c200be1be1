"""MADN's generator: scale-recurrent network (SN), gradient network (GN) and the fusing up-sampling block.

Paper: Zhu, Xu, Choi, Su, "Multi-scale Generative Adversarial Deblurring Network with Gradient Guidance",
Journal of Internet Technology 24(2), 2023, 243-255. Section 3.3, Figures 2-4. Licence of this file: MIT.

    blur_1 = X_b,  blur_2, blur_3 = bicubic 1/2, 1/4
    I_3, _ = SN(blur_3, blur_3);  I_2, _ = SN(blur_2, up(I_3));  I_1, T = SN(blur_1, up(I_2))
    X_g, grad_f = GN(M(blur_1), T2, T3)          M: Sobel magnitude;  T1, T2, T3: SN features, full to quarter size
    X_b^ = UpBlock(grad_f, T1)

Where the paper leaves a choice open or contradicts itself, the default and its reason:
- widths are not stated: 64/128/256 is what gives "more than 29 million" parameters (29,071,817).
- skips are additions ("combined"; the scale-recurrent lineage adds, and no reducing convolution is named).
- "corresponding scale features" for GN: decoder features of the finest SN pass at the matching resolution.
- a 3x3 convolution brings each concatenation in GN back to the block's width; without one G would have 42 million.
- "up-sampling block": fusion at full resolution and a stride-1 deconvolution, as in OutBlock.
- OutBlock's deconvolution has stride 1: two EBlocks are undone by two DBlocks.
- the 1x1 output convolutions are linear although "all layers are ReLU".
- the coarsest scale's second input, which shared weights need, is the blurred image itself.
- gradients flow across the scales: the paper clips because "SN involves recurrent connections".
- the nested residual links (Eq. 9) are algebraically a chain of residual blocks; built as the chain.
"""

import keras
from keras import layers

from madn.layers import RequireMultiple, Resize, SobelMagnitude, StopGradient, nested_residual_group


def build_generator(
    widths: tuple[int, int, int] = (64, 128, 256),
    res_blocks: int = 4,
    scales: int = 3,
    nested_mode: str = "branch",
    deconv_kernel: int = 3,
    sn_skip: str = "add",
    gn_skip: str = "add",
    scale_taps: str = "decoder",
    merge_kernel: int = 3,
    fusion: str = "full",
    gn_input: str = "blurred",
    gradient_channels: int = 3,
    sobel_epsilon: float = 1e-6,
    global_residual: bool = False,
    residual_from: str = "blurred",
    stem_stride: int = 1,
    stop_gradient_across_scales: bool = False,
    coarsest_second_input: str = "blurred",
    resize: str = "bicubic",
    antialias: bool = True,
    init: str = "glorot_uniform",
    last_activation: str = "relu",
    activation: str = "relu",
    name: str = "madn_generator",
) -> keras.Model:
    """The generator G as a functional model (section 3.3, Figure 2).

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1]; height and width multiples of
    4 * stem_stride * 2**(scales - 1), 16 by default (`ValueError` otherwise). Returns a dictionary, nothing clipped:
    `deblurred` (batch, height, width, 3), `gradient` (batch, height, width, gradient_channels) and `scales`, the
    list [I_1, I_2, ...] of SN's outputs from full resolution down. `init="zero_residual"` starts every residual
    branch and every output convolution at zero, so that activations do not grow from block to block;
    `"he_zero_residual"` also starts the others as He et al. (2015) do for ReLU, so that they do not shrink either.
    `last_activation="none"` leaves the ReLU out behind OutBlock's and the up-sampling block's deconvolution: with few
    channels all of them die within some hundred steps, and with them what is learnt from the restored image.

    `global_residual` adds the blurred image to every restored one. `residual_from="restored"` adds what is restored so
    far: I_{i+1} - blur_{i+1}, enlarged, to blur_i (a Laplacian pyramid), which is also SN's second input, and I_1 to
    the result; so each pass corrects what the coarser ones left. `stem_stride=2` lets the InBlocks halve the resolution
    and the last deconvolutions double it: about a quarter of the operations, and the receptive field twice as wide.
    """
    if scale_taps in ("by_scale", "image") and scales != 3:
        raise ValueError(f"scale_taps={scale_taps!r} takes SN's passes 2 and 3, so scales must be 3; received {scales}")
    if stem_stride == 2 and fusion == "half":
        raise ValueError("stem_stride=2 halves the resolution itself: fusion must be 'full'; received 'half'")
    pyramid = residual_from == "restored"
    if pyramid and not (global_residual and coarsest_second_input == "blurred"):
        raise ValueError("residual_from='restored' needs global_residual=True and coarsest_second_input='blurred'; "
                         f"received {global_residual} and {coarsest_second_input!r}")
    blocks = _Blocks(widths, res_blocks, nested_mode, deconv_kernel, init, last_activation, activation, stem_stride)
    blurred = keras.Input((None, None, 3), name="blurred")
    # Images and gradient maps stay float32 under mixed precision; bfloat16's 8 bits would blur what is looked for.
    blur = [RequireMultiple(4 * stem_stride * 2 ** (scales - 1), dtype="float32", name="blur_1")(blurred)]
    blur += [Resize(0.5**i, resize, antialias, dtype="float32", name=f"blur_{i + 1}")(blur[0])
             for i in range(1, scales)]

    sn = scale_network(blocks, sn_skip, scale_taps, global_residual, pyramid)
    passes: dict[int, dict] = {}
    for i in reversed(range(scales)):
        if i == scales - 1:
            second = blur[i] if coarsest_second_input == "blurred" else layers.Rescaling(0.0, name="zeros")(blur[i])
        else:
            second = passes[i + 1]["image"]
            if stop_gradient_across_scales:
                second = StopGradient(name=f"stop_{i + 2}")(second)
            if pyramid:
                second = layers.Subtract(dtype="float32", name=f"correction_{i + 2}")([second, blur[i + 1]])
            second = Resize(2, resize, dtype="float32", name=f"up_{i + 2}")(second)
            if pyramid:
                second = layers.Add(dtype="float32", name=f"corrected_{i + 1}")([second, blur[i]])
        passes[i] = sn(layers.Concatenate(dtype="float32", name=f"sn_input_{i + 1}")([blur[i], second]))

    finest = passes[0]
    if scale_taps == "by_scale":
        half, quarter = passes[1]["full"], passes[2]["full"]
    elif scale_taps == "image":
        half, quarter = passes[1]["image"], passes[2]["image"]
    else:
        half, quarter = finest["half"], finest["quarter"]
    source = blur[0] if gn_input == "blurred" else finest["image"]
    blurred_gradient = SobelMagnitude(gradient_channels, sobel_epsilon, dtype="float32", name="sobel")(source)
    gn = gradient_network(blocks, gn_skip, merge_kernel, gradient_channels, half.shape[-1], quarter.shape[-1])
    gradient = gn([blurred_gradient, half, quarter])

    if fusion == "full":
        up = up_block(blocks, fusion, 2 * widths[0])([gradient["features"], finest["full"]])
    else:
        up = up_block(blocks, fusion, 2 * widths[1])([gradient["half_features"], finest["decoded_half"]])
    if global_residual:
        base = finest["image"] if pyramid else blurred
        up = layers.Add(dtype="float32", name="global_residual")([up, base])
    outputs = {"deblurred": up, "gradient": gradient["image"], "scales": [passes[i]["image"] for i in range(scales)]}
    return keras.Model(blurred, outputs, name=name)


class _Blocks:
    """The paper's blocks (section 3.3.1): each a convolution or deconvolution with ReLU and a nested residual group."""

    def __init__(self, widths, res_blocks, nested_mode, deconv_kernel, init, last_activation, activation, stem_stride):
        self.widths, self.res_blocks, self.nested_mode, self.deconv_kernel = (
            tuple(widths), res_blocks, nested_mode, deconv_kernel)
        self.activation, self.stem_stride = activation, stem_stride
        self.last_activation = None if last_activation == "none" else activation
        self.last_init = "zeros" if init.endswith("zero_residual") else init
        self.init = "he_normal" if init == "he_zero_residual" else "glorot_uniform"

    def encode(self, x, width, name, strides):
        """InBlock (stride 1) and EBlock (stride 2): convolution, then residual blocks."""
        x = layers.Conv2D(width, 3, strides, padding="same", activation=self.activation, kernel_initializer=self.init,
                          name=f"{name}_conv")(x)
        return self.residuals(x, name)

    def residuals(self, x, name):
        return nested_residual_group(x, self.res_blocks, name, self.nested_mode, self.last_init, self.init,
                                     self.activation)

    def deconv(self, x, width, name, strides, last=False):
        kernel = self.deconv_kernel if strides == 2 else 3
        activation = self.last_activation if last else self.activation
        return layers.Conv2DTranspose(width, kernel, strides, padding="same", activation=activation,
                                      kernel_initializer=self.init, name=f"{name}_deconv")(x)

    def finish(self, x, name):
        """The end of OutBlock and of the up-sampling block: the features to fuse, and those an image is made from."""
        x, c1 = self.residuals(x, name), self.widths[0]
        if self.stem_stride == 1:
            x = self.deconv(x, c1, name, 1, last=True)
            return x, x
        return x, self.deconv(x, max(3, c1 // 2), name, self.stem_stride, last=True)

    def image(self, x, channels, name):
        """The final 1x1 convolution, linear; in float32 also where the network computes in bfloat16."""
        return layers.Conv2D(channels, 1, kernel_initializer=self.last_init, dtype="float32", name=name)(x)

    def join(self, x, skip, name, mode):
        """A skip connection: addition, or concatenation and a 3x3 convolution back to the width."""
        if mode == "add":
            return layers.Add(name=f"{name}_skip")([x, skip])
        joined = layers.Concatenate(name=f"{name}_skip")([x, skip])
        return self.merge(joined, x.shape[-1], f"{name}_skip_conv")

    def merge(self, joined, width, name, kernel=3):
        """A convolution that brings a concatenation to its block's width."""
        return layers.Conv2D(width, kernel, padding="same", activation=self.activation, kernel_initializer=self.init,
                             name=name)(joined)


def scale_network(blocks: _Blocks, skip: str, taps: str, global_residual: bool, pyramid: bool) -> keras.Model:
    """SN at one scale, shared by all (section 3.3.1): (h, w, 6) -> image (h, w, 3) and its feature taps."""
    c1, c2, c3 = blocks.widths
    x = keras.Input((None, None, 6))
    e0 = blocks.encode(x, c1, "inblock", blocks.stem_stride)
    e1 = blocks.encode(e0, c2, "eblock1", 2)
    e2 = blocks.encode(e1, c3, "eblock2", 2)
    t3 = blocks.residuals(e2, "dblock1")
    d1 = blocks.join(blocks.deconv(t3, c2, "dblock1", 2), e1, "dblock1", skip)
    t2 = blocks.residuals(d1, "dblock2")
    d2 = blocks.join(blocks.deconv(t2, c1, "dblock2", 2), e0, "dblock2", skip)
    t1, last = blocks.finish(d2, "outblock")
    image = blocks.image(last, 3, "outblock_image")
    if global_residual:
        base = x[..., 3:] if pyramid else x[..., :3]
        image = layers.Add(dtype="float32", name="outblock_residual")([image, base])
    half, quarter = (e1, e2) if taps == "encoder" else (t2, t3)
    return keras.Model(x, {"image": image, "full": t1, "half": half, "quarter": quarter, "decoded_half": t2}, name="sn")


def gradient_network(blocks: _Blocks, skip: str, merge_kernel: int, channels: int, half_width: int,
                     quarter_width: int) -> keras.Model:
    """GN (section 3.3.2): a U-Net from the blurred gradient map and SN's features to the sharp gradient map."""
    c1, c2, c3 = blocks.widths
    gradient = keras.Input((None, None, channels))
    half, quarter = keras.Input((None, None, half_width)), keras.Input((None, None, quarter_width))

    def merge(features, taps, width, name):
        joined = layers.Concatenate(name=f"{name}_concat")([features, taps])
        return blocks.merge(joined, width, f"{name}_merge", merge_kernel)

    g0 = blocks.encode(gradient, c1, "inblock", blocks.stem_stride)
    g1 = merge(blocks.encode(g0, c2, "eblock1", 2), half, c2, "eblock1")
    g2 = merge(blocks.encode(g1, c3, "eblock2", 2), quarter, c3, "eblock2")
    d1 = blocks.join(blocks.deconv(blocks.residuals(g2, "dblock1"), c2, "dblock1", 2), g1, "dblock1", skip)
    half_features = blocks.residuals(d1, "dblock2")
    d2 = blocks.join(blocks.deconv(half_features, c1, "dblock2", 2), g0, "dblock2", skip)
    features, last = blocks.finish(d2, "outblock")
    image = blocks.image(last, channels, "outblock_image")
    return keras.Model([gradient, half, quarter],
                       {"image": image, "features": features, "half_features": half_features}, name="gn")


def up_block(blocks: _Blocks, fusion: str, width: int) -> keras.Model:
    """Fuses gradient and scale features and makes the restored image (section 3.3.2, last sentence).

    `fusion="full"` works at full resolution with a stride-1 deconvolution; "half" merges at half resolution and
    really up-samples. With `stem_stride=2` "full" is where the InBlocks have left the resolution: merged and
    up-sampled, too.
    """
    c1, c2, _ = blocks.widths
    features = [keras.Input((None, None, width // 2)), keras.Input((None, None, width // 2))]
    x = layers.Concatenate(name="concat")(features)
    if fusion == "half":
        x = blocks.merge(x, c2, "merge")
        x = blocks.deconv(blocks.residuals(x, "upblock"), c1, "upblock", 2, last=True)
    else:
        if blocks.stem_stride == 2:
            x = blocks.merge(x, c1, "merge")
        _, x = blocks.finish(x, "upblock")
    return keras.Model(features, blocks.image(x, 3, "image"), name="upblock")
