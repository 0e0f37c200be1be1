"""The command with a network that inverts, so that what it wrote can be told from what it read."""

import errno
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from imaging import awkward
from PIL import Image

from madn.errors import UserError, run_command
from madn.imaging import photos
from madn.imaging.formats import FORMATS
from madn.imaging.photos import read_photo
from madn.restoration import command as deblur
from madn.restoration import runtimes
from madn.restoration.report import Report
from madn.restoration.restorer import Restorer
from madn.system import memory
from madn.weights.registry import DEFAULT

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def network(monkeypatch, tmp_path):
    """Loads as any model and inverts; keeps what it was asked for. `network.fault(width)` is raised if it returns."""
    asked = SimpleNamespace(loads=[], restorers=[], widths=[], fault=lambda width: None)

    def inverted(batch):
        asked.widths.append(batch.shape[2])
        if fault := asked.fault(batch.shape[2]):
            raise fault
        return 1.0 - batch

    def restorer(memory_gb, tile, ensemble, scale):
        asked.restorers.append((memory_gb, tile, ensemble, scale))
        return Restorer(inverted, 16, memory_gb=memory_gb, tile=tile, ensemble=ensemble)

    def load(*arguments):
        *which, options, few, trust_model = arguments
        asked.loads.append((*which, options.runtime, few, trust_model))
        return SimpleNamespace(description="an inverting network", restorer=restorer, runtime="NumPy")

    monkeypatch.setattr(deblur, "find_model", lambda *arguments: None)
    monkeypatch.setattr(runtimes, "load", load)
    # A process that has run a thousand tests may hold more than a test's --memory-gb before any photo.
    monkeypatch.setattr(memory, "used", lambda: 10**9)
    monkeypatch.chdir(tmp_path)
    return asked


def photo(name, width=48, height=32):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE[:height, :width]).save(name)


def is_inverted(name, width=48, height=32):
    np.testing.assert_array_equal(np.asarray(Image.open(name)), 255 - NOISE[:height, :width])
    return True


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir())


def run(capsys, *words):
    """Exit code, what was printed, what was said on standard error."""
    with pytest.raises(SystemExit) as stop:
        run_command(deblur.main, [str(word) for word in words])
    return stop.value.code, *capsys.readouterr()


def test_one_photo_to_a_file_and_into_a_folder(network, capsys):
    photo("in.png", 35, 21)
    assert run(capsys, "in.png", "-o", "new/out.png") == (
        0,
        "1 of 1 restored to new/out.png, by an inverting network, on NumPy\n",
        "",
    )
    assert (
        run(
            capsys,
            "in.png",
            "--output",
            "new",
            "--model",
            "run",
            "--which",
            "last",
            "--recipe",
            "madn",
            "--precision",
            "bfloat16",
            "--memory-gb",
            "2.5",
            "--tile",
            "300",
            "--scale",
            "0.5",
        )[0]
        == 0
    )
    assert is_inverted("new/out.png", 35, 21) and is_inverted("new/in.png", 35, 21)
    assert network.loads == [
        (DEFAULT, "best", None, "float32", "auto", True, False),
        ("run", "last", "madn", "bfloat16", "auto", True, False),
    ]
    assert network.restorers == [(None, None, False, None), (2.5, 300, False, 0.5)] and network.widths == [48, 48]


def test_the_ensemble_restores_in_eight_views_and_is_reported(network, capsys):
    photo("in.png", 48, 31)
    assert run(capsys, "in.png", "-o", "out", "--ensemble", "--report", "r.html")[0] == 0
    assert is_inverted("out/in.png", 48, 31) and network.widths == [48, 32] * 4
    assert "mean of eight flips and turns" in Path("r.html").read_text()


def test_folders_patterns_and_files_at_once(network, capsys):
    for name in ("a.png", "trip/b.png", "trip/far/c.png", "more/d.png", "more/e.png", "more/f.jpg"):
        photo(name)
    assert run(capsys, "a.png", "trip", "more/*.png", "-o", "out")[:2] == (
        0,
        "5 of 5 restored to out, by an inverting network, on NumPy\n",
    )
    assert files("out") == ["a.png", "b.png", "d.png", "e.png", "far/c.png"]
    assert all(is_inverted(f"out/{name}") for name in files("out"))


