"""EGNet: MPRNet with enhanced gradient networks (EGN), and the self-ensemble network (SEN) over three of its results.

Paper: Zhao, Di, Gao, "EGNet: Enhanced Gradient Network for Image Deblurring". Section 3, Figures 1 and 6, Eqs. 10-12.
Licence of this file: MIT.

    f(X):   stage 1 on four patches, stage 2 on two, stage 3 on the whole image; each has an image as output
            in stages 1 and 2, on every patch:  enc3 <- enc3 + EGN(gradient map of the patch)
    SEN(X): I_1 = up(f(down X)),  I_2 = f(X),  I_3 = f on the four quarters of X
            sum_i z_i I_i,  z = softmax(C5(R(C4(R(C3(sum_i I_i + C2(R(C1(I_i)))))))))            Eqs. 10-12

Choices where the paper says nothing or contradicts itself (see also egn.py):
- the enhanced features are those of each patch, before the patches are joined, and replace the encoder's for all that
  takes them: decoder, the next stage, ORSNet. Attention over joined patches would need 13 GB at 1280x720.
- a gradient map is computed of the whole image and then cut as the image is.
- SEN's branches share no weights; its resizers are the 2x2 mean and bilinear; f's results are clipped to [0, 1] there.
- random inputs that are multiplied (Table 3, "mul") enter as enc3 * (1 + EGN), again the identity at first.
- f's outputs are not clipped.
"""

import keras
from keras import layers

from baselines.egnet.egn import GradientMap, enhanced_gradient_network
from baselines.egnet.gradient_map import Norm
from baselines.egnet.mprnet import (
    MergePatches,
    ScalarPReLU,
    SplitPatches,
    conv,
    decoder,
    encoder,
    orsnet,
    shallow_features,
    supervised_attention,
)
from baselines.layers import ClipImages
from madn.nn.layers import RequireMultiple, Resize

SEN_WIDTH = 64
RANDOM = {"random_add": (0.0, 0.02), "random_add_wide": (0.0, 0.2), "random_mul": (1.0, 0.02)}
"""Mean and standard deviation of Table 3's random inputs."""


@keras.saving.register_keras_serializable("madn")
class EGNet(keras.Model):
    """A functional model that a .keras file keeps as the settings which it was built with.

    Keras does not read back a graph whose nested models share a layer, as all of these share one PReLU.
    """

    def __init__(self, inputs, outputs, name: str, settings: dict):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.settings = settings

    def get_config(self):
        return dict(self.settings)

    @classmethod
    def from_config(cls, config):
        settings = dict(config)
        if "egnet" in settings:
            return build_self_ensemble(build_egnet(**settings.pop("egnet")), **settings)
        return build_egnet(**settings)


def build_egnet(
    n_feat: int = 96,
    scale_unetfeats: int = 48,
    scale_orsnetfeats: int = 32,
    num_cab: int = 8,
    egn: bool = True,
    egn_input: str = "gradient",
    egn_attention: bool = True,
    gradient_norm: Norm = "absmax",
    egm_per_stage: int = 2,
    pa_dim: int = 24,
    pa_mode: str = "auto",
    pa_window: int = 32,
    zero_outputs: bool = False,
    name: str = "egnet",
) -> keras.Model:
    """f as a functional model; with `egn=False` it is MPRNet.

    Takes a blurred image (batch, height, width, 3), float32 RGB in [0, 1], sizes multiples of 8 (`ValueError`
    otherwise). Returns a dictionary, nothing clipped: `deblurred`, the image of stage 3, and `stages`, the list of the
    images of stages 3, 2 and 1. `egn_input`: "gradient", or a name of `RANDOM`. `gradient_norm`: see `gradient_map`.
    `pa_window`: rows of a window; in stage 2, whose patches are twice as wide, windows are too.
    `zero_outputs` starts the convolutions before the three outputs at zero: every stage's image is the blurred one.
    """
    settings = dict(locals())
    widths = [n_feat + level * scale_unetfeats for level in range(3)]
    prelu = ScalarPReLU(name="prelu")
    output_options = {"kernel_initializer": "zeros"} if zero_outputs else {}
    blurred = keras.Input((None, None, 3), name="blurred")
    # Images stay float32 under mixed precision: bfloat16 keeps 8 bits, too few for small differences.
    image = RequireMultiple(8, dtype="float32", name="image")(blurred)
    halves = SplitPatches(2, 1, dtype="float32", name="halves")(image)
    quarters = SplitPatches(2, 2, dtype="float32", name="quarters")(image)

    if egn and egn_input == "gradient":
        gradient = GradientMap(gradient_norm, dtype="float32", name="gradient_map")(image)

    def enhance(encoded, stage, rows, columns):
        """EGN between encoder and decoder: the deepest map of each patch, enhanced; the others as they are."""
        if not egn:
            return encoded
        network = enhanced_gradient_network(
            widths[2],
            f"egn{stage}",
            egm_per_stage,
            pa_dim,
            egn_attention,
            RANDOM.get(egn_input),
            pa_mode,
            (pa_window, pa_window * stage),
        )
        if egn_input == "gradient":
            source = SplitPatches(rows, columns, dtype="float32", name=f"gradient_patches{stage}")(gradient)
        else:
            source = quarters if stage == 1 else halves
        enhancement = network(source)
        if egn_input == "random_mul":
            enhancement = layers.Multiply(name=f"egn{stage}_multiply")([encoded[2], enhancement])
        return [*encoded[:2], layers.Add(name=f"egn{stage}_add")([encoded[2], enhancement])]

    def merge(maps, stage, rows, columns):
        return [MergePatches(rows, columns, name=f"stage{stage}_merge{level}")(x) for level, x in enumerate(maps, 1)]

    encoded = encoder(widths, prelu, "stage1_encoder")(shallow_features(n_feat, prelu, "shallow_feat1")(quarters))
    encoded1 = merge(enhance(encoded, 1, 2, 2), 1, 1, 2)
    decoded1 = decoder(widths, prelu, "stage1_decoder")(encoded1)
    attended, restored = supervised_attention(n_feat, "sam12", output_options)([decoded1[0], halves])
    stage1 = MergePatches(2, 1, dtype="float32", name="stage1")(restored)

    x = shallow_features(n_feat, prelu, "shallow_feat2")(halves)
    x = conv(n_feat, 3, "concat12")(layers.Concatenate(name="stage2_input")([x, attended]))
    encoded = encoder(widths, prelu, "stage2_encoder", fuse=True)([x, *encoded1, *decoded1])
    encoded2 = merge(enhance(encoded, 2, 2, 1), 2, 2, 1)
    decoded2 = decoder(widths, prelu, "stage2_decoder")(encoded2)
    attended, stage2 = supervised_attention(n_feat, "sam23", output_options)([decoded2[0], image])

    x = shallow_features(n_feat, prelu, "shallow_feat3")(image)
    x = conv(n_feat + scale_orsnetfeats, 3, "concat23")(layers.Concatenate(name="stage3_input")([x, attended]))
    x = orsnet(widths, n_feat + scale_orsnetfeats, num_cab, prelu, "stage3_orsnet")([x, *encoded2, *decoded2])
    residual = conv(3, 3, "tail", dtype="float32", **output_options)(x)
    stage3 = layers.Add(dtype="float32", name="stage3")([residual, image])
    return EGNet(blurred, {"deblurred": stage3, "stages": [stage3, stage2, stage1]}, name, settings)


