"""The run folder: which states stay, a log that was cut short, leftovers of killed processes, and a full disk."""

import errno
import io
import json
import os
import subprocess
import sys

import h5py
import pytest

from madn.errors import UserError
from madn.system import writing
from madn.system.seals import seal
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

    def refuse(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", refuse)
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
    assert f"{best}.weights.h5" in run.result()  # the log is lost
    run.add_row({"step": 4, "psnr": 25, "blurred_psnr": 24})
    assert f"{best}.weights.h5" in run.result()


SETTINGS = {"recipe": "madn", "fields": {"batch": 2}, "data": {"data": "samples"}}


def test_settings_have_a_version_and_a_checksum_that_a_change_breaks(run):
    run.write_settings(SETTINGS)
    file = run.path / "settings.json"
    assert run.settings() == SETTINGS and json.loads(file.read_text())["version"] == 1
    file.write_text(file.read_text().replace('"batch": 2', '"batch": 3'))
    with pytest.raises(UserError, match="settings.json: not what madn wrote: damaged, or edited; .*its line sha256"):
        run.settings()
    text = json.loads(file.read_text())
    del text["sha256"]
    file.write_text(json.dumps(text))
    assert run.settings()["fields"] == {"batch": 3}


DAMAGED = {
    "empty": b"",
    "cut": b'{"recipe": "madn", "fields": {"ba',
    "zeros": bytes(100),
    "no UTF-8": b'{"recipe": "\xff", "fields": {}, "data": {}}',
    "list": b"[]",
    "null": b"null",
    "number": b"7",
    "deep": b"[" * 100_000,
    "deep inside": b'{"recipe": "madn", "data": {}, "fields": {"a": ' + b'{"a":' * 100_000,
    "lacks a field": b'{"recipe": "madn", "fields": {}}',
    "type of recipe": b'{"recipe": 7, "fields": {}, "data": {}}',
    "type of fields": b'{"recipe": "madn", "fields": [1], "data": {}}',
    "type of data": b'{"recipe": "madn", "fields": {}, "data": "samples"}',
    "type of steps": b'{"recipe": "madn", "fields": {}, "data": {}, "total_steps": "many"}',
    "type of resumed": b'{"recipe": "madn", "fields": {}, "data": {}, "resumed": {}}',
    "type of version": b'{"recipe": "madn", "fields": {}, "data": {}, "version": "one"}',
    "huge version": b'{"recipe": "madn", "fields": {}, "data": {}, "version": 1e400}',
    "unknown key": b'{"recipe": "madn", "fields": {}, "data": {}, "colour": 1}',
    "NaN": b'{"recipe": "madn", "fields": {"lr_g": NaN}, "data": {}}',
    "newer": b'{"recipe": "madn", "fields": {}, "data": {}, "version": 2}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_settings_are_one_line(run, content):
    file = run.path / "settings.json"
    file.write_bytes(content)
    with pytest.raises(
        UserError, match=f"^{file}: .*(; choose another --run folder|; install a newer madn)$"
    ) as problem:
        run.settings()
    assert "\n" not in str(problem.value) and len(str(problem.value)) < 500


def state(run, step, settings):
    """A file with a state's settings and seal, and no weights."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs[runfolder.STORED_SETTINGS] = json.dumps(settings)
    run.state(step).write_bytes(content.getvalue() + seal(content.getvalue()))


@pytest.mark.parametrize("content", [None, b"{", b'{"recipe": 7, "fields": {}, "data": {}}'])
def test_lost_settings_are_taken_from_the_newest_whole_state(run, capsys, content):
    for step in (2, 4, 6):
        state(run, step, {**SETTINGS, "total_steps": step})
    newest = run.state(6).read_bytes()
    run.state(6).write_bytes(newest[:-1])
    if content is not None:
        (run.path / "settings.json").write_bytes(content)
    assert run.settings() == {**SETTINGS, "total_steps": 4} == run.settings()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "its content is taken from a checkpoint" in said


def test_images_of_a_run_are_compared(run):
    run.check_data({"a": "1"})  # An earlier version kept nothing to compare.
    run.write_data({"a": "1", "b": "2"})
    run.check_data({"b": "2", "a": "1"})
    with pytest.raises(UserError, match="no longer those of this run: removed: b; changed: a; put them back, or .*--w"):
        run.check_data({"a": "2"})
    (run.path / "data.json").write_text('{"version": 1, "files": ["a"]}')
    with pytest.raises(UserError, match="data.json: not the list of a run's images .*; remove it to go on"):
        run.check_data({"a": "1"})


def test_damaged_lines_of_the_log_are_left_out_and_counted(run, capsys):
    for step in (2, 4, 6):
        run.add_row({"step": step, "psnr": 20.0, "critics": "image has won"})
    whole = run.log.read_text().splitlines(keepends=True)
    run.log.write_bytes(
        "".join([*whole[:2], "x\0\n", "4,2\x1b,\n", "5\n", "6,1,,7\n", whole[3]]).encode() + b"8,\xff\n"
    )
    assert [row["step"] for row in run.rows()] == ["2", "6"]
    run.keep_rows(6)
    assert capsys.readouterr().err == f"warning: {run.log}: 5 damaged lines are left out\n"
    assert [row["step"] for row in run.rows()] == ["2", "6"] and run.log.read_text().count("\n") == 3


def test_file_names_that_are_not_utf_8_are_kept(run):
    name = os.fsdecode(b"caf\xe9.png")
    run.write_data({name: "1"})
    run.check_data({name: "1"})
    with pytest.raises(UserError, match=r"no longer those of this run: removed: caf\\udce9.png"):
        run.check_data({})
    settings = {"recipe": "madn", "fields": {}, "data": {"photos": name}, "command": f"--photos {name}"}
    run.write_settings(settings)
    assert run.settings() == settings


def test_the_length_of_a_run_is_what_counts(run):
    run.check_same({"steps": 4, "epochs": 2000}, {"steps": 6, "epochs": 2000})
    run.check_same({"steps": None, "epochs": 2}, {"steps": None, "epochs": 3})
    with pytest.raises(UserError, match="this run's length is --steps 4, beside which --epochs 50 changes nothing"):
        run.check_same({"steps": 4, "epochs": 2000}, {"steps": 4, "epochs": 50})


def test_a_lost_log_is_said_at_the_end(run):
    assert run.result() == f"{run.log} is lost; weights {run.generator('best')}"
