"""Weights on disk: everything comes back, foreign and damaged files are named, a full disk takes nothing away."""

import errno
import io
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from helpers import FEW, TINY, batch, eager, same, values

from madn.errors import UserError
from madn.models.madn_small.recipe import MADNSmallRecipe
from madn.training.checkpoint import (
    Place,
    load_generator,
    load_state,
    newest_whole,
    read_place,
    read_recipe,
    save_generator,
    save_state,
    track_on,
    tracked_means,
)


def everything(model):
    return values(
        [*model.generator.variables, *model.critic_variables, *model.optimizer.variables, *model.d_optimizer.variables]
    )


class WithMuon(type(FEW)):
    """MADN's discriminators beside the optimiser of `madn-small`."""

    build_g_optimizer = MADNSmallRecipe.build_g_optimizer


MUON = WithMuon(**{**{name: getattr(FEW, name) for name in FEW.fields()}, "widths": (16, 16, 16)})


@pytest.mark.parametrize("recipe", (FEW, MUON), ids=("adam", "muon"))
def test_state_holds_both_networks_and_both_optimisers(tmp_path, recipe):
    model = eager(recipe)
    for seed in range(3):
        model.train_on_batch(*batch(seed=seed))
    save_state(model, tmp_path / "state.weights.h5")
    other = eager(replace(recipe, seed=9))
    load_state(other, tmp_path / "state.weights.h5")
    assert other.step == 3
    assert same(everything(model), everything(other))
    assert int(other.d_optimizer.iterations) == 3
    for trained in (model, other):
        trained.train_on_batch(*batch(seed=7))
    assert same(everything(model), everything(other))
    assert [path.name for path in tmp_path.iterdir()] == ["state.weights.h5"]


def test_generator_file_says_its_recipe(tmp_path):
    file = tmp_path / "best.weights.h5"
    generator = FEW.build_generator()
    save_generator(generator, file, "madn", FEW.fields(), step=3)
    assert read_recipe(file) == {"recipe": "madn", "fields": FEW.fields(), "step": 3}
    other = FEW.build_generator()
    load_generator(other, file)
    assert same(values(generator.variables), values(other.variables))


def test_weights_of_another_width_are_named(tmp_path):
    file = tmp_path / "best.weights.h5"
    save_generator(FEW.build_generator(), file, "madn", FEW.fields())
    wider = replace(FEW, widths=(8, 16, 32))
    with pytest.raises(UserError, match=r"best.weights.h5: weights of another network.*widths \[4, 8, 16\] \(here \[8"):
        load_generator(wider.build_generator(), file, wider)


@pytest.mark.parametrize("content", [b"", b"not hdf5", None])
def test_damaged_files_are_named(tmp_path, content):
    file = tmp_path / "state.weights.h5"
    model = eager(FEW)
    if content is None:
        save_state(model, file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match="state.weights.h5: not a readable"):
        load_state(model, file)
    with pytest.raises(UserError, match="no such weights file"):
        load_state(model, tmp_path / "missing.weights.h5")


@pytest.fixture(scope="module")
def model():
    return eager(FEW)


def test_a_state_is_a_weights_file_of_keras_with_its_place_and_means(tmp_path, model):
    file, place = tmp_path / "state-0000003.weights.h5", Place(1, 2, 8, 5.5)
    model.train_on_batch(*batch())
    means = tracked_means(model)
    save_state(model, file, place, means)
    assert read_place(file) == place and read_place(file).seconds == 5.5
    model.save_weights(tmp_path / "keras.weights.h5")
    datasets = []
    for each in (file, tmp_path / "keras.weights.h5"):
        with h5py.File(each) as opened:
            datasets.append({})
            opened.visititems(
                lambda name, item: datasets[-1].update(
                    {name: item[()].tobytes()} if isinstance(item, h5py.Dataset) else {}
                )
            )
    assert datasets[0] == datasets[1] and len(datasets[0]) > 30
    expected = {name: float(tracker.result()) for name, tracker in model.trackers.items()}
    model.reset_metrics()
    found = load_state(model, file)
    assert found == means
    track_on(model, found)
    assert {name: float(tracker.result()) for name, tracker in model.trackers.items()} == expected
    assert expected["loss"] > 0


