"""The run: rounds, what the folder holds, stop and resume."""

import json
import os
import signal
from dataclasses import dataclass, replace

import h5py
import keras
import numpy as np
import pytest
from helpers import FEW, same

from madn.data.sets import FixedCrops
from madn.errors import UserError
from madn.training import loop
from madn.training.callbacks.reporting import Record
from madn.training.callbacks.safety import Stopped
from madn.training.checkpoint import Place, read_place, read_recipe
from madn.training.loop import segments, train
from madn.training.runfolder import RunFolder

RECIPE = replace(FEW, adversarial_domains="none", steps=6)


class Crops:
    """Four fixed pairs, in an order that depends on k alone."""

    crop = 32

    def __len__(self):
        return 4

    def crop_at(self, k):
        sharp = np.random.default_rng(k).integers(0, 256, (32, 32, 3), np.uint8)
        return np.roll(sharp, 1, axis=1), sharp


def weights(file):
    """Every dataset of a weights file by name."""
    found = {}
    with h5py.File(file) as opened:
        opened.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def run_to_the_end(folder):
    run = RunFolder(folder)
    validation = FixedCrops.of(Crops(), 2)
    assert train("madn", RECIPE, Crops(), run, validation, round_steps=2) == 6
    return run


@pytest.mark.parametrize(
    ("step", "total", "expected"),
    [
        (0, 6, [(0, 2, 3)]),
        (0, 7, [(0, 2, 3), (6, 1, 1)]),
        (3, 7, [(3, 1, 1), (4, 2, 1), (6, 1, 1)]),
        (5, 6, [(5, 1, 1)]),
        (0, 1, [(0, 1, 1)]),
        (6, 6, []),
    ],
)
def test_rounds_end_at_multiples_also_after_a_resume(step, total, expected):
    assert segments(step, total, 2) == expected


@pytest.mark.usefixtures("eager_steps")
def test_a_run_fills_its_folder_and_a_stopped_one_ends_as_the_undisturbed(tmp_path, monkeypatch):
    whole = run_to_the_end(tmp_path / "whole")
    rows = whole.rows()
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    assert {"lr_g", "loss", "content", "pixel", "image", "psnr", "val_psnr", "val_blurred_psnr"} <= set(rows[0])
    assert float(rows[-1]["lr_g"]) == 0
    assert sorted(path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()) == [
        "best.weights.h5",
        "last.weights.h5",
        *(f"state-000000{step}.weights.h5" for step in (2, 4, 6)),
    ]
    assert sorted(path.name for path in whole.samples.iterdir()) == [
        "latest.png",
        "step-0000002.png",
        "step-0000004.png",
        "step-0000006.png",
    ]
    assert any(whole.tensorboard.iterdir())
    facts = json.loads(h5py.File(whole.generator("last")).attrs["madn_recipe"])
    assert (facts["recipe"], facts["step"], tuple(facts["fields"]["widths"])) == ("madn", 6, FEW.widths)

    # Ctrl-C in step 3, in the middle of a round.
    handler = signal.getsignal(signal.SIGINT)  # a shell's background job is started with it ignored
    original = loop.StopCleanly.on_train_batch_end
    steps = []

    def interrupt(self, batch, logs=None):
        steps.append(batch)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, batch, logs)

    monkeypatch.setattr(loop.StopCleanly, "on_train_batch_end", interrupt)
    with pytest.raises(Stopped):
        run_to_the_end(tmp_path / "stopped")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is handler
    stopped = run_to_the_end(tmp_path / "stopped")
    assert [int(row["step"]) for row in stopped.rows()] == [2, 4, 6]
    expected, found = weights(whole.generator("last")), weights(stopped.generator("last"))
    assert expected.keys() == found.keys() and len(expected) == 8
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6, err_msg=name)


