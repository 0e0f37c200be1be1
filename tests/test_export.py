"""The export door: what it writes, what it says, and what it refuses in one line."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from madn import export
from madn.errors import UserError, run_door

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf


@dataclass(frozen=True)
class TinyRecipe:
    widths: tuple[int, ...] = (4, 8, 16)


@pytest.fixture
def asked(monkeypatch):
    """What the door asked madn.loading for; a network that halves its input stands for the trained one."""
    asked = []

    def load_network(source, which="best", recipe=None):
        asked.append((source, which, recipe))
        blurred = keras.Input((None, None, 3))
        model = None if source == "savedmodel" else keras.Model(blurred, keras.layers.Rescaling(0.5)(blurred))
        return SimpleNamespace(network=None, description="tiny, step 7", recipe=TinyRecipe(), model=model)

    monkeypatch.setitem(sys.modules, "madn.loading", SimpleNamespace(load_network=load_network))
    return asked


def test_writes_a_checked_savedmodel_and_says_what_it_is(asked, tmp_path, capsys):
    export.main(["runs/a", str(tmp_path / "out"), "--which", "last"])
    assert asked == [("runs/a", "last", None)]
    said = capsys.readouterr().out
    assert "tiny, step 7" in said and "away from Keras over 3 image sizes" in said
    serve = tf.saved_model.load(str(tmp_path / "out")).signatures["serving_default"]
    images = np.random.default_rng(0).random((1, 5, 9, 3), dtype=np.float32)
    np.testing.assert_allclose(serve(tf.constant(images))["deblurred"], images / 2, rtol=0, atol=1e-7)
    about = json.loads((tmp_path / "out" / "madn.json").read_text())
    assert about["description"] == "tiny, step 7" and about["recipe"] == {"widths": [4, 8, 16]}
    assert about["versions"]["tensorflow"] == tf.__version__ and about["versions"]["keras"] == keras.__version__


def test_overwrites_only_when_told(asked, tmp_path):
    out = str(tmp_path / "out")
    export.main(["runs/a", out])
    with pytest.raises(UserError, match="already holds a SavedModel"):
        export.main(["runs/a", out])
    assert len(asked) == 1  # said before the network was loaded
    export.main(["runs/b", out, "--overwrite"])
    assert len(asked) == 2


@pytest.mark.parametrize("argv, line", [
    (["savedmodel", "out"], "savedmodel is a SavedModel already"),
    (["runs/a", "photos"], "photos holds other files"),
    (["runs/a", "out", "--which", "first"], "--which"),
    (["runs/a"], "DIR"),
    (["runs/a", "out", "--overwite"], "--overwite"),
])
def test_bad_input_is_one_line_and_exit_code_2(asked, tmp_path, monkeypatch, capsys, argv, line):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos", "a.jpg").touch()
    with pytest.raises(SystemExit) as stopped:
        run_door(export.main, argv)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and line in said
    assert not Path("out").exists()


def test_without_tensorflow_the_line_says_so(asked, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "madn.imaging.serving", raising=False)
    monkeypatch.delattr("madn.imaging.serving", raising=False)
    with pytest.raises(UserError, match="tensorflow is not installed"):
        export.main(["runs/a", str(tmp_path / "out")])