@pytest.mark.parametrize("damage", ["cut", "empty", "seal", "flipped"])
def test_the_newest_whole_state_is_taken(tmp_path, model, capsys, damage):
    old, new = (tmp_path / f"state-000000{step}.weights.h5" for step in (1, 2))
    for path in (old, new):
        save_state(model, path)
    assert newest_whole([new, old]) == new and not capsys.readouterr().out
    whole = new.read_bytes()
    middle = len(whole) // 2
    new.write_bytes(
        {
            "cut": whole[:middle],
            "empty": b"",
            "seal": whole[:-1],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        }[damage]
    )
    assert newest_whole([new, old]) == old
    said = capsys.readouterr().out
    assert said.startswith(f"warning: {new}: damaged") and said.count("\n") == 1
    old.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"every checkpoint is damaged \(state-0000002.*state-0000001.*--weights .*las"):
        newest_whole([new, old])


def test_a_generator_with_a_flipped_bit_is_refused_and_one_without_a_seal_is_read(tmp_path, model):
    file = tmp_path / "best.weights.h5"
    save_generator(model.generator, file, "madn", FEW.fields())
    whole = file.read_bytes()
    file.write_bytes(whole[:-44])  # as earlier versions wrote it
    load_generator(model.generator, file)
    for place in (0, 100, len(whole) // 2, len(whole) - 50, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="best.weights.h5: damaged: its content is not what was written"):
            load_generator(model.generator, file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    file, generator = tmp_path / "best.weights.h5", FEW.build_generator()
    weight = generator.weights[0]
    first = np.array(keras.ops.convert_to_numpy(weight))
    first.flat[0] = value
    weight.assign(first)
    save_generator(generator, file, "madn", FEW.fields())
    with pytest.raises(UserError, match=f"its weights {weight.path} are not finite"):
        load_generator(generator, file)


def test_absurd_weights_are_said(tmp_path, capsys):
    file, generator = tmp_path / "best.weights.h5", FEW.build_generator()
    generator.weights[0].assign(np.full(generator.weights[0].shape, -3e7))
    save_generator(generator, file, "madn", FEW.fields())
    load_generator(generator, file)
    assert f"warning: {file}: its weights {generator.weights[0].path} reach 3e+07" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"madn_version": 2}, "written by a newer madn"),
        ({"madn_version": "one"}, "attributes are not what madn writes"),
        ({"madn_recipe": 7}, "attributes are not what madn writes"),
        ({"madn_recipe": "{"}, "not a weights file of madn's"),
        ({"madn_recipe": "[]"}, "not a weights file of madn's"),
        ({"madn_recipe": '{"recipe": "madn"}'}, "missing required field `fields`"),
        ({"madn_recipe": '{"recipe": "madn", "fields": [], "step": 1}'}, "Expected `object`, got `array`"),
        ({"madn_place": '{"stage": "x"}'}, "Expected `int`, got `str`"),
        ({"madn_place": "3"}, "not a weights file of madn's"),
    ],
)
def test_attributes_that_madn_never_wrote_are_one_line(tmp_path, attributes, said):
    file = tmp_path / "a.weights.h5"
    with h5py.File(file, "w") as opened:
        opened.attrs.update(attributes)
    with pytest.raises(UserError, match=said) as problem:
        read_recipe(file)
        read_place(file)
    assert str(problem.value).startswith(f"{file}: ") and "\n" not in str(problem.value)


class FullDisk(io.FileIO):
    """A file that takes a few bytes and no more."""

    def write(self, content):
        super().write(bytes(content[:100]))
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_file_before_and_leaves_nothing_half_written(tmp_path, model, monkeypatch):
    file, best = tmp_path / "state-0000001.weights.h5", tmp_path / "best.weights.h5"
    save_state(model, file)
    save_generator(model.generator, best, "madn", TINY.fields())
    before = file.read_bytes(), best.read_bytes()
    monkeypatch.setattr(Path, "open", lambda self, mode: FullDisk(self, mode.replace("b", "")))
    for save in (
        lambda: save_state(model, file),
        lambda: save_state(model, file.with_name("state-0000002.weights.h5")),
        lambda: save_generator(model.generator, best, "madn", TINY.fields()),
    ):
        with pytest.raises(OSError) as problem:
            save()
        assert problem.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == [best.name, file.name]
    assert (file.read_bytes(), best.read_bytes()) == before
