"""A sixth paper, tried: a folder of its own and one line in the registry, and every command knows it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data

from madn import evaluate, recipes, train
from madn.restoration import command as deblur
from madn.restoration.loading import load_network
from madn.training.runfolder import RunFolder

GENERATOR = '''
import keras
from keras import layers


def build_generator(width):
    """One hidden layer, and the blurred image added."""
    blurred = keras.Input((None, None, 3), name="blurred")
    x = layers.Conv2D(width, 3, padding="same", activation="relu", name="hidden")(blurred)
    x = layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", name="residual")(x)
    return keras.Model(blurred, {"deblurred": layers.Add(name="deblurred")([x, blurred])}, name="sixth")
'''
OBJECTIVE = '''
from madn.nn.losses import l1


class SixthObjective:
    """The mean absolute error."""

    term_names = ("content",)

    def generator_losses(self, blurred, sharp, outputs, critic):
        content = l1(outputs["deblurred"], sharp)
        return content, {"content": content}

    def critic_verdicts(self, rounds):
        return {}
'''
RECIPE = '''
from dataclasses import dataclass
from typing import ClassVar

from madn.training.recipe import Named, Recipe


@dataclass(frozen=True, kw_only=True)
class SixthRecipe(Recipe):
    """A sixth paper's (Sixth et al. 2024)."""

    paper: ClassVar[str] = "Sixth, Sixth et al. 2024"
    width: int = 4
    """Channels of the hidden layer."""

    @property
    def multiple(self):
        return 1

    def build_generator(self):
        from sixth.generator import build_generator

        return build_generator(self.width)

    def build_critics(self):
        return {}

    def build_objective(self):
        from sixth.objective import SixthObjective

        return SixthObjective()


RECIPES = {"sixth": Named(SixthRecipe(crop=32, batch=2, lr_g=1e-2), "Sixth (Sixth et al. 2024), as published")}
'''


@pytest.fixture
def sixth(tmp_path, monkeypatch):
    """The paper's folder, and the line."""
    folder = tmp_path / "code/sixth"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("generator", GENERATOR), ("objective", OBJECTIVE), ("recipe", RECIPE)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(recipes, "PACKAGES", (*recipes.PACKAGES, "sixth"))
    recipes.named.cache_clear()
    yield
    recipes.named.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "sixth"]:
        del sys.modules[name]


@pytest.fixture
def pairs(tmp_path):
    """Two training pairs and a test pair, the blurred ones darker: what a bias can undo."""
    for split, names in (("train", "ab"), ("test", "c")):
        for number, name in enumerate(names):
            for kind, factor in (("sharp", 1.0), ("blur", 0.8)):
                file = tmp_path / "set" / split / "scene" / kind / f"{name}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((data.astronaut()[:64, 64 * number :][:, :96] * factor).astype(np.uint8)).save(file)
    return str(tmp_path / "set")


@pytest.mark.slow
@pytest.mark.usefixtures("sixth")
def test_a_folder_and_a_line_are_a_paper(pairs, tmp_path, capsys):
    train.main(["--list"])
    assert "Sixth (Sixth et al. 2024), as published" in capsys.readouterr().out
    run = str(tmp_path / "run")
    options = ["--validation", "none", "--steps", "30", "--round-steps", "15", "--width", "6"]
    train.main(["--recipe", "sixth", "--data", pairs, "--run", run, *options])
    rows = RunFolder(run).rows()
    assert float(rows[-1]["content"]) < float(rows[0]["content"])
    loaded = load_network(run, "last")
    assert loaded.recipe.fields()["width"] == 6 and loaded.model.count_params() == 6 * 28 + 3 * 55

    evaluate.main([run, "--which", "last", "--data", pairs, "--split", "test", "--out", str(tmp_path / "out")])
    mean = json.loads((tmp_path / "out/full.json").read_text())["mean"]
    assert mean["restored"]["psnr"] > mean["blurred"]["psnr"]

    photo = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()[:45, :61]).save(photo)
    assert deblur.main([str(photo), "-o", str(tmp_path / "restored.png"), "--model", run, "--which", "last"]) == 0
    restored = np.asarray(Image.open(tmp_path / "restored.png")) / 255
    assert restored.shape == (45, 61, 3)

    export = pytest.importorskip("madn.export.__main__")
    export.main([run, str(tmp_path / "saved"), "--which", "last", "--formats", "savedmodel"])
    images = (data.chelsea()[None, :45, :61] / 255).astype(np.float32)
    found = load_network(tmp_path / "saved").network(images)[0]
    np.testing.assert_allclose(np.clip(found, 0, 1), restored, atol=0.51 / 255)
    assert json.loads((tmp_path / "saved/madn.json").read_text())["recipe"] == "sixth"
