"""madn.batch by Beam's direct runner, with a tiny network: what it restores, skips, names, and leaves when stopped.

What needs Apache Beam skips without it: `make check-beam` has it.
"""

import errno
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import madn
from madn.errors import run_command
from madn.imaging.photos import read_photo
from madn.models.madn.recipe import MADN
from madn.system.writing import HOST
from madn.training.checkpoint import save_generator

NOISE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
GOOD = 195
BAD = {
    "cut.jpg": "cannot be read as an image",
    "moving.png": "an animation of 2 pictures",
    "none.tif": "is empty",
    "notes.png": "not an image",
    "wide.bmp": "says it has 1200x1000 pixels",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    if not importlib.util.find_spec("apache_beam"):
        pytest.skip("apache-beam is not installed: make check-beam")
    tiny = replace(MADN, widths=(4, 8, 16), res_blocks=1)
    file = tmp_path_factory.mktemp("tiny") / "tiny.weights.h5"
    save_generator(tiny.build_generator(), file, "madn", tiny.fields(), step=0)
    return file


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(name, shift=0, size=48):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(NOISE, shift, axis=1)[:size, :size]).save(name)


def photos(count):
    for i in range(count):
        photo(f"in/{i % 7}/{i:03}.{('png', 'jpg', 'tif')[i % 3]}", i)


def bad_ones():
    photo("whole.jpg")
    Path("in/cut.jpg").write_bytes(Path("whole.jpg").read_bytes()[:-600])
    Image.new("RGB", (9, 9)).save("in/moving.png", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    Path("in/none.tif").touch()
    Path("in/notes.png").write_text("no photo")
    Image.new("RGB", (1200, 1000)).save("in/wide.bmp")


def run(capfd, *words):
    """Exit code, what was printed, what was said on standard error."""
    from madn import batch

    with pytest.raises(SystemExit) as stop:
        run_command(batch.main, [str(word) for word in words])
    return stop.value.code, *capfd.readouterr()


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir())


def listed(name="out/failed.jsonl"):
    return [tuple(json.loads(line).values()) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def test_two_hundred_files_with_five_bad_ones_twice(here, weights, capfd):
    photos(GOOD)
    bad_ones()
    words = ["in", "-o", "out", "--model", weights, "--max-megapixels", "1"]
    code, out, err = run(capfd, *words)
    assert (code, err) == (1, "")
    assert out == f"195 restored to {here}/out, by {weights}; 5 failed: {here}/out/failed.jsonl\n"
    good = [name for name in files("in") if name not in BAD]
    assert files("out") == sorted([*good, "failed.jsonl"]) and len(good) == GOOD
    first = {name: (Path("out", name).stat().st_mtime_ns, Path("out", name).read_bytes()) for name in good}
    bad = listed()
    assert [name for name, _ in bad] == [f"{here}/in/{name}" for name in BAD]
    assert all(
        said in reason and not reason.startswith(name) for (name, reason), said in zip(bad, BAD.values(), strict=True)
    ), bad
    source, result = read_photo(f"in/{good[0]}"), read_photo(f"out/{good[0]}")
    np.testing.assert_array_equal(result.pixels, madn.deblur(source.pixels, weights))
    assert (result.pixels != source.pixels).any()

    Path("out/failed.jsonl").write_text("what a run before has left")
    code, out, err = run(capfd, *words)
    assert (code, err) == (1, "")
    assert out.startswith(f"0 restored to {here}/out") and "; 195 skipped that were there" in out
    assert listed() == bad and files("out") == sorted([*good, "failed.jsonl"])
    assert first == {name: (Path("out", name).stat().st_mtime_ns, Path("out", name).read_bytes()) for name in good}

    for name in BAD:
        Path("in", name).unlink()
    assert run(capfd, *words)[0] == 0 and listed() == []
    assert run(capfd, *words, "--overwrite")[1].startswith("195 restored")
    for name in good:
        assert Path("out", name).stat().st_mtime_ns > first[name][0]
        assert Path("out", name).read_bytes() == first[name][1]


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_run_that_was_killed_ends_the_same(here, weights, capfd):
    photos(GOOD)
    bad_ones()
    words = ["in", "-o", "out", "--model", str(weights), "--max-megapixels", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "madn.batch", *words],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    while len(list(Path("out").glob("[0-9]/*"))) < 20 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    killed = {
        name: (Path("out", name).stat().st_mtime_ns, Path("out", name).read_bytes())
        for name in files("out")
        if not name.startswith(".")
    }
    assert process.returncode == -signal.SIGKILL and 20 <= len(killed) < GOOD
    for name in killed:
        read_photo(f"out/{name}")
    parts = next(Path("out").glob(f".madn.{HOST}-{process.pid}.*.parts"))  # hidden, and of a process that is no more
    (parts / "half").write_bytes(b"half a photo")
    code, out, err = run(capfd, *words)
    assert (code, err) == (1, "") and len(listed()) == 5
    assert out.startswith(f"{GOOD - len(killed)} restored") and f"; {len(killed)} skipped" in out
    assert files("out") == sorted([name for name in files("in") if name not in BAD] + ["failed.jsonl"])
    assert not parts.exists()
    assert all(
        (Path("out", name).stat().st_mtime_ns, Path("out", name).read_bytes()) == before
        for name, before in killed.items()
    )


@pytest.mark.slow
@pytest.mark.process
def test_worker_processes(here, weights):
    """As on a cluster: handler, settings and photos' names are serialised, TensorFlow starts in each worker."""
    photos(12)
    photo("in/notes.png")
    Path("in/notes.png").write_text("no photo")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "madn.batch",
            "in",
            "-o",
            "out",
            "--model",
            str(weights),
            "--",
            "--runner",
            "DirectRunner",
            "--direct_num_workers",
            "2",
            "--direct_running_mode",
            "multi_processing",
        ],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done
    assert done.stdout.startswith(f"12 restored to {here}/out") and "Traceback" not in done.stderr
    assert files("out") == sorted([name for name in files("in") if name != "notes.png"] + ["failed.jsonl"])
    assert [name for name, _ in listed()] == [f"{here}/in/notes.png"]


