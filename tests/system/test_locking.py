"""A folder is one process's at a time: others are told whose, and a process that is killed leaves no lock behind."""

import errno
import os
import subprocess
import sys

import pytest

from madn.errors import UserError
from madn.system import locking
from madn.system.locking import LOCK, held

HOLD = """
import sys, time
from pathlib import Path
from madn.system.locking import held
with held(Path(sys.argv[1]), "madn.train", "wait"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_what_was_made_for_the_lock_goes_again(tmp_path):
    folder = tmp_path / "runs" / "a"
    with held(folder, "madn.train", "wait"):
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert not (tmp_path / "runs").exists()
    with held(folder, "madn.train", "wait"):
        (folder / "log.csv").touch()
    assert [path.name for path in folder.iterdir()] == ["log.csv"]


def test_a_second_block_is_refused_with_the_holder(tmp_path):
    with held(tmp_path, "madn.train", "wait"):
        with pytest.raises(
            UserError, match=rf"in use by madn.train, process {os.getpid()} on .+, since 20.+ UTC; choose another"
        ):
            with held(tmp_path, "madn.evaluate", "choose another"):
                pass
    with held(tmp_path, "madn.evaluate", "choose another"):
        pass


def test_a_stranger_s_lock_file_reaches_the_screen_escaped(tmp_path, monkeypatch):
    with held(tmp_path, "madn.train", "wait"):
        (tmp_path / LOCK).write_bytes(b"\x1b]0;title\x07\n\xff")
        with pytest.raises(UserError) as problem, held(tmp_path, "madn.train", "wait"):
            pass
    assert "\x1b" not in str(problem.value) and "\n" not in str(problem.value)


@pytest.mark.process
def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid} on "), held(tmp_path, "madn.train", "wait"):
        pass
    process.kill()
    process.communicate()
    assert (tmp_path / LOCK).exists()  # The file is there, but nobody holds it.
    with held(tmp_path, "madn.train", "wait"):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    class None_:
        def __init__(self, *_, **__): ...

        def acquire(self):
            raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking, "FileLock", None_)
    with held(tmp_path, "madn.train", "wait"):
        pass
    assert capsys.readouterr().err == (
        f"note: {tmp_path}: this file system knows no locks; see that no other process writes there\n"
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/run: cannot be written .Not a directory"):
        with held(tmp_path / "file" / "run", "madn.train", "wait"):
            pass
