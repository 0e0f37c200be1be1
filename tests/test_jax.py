"""The JAX backend restores what the others trained, whole and in tiles, and does not train."""

import importlib.util

import keras
import numpy as np
import pytest
from narrow import narrow
from other_backend import run_on
from PIL import Image
from skimage import data
from twenty_steps import RECIPES

from madn import deblur
from madn.loading import load_network
from madn.training.checkpoint import save_generator

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None,
                                reason="JAX is not installed: make test JAX=1 installs it")

RESTORE = """
from pathlib import Path
import numpy as np
from madn.loading import load_network

folder = Path(sys.argv[1])
photo = np.load(folder / "photo.npy")
for file in folder.glob("*.weights.h5"):
    network = load_network(file).network
    found = [network(photo)]
    if file.name.startswith("structure_guided"):
        statistics = network.measure(photo, (16, 64, 0, 32))
        found += [network(photo, statistics), *(value for values in statistics for value in values)]
    np.savez(folder / f"{file.name}.npz", *found)
print("done")
"""
DOOR = """
from madn import deblur
from madn.errors import UserError
from madn.train import main

assert deblur.main(sys.argv[1:]) == 0
try:
    main(["--recipe", "madn-sample", "--run", sys.argv[-1] + "-run"])
except UserError as problem:
    print(problem)
"""


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """(folder of random weights of all five papers with what JAX made of a photo by them, the photo)."""
    folder = tmp_path_factory.mktemp("weights")
    photo = data.astronaut()[:64, 100:196].astype("float32")[None] / 255
    np.save(folder / "photo.npy", photo)
    for name, changes in RECIPES.items():
        recipe = narrow(name, **{key: value for key, value in changes.items() if key != "vgg_weights"})
        keras.utils.set_random_seed(0)
        save_generator(recipe.build_generator(), folder / f"{name}.weights.h5", name, recipe.fields())
    run_on("jax", RESTORE, folder)
    return folder, photo


@pytest.mark.parametrize("name", RECIPES)
def test_restores_as_tensorflow_does(restored, name):
    folder, photo = restored
    network, found = load_network(folder / f"{name}.weights.h5").network, np.load(folder / f"{name}.weights.h5.npz")
    np.testing.assert_allclose(found["arr_0"], network(photo), atol=1e-5)


def test_tiles_share_a_photos_statistics(restored):
    folder, photo = restored
    network = load_network(folder / "structure_guided.weights.h5").network
    found = list(np.load(folder / "structure_guided.weights.h5.npz").values())
    statistics = network.measure(photo, (16, 64, 0, 32))
    assert np.abs(found[1] - found[0]).max() > 1e-3  # they are not the photo's own
    np.testing.assert_allclose(found[1], network(photo, statistics), atol=1e-4)
    for one, other in zip(found[2:], (value for values in statistics for value in values), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_the_command_restores_with_shipped_weights_and_training_is_refused(tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[40:120, 100:201]).save(photo)
    said = run_on("jax", DOOR, photo, "-o", tmp_path / "jax.png")
    assert said.startswith("training runs on tensorflow and torch, and KERAS_BACKEND is jax")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["jax.png", "photo.png"]
    assert deblur.main([str(photo), "-o", str(tmp_path / "here.png")]) == 0
    here, there = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("here.png", "jax.png"))
    assert np.abs(here - there).max() <= 1 and (here != there).mean() < 1e-3  # one rounding to 8 bits may differ