def test_the_network_is_loaded_once_for_all_threads(here, weights, capfd, monkeypatch):
    from madn.restoration import loading

    loads = []
    load = loading.load_network
    monkeypatch.setattr(loading, "load_network", lambda *asked: (loads.append(asked), load(*asked))[1])
    photos(12)
    words = [
        "in",
        "-o",
        "out",
        "--model",
        weights,
        "--recipe",
        "madn",
        "--",
        "--direct_num_workers",
        "3",
        "--direct_running_mode",
        "multi_threading",
    ]
    assert run(capfd, *words)[0] == 0 and len(files("out")) == 13
    assert loads == [(str(weights), "best", "madn", "float32")]


def test_what_would_go_to_one_place_is_named_and_what_is_found_twice_restored_once(here, weights, capfd):
    for name in ("a/x.png", "b/x.png", "b/y.png"):
        photo(name)
    code, out, err = run(capfd, "a", "b", "b/*.png", "-o", "out", "--model", weights, "--failed", "lists/bad.jsonl")
    assert (code, err) == (1, "") and out.startswith("1 restored") and files("out") == ["y.png"]
    assert [name for name, _ in listed("lists/bad.jsonl")] == [f"{here}/{name}" for name in ("a/x.png", "b/x.png")]
    assert f"({here}/b/x.png)" in listed("lists/bad.jsonl")[0][1]


def test_a_photo_that_its_format_cannot_hold_is_named(here, weights, capfd):
    photo("in/a.png")
    Image.new("RGBA", (48, 48), (9, 9, 9, 9)).save("in/clear.png")
    shutil.move("in/clear.png", "in/clear.jpg")  # a PNG by its content
    assert run(capfd, "in", "-o", "out", "--model", weights)[0] == 1
    assert files("out") == ["a.png", "failed.jsonl"] and "transparency" in listed()[0][1]


@pytest.mark.parametrize("fault", [MemoryError(), type("ResourceExhaustedError", (Exception,), {})("OOM when ...")])
def test_a_photo_too_large_for_the_memory_is_named_and_the_rest_restored(here, weights, capfd, monkeypatch, fault):
    from madn.restoration.scale import ScaledRestorer

    photo("in/a.png")
    photo("in/b.png", size=32)

    def restored(self, pixels, on_tile=None, colours=None):
        if len(pixels) == 48:
            raise fault
        return pixels, None

    monkeypatch.setattr(ScaledRestorer, "__call__", restored)
    code, _, err = run(capfd, "in", "-o", "out", "--model", weights)
    assert (code, err) == (1, "") and files("out") == ["b.png", "failed.jsonl"]
    assert listed() == [
        (f"{here}/in/a.png", "not restored, for lack of memory: give less --memory-gb or a smaller --tile")
    ]