def build_self_ensemble(egnet: keras.Model, mode: str = "network") -> keras.Model:
    """`egnet` with its results on the half-size image and on the quarters joined to the one on the whole (section 3.2).

    Takes what `egnet` takes, in sizes of multiples of 16, and has its layers. Returns `deblurred`, in [0, 1], and
    `stages`, what the objective judges. `mode="network"`: SEN, layer `sen`; stages [deblurred]. `mode="average"`: the
    plain average that the paper compares with, in inference alone; in training the networks see the whole image only,
    and the stages are those of `egnet`.
    """
    settings = {"egnet": getattr(egnet, "settings", {}), "mode": mode}
    image = RequireMultiple(16, dtype="float32", name="ensemble_image")(egnet.input)
    half = egnet(layers.AveragePooling2D(2, dtype="float32", name="half_image")(image))
    quarters = egnet(SplitPatches(2, 2, dtype="float32", name="quarter_images")(image))
    results = [
        Resize(2, "bilinear", antialias=False, dtype="float32", name="half_restored")(_clipped(half, "half")),
        _clipped(egnet.output, "whole"),
        MergePatches(2, 2, dtype="float32", name="quarters_restored")(_clipped(quarters, "quarters")),
    ]
    if mode == "average":
        whole = _clipped(egnet.output, "untrained")
        deblurred = InferenceAverage(dtype="float32", name="average")([whole, *results])
        return EGNet(egnet.input, {**egnet.output, "deblurred": deblurred}, "egnet_average", settings)
    deblurred = self_ensemble_network(len(results))(results)
    return EGNet(egnet.input, {"deblurred": deblurred, "stages": [deblurred]}, "egnet_self_ensemble", settings)


def _clipped(outputs, branch: str):
    return ClipImages("always", dtype="float32", name=f"{branch}_clipped")(outputs["deblurred"])


@keras.saving.register_keras_serializable("madn")
class InferenceAverage(layers.Layer):
    """[image, I_1, ..., I_n] -> the mean of I_1, ..., I_n; in training the image, so that the others cost nothing."""

    def call(self, inputs, training=False):
        image, *images = inputs
        return image if training else sum(images) / len(images)


def self_ensemble_network(branches: int) -> keras.Model:
    """Eqs. 10-12: images [I_1, ...] -> their weighted sum, the weights of a pixel adding up to 1; in float32."""

    def layer(width, name, activation=None):
        return layers.Conv2D(width, 3, padding="same", activation=activation, dtype="float32", name=f"sen_{name}")

    images = [keras.Input((None, None, 3)) for _ in range(branches)]
    maps = [
        layers.Add(dtype="float32")([image, layer(3, f"c2_{i}")(layer(SEN_WIDTH, f"c1_{i}", "relu")(image))])
        for i, image in enumerate(images, start=1)
    ]
    x = layers.Add(dtype="float32")(maps)
    x = layer(SEN_WIDTH, "c4", "relu")(layer(SEN_WIDTH, "c3", "relu")(x))
    weights = layers.Softmax(dtype="float32", name="sen_weights")(layer(branches, "c5")(x))
    restored = sum(weights[..., i : i + 1] * image for i, image in enumerate(images))
    return keras.Model(images, restored, name="sen")
