"""The export door: what it writes, what it says, and what it refuses in one line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from narrow import narrow
from PIL import Image

from madn.errors import UserError, run_command
from madn.export import __main__ as export
from madn.restoration.loading import load_network
from madn.training.checkpoint import save_generator

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf


@pytest.fixture(scope="module")
def recipe():
    return narrow("msr2b", num_blocks=1)


@pytest.fixture(scope="module")
def weights(recipe, tmp_path_factory) -> str:
    """A weights file as training writes it."""
    keras.utils.set_random_seed(0)
    file = tmp_path_factory.mktemp("run") / "tiny.weights.h5"
    generator = recipe.build_generator()
    for variable in generator.trainable_variables:  # some start at zero, and the network with them
        variable.assign_add(0.02 * keras.random.normal(variable.shape))
    save_generator(generator, file, "msr2b", recipe.fields(), step=7)
    return str(file)


def test_writes_a_checked_savedmodel_and_says_what_it_is(weights, recipe, tmp_path, capsys):
    out = tmp_path / "out"
    export.main([weights, str(out), "--formats", "savedmodel"])
    said = capsys.readouterr().out
    assert f"wrote {out}" in said and "recipe msr2b, step 7" in said
    assert re.search(r"savedmodel +any size, at most [0-9.]+e[-+]\d\d away from Keras", said)
    assert "signature bytes: blurred_bytes string (batch,), JPEG or PNG files" in said
    assert (out / "example_tensorflow_tiles.py").is_file()
    images = np.random.default_rng(0).random((1, 37, 53, 3), dtype=np.float32)
    np.testing.assert_allclose(restore(load_network(out), images), restore(load_network(weights), images), atol=1e-4)
    about = json.loads((out / "madn.json").read_text())
    assert about["recipe"] == "msr2b" and about["fields"] == recipe.fields() and about["multiple"] == 4
    assert about["bytes_per_pixel"] > 3 * 4
    assert about["versions"]["tensorflow"] == tf.__version__ and about["versions"]["keras"] == keras.__version__


def restore(loaded, images):
    padded = np.pad(images, [(0, 0), (0, -images.shape[1] % 4), (0, -images.shape[2] % 4), (0, 0)], mode="reflect")
    return np.clip(loaded.network(padded)[:, : images.shape[1], : images.shape[2]], 0, 1)


@pytest.mark.slow
def test_writes_each_format_whose_packages_are_there_and_says_what_the_others_need(
    weights, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    export.main([weights, str(tmp_path / "out"), "--litert-size", "21", "30"])
    said = capsys.readouterr().out
    assert "onnx is left out; to have it: python -m pip install tf2onnx\n" in said
    assert re.search(r"litert +21x30 only, at most [0-9.]+e[-+]\d\d away from Keras", said)
    about = json.loads((tmp_path / "out" / "madn.json").read_text())["formats"]
    assert list(about) == ["savedmodel", "litert"]
    assert about["litert"]["shape"] == [1, 21, 30, 3] and about["litert"]["dynamic"] == []


def test_a_format_that_was_asked_for_needs_its_packages(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match="onnx needs tf2onnx: python -m pip install tf2onnx, or leave it out"):
        export.main([weights, str(tmp_path / "out"), "--formats", "savedmodel", "onnx"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.process
def test_the_litert_example_says_which_size_it_takes(weights, tmp_path):
    pytest.importorskip("ai_edge_litert")
    export.main([weights, str(tmp_path / "out"), "--formats", "litert", "--litert-size", "16", "32"])
    for size, code in (((32, 16), 0), ((30, 16), 1)):
        Image.new("RGB", size, "gray").save(tmp_path / "in.png")
        ran = subprocess.run(
            [sys.executable, tmp_path / "out" / "example_litert.py", tmp_path / "in.png", tmp_path / "out.png"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == code, ran.stderr
    assert "this model takes photos of 32 x 16 pixels" in ran.stderr and "has 30 x 16" in ran.stderr
    with Image.open(tmp_path / "out.png") as restored:
        assert restored.size == (32, 16)


@pytest.mark.slow
def test_overwrites_only_when_told(weights, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "madn.json").write_text('{"formats": {}, "files": ["madn.json"]}')
    with pytest.raises(UserError, match="already holds an exported network"):
        export.main([weights, str(out), "--formats", "savedmodel"])
    assert [file.name for file in out.iterdir()] == ["madn.json"]
    export.main([weights, str(out), "--formats", "savedmodel", "--overwrite"])
    assert load_network(out).description == f"SavedModel {out}"


@pytest.mark.parametrize(
    "argv, line",
    [
        (["./savedmodel", "out"], "./savedmodel is a SavedModel already"),
        (["madn-small", "photos"], "photos holds other files"),
        (["madn-small", "photos/a.jpg/out"], "photos/a.jpg is a file; exports go to a folder"),
        (["madn-small", "out", "--formats", "onnx", "--onnxruntime-web", "photos"], "--onnxruntime-web has no use"),
        (["runs/a", "out"], "runs/a: no such run folder"),
        (["runs/a", "out", "--which", "first"], "--which"),
        (["runs/a"], "DIR"),
        (["runs/a", "out", "--overwite"], "--overwite"),
        (["runs/a", "out", "--formats", "tflite"], "'litert'"),
        (["runs/a", "out", "--formats", "savedmodel", "--litert-size", "16", "32"], "--litert-size"),
        (["runs/a", "out", "--litert-size", "0", "32"], "--litert-size"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, argv, line):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos", "a.jpg").touch()
    same = tf.Module()
    same.run = tf.function(lambda x: {"deblurred": x}, input_signature=[tf.TensorSpec((None, None, None, 3))])
    tf.saved_model.save(same, "savedmodel", {"serving_default": same.run})
    with pytest.raises(SystemExit) as stopped:
        run_command(export.main, argv)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("madn: error: ") and said.count("\n") == 1 and line in said
    assert not Path("out").exists()


def test_without_tensorflow_the_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for module in ("exporting", "serving"):
        monkeypatch.delitem(sys.modules, f"madn.export.{module}", raising=False)
        monkeypatch.delattr(f"madn.export.{module}", raising=False)
    with pytest.raises(UserError, match="tensorflow is not installed"):
        export.main(["madn-small", str(tmp_path / "out")])