def test_without_beam(here, capfd, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[:2] == ["madn", "beam"]]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(madn, "beam", raising=False)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    photo("in/a.png")
    assert run(capfd, "in", "-o", "out") == (
        2,
        "",
        'madn: error: apache_beam is not installed: pip install "madn[beam]"\n',
    )
    assert files(".") == ["in/a.png"]


def test_ctrl_c_leaves_whole_files(here, weights, capfd, monkeypatch):
    from madn.restoration.scale import ScaledRestorer

    for name in ("in/a.png", "in/b.png"):
        photo(name)
    answers = [(NOISE, None), KeyboardInterrupt()]

    def restored(self, pixels, on_tile=None, colours=None):
        if isinstance(answer := answers.pop(0), BaseException):
            raise answer
        return answer

    monkeypatch.setattr(ScaledRestorer, "__call__", restored)
    assert run(capfd, "in", "-o", "out", "--model", weights) == (130, "", "madn: stopped\n")
    assert len(files("out")) == 1 and read_photo(f"out/{files('out')[0]}").pixels.shape == NOISE.shape
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert run(capfd, "in", "-o", "out", "--model", weights)[1].startswith("1 restored")


def test_what_befalls_all_ends_the_run_in_one_line(here, weights, capfd, monkeypatch):
    from apache_beam.io.localfilesystem import LocalFileSystem

    photo("in/a.png")
    Path("dir").mkdir()
    Path("texts").mkdir()
    Path("texts/notes.txt").touch()
    full = os.strerror(errno.ENOSPC)
    for words, message in (
        (["in/*.webp", "-o", "out"], f"{here}/in/*.webp: matches nothing"),
        (["-o", "out"], "no photos: python -m"),
        (["dir", "-o", "out"], f"{here}/dir/**: matches nothing"),
        (["none", "-o", "out"], "none: no such file"),
        (["texts", "-o", "out", "--model", weights], "texts: no photos there"),
        (["in", "-o", "out", "--model", "mdan"], "mdan: no such run folder"),
        (["in", "-o", "out", "--model", "gs://bucket/run"], "gs://bucket/run: of a bucket only a .weights.h5 file"),
        (["in", "-o", "out", "--model", "a.onnx"], "a.onnx: madn.batch takes no ONNX file"),
        (["in", "-o", "out", "--failed", "in/a.png"], "in/a.png: the list of failures is a .jsonl file"),
        (["in", "-o", "in"], f"{here}/in: results would lie among the inputs"),
        (["in", "-o", "none://bucket/x", "--model", weights], "none://bucket/x: no file system for it"),
        (["in", "-o", "out", "--", "--direct_num_worker", "2"], "options of Beam: the direct runner knows no --direct"),
        (["in", "-o", "out", "--", "--direct_num_workers", "two"], "options of Beam: argument --direct_num_workers"),
        (["in", "-o", "out", "--", "--runner", "Fast"], "options of Beam: Unexpected pipeline runner"),
    ):
        code, out, err = run(capfd, *words)
        assert (code, out) == (2, "") and err.startswith(f"madn: error: {message}") and err.count("\n") == 1, err
        assert [name for name in files(".") if name != "out/failed.jsonl"] == ["in/a.png", "texts/notes.txt"]

    def create(*_, **__):
        raise OSError(errno.ENOSPC, full)

    monkeypatch.setattr(LocalFileSystem, "create", create)
    assert run(capfd, "in", "-o", "out", "--model", weights) == (
        2,
        "",
        f"madn: error: {here}/out/a.png: cannot be written ({full}); what is done stays, and the same command "
        "goes on\n",
    )


def test_a_worker_that_was_killed_is_one_line(here, weights, capfd, monkeypatch):
    import apache_beam

    def killed(*_, **__):
        raise RuntimeError("Channel closed prematurely.")

    photo("in/a.png")
    monkeypatch.setattr(apache_beam.Pipeline, "run", killed)
    code, out, err = run(capfd, "in", "-o", "out", "--model", weights)
    assert (
        (code, out) == (2, "") and err.startswith("madn: error: a worker process ended early") and err.count("\n") == 1
    )


def test_a_name_that_the_output_cannot_have_is_one_files_fault(here, weights, capfd):
    photo("in/a.png")
    photo("in/b.png")
    Path("out/a.png/in the way").mkdir(parents=True)
    Path("out/a.png/in the way/kept.txt").touch()
    for more in ([], ["--overwrite"]):
        code, out, _ = run(capfd, "in", "-o", "out", "--model", weights, *more)
        assert code == 1 and out.startswith("1 restored"), out
        assert [name for name, _ in listed()] == [f"{here}/in/a.png"] and "choose another name" in listed()[0][1]
        assert files("out") == ["a.png/in the way/kept.txt", "b.png", "failed.jsonl"]


