"""MADN's generator: scale-recurrent network (SN), gradient network (GN) and the fusing up-sampling block.

Paper: Zhu, Xu, Choi, Su, "Multi-scale Generative Adversarial Deblurring Network with Gradient Guidance",
Journal of Internet Technology 24(2), 2023, 243-255. Section 3.3, Figures 2-4. Licence of this file: MIT.

    blur_1 = X_b,  blur_2, blur_3 = bicubic 1/2, 1/4
    I_3, _ = SN(blur_3, blur_3);  I_2, _ = SN(blur_2, up(I_3));  I_1, T = SN(blur_1, up(I_2))
    X_g, grad_f = GN(M(blur_1), T2, T3)          M: Sobel magnitude;  T1, T2, T3: SN features, full to quarter size
    X_b^ = UpBlock(grad_f, T1)

SN is "the scale-recurrent network" of the paper's reference [21] (Tao et al., CVPR 2018), made wider, and contains it:
see `madn.models.madn.srn`. I_1, SN's own output, is called a "sharp latent image" (section 3.3.1), but the loss's
alpha = 0.01 hardly teaches it: in the runs recorded in notebooks/records it is further from the sharp image than the
blurred one. In a network trained so it is hidden state; `--alpha 1` teaches it, and `madn-stop-gradient` keeps the
finer scales from using it for anything else.

Where the paper leaves a choice open or contradicts itself, what is built and why:
- widths are not stated: 64/128/256 is what gives "more than 29 million" parameters (29,071,817). Four residual blocks
  a group are Figure 4's.
- skips are additions, in SN ("combined") as the scale-recurrent lineage has them. GN is "based on the U-Net structure
  [39]", which concatenates, but "the basic module composition in GN remains the same as in SN", and what is said to be
  added to it is "a concat layer [...] after each EBlock" alone; no convolution that would reduce a concatenated skip is
  named. The count does not decide: with concatenations and a 3x3 convolution GN would bring G to 29,440,649 parameters,
  and both networks to 29,809,481, which are "more than 29 million" as well.
- "corresponding scale features" for GN: decoder features of the finest SN pass at the matching resolution. Encoder
  features would have the same count. "I_i denotes the scale features" may mean the features or the images of the scales
  themselves: the recipes `madn-by-scale` (28,555,721 parameters) and `madn-image` (28,344,905), neither of which has
  the printed "more than 29 million". Trained for 89 steps on SRN's frozen weights, the three restore alike (held-out
  crops 30.39 dB each), and the decoder's predict the sharp gradient map a little better: L_GB 0.150 in the last 29
  steps, by_scale 0.160, image 0.161 (one run each: `python -m madn.train --recipe madn-srn --weights srn.weights.h5
  --gradient-network image --gn-share 0.99 --steps 90 --crop-tries 2 --data GOPRO REDS --validation
  GOPR0374_11_00,020,GOPR0477_11_00`).
- a 3x3 convolution brings each concatenation in GN back to the block's width; without one G would have 42 million
  parameters, with a 1x1 convolution 27.8 million.
- "up-sampling block": fusion at full resolution and a stride-1 deconvolution, as in OutBlock. Fusion at half the
  resolution and a stride-2 deconvolution would have 29,366,857 parameters.
- GN's input is the gradient map of the blurred image, of each colour by itself; of the luma it would have 29,070,535.
- deconvolutions have kernels of 3, as all convolutions; the scale-recurrent lineage has 4 (29,645,257 parameters).
- OutBlock's deconvolution has stride 1: two EBlocks are undone by two DBlocks.
- the 1x1 output convolutions are linear although "all layers are ReLU".
- the coarsest scale's second input, which shared weights need, is the blurred image itself.
- gradients flow across the scales: the paper clips because "SN involves recurrent connections". The scale-recurrent
  lineage's code stops them: `madn-stop-gradient`.
- the nested residual links (Eq. 9) are algebraically a chain of residual blocks, and built as the chain. With R read
  as the whole residual block the signal doubles at every block.
"""

import keras
from keras import layers

from madn.nn.layers import RequireMultiple, Resize, SobelMagnitude, StopGradient, nested_residual_group


