"""Networks from run folders, weights files and SavedModels; what is not one is named."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from madn.errors import UserError
from madn.models.madn.recipe import MADN
from madn.restoration.loading import load_network
from madn.training.checkpoint import save_generator
from madn.weights import registry

TINY = replace(MADN, widths=(4, 8, 16), res_blocks=1)


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
        "broken": "not a SavedModel",
    }.items():
        with pytest.raises(UserError, match=said) as problem:
            load_network(tmp_path / name)
        assert str(tmp_path / name) in str(problem.value) and "\n" not in str(problem.value)
    with pytest.raises(UserError, match="weights of recipe madn, not madn-sample"):
        load_network(file, recipe="madn-sample")
    with pytest.raises(UserError, match="another width"):
        load_network(tmp_path / "plain.weights.h5", recipe="madn")


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
    shutil.copy(weights[0], tmp_path / name / "checkpoints/best.weights.h5")  # a run: what exists comes first
    assert "step 7" in load_network(name).description
    shutil.rmtree(tmp_path / name)
    for wrong, said in (
        ("madn-smal", "madn-smal: no such run folder.* or SavedModel, and no published.*did you mean madn-small"),
        ("zzz", "there are madn, madn-small, madn-srn"),
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
