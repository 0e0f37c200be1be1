"""A SavedModel of each paper's generator does what Keras does, at an odd size, where there is no madn and no Keras."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from narrow import narrow

from madn.inference import Inference

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
from madn.imaging.restore import restore
from madn.imaging.serving import export_savedmodel

# What somebody who has TensorFlow alone would run; None in sys.modules makes an import fail.
ALONE = """
import sys
sys.modules["madn"] = sys.modules["baselines"] = sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
blurred = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    np.save(folder + ".npy", signature(tf.constant(blurred[None]))["deblurred"].numpy()[0])
"""
NETWORKS = {**{name: narrow(name) for name in ("madn", "sisnet", "structure_guided", "msr2b")},
            "egnet": narrow("egnet", parts=("backbone", "egn", "sen"))}


def moved(generator):
    """Untrained, with what starts at zero moved away from it, so that no part of the network is silent."""
    rng = np.random.default_rng(0)
    for variable in generator.trainable_variables:
        variable.assign(variable.numpy() + 0.02 * rng.standard_normal(variable.shape).astype(np.float32))
    return generator


def test_exports_agree_with_keras_without_madn(tmp_path):
    blurred = np.random.default_rng(1).random((101, 77, 3), dtype=np.float32)
    np.save(tmp_path / "blurred.npy", blurred)
    expected = {}
    for name, recipe in NETWORKS.items():
        keras.utils.set_random_seed(0)
        generator = moved(recipe.build_generator())
        folder = tmp_path / name
        export_savedmodel(generator, folder, multiple=recipe.multiple)
        expected[folder] = restore(Inference(generator), blurred, recipe.multiple)
    subprocess.run([sys.executable, "-c", ALONE, tmp_path / "blurred.npy", *expected], check=True, timeout=300,
                   cwd=tmp_path, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""})
    for folder, restored in expected.items():
        served = np.load(f"{folder}.npy")
        assert served.shape == restored.shape == blurred.shape
        assert np.abs(served - restored).max() < 1e-4, folder.name
        assert np.abs(restored - blurred).max() > 1e-3, f"{folder.name}: does nothing"
