"""Networks from run folders, weights files and SavedModels; what is not one is named."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from narrow import TINY as TINIES
from narrow import narrow

import madn
from madn import recipes
from madn.errors import UserError
from madn.models.madn.recipe import MADN
from madn.restoration.loading import load_network
from madn.restoration.model_source import find_model
from madn.training.checkpoint import save_generator
from madn.weights import registry

TINY = replace(MADN, widths=(4, 8, 16), res_blocks=1, scales=1)


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "tiny.weights.h5"
    generator = TINY.build_generator()
    save_generator(generator, file, "madn", TINY.fields(), step=7)
    return file, generator


def test_weights_file_and_run_folder_give_the_same_network(tmp_path, weights):
    file, generator = weights
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "settings.json").write_text(json.dumps({"recipe": "madn", "fields": TINY.fields(), "data": {}}))
    image = np.random.default_rng(0).random((1, 32, 48, 3), dtype=np.float32)
    expected = generator(image)["deblurred"]
    loaded = load_network(file)
    np.testing.assert_allclose(loaded.network(image), expected, rtol=1e-4, atol=1e-4)
    assert loaded.recipe == TINY and "recipe madn, step 7" in loaded.description
    with pytest.raises(UserError, match="no best checkpoint yet"):
        load_network(run)
    (run / "checkpoints" / "last.weights.h5").write_bytes(file.read_bytes())
    np.testing.assert_array_equal(load_network(run, which="last").network(image), loaded.network(image))


@pytest.mark.slow
def test_without_held_out_images_the_last_checkpoint_is_taken_and_said(tmp_path, weights):
    file, _ = weights
    other = TINY.build_generator()
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    settings = {"recipe": "madn", "fields": TINY.fields(), "data": {}, "pairs": {"validation": []}}
    (run / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="no last checkpoint yet"):
        load_network(run)
    save_generator(other, run / "checkpoints/best.weights.h5", "madn", TINY.fields(), step=4)  # an earlier version's
    (run / "checkpoints/last.weights.h5").write_bytes(file.read_bytes())
    image = np.random.default_rng(0).random((1, 32, 48, 3), dtype=np.float32)
    loaded = load_network(run)
    np.testing.assert_array_equal(loaded.network(image), load_network(file).network(image))
    said = "last.weights.h5 (recipe madn, step 7): the last checkpoint, since the run held no images out"
    assert said in loaded.description
    assert "held no images out" not in load_network(run, which="last").description  # as it was asked for


def test_what_is_no_network_is_named(tmp_path, weights):
    file, generator = weights
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"nothing")
    (tmp_path / "cut.weights.h5").write_bytes(file.read_bytes()[:1000])
    generator.save_weights(tmp_path / "plain.weights.h5")
    for name, said in {
        "empty": "neither a run folder",
        "missing": "no such run folder",
        "cut.weights.h5": "not a readable",
        "plain.weights.h5": "name it with --recipe",
        "broken": "not as madn.export writes it",
    }.items():
        with pytest.raises(UserError, match=said) as problem:
            load_network(tmp_path / name)
        assert str(tmp_path / name) in str(problem.value) and "\n" not in str(problem.value)
    with pytest.raises(UserError, match="weights of recipe madn, not madn-sample"):
        load_network(file, recipe="madn-sample")
    with pytest.raises(UserError, match="another width"):
        load_network(tmp_path / "plain.weights.h5", recipe="madn")


def test_names_and_folders_are_found_without_loading(tmp_path, monkeypatch, weights):
    name = registry.DEFAULT
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "checkpoints").mkdir(parents=True)
    assert find_model(name).published == registry.find(name)  # a checkout has such a folder
    settings = {"recipe": "madn", "fields": TINY.fields(), "data": {}, "pairs": {"validation": []}}
    (tmp_path / name / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="no last checkpoint yet"):
        find_model(f"./{name}")
    best, last = (tmp_path / name / f"checkpoints/{which}.weights.h5" for which in ("best", "last"))
    shutil.copy(weights[0], best)  # an earlier version's
    shutil.copy(weights[0], last)
    assert find_model(name).published == registry.find(name)  # What is shipped comes first,
    for path in (f"./{name}", f"{name}/", Path(name), tmp_path / name):  # and a path must look like one.
        assert find_model(path).path.resolve() == last and "held no images out" in find_model(path).remark
    assert find_model(f"./{name}", "last").path.resolve() == last
    assert not find_model(f"./{name}", "last").remark  # as it was asked for


@pytest.mark.slow
def test_a_name_loads_what_is_shipped(tmp_path, monkeypatch, weights):
    name = registry.DEFAULT
    loaded, entry = load_network(name), registry.find(name)
    assert loaded.recipe_name == entry.recipe and {each.dtype for each in loaded.model.weights} == {"float32"}
    assert entry.short_hash in loaded.description and loaded.description.startswith("madn-srn, ")
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # no run: a checkout has such a folder
    assert load_network(name).description == loaded.description
    (tmp_path / name / "checkpoints").mkdir()
    settings = {"recipe": "madn", "fields": TINY.fields(), "data": {}}
    (tmp_path / name / "settings.json").write_text(json.dumps(settings))
    shutil.copy(weights[0], tmp_path / name / "checkpoints/best.weights.h5")
    assert load_network(name).description == loaded.description  # What is shipped comes first,
    for path in (f"./{name}", f"{name}/", Path(name), tmp_path / name):  # and a path must look like one.
        assert "step 7" in load_network(path).description
    (tmp_path / "mine").mkdir()
    for wrong, said in (
        ("madn-smal", "madn-smal: no published weights of that name: did you mean madn-small"),
        ("zzz", "there are madn-small, madn-srn"),
        ("mine", r"what lies here under that name is \./mine$"),
        ("./zzz", "zzz: no such run folder.* or SavedModel$"),
    ):
        with pytest.raises(UserError, match=said):
            load_network(wrong)
    with pytest.raises(UserError, match="weights of recipe madn-srn, not sisnet"):
        load_network(name, recipe="sisnet")
    with pytest.raises(UserError, match="published weights have no last checkpoint"):
        load_network(name, "last")


def test_damaged_shipped_weights_are_not_loaded(tmp_path, monkeypatch):
    shutil.copytree(registry.folder(), tmp_path / "site")
    monkeypatch.setenv("MADN_WEIGHTS", str(tmp_path / "site"))
    with open(tmp_path / "site" / registry.find(registry.DEFAULT).file, "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="expected sha256 .* found "):
        load_network(registry.DEFAULT)


@pytest.mark.parametrize(("name", "count"), [("madn-small", 2_495_881), ("madn-srn", 10_105_193)])
def test_every_shipped_name_loads(name, count):
    assert set(registry.entries()) == {"madn-small", "madn-srn"}
    model = madn.load(name)
    assert isinstance(model, keras.Model) and model.count_params() == count


def test_load_takes_a_run_folder_or_a_weights_file(tmp_path, weights):
    file, generator = weights
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "settings.json").write_text(json.dumps({"recipe": "madn", "fields": TINY.fields(), "data": {}}))
    shutil.copy(file, run / "checkpoints/best.weights.h5")
    image = np.random.default_rng(0).random((1, 32, 48, 3), dtype=np.float32)
    for model in (madn.load(file), madn.load(str(run))):
        np.testing.assert_array_equal(model(image)["deblurred"], generator(image)["deblurred"])


def test_load_refuses_a_savedmodel_in_a_line(tmp_path):
    class Copies(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
        def __call__(self, images):
            return {"deblurred": images}

    copies = Copies()
    tf.saved_model.save(copies, str(tmp_path / "saved"), signatures=copies.__call__)
    with pytest.raises(UserError, match="a SavedModel is no Keras model any more; tf.saved_model.load reads it") as no:
        madn.load(tmp_path / "saved")
    assert "\n" not in str(no.value)
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken.keras: not a Keras model of madn's") as no:
        madn.load(tmp_path / "broken.keras")
    assert "\n" not in str(no.value)


LOAD_AGAIN = """
import sys
import numpy as np
import madn

folder, *names = sys.argv[1:]
image = np.load(f"{folder}/image.npy")
for name in names:
    np.save(f"{folder}/{name}.npy", madn.load(f"{folder}/{name}.keras")(image)["deblurred"])
"""


@pytest.mark.process
@pytest.mark.slow
def test_what_load_gives_can_be_saved_and_loaded_elsewhere(tmp_path):
    """The networks of all papers, each into one .keras file: what a fresh process makes of it is the same."""
    image = np.random.default_rng(0).random((1, 64, 64, 3), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    expected = {}
    for name in (*TINIES, "madn-small"):
        recipe = narrow(name) if name in TINIES else replace(recipes.get(name), widths=(4, 8, 16))
        save_generator(recipe.build_generator(), tmp_path / f"{name}.weights.h5", name, recipe.fields(), step=1)
        model = madn.load(tmp_path / f"{name}.weights.h5")
        model.save(tmp_path / f"{name}.keras")
        expected[name] = model(image)["deblurred"]
    subprocess.run([sys.executable, "-c", LOAD_AGAIN, str(tmp_path), *expected], check=True)
    for name, deblurred in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), deblurred, err_msg=name)
