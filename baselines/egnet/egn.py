"""The enhanced gradient network: attention on the image's gradient map, added to the encoder's deepest features.

Paper: Zhao, Di, Gao, "EGNet: Enhanced Gradient Network for Image Deblurring". Section 3.1, Eqs. 2-9, Figures 2-5.
Licence of this file: MIT.

    EGN(g) = conv(EGM(EGM(conv(g))))        EGM(x) = PA(RSA(RCA(x)))
    RCA(x) = x + t * CA(t)                  t = C2(R(C1(x)))                                      Eqs. 2, 3
    RSA(x) = x + t * sigmoid(C(mean_c t, max_c t))                                                Eq. 4
    PA(x)  = x + L4(softmax(q k^T) v)       q, k, v = L1(C(x)), L2(C(x)), L3(C(x))                Eqs. 5-9

Where the paper leaves a choice open or contradicts itself, the default and its reason:
- "between the encoder and decoder" names no level: the deepest only (quarter size of a patch), because attention at
  full size would need 5e10 scores a patch, and the paper's run time grows by 6 % only.
- "several EGMs", kernels and widths C1, C2: two EGMs, 1x1 and 24 channels, fitted to the paper's 26.60 million
  parameters (26.56, with the self-ensemble network 26.61). Other lay-outs fit as well.
- the gradient map comes in at quarter size by space-to-depth, 48 channels, so that nothing of it is lost.
- Eq. 3 has no sigmoid; channel attention of its source [24] and Eq. 4 have one. Eq. 9 has no "+ x"; RCA and RSA do,
  and without it the features would be replaced by averages of themselves.
- RCA, RSA and PA follow each other; PA has no convolutions but its "third", as two more do not fit the count.
- "R represents the activation layer": a PReLU with one slope for each EGN; ReLU inside channel attention.
- the last convolution starts at zero, so that training starts at exactly the network without EGN.
- the scores q k^T and their softmax are computed in float32, for there is no 1 / sqrt(d) and they may be large.
"""

import keras
from keras import layers, ops

from baselines.egnet.gradient_map import Norm, gradient_map
from baselines.egnet.mprnet import ScalarPReLU, channel_attention, conv
from baselines.egnet.position_attention import PositionAttention

DOWN = 4  # The encoder's deepest level has a patch's height and width divided by this.


@keras.saving.register_keras_serializable("madn")
class GradientMap(layers.Layer):
    """`gradient_map` (Eq. 15) as a layer, of whole images, for min and max are taken over the image."""

    def __init__(self, norm: Norm = "absmax", **kwargs):
        super().__init__(**kwargs)
        self.norm = norm

    def call(self, images):
        return gradient_map(images, self.norm)

    def get_config(self):
        return {**super().get_config(), "norm": self.norm}

    @classmethod
    def from_config(cls, config):
        """Networks that were stored before there was a choice normalise by minimum and maximum."""
        return super().from_config({"norm": "minmax", **config})


@keras.saving.register_keras_serializable("madn")
class RandomInput(layers.Layer):
    """Table 3's other inputs: a learned vector from N(mean, std), the same everywhere, in place of the map given."""

    def __init__(self, mean: float, std: float, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.std = mean, std

    def build(self, shape):
        self.vector = self.add_weight(
            name="vector", shape=(1, 1, 1, shape[-1]), initializer=keras.initializers.RandomNormal(self.mean, self.std)
        )

    def call(self, x):
        return ops.zeros_like(x) + ops.cast(self.vector, x.dtype)


def enhanced_gradient_network(
    width: int,
    name: str,
    egms: int = 2,
    pa_dim: int = 24,
    attention: bool = True,
    random: tuple | None = None,
    pa_mode: str = "auto",
    pa_window: tuple[int, int] = (32, 32),
) -> keras.Model:
    """EGN: gradient maps of patches (batch, h, w, 3) -> what enhances the encoder's features (batch, h/4, w/4, width).

    `attention=False`: the EGMs are plain convolutions, as many (section 4.4.2). `random`: (mean, std) of the learned
    input in place of the map (Table 3).
    """
    gradient = keras.Input((None, None, 3))
    prelu = ScalarPReLU(name=f"{name}_prelu")
    x = ops.space_to_depth(gradient, DOWN)
    if random:
        x = RandomInput(*random, name=f"{name}_random")(x)
    x = conv(width, 3, f"{name}_head")(x)
    for i in range(1, egms + 1):
        egm = f"{name}_egm{i}"
        if attention:
            x = residual_channel_attention(x, prelu, f"{egm}_rca")
            x = residual_spatial_attention(x, prelu, f"{egm}_rsa")
            x = position_attention(x, pa_dim, PositionAttention(pa_mode, pa_window), f"{egm}_pa")
        else:
            for block in ("rca", "rsa"):
                for c in ("c1", "c2"):
                    x = prelu(conv(width, 3, f"{egm}_{block}_{c}")(x))
            x = conv(width, 1, f"{egm}_pa_c3")(x)
    return keras.Model(gradient, conv(width, 3, f"{name}_tail", kernel_initializer="zeros")(x), name=name)


def residual_channel_attention(x, prelu, name: str):
    """RCA, Eqs. 2 and 3."""
    width = x.shape[-1]
    t = conv(width, 3, f"{name}_c2")(prelu(conv(width, 3, f"{name}_c1")(x)))
    return layers.Add()([x, channel_attention(t, name)])


def residual_spatial_attention(x, prelu, name: str):
    """RSA, Eq. 4; the convolution of the mean and the maximum is 7x7, as its source [24] has it."""
    width = x.shape[-1]
    t = conv(width, 3, f"{name}_c2")(prelu(conv(width, 3, f"{name}_c1")(x)))
    pooled = ops.concatenate([ops.mean(t, axis=-1, keepdims=True), ops.max(t, axis=-1, keepdims=True)], axis=-1)
    weights = conv(1, 7, f"{name}_c3", activation="sigmoid")(pooled)
    return layers.Add()([x, layers.Multiply()([t, weights])])


def position_attention(x, depth: int, attention: PositionAttention, name: str):
    """PA, Eqs. 5-9; the linear layers L1 to L4 are 1x1 convolutions of the map."""
    t = conv(x.shape[-1], 1, f"{name}_c3")(x)
    q, k, v = (conv(depth, 1, f"{name}_l{i}")(t) for i in (1, 2, 3))
    return layers.Add()([x, conv(x.shape[-1], 1, f"{name}_l4")(attention([q, k, v]))])
