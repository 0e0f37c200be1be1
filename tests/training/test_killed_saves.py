"""A process that is killed between any two file operations of a round's end, or in the middle of a write, loses nothing
that was saved before: every operation is tried."""

import builtins
import io
import os
import shutil
from functools import partial

import numpy as np
import pytest
from helpers import FEW, eager

from madn.training.callbacks.reporting import Pictures, Record
from madn.training.callbacks.safety import Checkpoints
from madn.training.checkpoint import Place, is_damaged, newest_whole, read_place, read_recipe
from madn.training.kept import best_score
from madn.training.runfolder import RunFolder, step_of

SETTINGS = {"recipe": "madn", "fields": FEW.fields(), "data": {}}
OPERATIONS = (
    "replace",
    "rename",
    "fsync",
    "unlink",
    "remove",
    "mkdir",
    "rmdir",
    "open",
    "utime",
    "truncate",
    "ftruncate",
)


class Killed(BaseException):
    """From here on the process does nothing more: what it cleans up on its way out does not happen either."""


class Disk:
    """Counts the operations that change files, and kills before number `last`; a write is half done then."""

    def __init__(self, monkeypatch, last: int | None = None):
        self.last, self.done, self.files = last, 0, []
        for name in OPERATIONS:
            monkeypatch.setattr(os, name, partial(self._call, getattr(os, name)))
        opener = partial(self._open, io.open)
        monkeypatch.setattr(io, "open", opener)
        monkeypatch.setattr(builtins, "open", opener)

    def count(self):
        if self.done == self.last:
            raise Killed
        self.done += 1

    def _call(self, function, *args, **options):
        self.count()
        return function(*args, **options)

    def _open(self, function, file, mode="r", *args, **options):
        if not set(mode) & set("wax+"):
            return function(file, mode, *args, **options)
        self.count()
        self.files.append(function(file, mode, *args, **options))
        return _File(self.files[-1], self)

    def close(self):
        """Close what a library left open, being killed."""
        for file in self.files:
            file.close()


class _File:
    """A file whose writes are operations, too."""

    def __init__(self, file, disk):
        self.file, self.disk = file, disk

    def write(self, content):
        try:
            self.disk.count()
        except Killed:
            if not self.file.closed:
                self.file.write(content[: len(content) // 2])
                self.file.flush()
            raise
        return self.file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __iter__(self):
        return iter(self.file)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture(scope="module")
def model():
    return eager(FEW)


def round_end(run, model, step, psnr):
    """What the callbacks do at the end of a round."""
    image = np.zeros((1, 32, 32, 3), np.float32)
    model.optimizer.iterations.assign(step)
    record = Record(run, {"recipe": "madn", "fields": FEW.fields()}, Place(), run.rows(), True, step)
    checkpoints = Checkpoints(run, Place(), record.elapsed, lambda: None)
    callbacks = (record, Pictures(run, image, image), checkpoints)
    for callback in callbacks:
        callback.set_model(model)
    record.on_epoch_begin(0)
    record.on_train_batch_end(0)
    for callback in callbacks:
        callback.on_epoch_end(0, {"loss": 0.1, "psnr": psnr, "val_psnr": psnr, "val_blurred_psnr": 20.0})


@pytest.mark.slow
def test_a_kill_at_any_file_operation_of_a_save_loses_nothing(tmp_path, model):
    model.predict_on_batch = lambda images: {"deblurred": images}  # No network runs: only files matter here.
    whole = RunFolder(tmp_path / "whole")
    for step in (2, 4, 6):
        round_end(whole, model, step, 20.0 + step / 10)
    whole.write_settings(SETTINGS)
    whole.write_data({"a.png": "1"})

    def save(run):
        run.write_settings({**SETTINGS, "total_steps": 8})
        run.write_data({"a.png": "1"})
        round_end(run, model, 8, 21.0)

    with pytest.MonkeyPatch.context() as patch:
        shutil.copytree(whole.path, tmp_path / "counted")
        disk = Disk(patch)
        save(RunFolder(tmp_path / "counted"))
    operations = disk.done
    assert operations > 40
    for last in range(operations):
        run = RunFolder(tmp_path / "killed")
        shutil.copytree(whole.path, run.path)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, last)
            with pytest.raises(Killed):
                save(run)
        disk.close()
        newest = newest_whole(run.states()[:1])  # It raises where the newest one is not whole.
        assert step_of(newest) in (6, 8) and read_place(newest) == Place()
        assert run.written_settings() in (SETTINGS, {**SETTINGS, "total_steps": 8})
        run.check_data({"a.png": "1"})
        rows = run.rows()
        assert [row["step"] for row in rows] in (["2", "4", "6"], ["2", "4", "6", "8"])
        for which in ("best", "last"):
            file = run.generator(which)
            assert not is_damaged(file) and read_recipe(file)["step"] in (6, 8)
        assert best_score(run, rows, 0) in (20.6, 21.0)
        run.keep_rows(step_of(newest))
        assert [row["step"] for row in run.rows()] == [str(step) for step in range(2, step_of(newest) + 1, 2)]
        run.remove_leftovers()
        shutil.rmtree(run.path)
    print(operations, "operations")
