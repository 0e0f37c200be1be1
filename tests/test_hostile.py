"""Files that a stranger might send to harm who reads them: each is refused in one line, or read, and does nothing."""

import os
import resource
import sys

import hostile
import pytest

import madn
from baselines.egnet.torch_file import read_checkpoint
from madn.errors import UserError
from madn.restoration.loading import load_network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="pipes have no names on Windows"),
]
SECONDS, BYTES = 10, 10**9


def seconds():
    """Of this process and of those that it waited for: the clock says what other programs do as well."""
    return sum(os.times()[:4])


def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def test_hostile_files_do_nothing(tmp_path, monkeypatch):
    cases = hostile.make(tmp_path / "files")
    assert len(cases) >= 40
    monkeypatch.setenv("MADN_WEIGHTS", "")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there = sorted(tmp_path.rglob("*"))
    for name, reader, path in cases:
        before = seconds()
        try:
            if reader == "registry":
                monkeypatch.setenv("MADN_WEIGHTS", str(path))
                load_network("a")
            elif reader == "model":
                load_network(path)
            elif reader == "keras":
                madn.load(path)
            else:
                read_checkpoint(path)
            said = "read"
        except UserError as problem:
            said = str(problem)
            assert "\n" not in said and str(path) in said, name
        print(f"{seconds() - before:5.1f} s  {said}")
        assert seconds() - before < SECONDS, name
        assert sorted(tmp_path.rglob("*")) == there, name
    assert peak() < BYTES
