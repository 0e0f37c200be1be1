"""Storing weights under a name: float16 in the file, float32 in the network, scores of this very file only."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from madn import ship, weights
from madn.errors import UserError
from madn.loading import load_network
from madn.models.madn.recipe import MADN
from madn.training.checkpoint import save_generator

TINY = replace(MADN, widths=(4, 8, 16), res_blocks=1)
ABOUT = ["--licence", "MIT", "--trained-on", "nothing"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder of a tiny MADN, and an empty place for weights."""
    monkeypatch.setenv("MADN_WEIGHTS", str(tmp_path / "site"))
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"recipe": "madn", "fields": TINY.fields(), "data": {}}))
    save_generator(TINY.build_generator(), folder / "checkpoints/best.weights.h5", "madn", TINY.fields(), step=7)
    return folder


def test_a_run_becomes_a_name(tmp_path, run, capsys):
    ship.main(["add", str(run), "tiny", *ABOUT])
    entry = weights.find("tiny")
    assert (entry.recipe, entry.licence, entry.file, entry.scores) == ("madn", "MIT", "tiny.weights.h5", ())
    with h5py.File(weights.path("tiny")) as file:
        kinds = []
        file.visititems(lambda name, item: kinds.append(item.dtype) if isinstance(item, h5py.Dataset) else None)
    assert set(kinds) == {np.dtype("float16")}
    shipped, original = load_network("tiny"), load_network(run)
    assert shipped.recipe == TINY and "step 7" in shipped.description
    for mine, theirs in zip(shipped.model.weights, original.model.weights, strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_array_equal(mine, np.asarray(theirs).astype(np.float16).astype(np.float32))
    image = np.random.default_rng(0).random((1, 32, 48, 3), dtype=np.float32)
    np.testing.assert_allclose(shipped.network(image), original.network(image), atol=5e-3)
    assert "not measured" in weights.table(weights.entries())
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["registry.json", "tiny.weights.h5"]


def test_scores_belong_to_the_file_that_was_measured(tmp_path, run):
    entry = ship.add(run, "tiny", "MIT", "nothing")
    means = {"psnr": 24.0, "ssim": 0.7, "ssim_matlab": 0.8}
    result = {"model": load_network("tiny").description, "protocol": "full", "images": [{}, {}],
              "mean": {"blurred": means, "restored": {**means, "psnr": 25.0}}}
    (tmp_path / "full.json").write_text(json.dumps(result))
    for _ in range(2):  # a second measurement takes the place of the first
        ship.main(["score", "tiny", f"{tmp_path}/full.json", "--data", "two pairs", "--command", "the command"])
    score, = weights.find("tiny").scores
    assert (score.pairs, score.restored["psnr"], score.command) == (2, 25.0, "the command")
    assert "24.00 -> 25.00" in weights.table(weights.entries())
    assert ship.add(run, "tiny", "CC0", "nothing").scores == (score,)  # the same file again, to the byte
    other = TINY.build_generator()
    other.weights[0].assign_add(np.ones(other.weights[0].shape))
    save_generator(other, run / "checkpoints/best.weights.h5", "madn", TINY.fields())
    changed = ship.add(run, "tiny", "MIT", "nothing")
    assert changed.sha256 != entry.sha256 and changed.scores == ()
    with pytest.raises(UserError, match=r"full\.json: measured with tiny.*measure it again"):
        ship.add_score("tiny", tmp_path / "full.json", "two pairs", "the command")
    (tmp_path / "full.json").write_text("{}")
    with pytest.raises(UserError, match=r"full\.json: not what python -m madn\.evaluate writes"):
        ship.add_score("tiny", tmp_path / "full.json", "two pairs", "the command")


def test_what_cannot_be_shipped_is_named_and_leaves_nothing(tmp_path, run):
    plain, huge = tmp_path / "plain.weights.h5", TINY.build_generator()
    huge.save_weights(plain)
    huge.weights[0].assign(np.full(huge.weights[0].shape, 1e6))
    save_generator(huge, tmp_path / "huge.weights.h5", "madn", TINY.fields())
    for source, name, said in ((plain, "a", "does not say its recipe"), (run, "../a", "names of weights"),
                               (tmp_path / "huge.weights.h5", "a", "values that float16 cannot"),
                               (tmp_path / "none", "a", "no such weights file")):
        with pytest.raises(UserError, match=said):
            ship.add(source, name, "MIT", "nothing")
    assert list((tmp_path / "site").glob("*")) == []
    for arguments, said in (([], "say what to do"), (["add", "run", "name"], "--licence"), (["sell"], "say what")):
        with pytest.raises(UserError, match=said):
            ship.main(arguments)