def build_generator(
    widths: tuple[int, int, int] = (64, 128, 256),
    res_blocks: int = 4,
    scales: int = 3,
    kernels: tuple[int, int] = (3, 3),
    gradient_network: str = "decoder",
    stop_gradient_across_scales: bool = False,
    residual: str = "none",
    resize: str = "bicubic",
) -> keras.Model:
    """The generator G as a functional model (section 3.3, Figure 2).

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1]; height and width multiples of
    4 * 2**(scales - 1), 16 by default (`ValueError` otherwise). Returns a dictionary, nothing clipped: `deblurred`
    (batch, height, width, 3), `gradient` (batch, height, width, 3), the sharp image's gradient map, and `scales`, the
    list [I_1, I_2, ...] of SN's outputs from full resolution down.

    Args:
        widths: channels at full, half and quarter resolution.
        res_blocks: residual blocks in a group.
        scales: passes of SN, at full, half, ... resolution.
        kernels: of SN's convolutions (those of GN and of the up-sampling block have 3), and of the deconvolutions that
            double the resolution.
        gradient_network: the SN features that GN takes: "decoder", of the finest pass; "by_scale", those that passes 2
            and 3 make their images from; "image", the images I_2 and I_3. "none": there is no GN and no up-sampling
            block, `deblurred` is I_1, and `gradient` is left out.
        stop_gradient_across_scales: keep a scale's gradient from reaching the coarser one.
        residual: what the restored image is added to. "none"; "blurred": the blurred image, at every scale; "scale":
            I_1, for `deblurred` alone. Residual branches and output convolutions then start at zero, so that the
            network starts as the image that it adds to; without one they start Glorot-uniform.
        resize: between the scales. "bicubic", antialiased (section 4.1), or "tf1": TensorFlow 1's bilinear one without
            half-pixel centres, which the released scale-recurrent network was trained with.
    """
    if gradient_network in ("by_scale", "image") and scales != 3:
        raise ValueError(
            f"gradient_network={gradient_network!r} takes SN's passes 2 and 3, so scales must be 3; received {scales}"
        )
    blocks = _Blocks(widths, res_blocks, kernels[1], zero=residual != "none")
    blurred = keras.Input((None, None, 3), name="blurred")
    # Images and gradient maps stay float32 under mixed precision: bfloat16 keeps 8 bits, too few for small differences.
    blur = [RequireMultiple(4 * 2 ** (scales - 1), dtype="float32", name="blur_1")(blurred)]
    blur += [Resize(0.5**i, resize, dtype="float32", name=f"blur_{i + 1}")(blur[0]) for i in range(1, scales)]

    sn = scale_network(blocks, kernels[0], add_blurred=residual == "blurred")
    passes: dict[int, dict] = {}
    for i in reversed(range(scales)):
        second = blur[i]
        if i < scales - 1:
            second = passes[i + 1]["image"]
            if stop_gradient_across_scales:
                second = StopGradient(name=f"stop_{i + 2}")(second)
            second = Resize(2, resize, dtype="float32", name=f"up_{i + 2}")(second)
        passes[i] = sn(layers.Concatenate(dtype="float32", name=f"sn_input_{i + 1}")([blur[i], second]))
    finest, images = passes[0], [passes[i]["image"] for i in range(scales)]
    if gradient_network == "none":
        return keras.Model(blurred, {"deblurred": images[0], "scales": images}, name="madn_generator")

    half, quarter = {
        "decoder": lambda: (finest["half"], finest["quarter"]),
        "by_scale": lambda: (passes[1]["full"], passes[2]["full"]),
        "image": lambda: (images[1], images[2]),
    }[gradient_network]()
    gradient = gn(blocks, half.shape[-1], quarter.shape[-1])(
        [SobelMagnitude(dtype="float32", name="sobel")(blur[0]), half, quarter]
    )
    restored = up_block(blocks)([gradient["features"], finest["full"]])
    if residual != "none":
        base = blurred if residual == "blurred" else images[0]
        restored = layers.Add(dtype="float32", name="global_residual")([restored, base])
    return keras.Model(
        blurred, {"deblurred": restored, "gradient": gradient["image"], "scales": images}, name="madn_generator"
    )


