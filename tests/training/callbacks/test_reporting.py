"""What a run reports and saves besides its steps: faults, batches without content, states inside a round."""

import errno
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import FEW, eager

from madn.errors import UserError
from madn.system import writing
from madn.training.callbacks import safety
from madn.training.callbacks.reporting import Pictures, Record, evenly
from madn.training.callbacks.safety import Checkpoints, Faults, StopCleanly, Stopped
from madn.training.checkpoint import Place, load_state, read_place
from madn.training.finite_checks import Fault
from madn.training.runfolder import RunFolder


class Named:
    """A source of crops 0 to 5 in turn."""

    def __len__(self):
        return 6

    def name(self, k):
        return f"{k % 6}.png"


@pytest.fixture
def run(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.checkpoints.mkdir(parents=True)
    return made


def faults(run, fault=None, empty=None, crops=4):
    said = []
    made = Faults(run, Named(), crops, said.append)
    made.set_model(SimpleNamespace(fault=lambda: fault, empty_batch=lambda: empty, step=9))
    return made, said


def test_a_fault_names_step_terms_files_and_the_checkpoint_from_before(run):
    made, _ = faults(run, Fault(3, "critic_image_real, critic_loss"))
    with pytest.raises(UserError) as problem:
        made.check()
    lines = str(problem.value).splitlines()
    assert lines[0] == f"{run.path}: step 3: not finite: critic_image_real, critic_loss"
    assert lines[1] == "step 3 took its crops from 2.png, 3.png, 4.png, 5.png"  # crops 8 to 11
    assert lines[2] == "no checkpoint was saved before; look at these files, or start again with a lower --lr-g"
    run.state(2).write_bytes(b"")
    with pytest.raises(UserError, match=f"{run.state(2)} is from before"):
        made.check()


def test_many_files_are_counted(run, monkeypatch):
    monkeypatch.setattr(safety, "NAMED", 2)
    with pytest.raises(UserError, match=r"from 0.png, 1.png and 4 more\n"):
        faults(run, Fault(1, "loss"), crops=12)[0].check()


def test_faults_are_asked_about_once_a_second_and_at_the_end_of_a_round(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(safety.time, "monotonic", lambda: clock[0])
    made, _ = faults(run, Fault(1, "loss"))
    for clock[0] in (100.2, 100.9):
        made.on_train_batch_end(0)
    clock[0] = 101.1
    with pytest.raises(UserError):
        made.on_train_batch_end(0)
    with pytest.raises(UserError):
        made.on_epoch_end(0)


def test_batches_of_one_colour_are_told_once(run):
    made, said = faults(run, empty=2, crops=2)
    for _ in range(2):
        made.on_epoch_end(0)
    assert said == [f"warning: {run.path}: step 2: all its sharp crops are of one colour: 2.png, 3.png"]
    made, said = faults(run)
    made.on_epoch_end(0)
    assert not said


@pytest.fixture(scope="module")
def model():
    return eager(FEW)


def checkpoints(run, model, check=lambda: None, **options):
    made = Checkpoints(run, Place(), lambda: 7.5, check, **options)
    made.set_model(model)
    made.set_params({"steps": 4})
    return made


def test_states_inside_a_long_round_and_not_in_its_last_step(run, model, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(safety.time, "monotonic", lambda: clock[0])
    made = checkpoints(run, model, seconds=60)
    for batch, clock[0] in enumerate((130.0, 161.0, 170.0, 300.0)):
        model.optimizer.iterations.assign(batch + 1)
        made.on_train_batch_end(batch)
        assert [path.name for path in run.states()] == ["state-0000002.weights.h5"] * (batch > 0)
    assert read_place(run.state(2)).seconds == 7.5
    assert load_state(model, run.state(2)).keys() == model.trackers.keys()
    model.optimizer.iterations.assign(4)
    made.on_epoch_end(0)
    assert run.states() == [run.state(4), run.state(2)] and load_state(model, run.state(4)) == {}
    made.seconds = 0
    made.on_train_batch_end(0)
    assert len(run.states()) == 2


def test_means_of_a_broken_round_are_gone_on_with_once(run, model):
    made = checkpoints(run, model, means={"loss": [6.0, 2.0]})
    model.reset_metrics()
    made.on_epoch_begin(0)
    assert float(model.trackers["loss"].result()) == 3.0
    model.reset_metrics()
    made.on_epoch_begin(1)
    assert float(model.trackers["loss"].result()) == 0.0


def test_a_stop_saves_nothing_that_is_broken(run, model):
    def check():
        raise UserError("not finite")

    stop = StopCleanly(checkpoints(run, model, check))
    stop.set_params({"steps": 4})
    stop.asked = True
    with pytest.raises(UserError, match="not finite"):
        stop.on_train_batch_end(0)
    assert not run.states()
    stop.checkpoints.check = lambda: None
    with pytest.raises(Stopped):
        stop.on_train_batch_end(0)
    assert len(run.states()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_that_ask_for_an_end_save_first(run, model, number):
    before = signal.getsignal(number)
    with StopCleanly(checkpoints(run, model)) as stop:
        stop.set_params({"steps": 4})
        stop.on_train_batch_end(0)
        assert not run.states()
        for each in (number, signal.SIGTERM, signal.SIGHUP):  # The end of a job sends several.
            signal.raise_signal(each)
        with pytest.raises(Stopped):
            stop.on_train_batch_end(1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert len(run.states()) == 1 and signal.getsignal(number) == before


def test_a_run_under_nohup_does_not_hear_the_terminal_close(run, model, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in safety.stopping_signals()
        with safety.signals_left_to_the_chief():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests themselves may run under nohup.
        assert signal.SIGHUP in safety.stopping_signals()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_full_disk_ends_the_round_with_one_line_and_all_that_was_saved(run, model, monkeypatch):
    made = checkpoints(run, model)
    record = Record(run, {"recipe": "madn", "fields": FEW.fields()}, Place(), [], False)
    record.set_model(model)
    model.optimizer.iterations.assign(2)
    made.on_epoch_end(0)
    before = run.state(2).read_bytes()
    model.optimizer.iterations.assign(4)

    def refuse(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", refuse)
    record.on_epoch_begin(0)
    record.on_train_batch_end(0)
    for step in (lambda: made.on_epoch_end(0), lambda: record.on_epoch_end(0, {"loss": 0.1, "psnr": 20.0})):
        with pytest.raises(UserError, match=f"^{run.path}: the disk is full") as problem:
            step()
        assert "\n" not in str(problem.value)
    assert [path.name for path in run.checkpoints.iterdir()] == [run.state(2).name]
    assert run.state(2).read_bytes() == before


def test_the_log_has_the_share_of_the_waiting_and_what_is_said_of_the_critics(run, model, monkeypatch):
    said = []
    record = Record(run, {"recipe": "madn", "fields": FEW.fields()}, Place(), [], False, say=said.append)
    record.set_model(model)
    terms = {
        "critic_image_real": 0.001,
        "critic_image_fake": 0.001,
        "critic_gradient_real": 0.4,
        "critic_gradient_fake": 0.4,
    }
    for step in (98, 99, 100, 101, 102, 103, 104):
        model.optimizer.iterations.assign(step)
        record.on_epoch_begin(0)
        model.waited = 0.5
        record.on_train_batch_end(0)
        record.trained = record.round_began + 2.0
        record.on_epoch_end(0, {"loss": 0.1, "psnr": 20.0, **terms})
    rows = run.rows()
    assert [row["input_wait"] for row in rows] == ["0.25"] * 7
    assert [row["critics"] for row in rows] == [""] * 5 + ["image has won"] * 2
    assert len(said) == 1 and "step 103: the image discriminator has won: " in said[0] and "lower --lr-d" in said[0]


def test_the_held_out_score_is_said_at_each_round_beside_the_best(run, model):
    said = []
    record = Record(run, {"recipe": "madn", "fields": FEW.fields()}, Place(), [], True, say=said.append)
    record.set_model(model)
    for step, score in ((1, 24.5), (2, 24.25)):
        model.optimizer.iterations.assign(step)
        record.on_epoch_begin(0)
        record.on_train_batch_end(0)
        record.on_epoch_end(0, {"loss": 0.1, "psnr": 20.0, "val_psnr": score, "val_blurred_psnr": 24.0})
    assert said == [
        "step 1: held-out crops 24.50 dB (blurred 24.00 dB, best 24.50 dB)",
        "step 2: held-out crops 24.25 dB (blurred 24.00 dB, best 24.50 dB)",
    ]


@pytest.mark.parametrize("count", [2, 7, 20])
def test_pictures_are_spread_over_the_run_whatever_was_interrupted(count):
    for rounds in range(1, 100):
        steps = [5 * n for n in range(1, rounds + 1)]
        kept = sorted(evenly(steps, count))
        assert len(kept) <= count and {steps[0], steps[-1]} <= set(kept)
        if rounds > 1:  # what is kept has not been removed before
            assert set(kept) - {steps[-1]} <= evenly(steps[:-1], count)


def test_pictures_of_a_future_that_did_not_happen_go(run, model):
    blurred = np.full((1, 32, 32, 3), 0.5, "float32")
    run.samples.mkdir()
    for step in (2, 3, 4):
        (run.samples / f"step-000000{step}.png").write_bytes(b"")
    for step in (2, 3):
        run.add_row({"step": step})
    pictures = Pictures(run, blurred, blurred)
    pictures.set_model(model)
    model.optimizer.iterations.assign(3)
    pictures.on_epoch_end(0)
    names = sorted(path.name for path in run.samples.iterdir())
    assert names == ["latest.png", "step-0000002.png", "step-0000003.png"]
    assert (run.samples / names[0]).read_bytes() == (run.samples / names[2]).read_bytes() != b""
