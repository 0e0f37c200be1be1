"""Weights on disk: everything comes back, foreign and damaged files are named."""

from dataclasses import replace

import pytest
from helpers import TINY, batch, eager, same, values

from madn.errors import UserError
from madn.training.checkpoint import load_generator, load_state, read_recipe, save_generator, save_state


def everything(model):
    return values([*model.generator.variables, *model.critic_variables, *model.optimizer.variables,
                   *model.d_optimizer.variables])


def test_state_holds_both_networks_and_both_optimisers(tmp_path):
    model = eager(TINY)
    for seed in range(3):
        model.train_on_batch(*batch(seed=seed))
    save_state(model, tmp_path / "state.weights.h5")
    other = eager(replace(TINY, seed=9))
    load_state(other, tmp_path / "state.weights.h5")
    assert other.step == 3
    assert same(everything(model), everything(other))
    assert int(other.d_optimizer.iterations) == 3
    for trained in (model, other):
        trained.train_on_batch(*batch(seed=7))
    assert same(everything(model), everything(other))
    assert [path.name for path in tmp_path.iterdir()] == ["state.weights.h5"]


def test_random_numbers_go_on_where_they_were(tmp_path):
    model = eager(TINY)
    model.critic.uniform((3,))
    save_state(model, tmp_path / "state.weights.h5")
    expected = model.critic.uniform((3,)).numpy()
    other = eager(TINY)
    load_state(other, tmp_path / "state.weights.h5")
    assert same([expected], [other.critic.uniform((3,)).numpy()])


def test_generator_file_says_its_recipe(tmp_path):
    file = tmp_path / "best.weights.h5"
    generator = TINY.build_generator()
    save_generator(generator, file, "madn", TINY.fields(), step=3)
    assert read_recipe(file) == {"recipe": "madn", "fields": TINY.fields(), "step": 3}
    other = TINY.build_generator()
    load_generator(other, file)
    assert same(values(generator.variables), values(other.variables))


def test_weights_of_another_width_are_named(tmp_path):
    file = tmp_path / "best.weights.h5"
    save_generator(TINY.build_generator(), file, "madn", TINY.fields())
    wider = replace(TINY, widths=(8, 16, 32))
    with pytest.raises(UserError, match=r"best.weights.h5: weights of another network.*widths \[4, 8, 16\] \(here \[8"):
        load_generator(wider.build_generator(), file, wider)


@pytest.mark.parametrize("content", [b"", b"not hdf5", None])
def test_damaged_files_are_named(tmp_path, content):
    file = tmp_path / "state.weights.h5"
    model = eager(TINY)
    if content is None:
        save_state(model, file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match="state.weights.h5: not a readable"):
        load_state(model, file)
    with pytest.raises(UserError, match="no such weights file"):
        load_state(model, tmp_path / "missing.weights.h5")