@pytest.fixture
def bucket():
    """What lies in mem://, a file system of Beam's that holds objects, and whose renaming replaces nothing."""
    from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

    objects = {}

    class Written(io.BytesIO):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def close(self):
            objects[self.name] = self.getvalue()
            super().close()

    class Memory(FileSystem):
        @classmethod
        def scheme(cls):
            return "mem"

        def join(self, basepath, *paths):
            return "/".join([basepath.rstrip("/"), *paths])

        def split(self, path):
            return tuple(path.rsplit("/", 1))

        def mkdirs(self, path):
            pass

        def has_dirs(self):
            return False

        def _list(self, dir_or_prefix):
            return [
                FileMetadata(name, len(content)) for name, content in objects.items() if name.startswith(dir_or_prefix)
            ]

        def create(self, path, mime_type="", compression_type=None):
            return Written(path)

        def open(self, path, mime_type="", compression_type=None):
            if objects[path] == b"locked":
                raise BeamIOError("Open failed", {path: PermissionError(errno.EACCES, "Permission denied")})
            return io.BytesIO(objects[path])

        def rename(self, source_file_names, destination_file_names):
            for source, destination in zip(source_file_names, destination_file_names, strict=True):
                if destination in objects:
                    raise BeamIOError("Rename operation failed", {destination: FileExistsError(17, "is there")})
                objects[destination] = objects.pop(source)

        def exists(self, path):
            return path in objects

        def delete(self, paths):
            for path in paths:
                for name in [name for name in objects if name == path or path[-1] == "/" and name.startswith(path)]:
                    del objects[name]

        copy = size = last_updated = checksum = None

        def metadata(self, path):
            return FileMetadata(path, len(objects[path]))

    Memory.__abstractmethods__ = frozenset()
    yield objects
    Memory.scheme = classmethod(lambda cls: "gone")  # Beam finds file systems among all subclasses


def test_a_bucket(here, weights, bucket, capfd):
    for i, kind in enumerate(("png", "jpg", "tif", "webp", "bmp")):
        photo(f"a.{kind}", i)
        bucket[f"mem://b/in/trip/a.{kind}"] = Path(f"a.{kind}").read_bytes()
    bucket |= {
        "mem://b/in/none.png": b"",
        "mem://b/in/clip.mp4": b"",
        "mem://b/in/locked.png": b"locked",
        "mem://b/in/notes.txt": b"",
        "mem://b/tiny.weights.h5": weights.read_bytes(),
    }
    names = set(bucket)
    results = {f"mem://b/in/sharp/trip/a.{kind}" for kind in ("png", "jpg", "tif", "webp", "bmp")}
    words = ["mem://b/in/", "-o", "mem://b/in/sharp", "--model", "mem://b/tiny.weights.h5"]
    for restored in (5, 0):
        code, out, err = run(capfd, *words)
        assert (code, err) == (1, "") and out.startswith(f"{restored} restored to mem://b/in/sharp, by mem://b/tiny")
        assert set(bucket) == names | results | {"mem://b/in/sharp/failed.jsonl"}
        reasons = [json.loads(line) for line in bucket["mem://b/in/sharp/failed.jsonl"].decode().splitlines()]
        assert [each["file"] for each in reasons] == [f"mem://b/in/{n}" for n in ("clip.mp4", "locked.png", "none.png")]
        assert [
            said in each["reason"]
            for each, said in zip(reasons, ("videos are not", "Permission denied", "is empty"), strict=True)
        ] == [True] * 3, reasons
    with Image.open(io.BytesIO(bucket["mem://b/in/sharp/trip/a.png"])) as picture:
        np.testing.assert_array_equal(np.asarray(picture), madn.deblur("a.png", weights))
    bucket["mem://b/in/sharp/trip/a.png"] = b"of another network"
    assert run(capfd, *words, "--overwrite")[1].startswith("5 restored")
    assert bucket["mem://b/in/sharp/trip/a.png"].startswith(b"\x89PNG") and set(bucket) >= results
    bucket["mem://b/in/sharp/trip/a.png/kept"] = b"as in a folder of that name"
    assert "4 restored" in run(capfd, *words, "--overwrite")[1] and "mem://b/in/sharp/trip/a.png" in bucket
