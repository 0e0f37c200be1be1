"""Which runtime computes a network, and that onnxruntime needs nothing of TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from madn.errors import UserError
from madn.restoration import loading, runtimes
from madn.restoration.loaded import Loaded
from madn.restoration.runtimes import RuntimeOptions
from madn.weights import registry

pytest.importorskip("onnxruntime")
SMALL = "madn-small"


@pytest.fixture
def keras(monkeypatch):
    """Networks of Keras are not loaded; returns what was asked of them."""
    asked = []

    def load(*arguments):
        asked.append(arguments)
        return Loaded(None, "a network of Keras")

    monkeypatch.setattr(loading, "load_network", load)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(runtimes.shutil, "which", lambda name: None)
    return asked


def runtime(source=SMALL, few=True, what="auto", **options):
    return runtimes.load(source, options=RuntimeOptions(runtime=what), few=few, **options).runtime.split()[0]


def test_a_few_photos_go_to_the_twin_and_many_to_keras(keras, monkeypatch):
    assert runtime() == "onnxruntime" and runtime(few=False) == "Keras"
    assert runtime(what="keras") == "Keras" and runtime(what="onnx", few=False) == "onnxruntime"
    assert runtime(recipe="madn-small") == "onnxruntime"
    for option in ({"which": "last"}, {"precision": "bfloat16"}, {"recipe": "madn"}, {"source": "madn-nothing"}):
        assert runtime(**option) == "Keras"
    monkeypatch.setattr(runtimes.shutil, "which", lambda name: f"/usr/bin/{name}")  # a GPU, which TensorFlow uses
    assert runtime() == "Keras" and runtime(what="onnx") == "onnxruntime"


def test_without_tensorflow_the_twin_is_taken_for_any_number(keras, monkeypatch):
    find = runtimes.importlib.util.find_spec
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find(name))
    assert runtime(few=False) == "onnxruntime"
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # it was chosen
    assert runtime() == "Keras"


def test_a_path_is_told_from_a_published_name(keras, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path(SMALL).mkdir()
    Path(SMALL, "settings.json").touch()
    assert runtime() == "onnxruntime"
    assert runtime(f"./{SMALL}") == runtime(Path(SMALL)) == "Keras"
    runtimes.load(SMALL, trust_model=True)
    assert [asked[-1] for asked in keras] == [False, False, True]


def test_what_has_no_twin_is_said(keras):
    with pytest.raises(UserError, match="runs/a: has no ONNX twin; .*python -m madn.export runs/a DIR --formats onnx"):
        runtime("runs/a", what="onnx")
    with pytest.raises(UserError, match="leave --which, --recipe and --precision out"):
        runtime(what="onnx", precision="bfloat16")


def test_every_shipped_network_has_a_twin_that_takes_its_weights_from_the_same_file():
    onnx = pytest.importorskip("onnx")
    for entry in registry.entries().values():
        file = registry.checked_twin(entry)
        assert entry.onnx.bytes < 600_000 and entry.onnx.largest_difference < 1e-5
        tensors = onnx.load(file, load_external_data=False).graph.initializer
        stored = [each for each in tensors if each.data_location == onnx.TensorProto.EXTERNAL]
        assert {each.external_data[0].value for each in stored} == {entry.file}
        total = sum(int(part.value) for each in stored for part in each.external_data if part.key == "length")
        assert total > 0.8 * entry.bytes


def test_a_damaged_twin_is_not_run(monkeypatch, tmp_path):
    import shutil

    shutil.copytree(registry.folder(), tmp_path / "site")
    monkeypatch.setenv("MADN_WEIGHTS", str(tmp_path / "site"))
    with open(tmp_path / "site" / f"{SMALL}.onnx", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="madn-small's ONNX file: expected sha256"):
        runtimes.load(SMALL, few=True)


@pytest.mark.slow
def test_the_twin_and_keras_restore_alike():
    few, many = (runtimes.load(SMALL, options=RuntimeOptions(runtime=what)) for what in ("onnx", "keras"))
    photo = np.ascontiguousarray(data.astronaut()[100:290, 60:300])
    one, other = (loaded.restorer(scale=1.0)(photo)[0] for loaded in (few, many))
    assert np.abs(one.astype(int) - other).max() <= 1
    facts = [(r.multiple, r.blend, r.tile_pixels) for r in (few.restorer(), many.restorer())]
    assert facts[0] == facts[1] and few.restorer().reach > 0


WITHOUT = """
import sys
absent = ("tensorflow", "keras", "h5py", "skimage", "scipy", "matplotlib", "onnx", "tabulate")
sys.modules.update(dict.fromkeys(absent))  # importing one of them fails, as where it is not installed
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in absent else find(name, *more)
from madn.restoration.command import main
code = main(sys.argv[1:])
print(code, [name for name in absent if sys.modules.get(name)])
"""


@pytest.mark.process
@pytest.mark.parametrize("model", [SMALL, str(registry.folder() / f"{SMALL}.onnx")])
def test_a_light_installation_restores_photos(tmp_path, model):
    """Neither TensorFlow nor Keras is imported, nor anything else that requirements/light.txt leaves out."""
    Image.fromarray(data.astronaut()[:440]).save(tmp_path / "in.png")
    words = [tmp_path / "in.png", "-o", tmp_path / "out.png", "--model", model, "--tile", "448", "--scale", "1"]
    words += ["--report", tmp_path / "report.html"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert "on onnxruntime" in done.stdout and done.stdout.endswith("0 []\n")
    with Image.open(tmp_path / "out.png") as restored:
        assert restored.size == (512, 440)