class _Blocks:
    """The paper's blocks (section 3.3.1): each a convolution or deconvolution with ReLU and a nested residual group."""

    def __init__(self, widths, res_blocks, deconv_kernel, zero):
        self.widths, self.res_blocks, self.deconv_kernel = tuple(widths), res_blocks, deconv_kernel
        self.last_init = "zeros" if zero else "glorot_uniform"

    def encode(self, x, width, name, strides, kernel):
        """InBlock (stride 1) and EBlock (stride 2): convolution, then residual blocks."""
        x = layers.Conv2D(width, kernel, strides, padding="same", activation="relu", name=f"{name}_conv")(x)
        return self.residuals(x, name, kernel)

    def residuals(self, x, name, kernel):
        return nested_residual_group(x, self.res_blocks, name, kernel, self.last_init)

    def enlarge(self, x, width, name):
        """A DBlock's deconvolution, which doubles the resolution."""
        return layers.Conv2DTranspose(
            width, self.deconv_kernel, 2, padding="same", activation="relu", name=f"{name}_deconv"
        )(x)

    def finish(self, x, name, kernel):
        """The end of OutBlock and of the up-sampling block: residual blocks and a stride-1 deconvolution."""
        return layers.Conv2DTranspose(
            self.widths[0], kernel, 1, padding="same", activation="relu", name=f"{name}_deconv"
        )(self.residuals(x, name, kernel))

    def image(self, x, name):
        """The final 1x1 convolution, linear; in float32 also where the network computes in bfloat16."""
        return layers.Conv2D(3, 1, kernel_initializer=self.last_init, dtype="float32", name=name)(x)


def scale_network(blocks: _Blocks, kernel: int, add_blurred: bool) -> keras.Model:
    """SN at one scale, shared by all (section 3.3.1): (h, w, 6) -> image (h, w, 3) and its features."""
    c1, c2, c3 = blocks.widths
    x = keras.Input((None, None, 6))
    e0 = blocks.encode(x, c1, "inblock", 1, kernel)
    e1 = blocks.encode(e0, c2, "eblock1", 2, kernel)
    e2 = blocks.encode(e1, c3, "eblock2", 2, kernel)
    t3 = blocks.residuals(e2, "dblock1", kernel)
    d1 = layers.Add(name="dblock1_skip")([blocks.enlarge(t3, c2, "dblock1"), e1])
    t2 = blocks.residuals(d1, "dblock2", kernel)
    d2 = layers.Add(name="dblock2_skip")([blocks.enlarge(t2, c1, "dblock2"), e0])
    t1 = blocks.finish(d2, "outblock", kernel)
    image = blocks.image(t1, "outblock_image")
    if add_blurred:
        image = layers.Add(dtype="float32", name="outblock_residual")([image, x[..., :3]])
    return keras.Model(x, {"image": image, "full": t1, "half": t2, "quarter": t3}, name="sn")


def gn(blocks: _Blocks, half_width: int, quarter_width: int) -> keras.Model:
    """GN (section 3.3.2): a U-Net from the blurred gradient map and SN's features to the sharp gradient map."""
    c1, c2, c3 = blocks.widths
    gradient = keras.Input((None, None, 3))
    half, quarter = keras.Input((None, None, half_width)), keras.Input((None, None, quarter_width))

    def merge(features, scale_features, width, name):
        joined = layers.Concatenate(name=f"{name}_concat")([features, scale_features])
        return layers.Conv2D(width, 3, padding="same", activation="relu", name=f"{name}_merge")(joined)

    g0 = blocks.encode(gradient, c1, "inblock", 1, 3)
    g1 = merge(blocks.encode(g0, c2, "eblock1", 2, 3), half, c2, "eblock1")
    g2 = merge(blocks.encode(g1, c3, "eblock2", 2, 3), quarter, c3, "eblock2")
    d1 = layers.Add(name="dblock1_skip")([blocks.enlarge(blocks.residuals(g2, "dblock1", 3), c2, "dblock1"), g1])
    d2 = layers.Add(name="dblock2_skip")([blocks.enlarge(blocks.residuals(d1, "dblock2", 3), c1, "dblock2"), g0])
    features = blocks.finish(d2, "outblock", 3)
    return keras.Model(
        [gradient, half, quarter], {"image": blocks.image(features, "outblock_image"), "features": features}, name="gn"
    )


def up_block(blocks: _Blocks) -> keras.Model:
    """Fuses gradient and scale features and makes the restored image (section 3.3.2, last sentence)."""
    features = [keras.Input((None, None, blocks.widths[0])), keras.Input((None, None, blocks.widths[0]))]
    x = blocks.finish(layers.Concatenate(name="concat")(features), "upblock", 3)
    return keras.Model(features, blocks.image(x, "image"), name="upblock")
