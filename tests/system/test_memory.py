"""Memory within the limits of control groups, laid out as Linux has them."""

import os
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from madn import train
from madn.errors import UserError, run_command
from madn.system import memory

GB = 10**9


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A machine with 64 GB free; a function writes this process's groups and the files of one group."""
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * GB))

    def write(own, group, **files):
        (tmp_path / "own").write_text(own)
        folder = tmp_path / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(f"{content}\n")

    return write


def test_this_process():
    before = memory.used()
    block = np.ones(300_000_000, np.uint8)  # more than the allocator keeps of what was freed
    assert before > 0 and memory.used() - before > 0.8 * block.nbytes
    assert 0 < memory.available() <= psutil.virtual_memory().total


def test_without_control_groups(groups):
    assert memory.available() == 64 * GB


def test_a_container(groups):
    """Its own group is the top, and what it has read from files counts as free."""
    stat = f"anon {GB}\nfile {2 * GB}\ninactive_file {GB}"
    groups("0::/\n", "", memory__max=8 * GB, memory__current=5 * GB, memory__stat=stat)
    assert memory.available() == 4 * GB
    groups("0::/\n", "", memory__current=20 * GB)
    assert memory.available() == 0


def test_no_limit(groups):
    groups("0::/user\n", "user", memory__max="max", memory__current=5 * GB, memory__stat="anon 1")
    assert memory.available() == 64 * GB


def test_a_job_of_a_batch_system(groups):
    """The limit is that of a group around the process's own."""
    own = "0::/slurm/job_1/step_0/task_0\n"
    groups(own, "slurm/job_1/step_0/task_0", memory__max="max", memory__current=2 * GB, memory__stat="anon 1")
    groups(own, "slurm/job_1", memory__max=16 * GB, memory__current=3 * GB, memory__stat="anon 1")
    assert memory.available() == 13 * GB


def test_version_1(groups):
    own = "9:name=systemd:/\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"
    files = {
        "memory__limit_in_bytes": 4 * GB,
        "memory__usage_in_bytes": 3 * GB,
        "memory__stat": f"inactive_file 1\ntotal_inactive_file {GB}",
    }
    groups(own, "memory/docker/abc", **files)
    assert memory.available() == 2 * GB
    groups("4:memory:/elsewhere\n", "memory", **(files | {"memory__limit_in_bytes": 2**63 - 4096}))
    assert memory.available() == 64 * GB


@pytest.mark.skipif(not os.path.exists("/proc/self/cgroup"), reason="Linux tells a process its control groups there")
def test_this_machines_groups_are_understood():
    assert all(left > 0 for left in memory._left())


def named(name, text):
    return type(name, (Exception,), {})(text)


@pytest.mark.parametrize(
    ("fault", "ran_out"),
    [
        (MemoryError(), True),
        (named("ResourceExhaustedError", "OOM when allocating tensor with shape[4,512]"), True),
        (named("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB"), True),
        # What TensorFlow raises where oneDNN, which computes its convolutions on processors, gets no memory.
        (
            named(
                "AbortedError",
                "Operation received an exception:Status: 1, message: could not create a memory object, in file "
                "tensorflow/core/kernels/mkl/mkl_conv_ops.cc:1163",
            ),
            True,
        ),
        (named("XlaRuntimeError", "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (
            named("AbortedError", "Operation received an exception:Status: 3, message: no primitive"),
            False,
        ),
        (ValueError("shapes differ"), False),
        (KeyboardInterrupt(), False),
        (UserError("photo out of memory.png: no such file"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_what_each_backend_says(fault, ran_out):
    assert memory.ran_out(fault) is ran_out


def test_training_that_ran_out_of_memory_says_so_in_a_line(tmp_path, monkeypatch, capsys):
    def aborted(*arguments):
        raise named(
            "AbortedError", "Operation received an exception:Status: 1, message: could not create a memory object"
        )

    monkeypatch.setattr(train, "_train", aborted)
    with pytest.raises(SystemExit) as stopped:
        run_command(train.main, ["--recipe", "madn", "--data", "samples", "--run", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"madn: error: {tmp_path}/run: training ran out of memory: go on with --resume")
