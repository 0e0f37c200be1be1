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
from madn.restoration.onnx_network import load_onnx

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
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_hostile_files_do_nothing(tmp_path, monkeypatch):
    cases = hostile.make(tmp_path / "files")
    assert len(cases) >= 40
    held = peak()
    monkeypatch.setenv("MADN_WEIGHTS", "")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    there, wrong = sorted(tmp_path.rglob("*")), []
    for name, reader, path in cases:
        before, said = seconds(), "read"
        try:
            if reader == "registry":
                monkeypatch.setenv("MADN_WEIGHTS", str(path))
                load_network("a")
            elif reader == "model":
                load_network(path)
            elif reader == "onnx":
                load_onnx(path)
                wrong.append(f"{name}: weights from elsewhere were read")
            elif reader == "keras":
                madn.load(path)
            else:
                read_checkpoint(path)
        except UserError as problem:
            said = str(problem)
        except Exception as problem:
            wrong.append(f"{name}: {type(problem).__name__} {problem}"[:200])
        took = seconds() - before
        print(f"{took:5.1f} s  {reader}: {name}: {said.replace(str(path), '...')}", flush=True)
        if said != "read" and ("\n" in said or str(path) not in said):
            wrong.append(f"{name}: {said}")
        if took > SECONDS:
            wrong.append(f"{name}: {took:.1f} s")
        if sorted(tmp_path.rglob("*")) != there:
            wrong.append(f"{name}: something was written")
    print(f"{len(cases)} cases; {(peak() - held) / 1e6:.0f} MB more than before")
    assert not wrong
    # Child processes limit themselves, and what the system says of them begins with this process's own memory.
    assert peak() - held < BYTES
