"""The best and the last generator: written again from the states where they were lost, and never by a worse one."""

import math

import pytest
from helpers import FEW, eager, same, values

from madn.training.checkpoint import Place, load_generator, load_state, read_recipe, save_generator, save_state
from madn.training.kept import best_score, write_lost_generators
from madn.training.runfolder import RunFolder

FACTS = {"recipe": "madn", "fields": FEW.fields()}


@pytest.fixture
def trained(tmp_path):
    """A run folder whose best step was the second of three, the weights of each step, and the newest state's model."""
    run, model, weights = RunFolder(tmp_path), eager(FEW), {}
    for step, psnr in ((2, 20.0), (4, 22.0), (6, 21.0)):
        for variable in model.generator.trainable_variables:
            variable.assign(variable + 0.01 * step)
        model.optimizer.iterations.assign(step)
        weights[step] = values(model.generator.variables)
        run.add_row({"step": step, "seconds": step, "psnr": psnr, "val_psnr": psnr + 1})
        save_state(model, run.state(step), Place())
        save_generator(model.generator, run.generator("last"), **FACTS, step=step, val_psnr=psnr + 1)
        if step == 4:
            save_generator(model.generator, run.generator("best"), **FACTS, step=step, val_psnr=psnr + 1)
    return run, model, weights


def generator(run, which):
    loaded = FEW.build_generator()
    load_generator(loaded, run.generator(which))
    return values(loaded.variables), read_recipe(run.generator(which))["step"]


@pytest.mark.parametrize("damage", [None, -1])
def test_lost_generators_are_written_again(trained, capsys, damage):
    run, model, weights = trained
    for which in ("best", "last"):
        file = run.generator(which)
        content = file.read_bytes()
        file.unlink()
        if damage:
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    write_lost_generators(run, model, run.state(6), FACTS, 0)
    for which, step in (("best", 4), ("last", 6)):
        found, of = generator(run, which)
        assert same(found, weights[step]) and of == step
    assert same(values(model.generator.variables), weights[6]) and model.step == 6
    said = capsys.readouterr().out
    assert said.count("written again from state-") == 2 and ("damaged" if damage else "missing") in said
    assert best_score(run, [], 0) == 23
    write_lost_generators(run, model, run.state(6), FACTS, 0)
    assert not capsys.readouterr().out


def test_a_best_whose_state_is_gone_gives_way_at_the_next_round(trained):
    run, model, weights = trained
    run.generator("best").unlink()
    run.state(4).unlink()
    write_lost_generators(run, model, run.state(6), FACTS, 0)
    found, step = generator(run, "best")
    assert same(found, weights[6]) and step == 6
    assert best_score(run, run.rows(), 0) == -math.inf


def test_the_score_to_beat_is_the_best_file_s_own_even_without_a_log(trained):
    run, *_ = trained
    run.log.unlink()
    assert best_score(run, run.rows(), 0) == 23
    assert best_score(run, [], 4) == -math.inf  # the best of an earlier stage
    save_generator(FEW.build_generator(), run.generator("best"), **FACTS, step=4)  # as earlier versions wrote it
    assert best_score(run, [{"step": "2", "val_psnr": "19.5"}], 0) == 19.5
    assert best_score(run, [], 0) == -math.inf


def test_the_model_is_whole_after_a_best_was_taken_from_another_state(trained):
    run, model, _ = trained
    before = values(model.variables)
    run.generator("best").unlink()
    write_lost_generators(run, model, run.state(6), FACTS, 0)
    assert same(values(model.variables), before)
    other = eager(FEW)
    load_state(other, run.state(6))
    assert other.step == model.step
