"""The perceptual loss that three of the papers use: squared differences of VGG features (Johnson et al. 2016).

The papers' weights for it assume features of the magnitude that the VGG of their framework had, and files of weights
differ in it: by a factor of ten in the squared difference between torchvision's training, Keras' own (the original
Caffe weights) and files whose channels were normalised. So the loss has a gain: the squared difference
is measured on one fixed pair (a photograph that scikit-image brings, and its Gaussian blur), and scaled to the
`reference` value that the recipe presumes.
"""

import functools
import hashlib
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from madn.errors import UserError
from madn.system import hdf5

# preprocess_input of keras.applications subtracts this from BGR values in [0, 255].
CAFFE_MEAN = (103.939, 116.779, 123.68)


class PerceptualLoss:
    """Mean squared difference of one VGG layer's features, in float32 whatever the precision of the networks.

    Args:
        network: "vgg16" or "vgg19".
        layer: the layer's name in keras.applications, such as block3_conv3 (relu3_3).
        weights: a file in keras.applications' format (behind its own `preprocess_input`); None: its download.
        activated: whether features are taken after the layer's ReLU, or before it.
        reference: the squared difference of the fixed pair is scaled to this; None: it stays as it is.
        gain: the factor itself, instead of `reference`.
    Attributes: `magnitude`, the squared difference measured on the fixed pair before the gain; `gain`.
    Raises `UserError` where the weights cannot be downloaded or read, or lack the layer.
    """

    def __init__(
        self,
        network: str,
        layer: str,
        weights: str | None = None,
        activated: bool = True,
        reference: float | None = None,
        gain: float | None = None,
    ):
        self.network, self.layer, self.weights = network, layer, weights
        self.extractor = _extractor(network, layer, weights, activated)
        sharp, blurred = fixed_pair()
        self.gain = 1.0
        self.magnitude = float(self.distance(blurred, sharp))
        if gain is not None:
            self.gain = gain
        elif reference is not None:
            self.gain = reference / self.magnitude

    @property
    def variables(self) -> list[keras.Variable]:
        """The network's weights, which no step changes."""
        return self.extractor.variables

    def features(self, images):
        """(n, h, w, 3) RGB in [0, 1] -> float32 features (n, h / k, w / k, channels)."""
        images = ops.cast(images, "float32")
        mean = ops.convert_to_tensor(CAFFE_MEAN, images.dtype)
        return self.extractor(255 * ops.flip(images, axis=-1) - mean, training=False)

    def distance(self, images, sharp):
        """`gain` times the mean squared difference of two batches' features, a float32 scalar; images are (n, h, w, 3).

        No gradient reaches `sharp`.
        """
        return self.gain * ops.mean(ops.square(self.features(images) - ops.stop_gradient(self.features(sharp))))

    def facts(self) -> dict:
        """What the settings of a run record of the loss, as plain JSON values."""
        source = "keras.applications' download"
        if self.weights:
            source = f"{Path(self.weights).name}, sha256 {hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()}"
        return {
            "network": self.network,
            "layer": self.layer,
            "weights": source,
            "magnitude": self.magnitude,
            "gain": self.gain,
        }


@functools.lru_cache
def fixed_pair() -> tuple[np.ndarray, np.ndarray]:
    """(sharp, blurred), float32 (1, 256, 256, 3) in [0, 1]: the fixed pair that features are measured on."""
    import cv2
    from skimage.data import astronaut

    sharp = astronaut()[:256, 128:384].astype("float32") / 255
    return sharp[None], cv2.GaussianBlur(sharp, (0, 0), 2)[None]


@functools.lru_cache(maxsize=4)
def _extractor(network: str, layer: str, weights: str | None, activated: bool) -> keras.Model:
    """A network from preprocessed images to the layer's features, with frozen float32 weights."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        whole = _network(network, weights)
        last = whole.get_layer(layer)
        if not np.any(last.get_weights()[0]):
            raise UserError(
                f"{weights}: holds no weights for {layer} of {network.upper()}; give a whole file to --vgg-weights"
            )
        features = last.output
        if not activated:
            linear = keras.layers.Conv2D.from_config(
                {**last.get_config(), "activation": None, "name": f"{layer}_linear"}
            )
            features = linear(last.input)
            linear.set_weights(last.get_weights())
        extractor = keras.Model(whole.input, features)
    finally:
        keras.config.set_dtype_policy(policy)
    extractor.trainable = False
    return extractor


def _network(network: str, weights: str | None) -> keras.Model:
    build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[network]
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"{weights}: no such file; --vgg-weights takes {network.upper()} weights of keras.applications")
    try:
        if weights is None:
            return build(include_top=False, weights="imagenet")
        with tempfile.TemporaryDirectory() as folder:  # Keras takes a path, and its name's end says the format.
            clean = Path(folder, "vgg.weights.h5" if str(weights).endswith(".weights.h5") else "vgg.h5")
            clean.write_bytes(hdf5.whole(weights).getbuffer())
            return build(include_top=False, weights=str(clean))
    except UserError:
        raise
    except Exception as problem:  # Keras raises a bare Exception where a download fails.
        reason = " ".join(str(problem).split())[:160]
        if weights is None:
            raise UserError(
                f"the perceptual loss needs {network.upper()} weights, which could not be downloaded "
                f"({reason}); give a file of keras.applications' weights with --vgg-weights"
            ) from None
        raise UserError(
            f"{weights}: not {network.upper()} weights, without the top, in keras.applications' format ({reason})"
        ) from None
