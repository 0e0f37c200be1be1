"""Weights files of strangers: the same arrays and attributes come back, or one line says why not."""

import hashlib
import io
import sys

import h5py
import numpy as np
import pytest

from madn.errors import UserError
from madn.system import hdf5

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch):
    monkeypatch.setattr(hdf5, "_vouched", set())
    monkeypatch.setattr(hdf5, "_last", [])


def written(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def ordinary(file):
    file.attrs["madn_recipe"] = '{"recipe": "é"}'
    vars = file.create_group("layers/conv/vars")
    vars.attrs["names"] = np.array([b"kernel", b"bias"])
    vars.create_dataset("0", data=np.arange(12, dtype="f4").reshape(3, 4))
    vars.create_dataset("1", data=np.float16(0.5))
    file.create_dataset("packed", data=np.zeros((100, 100), "f2"), compression="gzip")
    file.create_dataset("empty", data=np.zeros((0, 3), "f4"))


def test_a_child_has_h5py_from_where_this_process_has_it(tmp_path, monkeypatch):
    """As where packages were put into a folder that is in `sys.path` alone: the child's Python has none by itself."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert hdf5.values(hdf5.whole(written(tmp_path / "a.weights.h5", ordinary))) == 12 + 1 + 10_000
    monkeypatch.setattr(hdf5, "_last", [])
    monkeypatch.setattr(hdf5, "_folders_of_h5py", list)
    with pytest.raises(UserError, match="No module named 'h5py'"):
        hdf5.whole(tmp_path / "a.weights.h5")


def test_what_is_whole_comes_back_as_it_was(tmp_path):
    path = written(tmp_path / "a.weights.h5", ordinary)
    with h5py.File(hdf5.whole(path)) as found, h5py.File(path) as expected:
        names = []
        expected.visit(names.append)
        seen = []
        found.visit(seen.append)
        assert seen == names and found.attrs["madn_recipe"] == '{"recipe": "é"}'
        assert list(found["layers/conv/vars"].attrs["names"]) == [b"kernel", b"bias"]
        for name in names:
            if isinstance(expected[name], h5py.Dataset):
                assert found[name].dtype == expected[name].dtype
                np.testing.assert_array_equal(found[name][()], expected[name][()])
    assert hdf5.values(hdf5.whole(path)) == 12 + 1 + 10_000


def test_what_is_vouched_for_is_read_here(tmp_path, monkeypatch):
    path = written(tmp_path / "a.weights.h5", ordinary)
    hdf5.vouch(hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(hdf5.subprocess, "run", None)
    assert hdf5.whole(path).getvalue() == path.read_bytes()


def external(file):
    file.create_dataset("a", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "a", (4,))
    file.create_virtual_dataset("a", layout)


def declared(file):
    file.create_dataset("a", (750_000_000,), "f4")


def declared_in_chunks(file):
    file.create_dataset("a", (750_000_000,), "f4", chunks=(1000,))


def expands(file):
    data = np.zeros(50_000_000, "f4")
    file.create_dataset("a", data=data, compression="gzip")
    file.create_dataset("b", data=data, compression="gzip")


def circle(file):
    outer = file.create_group("a")
    outer.create_group("b")["c"] = outer


def soft(file):
    file["a"] = h5py.SoftLink("/b")


def elsewhere(file):
    file["a"] = h5py.ExternalLink("/tmp/other.h5", "/")


def references(file):
    file.create_dataset("a", data=np.array([file.ref], dtype=h5py.ref_dtype))


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (external, r"an array from other files \(/a\)"),
        (virtual, r"an array from other files \(/a\)"),
        (declared, r"more numbers than are stored in it \(/a\)"),
        (declared_in_chunks, r"more numbers than are stored in it \(/a\)"),
        (expands, r"more numbers than are stored in it \(/b\)"),
        (circle, r"something twice.*\(/a/b/c\)"),
        (soft, r"a link to somewhere else \(/a\)"),
        (elsewhere, r"a link to somewhere else \(/a\)"),
        (references, r"not of numbers \(/a\)"),
    ],
)
def test_what_is_not_stored_whole_is_refused(tmp_path, fill, said):
    path = written(tmp_path / "a.weights.h5", fill)
    with pytest.raises(UserError, match=said) as problem:
        hdf5.whole(path)
    assert str(problem.value).startswith(f"{path}: not a readable .weights.h5 file") and "\n" not in str(problem.value)


def test_damage_is_refused(tmp_path):
    path = written(tmp_path / "a.weights.h5", ordinary)
    for content in (b"", b"nothing", path.read_bytes()[:1500]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged, cut short or of another kind"):
            hdf5.whole(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits of a process")
@pytest.mark.parametrize("does", ["import os; os.abort()", "while True: pass", "a = bytearray(10**10)"])
def test_a_crash_a_loop_and_a_flood_of_memory_end_the_child_alone(tmp_path, monkeypatch, does):
    """The child's reading is replaced: which damage has these effects depends on the HDF5 library's version."""
    text = hdf5.CHILD.read_text()
    assert text.count("    content, result = ") == 1
    (tmp_path / "child.py").write_text(text.replace("    content, result = ", f"    {does}\n    content, result = "))
    monkeypatch.setattr(hdf5, "CHILD", tmp_path / "child.py")
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    with pytest.raises(UserError, match="crashes or does not end|more memory than its size explains"):
        hdf5.whole_content(b"x", "a.weights.h5")


def test_a_file_in_memory_is_named_as_told():
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        soft(file)
    with pytest.raises(UserError, match="^model.keras: "):
        hdf5.whole_content(content.getvalue(), "model.keras")