@pytest.mark.usefixtures("eager_steps")
def test_a_stop_at_the_end_of_a_round_keeps_the_round(tmp_path, monkeypatch):
    original = loop.StopCleanly.on_train_batch_end

    def interrupt(self, batch, logs=None):
        self.asked |= batch == 1  # the second and last step of the round
        original(self, batch, logs)

    monkeypatch.setattr(loop.StopCleanly, "on_train_batch_end", interrupt)
    with pytest.raises(Stopped):
        run_to_the_end(tmp_path)
    run = RunFolder(tmp_path)
    assert [int(row["step"]) for row in run.rows()] == [2]
    assert run.generator("best").is_file() and run.states() == [run.state(2)]


@pytest.mark.usefixtures("eager_steps")
def test_a_finished_run_is_left_alone(tmp_path):
    run = RunFolder(tmp_path)
    recipe = replace(RECIPE, steps=1)
    assert train("madn", recipe, Crops(), run) == 1
    before = run.state(1).read_bytes()
    assert train("madn", recipe, Crops(), run) == 1
    assert run.state(1).read_bytes() == before
    assert "val_psnr" not in run.rows()[0]
    assert run.generator("last").is_file() and not run.generator("best").exists()  # nothing was held out


def test_best_keeps_the_highest_score(tmp_path):
    run = RunFolder(tmp_path)
    record = Record(run, {"recipe": "madn", "fields": FEW.fields()}, Place(), [], True)
    record.set_model(FEW.build_model(10))
    for score in (20.0, 22.0, 21.0):
        record.model.optimizer.iterations.assign_add(1)
        record.on_epoch_begin(0)
        record.on_train_batch_end(0)
        record.on_epoch_end(0, {"loss": 0.1, "val_psnr": score, "val_blurred_psnr": 19.0})
    stored = [json.loads(h5py.File(run.generator(which)).attrs["madn_recipe"]) for which in ("best", "last")]
    assert [(each["step"], each["val_psnr"]) for each in stored] == [(2, 22.0), (3, 21.0)]


def test_the_log_drops_what_a_resumed_run_writes_again(tmp_path):
    run = RunFolder(tmp_path)
    for step in (2, 4, 6):
        run.add_row({"step": step, "loss": step / 10})
    run.keep_rows(4)
    assert run.rows() == [{"step": "2", "loss": "0.2"}, {"step": "4", "loss": "0.4"}]
    run.keep_rows(0)
    assert run.rows() == []


@dataclass(frozen=True, kw_only=True)
class Staged(type(FEW)):
    """Two stages: the gradient network and the upsampling block wait in the first, the scale network in the second."""

    stage: int = 0

    def stages(self, total_steps):
        return [(replace(self, stage=1), total_steps - 2), (replace(self, stage=2), 2)]

    @property
    def frozen(self):
        return {1: ("gn", "upblock"), 2: ("sn",)}[self.stage]


def staged(path, steps=4):
    recipe = Staged(**{**RECIPE.fields(), "widths": RECIPE.widths, "d_widths": RECIPE.d_widths, "steps": steps})
    run = RunFolder(path)
    return recipe, run, lambda: train("madn", recipe, Crops(), run, round_steps=2)


def test_stages_follow_each_other_and_their_frozen_layers_stay(tmp_path):
    recipe, run, go = staged(tmp_path)
    keras.utils.set_random_seed(recipe.seed)
    start = recipe.build_generator()
    moved = []

    class Watch(loop.Record):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            moved.append(
                {
                    name: not same(layer.get_weights(), start.get_layer(name).get_weights())
                    for name in ("sn", "gn", "upblock")
                    for layer in [self.model.generator.get_layer(name)]
                }
            )
            start.set_weights(self.model.generator.get_weights())
            assert int(self.model.optimizer.iterations) == 2  # fresh optimisers in each stage

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Record", Watch)
        assert go() == 4
    assert moved == [{"sn": True, "gn": False, "upblock": False}, {"sn": False, "gn": True, "upblock": True}]
    assert [int(row["step"]) for row in run.rows()] == [2, 4]
    assert read_place(run.states()[0]) == Place(stage=1, first_step=2, total=4)
    assert read_recipe(run.generator("last"))["fields"]["stage"] == 2
    assert go() == 4  # a finished run is left alone


