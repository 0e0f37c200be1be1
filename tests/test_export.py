"""The export door: what it writes, what it says, and what it refuses in one line."""

import dataclasses
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from madn import export, recipes
from madn.errors import UserError, run_door
from madn.loading import load_network
from madn.training.checkpoint import save_generator

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf


@pytest.fixture(scope="module")
def recipe():
    return dataclasses.replace(recipes.get("madn-sample"), widths=(4, 8, 16), res_blocks=1)


@pytest.fixture(scope="module")
def weights(recipe, tmp_path_factory) -> str:
    """A weights file as training writes it."""
    keras.utils.set_random_seed(0)
    file = tmp_path_factory.mktemp("run") / "tiny.weights.h5"
    save_generator(recipe.build_generator(), file, "madn-sample", recipe.fields(), step=7)
    return str(file)


def test_writes_a_checked_savedmodel_and_says_what_it_is(weights, recipe, tmp_path, capsys):
    out = tmp_path / "out"
    export.main([weights, str(out)])
    said = capsys.readouterr().out
    assert f"wrote {out}" in said and "recipe madn-sample, step 7" in said
    assert "away from Keras over 3 image sizes" in said
    images = np.random.default_rng(0).random((1, 37, 53, 3), dtype=np.float32)
    np.testing.assert_allclose(restore(load_network(out), images), restore(load_network(weights), images), atol=1e-4)
    about = json.loads((out / "madn.json").read_text())
    assert about["recipe"] == "madn-sample" and about["fields"] == recipe.fields()
    assert about["versions"]["tensorflow"] == tf.__version__ and about["versions"]["keras"] == keras.__version__


def restore(loaded, images):
    padded = np.pad(images, [(0, 0), (0, -images.shape[1] % 16), (0, -images.shape[2] % 16), (0, 0)], mode="reflect")
    return np.clip(loaded.network(padded)[:, : images.shape[1], : images.shape[2]], 0, 1)


def test_overwrites_only_when_told(weights, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "saved_model.pb").write_bytes(b"an older one")
    with pytest.raises(UserError, match="already holds a SavedModel"):
        export.main([weights, str(out)])
    assert (out / "saved_model.pb").read_bytes() == b"an older one"
    export.main([weights, str(out), "--overwrite"])
    assert load_network(out).description == f"SavedModel {out}"


@pytest.mark.parametrize("argv, line", [
    (["savedmodel", "out"], "savedmodel is a SavedModel already"),
    (["runs/a", "photos"], "photos holds other files"),
    (["runs/a", "out"], "runs/a: no such run folder"),
    (["runs/a", "out", "--which", "first"], "--which"),
    (["runs/a"], "DIR"),
    (["runs/a", "out", "--overwite"], "--overwite"),
])
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, argv, line):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos", "a.jpg").touch()
    same = tf.Module()
    same.run = tf.function(lambda x: {"deblurred": x}, input_signature=[tf.TensorSpec((None, None, None, 3))])
    tf.saved_model.save(same, "savedmodel", {"serving_default": same.run})
    with pytest.raises(SystemExit) as stopped:
        run_door(export.main, argv)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("madn: error: ") and said.count("\n") == 1 and line in said
    assert not Path("out").exists()


def test_without_tensorflow_the_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "madn.imaging.serving", raising=False)
    monkeypatch.delattr("madn.imaging.serving", raising=False)
    with pytest.raises(UserError, match="tensorflow is not installed"):
        export.main(["runs/a", str(tmp_path / "out")])
