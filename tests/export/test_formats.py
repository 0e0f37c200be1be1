"""Each paper's network in each format does what Keras does, by the examples that lie beside it.

The examples run where there is neither madn nor Keras, and the last two without TensorFlow.
"""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from narrow import narrow
from PIL import Image

from baselines.egnet.generator import build_self_ensemble

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
for package in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
    pytest.importorskip(package)
from madn.export.exporting import FORMATS, export, keras_reference

pytestmark = [pytest.mark.slow, pytest.mark.process]
# Runs one example after the other; None in sys.modules makes an import fail.
ALONE = """
import runpy, sys
forbidden, photo, *examples = sys.argv[1:]
for name in forbidden.split():
    sys.modules[name] = None
for example in examples:
    sys.argv = [example, photo, example + ".png"]
    runpy.run_path(example, run_name="__main__")
"""
RECIPES = {
    "madn": narrow("madn"),
    "sisnet": narrow("sisnet"),
    "structure_guided": narrow("structure_guided", n_mbrb=1),
    "msr2b": narrow("msr2b"),
    "egnet": narrow("egnet", parts=("backbone", "egn")),
}


def networks():
    """(name, generator, the multiple that its sizes must have); EGNet's parts by themselves, for the sake of time."""
    for name, recipe in RECIPES.items():
        yield name, recipe.build_generator(), recipe.multiple
    image = keras.Input((None, None, 3))
    restored = keras.layers.Conv2D(3, 3, padding="same")(image)
    yield "self_ensemble", build_self_ensemble(keras.Model(image, {"deblurred": restored})), 16


def moved(generator):
    """Untrained, with what starts at zero moved away from it, so that no part of the network is silent."""
    rng = np.random.default_rng(0)
    for variable in generator.trainable_variables:
        variable.assign(variable.numpy() + 0.02 * rng.standard_normal(variable.shape).astype(np.float32))
    return generator


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of photo.png and all exports, and what Keras makes of the photo with each network, as uint8."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("exports")
    photo = np.random.default_rng(1).integers(0, 256, (101, 77, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    expected = {}
    for name, generator, multiple in networks():
        export(moved(generator), folder / name, FORMATS, multiple=multiple)
        restored = keras_reference(generator, multiple)(np.float32(photo)[None] / 255)[0]
        expected[name] = np.uint8(np.round(255 * restored))
        assert (expected[name] != photo).mean() > 0.3, f"{name}: does nothing"
    return folder, expected


def test_every_format_of_every_paper_agrees_with_keras(exported):
    folder, expected = exported
    for name in expected:
        formats = json.loads((folder / name / "madn.json").read_text())["formats"]
        assert set(formats) == {"savedmodel", "onnx", "litert"}
        for each in formats.values():
            assert each["largest_difference"] < 1e-5 and each["dynamic"] == ["batch", "height", "width"]


@pytest.mark.parametrize(
    "format, forbidden",
    [
        ("savedmodel", "madn baselines keras onnxruntime ai_edge_litert"),
        ("onnx", "madn baselines keras tensorflow onnx ai_edge_litert"),
        ("litert", "madn baselines keras tensorflow onnx onnxruntime"),
    ],
)
def test_the_examples_restore_a_photo(exported, format, forbidden):
    folder, expected = exported
    examples = {name: folder / name / FORMATS[format].example for name in expected}
    subprocess.run(
        [sys.executable, "-c", ALONE, forbidden, folder / "photo.png", *examples.values()],
        check=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ""},
    )
    for name, example in examples.items():
        served = np.asarray(Image.open(f"{example}.png")).astype(int)
        assert served.shape == expected[name].shape
        differing = np.abs(served - expected[name])
        assert differing.max() <= 1, name  # a half may round either way after 1e-6
        assert (differing > 0).mean() < 1e-3, name
