"""Compares what make_reference.py wrote with TensorFlow 2.15 and tensorflow-addons, to 1e-5.

Exit code 1 if any of it differs. Runs in the environment of requirements/tf215.txt: no madn and no Keras 3 there.

Usage: python tests/interop/check_tf215.py FOLDER
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

warnings.filterwarnings("ignore", category=UserWarning)  # tensorflow-addons says at import that it has ended
import tensorflow_addons as tfa  # noqa: E402

TOLERANCE = 1e-5


def main(folder: Path) -> int:
    failed = 0

    def compare(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        nonlocal failed
        difference = np.abs(ours - theirs).max() if ours.shape == theirs.shape else np.inf
        agrees = bool(difference <= TOLERANCE)
        failed += not agrees
        print(
            f"{'agrees' if agrees else 'DIFFERS'}: {what}, values {ours.min():.2f} to {ours.max():.2f}: "
            f"at most {difference:.1e}"
        )

    print(f"TensorFlow {tf.__version__}, tensorflow-addons {tfa.__version__}")
    images = np.load(folder / "images.npz")
    serve = tf.saved_model.load(str(folder / "savedmodel")).signatures["serving_default"]
    for i in range(len(images.files) // 2):
        blurred, expected = images[f"blurred_{i}"], images[f"deblurred_{i}"]
        compare(
            f"SavedModel on {blurred.shape[1]} x {blurred.shape[2]} images",
            expected,
            serve(tf.constant(blurred))["deblurred"].numpy(),
        )

    saved = np.load(folder / "instance_normalization.npz")
    layer = tfa.layers.InstanceNormalization(epsilon=float(saved["epsilon"]))
    layer.build(saved["features"].shape)
    layer.gamma.assign(saved["gamma"])
    layer.beta.assign(saved["beta"])
    compare(
        "instance normalisation against tensorflow-addons",
        saved["normalized"],
        layer(tf.constant(saved["features"])).numpy(),
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
