"""Storing weights under a name: float16 in the file, float32 in the network, scores of this very file only."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from madn import evaluate, recipes
from madn.errors import UserError
from madn.imaging.arrays import write_image
from madn.models.madn.recipe import MADN
from madn.restoration.loading import load_network
from madn.training.checkpoint import read_recipe, save_generator
from madn.weights import __main__ as command
from madn.weights import publishing, registry

TINY = replace(MADN, widths=(4, 8, 16), res_blocks=1, scales=1)
START = replace(TINY, gradient_network="none", adversarial_domains="none")  # the scale network alone
WHOLE = replace(TINY, residual="scale", adversarial_domains="none")  # with gradient network and up-sampling block
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
    command.main(["add", str(run), "tiny", *ABOUT])
    entry = registry.find("tiny")
    assert (entry.recipe, entry.licence, entry.file, entry.scores) == ("madn", "MIT", "tiny.weights.h5", ())
    with h5py.File(registry.path("tiny")) as file:
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
    assert "not measured" in command.weights_table(registry.entries())
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["registry.json", "tiny.weights.h5"]


def test_scores_belong_to_the_file_that_was_measured(tmp_path, run):
    entry = publishing.add(run, "tiny", "MIT", "nothing")
    means = {"psnr": 24.0, "ssim": 0.7, "ssim_matlab": 0.8}
    both = {"blurred": means, "restored": {**means, "psnr": 25.0}}
    result = {
        "model": load_network("tiny").description,
        "recipe": "madn",
        "data": "pairs",
        "protocol": "full",
        "images": [{"name": "a", "scene": "", **both}, {"name": "b", "scene": "", **both}],
        "mean": both,
    }
    (tmp_path / "full.json").write_text(json.dumps(result))
    for _ in range(2):  # a second measurement takes the place of the first
        command.main(["score", "tiny", f"{tmp_path}/full.json", "--data", "two pairs", "--command", "the command"])
    (score,) = registry.find("tiny").scores
    assert (score.pairs, score.restored["psnr"], score.command) == (2, 25.0, "the command")
    assert "24.00 -> 25.00" in command.weights_table(registry.entries())
    assert publishing.add(run, "tiny", "CC0", "nothing").scores == (score,)  # the same file again, to the byte
    other = TINY.build_generator()
    other.weights[0].assign_add(np.ones(other.weights[0].shape))
    save_generator(other, run / "checkpoints/best.weights.h5", "madn", TINY.fields())
    changed = publishing.add(run, "tiny", "MIT", "nothing")
    assert changed.sha256 != entry.sha256 and changed.scores == ()
    with pytest.raises(UserError, match=r"full\.json: measured with tiny.*measure it again"):
        publishing.add_score("tiny", tmp_path / "full.json", "two pairs", "the command")
    (tmp_path / "full.json").write_text("{}")
    with pytest.raises(UserError, match=r"full\.json: not what python -m madn\.evaluate writes"):
        publishing.add_score("tiny", tmp_path / "full.json", "two pairs", "the command")


def test_what_cannot_be_shipped_is_named_and_leaves_nothing(tmp_path, run):
    plain, huge = tmp_path / "plain.weights.h5", TINY.build_generator()
    huge.save_weights(plain)
    huge.weights[0].assign(np.full(huge.weights[0].shape, 1e6))
    save_generator(huge, tmp_path / "huge.weights.h5", "madn", TINY.fields())
    for source, name, said in (
        (plain, "a", "does not say its recipe"),
        (run, "../a", "names of weights"),
        (tmp_path / "huge.weights.h5", "a", "values that float16 cannot"),
        (tmp_path / "none", "a", "no such weights file"),
    ):
        with pytest.raises(UserError, match=said):
            publishing.add(source, name, "MIT", "nothing")
    assert list((tmp_path / "site").glob("*")) == []
    for arguments, said in ((["add", "run", "name"], "--licence"), (["sell"], "sell: python -m madn.weights adds")):
        with pytest.raises(UserError, match=said):
            command.main(arguments)


def filled(path, recipe, value, name="madn"):
    """A weights file of one number throughout."""
    generator = recipe.build_generator()
    generator.set_weights([np.full(values.shape, value, "float32") for values in generator.get_weights()])
    save_generator(generator, path, name, recipe.fields(), step=5)
    return path


def values(path):
    """Layer -> the different numbers in it, of a file that load_network reads."""
    layers = load_network(path).model.layers
    return {
        layer.name: sorted({float(x) for v in layer.get_weights() for x in np.unique(v)})
        for layer in layers
        if layer.weights
    }


@pytest.mark.slow
def test_a_mean_is_that_of_every_number_by_the_shares(tmp_path, run, capsys):
    small = 2.0**-10  # whose multiples are exact, and with which images stay finite
    one, three = filled(tmp_path / "one.weights.h5", WHOLE, small), run / "checkpoints/best.weights.h5"
    filled(three, WHOLE, 3 * small)
    out, quarter = tmp_path / "out.weights.h5", tmp_path / "quarter.weights.h5"
    command.main(["mean", str(one), str(run), "--out", str(out)])
    assert values(out) == dict.fromkeys(("sn", "gn", "upblock"), [2 * small])
    assert capsys.readouterr().out == f"wrote {out}: the mean of 2 files\n"
    command.main(["mean", str(one), str(run), "--out", str(quarter), "--shares", "0.75", "0.25"])
    assert values(quarter) == dict.fromkeys(("sn", "gn", "upblock"), [1.5 * small])
    stored = read_recipe(quarter)
    assert (stored["recipe"], stored["fields"]) == ("madn", json.loads(json.dumps(WHOLE.fields())))
    assert stored["averaged_from"] == [
        {"file": str(one), "share": 0.75, "sha256": registry.sha256_of(one)},
        {"file": str(three), "share": 0.25, "sha256": registry.sha256_of(three)},
    ]
    for kind, brightness in (("blur", 0.4), ("sharp", 0.5)):
        write_image(tmp_path / f"set/{kind}/1.png", np.full((32, 32, 3), brightness, np.float32))
    evaluate.main([str(out), "--data", f"{tmp_path}/set", "--out", f"{tmp_path}/result", "--pictures", "0"])
    read = json.loads((tmp_path / "result/full.json").read_text())
    assert read["recipe"] == "madn" and str(out) in read["model"] and len(read["images"]) == 1
    command.main(["add", str(out), "mean", *ABOUT])
    assert load_network("mean").recipe == WHOLE


@pytest.mark.slow
def test_a_layer_that_a_file_lacks_is_the_mean_of_the_others(tmp_path, capsys):
    start, trained = filled(tmp_path / "start.weights.h5", START, 1.0), tmp_path / "trained.weights.h5"
    network = WHOLE.build_generator()
    sn = [layer.get_weights() for layer in network.layers if layer.name == "sn"][0]
    save_generator(network, trained, "madn-srn", WHOLE.fields())
    out = tmp_path / "out.weights.h5"
    command.main(["mean", str(start), str(trained), "--out", str(out), "--shares", "0.25", "0.75"])
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {out}: the mean of 2 files",
        f"layer gn: of {trained} alone; the others lack it",
        f"layer upblock: of {trained} alone; the others lack it",
    ]
    mixed = load_network(out)
    assert (mixed.recipe, mixed.recipe_name) == (WHOLE, "madn-srn")
    for mine, theirs in zip(mixed.model.get_layer("sn").get_weights(), sn, strict=True):
        np.testing.assert_allclose(mine, 0.25 + 0.75 * theirs, atol=1e-6)
    for name in ("gn", "upblock"):
        for mine, theirs in zip(
            mixed.model.get_layer(name).get_weights(), network.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)
    four, eight = (filled(tmp_path / f"{n}.weights.h5", WHOLE, n) for n in (4.0, 8.0))
    for shares, expected in (
        ((0.5, 0.125, 0.375), {"sn": [4.0], "gn": [7.0], "upblock": [7.0]}),
        ((1.0, 0.0, 0.0), {"sn": [1.0], "gn": [6.0], "upblock": [6.0]}),
    ):
        out.unlink()
        publishing.write_mean([start, four, eight], out, shares)
        assert values(out) == expected


@pytest.mark.slow
def test_means_that_make_no_sense_are_named_and_leave_nothing(tmp_path, run):
    plain, state = tmp_path / "plain.weights.h5", tmp_path / "there.weights.h5"
    TINY.build_generator().save_weights(plain)
    state.write_bytes(b"something")
    start, whole = filled(tmp_path / "start.weights.h5", START, 1.0), filled(tmp_path / "whole.weights.h5", WHOLE, 1.0)
    wide = filled(tmp_path / "wide.weights.h5", replace(START, widths=(8, 8, 16)), 1.0)
    small = filled(tmp_path / "small.weights.h5", recipes.get("msr2b-budget"), 1.0, "msr2b-budget")
    out = ["--out", f"{tmp_path}/out.weights.h5"]
    for arguments, message in (
        ([start, *out], "^a mean is of at least 2 files; received 1$"),
        (out, "^a mean is of at least 2 files; received 0$"),
        ([start, whole, *out, "--shares", "1"], "^--shares 1: give one share for each of the 2 files$"),
        ([start, whole, *out, "--shares", "0.5", "0.4"], "^--shares 0.5 0.4: shares must be 0 or more and sum to"),
        ([start, whole, *out, "--shares", "-1", "2"], "^--shares -1 2: shares must be 0 or more and sum to 1$"),
        ([start, whole, *out, "--shares", "nan", "1"], "^--shares nan 1: shares must be 0 or more and sum to 1$"),
        ([start, whole, "--out", state], r"there\.weights\.h5: is there already; remove it, or give another name$"),
        ([start, whole, "--out", "a.h5"], r"^a\.h5: the name must end in \.weights\.h5$"),
        ([plain, whole, *out], r"plain\.weights\.h5: does not say its recipe; take a generator's weights of a r"),
        ([tmp_path / "gone", whole, *out], "gone: no such weights file$"),
        ([small, whole, *out], r"small\.weights\.h5: has no layer in common with .*whole\.weights\.h5; average ne"),
        ([whole, start, *out], r"start\.weights\.h5 lacks its gn, upblock; name the file with all layers last$"),
        ([wide, whole, *out], r"wide\.weights\.h5: its layer sn has other shapes than that of .*whole\.weights"),
    ):
        with pytest.raises(UserError, match=message):
            command.main(["mean", *map(str, arguments)])
    assert not (tmp_path / "out.weights.h5").exists() and state.read_bytes() == b"something"