@pytest.mark.usefixtures("eager_steps")
@pytest.mark.slow
def test_a_run_of_stages_resumes_in_its_stage(tmp_path):
    """Stopped inside the first stage, at its end and inside the second: the weights of the undisturbed run."""
    _, whole, go = staged(tmp_path / "whole")
    go()
    expected = weights(whole.generator("last"))
    original = loop.StopCleanly.on_train_batch_end
    for after in (1, 2, 3):
        _, run, go = staged(tmp_path / f"cut after {after}")

        def interrupt(self, batch, logs=None, after=after):
            self.asked |= self.model.step == after
            original(self, batch, logs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop.StopCleanly, "on_train_batch_end", interrupt)
            with pytest.raises(Stopped):
                go()
        assert run.states()[0] == run.state(after)
        assert go() == 4
        found = weights(run.generator("last"))
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], 1e-5, 1e-6, err_msg=f"after {after}: {name}")


@pytest.mark.usefixtures("eager_steps")
def test_stages_with_other_steps_are_not_gone_on_with(tmp_path):
    staged(tmp_path)[2]()
    with pytest.raises(UserError, match="goes on with the steps that it was started with"):
        staged(tmp_path, steps=8)[2]()


def test_best_is_that_of_the_last_stage(tmp_path):
    """A later stage may be another network: an earlier one's score does not keep its file from being written."""
    run = RunFolder(tmp_path)
    rows = [{"step": "2", "seconds": "1", "val_psnr": "30"}, {"step": "3", "seconds": "2", "val_psnr": "20"}]
    assert Record(run, {}, Place(1, 2, 2), rows, True).best == 20
    assert Record(run, {}, Place(), rows, True).best == 30


def test_the_log_takes_a_stage_with_other_terms(tmp_path):
    run = RunFolder(tmp_path)
    run.add_row({"step": 1, "mse_stage_1": 0.1, "mse_stage_2": 0.2, "psnr": 20})
    run.add_row({"step": 2, "mse_stage_1": 0.3, "psnr": 21})
    run.add_row({"step": 3, "mse_stage_1": 0.3, "psnr": 22, "new": 5})
    assert [(row["step"], row["mse_stage_2"], row["psnr"], row["new"]) for row in run.rows()] == [
        ("1", "0.2", "20", ""),
        ("2", "", "21", ""),
        ("3", "", "22", "5"),
    ]


@pytest.mark.usefixtures("eager_steps")
def test_minutes_end_a_run_in_the_middle_of_a_round(tmp_path, monkeypatch):
    """The round is cut, yet validated, logged and saved; called again, there is nothing left to do."""
    monkeypatch.setattr(Record, "elapsed", lambda self: 10.0 * getattr(self.model, "step", 0))
    run = RunFolder(tmp_path)
    recipe = replace(RECIPE, steps=100)
    assert train("madn", recipe, Crops(), run, round_steps=4, minutes=1.0) == 6
    assert [int(row["step"]) for row in run.rows()] == [4, 6] and run.generator("last").is_file()
    monkeypatch.setattr(Record, "elapsed", lambda self: 60.0)
    assert train("madn", recipe, Crops(), run, round_steps=4, minutes=1.0) == 6


@pytest.mark.usefixtures("eager_steps")
def test_stages_share_the_minutes(tmp_path, monkeypatch):
    recipe, run, _ = staged(tmp_path, steps=6)  # stages of 4 and 2 steps
    monkeypatch.setattr(Record, "elapsed", lambda self: 20.0 * getattr(self.model, "step", 0))
    assert train("madn", recipe, Crops(), run, round_steps=3, minutes=1.0) == 3
    assert [int(row["step"]) for row in run.rows()] == [2, 3]
