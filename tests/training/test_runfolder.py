"""The run folder: which states stay, a log that was cut short, leftovers of killed processes, and a full disk."""

import errno
import os
import subprocess
import sys

import pytest

from madn.errors import UserError
from madn.system.writing import HOST
from madn.training import runfolder
from madn.training.runfolder import RunFolder


@pytest.fixture
def run(tmp_path):
    made = RunFolder(tmp_path)
    made.checkpoints.mkdir()
    return made


def test_the_last_states_up_to_the_newest_are_kept(run):
    for step in (2, 4, 6, 8, 12000000):
        run.state(step).write_bytes(b"")
    (run.checkpoints / "state-best.weights.h5").write_bytes(b"not one of ours")
    assert run.states() == [run.state(step) for step in (12000000, 8, 6, 4, 2)]  # by number, not by name
    run.keep_states(run.state(8))  # the later one is of a run that could not be gone on with
    assert run.states() == [run.state(step) for step in (8, 6, 4)]
    assert (run.checkpoints / "state-best.weights.h5").exists()


def test_a_log_that_was_cut_short_is_read_and_gone_on_with(run):
    run.add_row({"step": 2, "loss": 0.25})
    run.add_row({"step": 4, "loss": 0.5})
    run.log.write_bytes(run.log.read_bytes()[:-3])
    assert run.rows() == [{"step": "2", "loss": "0.25"}]
    run.add_row({"step": 4, "loss": 0.5})
    assert [row["loss"] for row in run.rows()] == ["0.25", "0.5"]
    assert run.log.read_text().count("\n") == 3


@pytest.mark.process
def test_leftovers_of_a_dead_process_go_and_those_of_a_living_one_stay(run):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run.samples.mkdir()
    parts = [
        folder / f".{name}.{HOST}-{dead.pid}.part"
        for folder, name in (
            (run.path, "log.csv"),
            (run.checkpoints, "state-0000002.weights.h5"),
            (run.samples, "step-0000002.png"),
        )
    ]
    alive = run.checkpoints / f".last.weights.h5.{HOST}-{os.getpid()}.part"
    for path in [*parts, alive]:
        path.write_bytes(b"")
    run.remove_leftovers()
    assert not any(path.exists() for path in parts) and alive.exists()


@pytest.mark.parametrize("problem", [OSError(errno.ENOSPC, "No space left on device"), OSError("encoder error -2")])
def test_a_full_disk_is_said_in_one_line(run, monkeypatch, problem):
    monkeypatch.setattr(runfolder.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 0}))
    with pytest.raises(UserError, match=f"^{run.path}: the disk is full; .* is whole. Make room, then go on with"):
        with run.writing():
            raise problem


def test_what_else_the_disk_refuses_is_said(run):
    with pytest.raises(UserError, match="cannot be written .Permission denied.*another --run"), run.writing():
        raise PermissionError(errno.EACCES, "Permission denied")


def test_settings_that_do_not_fit_leave_the_old_ones(run, monkeypatch):
    run.write_settings({"recipe": "madn", "fields": {}, "data": {}})
    before = run.settings()

    def refuse(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runfolder.Path, "write_text", refuse)
    with pytest.raises(UserError, match="the disk is full"):
        run.write_settings({"recipe": "other"})
    monkeypatch.undo()
    assert run.settings() == before
    assert [path.name for path in run.path.iterdir() if path.is_file()] == ["settings.json"]


@pytest.mark.parametrize(
    ("said", "best"),
    [
        ({"pairs": {"validation": ["scene/1"]}}, "best"),
        ({"pairs": {"validation": []}}, "last"),
        ({"pairs": {"train": "of an earlier version"}}, "best"),
        ({}, "best"),
        (None, "best"),
    ],
)
def test_the_best_checkpoint_is_the_last_where_nothing_was_held_out(run, said, best):
    if said is not None:
        run.write_settings({"recipe": "madn", "fields": {}, "data": {}, **said})
    assert [run.chosen(which) for which in ("best", "last")] == [run.generator(best), run.generator("last")]
    run.add_row({"step": 4, "psnr": 25, "blurred_psnr": 24})
    assert f"{best}.weights.h5" in run.result()