def test_broken_files_are_named_and_the_rest_restored(network, capsys):
    photo("in/a.png")
    photo("in/trip/b.png")
    Path("in/cut.png").write_bytes(Path("in/a.png").read_bytes()[:60])
    Path("in/bad/line\nend.png").parent.mkdir()
    Path("in/bad/line\nend.png").touch()
    Path("notes.txt").touch()
    code, out, err = run(capsys, "in", "notes.txt", "-o", "out")
    assert (code, out) == (
        1,
        "2 of 4 restored to out, by an inverting network, on NumPy; 2 failed; left out: 1 .txt file\n",
    )
    assert [line.split(" (")[0] for line in err.splitlines()] == [
        "madn: error: notes.txt: its suffix is neither a photo's nor a video's",
        "madn: error: in/cut.png: cannot be read as an image",
        r"madn: error: in/bad/line\nend.png: cannot be read as an image",
    ]
    assert files("out") == ["a.png", "trip/b.png"] and not Path("out/bad").exists()


def test_what_is_there_is_skipped(network, capsys):
    photo("in/a.png")
    photo("in/b.png")
    run(capsys, "in", "-o", "in/out")
    Path("in/out/b.png").unlink()
    before = Path("in/out/a.png").stat().st_mtime_ns
    skipped = "1 skipped that were there (--overwrite restores them again)"
    assert run(capsys, "in", "-o", "in/out")[:2] == (
        0,
        f"1 of 2 restored to in/out, by an inverting network, on NumPy; {skipped}\n",
    )
    assert is_inverted("in/out/b.png") and Path("in/out/a.png").stat().st_mtime_ns == before
    loads = len(network.loads)
    assert run(capsys, "in", "-o", "in/out")[1].startswith("0 of 2 restored to in/out; 2 skipped")
    assert len(network.loads) == loads and Path("in/out/a.png").stat().st_mtime_ns == before
    assert run(capsys, "in", "-o", "in/out", "--overwrite")[1].startswith("2 of 2 restored")
    assert Path("in/out/a.png").stat().st_mtime_ns > before and files("in/out") == ["a.png", "b.png"]


def test_bad_input_is_said_before_the_model_is_loaded(network, capsys):
    photo("in.png")
    before = files(".")
    for words, message in (
        (["none", "-o", "out"], "none: no such file or folder"),
        ([], "nothing to restore: give photos, videos or folders of them, and a folder for the results: "),
        (["-o", "out"], "nothing to restore: give photos"),
        (["in.png"], "missing -o"),
        (["in.png", "-o", "in.png"], "in.png: the result would be written over an input"),
        (["in.png", "-o", "out.raw"], "out.raw: '.raw' is not"),
        (["in.png", "-o", "out", "--tile", "wide"], "Error parsing"),
        (["in.png", "-o", "out", "--report", "in.png"], "in.png: a report is an .html file"),
    ):
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "") and err.startswith(f"madn: error: {message}") and err.count("\n") == 1, err
    assert network.loads == [] and files(".") == before


def test_a_model_that_is_not_there_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo("in.png")
    for model, message in (("mdn-small", "did you mean madn-small"), (".", "neither a run folder")):
        code, _, err = run(capsys, "in.png", "-o", "out", "--report", "out/report.html", "--model", model)
        assert code == 2 and message in err and err.count("\n") == 1
    assert files(".") == ["in.png"] and not Path("out").exists()


def test_report(network, capsys):
    for name in ("a.png", "deep.png", "grey.png"):
        photo(f"in/{name}")
    cv2.imwrite("in/deep.png", NOISE.astype(np.uint16) * 257)
    Image.fromarray(NOISE[:, :, 0]).save("in/grey.png")
    Path("in/empty.png").touch()
    words = ["in", "-o", "out", "--report", "out/seen/report.html"]
    code, out, _ = run(capsys, *words)
    page = Path("out/seen/report.html").read_text(encoding="utf-8")
    assert code == 1 and out.splitlines()[0] == "report: out/seen/report.html"
    for name in ("in/a.png", "in/deep.png", "in/grey.png"):
        assert f"<h2><bdi>{name}</bdi></h2>" in page
    assert "3 of 4 restored" in page and "an inverting network" in page and "stopped" not in page
    assert "<dt><bdi>in/empty.png</bdi></dt><dd>cannot be read as an image (the file is empty)</dd>" in page
    Path("in/empty.png").unlink()
    # it would lose what it shows, and show nothing
    assert "no report: nothing was restored, and out/seen/report.html is left" in run(capsys, *words)[1]
    assert Path("out/seen/report.html").read_text(encoding="utf-8") == page
    assert files("out") == ["a.png", "deep.png", "grey.png", "seen/report.html"]


def test_video(network, capsys):
    pytest.importorskip("av")
    from imaging.videos import UNEVEN, make, read

    Path("in").mkdir()
    make(Path("in/a.mkv"), 3, times=UNEVEN[:3], height=32, width=48)
    photo("in/b.png")
    (Path("in") / "broken.mp4").write_bytes(b"no video")
    code, out, err = run(capsys, "in", "-o", "out", "--report", "report.html")
    assert code == 1 and out.startswith("video: each frame is restored by itself") and "2 of 3 restored" in out
    assert err == "madn: error: in/broken.mp4: cannot be read as a video (no MP4, MOV, AVI, MKV or WebM file)\n"
    np.testing.assert_array_equal(read("out/a.mkv").frames, 255 - read("in/a.mkv").frames)
    np.testing.assert_allclose(read("out/a.mkv").times, UNEVEN[:3], atol=5e-4)
    assert "first of 3 frames, each restored by itself" in Path("report.html").read_text(encoding="utf-8")


def test_a_video_that_cannot_grow_is_one_failure(network, capsys):
    pytest.importorskip("av")
    resource = pytest.importorskip("resource")
    from imaging.videos import make

    Path("in").mkdir()
    make(Path("in/a.mkv"), 6, height=64, width=64)
    photo("in/b.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7000, before[1]))
    try:
        code, out, err = run(capsys, "in", "-o", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1 and "1 of 2 restored" in out and files("out") == ["b.png"]
    assert err == "madn: error: out/a.mkv: cannot be written (File too large); choose another name or place\n"


def test_ctrl_c_leaves_whole_files_and_the_report(network, capsys):
    for name, width in (("a.png", 48), ("b.png", 32), ("c.png", 48)):
        photo(f"in/{name}", width)
    network.fault = lambda width: KeyboardInterrupt() if width == 32 else None
    assert run(capsys, "in", "-o", "out", "--report", "out/report.html") == (
        130,
        "",
        "madn: stopped; 1 of 3 restored, which stay; the same command goes on with the rest\n",
    )
    assert files("out") == ["a.png", "report.html"] and is_inverted("out/a.png")
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "stopped before the end" in page and "in/a.png" in page and "in/b.png" not in page
    network.fault = lambda width: None
    assert "2 of 3 restored" in run(capsys, "in", "-o", "out")[1]


def test_a_full_disk_ends_the_run_in_one_line(network, capsys, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        photo(f"in/{name}")
    write = photos.write_photo

    def full(path, pixels, like):
        if path.name != "a.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, pixels, like)

    monkeypatch.setattr(photos, "write_photo", full)
    code, out, err = run(capsys, "in", "-o", "out", "--report", "report.html")
    assert (code, out) == (2, "") and files("out") == ["a.png"]
    assert err == (
        f"madn: error: {Path('out/b.png')}: cannot be written ({os.strerror(errno.ENOSPC)}); what is done "
        "stays, and the same command goes on\n"
    )
    assert "stopped before the end" in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("fault", [errno.EINVAL, errno.EPERM, errno.ENOENT])
def test_a_name_that_the_place_refuses_is_one_failure(network, capsys, monkeypatch, fault):
    for name in ("a.png", "at 10:30.png", "c.png"):
        photo(f"in/{name}")
    write = photos.write_photo

    def refuses(path, pixels, like):
        if ":" in path.name:
            raise OSError(fault, os.strerror(fault))
        return write(path, pixels, like)

    monkeypatch.setattr(photos, "write_photo", refuses)
    code, out, err = run(capsys, "in", "-o", "out")
    assert (code, files("out")) == (1, ["a.png", "c.png"]) and "2 of 3 restored to out" in out and "1 failed" in out
    assert err == (
        f"madn: error: {Path('out/at 10:30.png')}: cannot be written ({os.strerror(fault)}); choose another "
        "name or place\n"
    )

    def nor_any_other_name(**options):
        raise OSError(fault, "")

    monkeypatch.setattr("madn.system.writing.tempfile.TemporaryFile", nor_any_other_name)
    if fault != errno.EINVAL:
        assert run(capsys, "in", "-o", "out")[0] == 2


def test_what_is_not_kept_is_noted_and_numbers_add_up(network, capsys):
    photo("in/a.png")
    photo("in/@eaDir/a.png")
    Image.fromarray(NOISE).save("in/b.jpg", "MPO", save_all=True, append_images=[Image.fromarray(NOISE)])
    for name in ("c.nrw", "d.nrw", "notes.txt"):
        Path(f"in/{name}").touch()
    code, out, err = run(capsys, "in", "-o", "out")
    assert (code, out) == (
        1,
        "2 of 2 restored to out, by an inverting network, on NumPy; left out: 2 .nrw files, 1 .txt file, "
        "1 hidden or housekeeping file\n",
    )
    assert err == (
        "madn: error: in/c.nrw: one of 2 .nrw files: raw photos (.nrw) are not read; convert them to JPEG, "
        "PNG or TIFF\nmadn: note: in/b.jpg: only the first of its 2 pictures is restored\n"
    )


def test_a_full_disk_of_the_report_is_not_told_of_a_photo(network, capsys, monkeypatch):
    photo("in/a.png")

    def full(*_):
        raise UserError("report.html: the report cannot be written (full)")

    monkeypatch.setattr(Report, "add", full)
    code, out, err = run(capsys, "in", "-o", "out", "--report", "report.html")
    assert (code, out, err) == (2, "", "madn: error: report.html: the report cannot be written (full)\n")


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        type("ResourceExhaustedError", (Exception,), {})("OOM when ..."),
        type("AbortedError", (Exception,), {})("Operation received an exception:Status: 1, message: could not ..."),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    ],
)
def test_a_photo_too_large_for_the_memory_is_named_and_the_rest_restored(network, capsys, fault):
    photo("in/a.png", 64)
    photo("in/b.png", 48)
    network.fault = lambda width: fault if width == 64 else None
    code, out, err = run(capsys, "in", "-o", "out")
    assert code == 1 and files("out") == ["b.png"] and "1 of 2 restored" in out
    assert err.startswith("madn: error: in/a.png: not restored, for lack of memory: give less --memory-gb")


def test_errors_of_the_restorer_name_the_photo(network, capsys):
    photo("in/a.png")
    network.fault = lambda width: UserError("no room")
    assert run(capsys, "in", "-o", "out")[2] == "madn: error: in/a.png: no room\n"


def test_other_errors_are_not_hidden(network):
    photo("in/a.png")
    network.fault = lambda width: ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        deblur.main(["in", "-o", "out"])
    assert not Path("out").exists()


def test_progress_is_shown_on_a_terminal(network, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    for name in ("a.png", "b.png"):
        photo(f"in/{name}")
    (Path("in") / "c.png").touch()
    assert deblur.main(["in", "-o", "out"]) == 1
    said = sys.stderr.getvalue()
    assert f"loading {DEFAULT}" in said and "a.png, compiling first" in said and "b.png, compiling" not in said
    assert "a.png" in said and "33%" in said and "left]" in said and "\nmadn: error: in/c.png" not in said
    assert "madn: error: in/c.png: cannot be read" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
def test_printing_a_name_that_is_no_text(network, capsys):
    name = os.fsdecode(b"\xff.png")
    photo(name)
    code, out, _ = run(capsys, name, "-o", f"out{name}")
    assert (code, out) == (0, "1 of 1 restored to out\\udcff.png, by an inverting network, on NumPy\n")


def test_a_folder_of_awkward_files(network, capsys):
    """Every good file is restored with what it holds, every bad one named, and none of it is left."""
    expectations = {name: expected for name, expected in awkward.make("in").items() if expected.refused != "folder"}
    good = {name: expected for name, expected in expectations.items() if not expected.refused}
    bad = expectations.keys() - good.keys()
    assert len(good) > 80 and len(bad) > 30
    code, out, err = run(capsys, "in", "-o", "out", "--max-megapixels", "10")
    assert code == 1
    assert out == (
        f"{len(good)} of {len(good) + len(bad)} restored to out, by an inverting network, on NumPy; {len(bad)} failed\n"
    )
    lines = [line for line in err.splitlines() if not line.startswith("madn: note: in/")]
    assert len(lines) == len(bad)
    for name in bad:
        assert any(
            line.startswith(f"madn: error: in/{name}: ") and expectations[name].refused in line for line in lines
        ), name
    assert files("out") == sorted(good)
    for name, expected in good.items():
        check(Path(name), expected)


def check(name, expected):
    """The result of one awkward file against what is expected of it."""
    source, result = read_photo("in" / name), read_photo("out" / name)
    written = FORMATS[name.suffix.lower()]
    found = {
        "size": result.pixels.shape[1::-1],
        "channels": result.pixels.shape[2],
        "depth": 8 * result.pixels.itemsize,
        "alpha": result.alpha is not None,
        "icc": result.metadata.icc,
        "format": result.format,
    }
    wanted = {fact: getattr(expected, fact) for fact in found} | {"format": written}
    assert found == wanted, name
    if written != "BMP":
        kept, before = awkward.exif_tags(result.metadata.exif), awkward.exif_tags(source.metadata.exif)
        assert {tag: kept.get(tag) for tag in before} == before, name
        assert not expected.artist or kept[0x013B] == awkward.ARTIST_TAG, name
    with Image.open("out" / name) as picture:
        assert picture.getexif().get(0x0112, 1) == 1, name  # its pixels are upright
    inverted = np.iinfo(source.pixels.dtype).max - source.pixels
    if written == "JPEG" or not result.lossless:
        assert np.abs(result.pixels - inverted.astype(float)).mean() < 3, name
    else:
        np.testing.assert_array_equal(result.pixels, inverted, err_msg=str(name))
        assert not expected.alpha or (result.alpha == source.alpha).all()
