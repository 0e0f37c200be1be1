import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from madn.errors import UserError
from madn.imaging.arrays import read_image, to_float, to_uint8, write_image
from madn.imaging.finding import image_files
from madn.system.writing import HOST, atomic, folder_name, one_name, remove_leftovers


def noise(height, width, kind=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, (height, width, 3), kind, endpoint=True)


def test_uint8_and_float_are_exact_both_ways():
    every = np.arange(256, dtype=np.uint8)
    assert to_float(every).dtype == np.float32
    assert to_float(every)[[0, 255]].tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(to_uint8(to_float(every)), every)


def test_to_uint8_clips_and_rounds():
    assert to_uint8(np.array([-0.5, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.7])).tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    pixels = noise(9, 14)
    write_image(tmp_path / f"new folder/photo{suffix}", to_float(pixels))
    read = read_image(tmp_path / f"new folder/photo{suffix}")
    assert read.dtype == np.float32 and read.shape == (9, 14, 3)
    np.testing.assert_array_equal(to_uint8(read), pixels)
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == [f"photo{suffix}"]


def test_jpeg_keeps_colour_edges(tmp_path):
    image = np.zeros((32, 32, 3), np.float32)
    image[:, :15, 0] = image[:, 15:, 2] = 1.0  # a red and a blue half: subsampled chroma would smear the edge
    write_image(tmp_path / "edge.jpg", image)
    assert np.abs(read_image(tmp_path / "edge.jpg") - image).mean() < 0.01


def test_unknown_suffix_is_named(tmp_path):
    with pytest.raises(UserError, match=r"photo\.xyz.*'\.xyz'.*\.png"):
        write_image(tmp_path / "photo.xyz", np.zeros((4, 4, 3), np.float32))


def test_every_pixel_kind_becomes_rgb(tmp_path):
    pixels = noise(6, 7)
    alpha = np.dstack([pixels, np.full((6, 7), 40, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(to_uint8(read_image(tmp_path / "rgba.png")), pixels)
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(to_uint8(read_image(tmp_path / "grey.png")), np.repeat(pixels[:, :, :1], 3, 2))
    Image.fromarray(pixels).quantize(256).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        to_uint8(read_image(tmp_path / "palette.png")), np.asarray(Image.open(tmp_path / "palette.png").convert("RGB"))
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_depth(tmp_path, suffix):
    grey = noise(6, 7, np.uint16)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / f"grey{suffix}")
    expected = np.repeat((grey / 65535.0)[:, :, None], 3, 2)
    np.testing.assert_allclose(read_image(tmp_path / f"grey{suffix}"), expected, atol=1e-7)


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_png_keeps_its_depth(tmp_path, channels):
    bgr = noise(6, 7, np.uint16)
    extra = np.full((6, 7, channels - 3), 65535, np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), np.dstack([bgr, extra]))
    np.testing.assert_allclose(read_image(tmp_path / "deep.png"), bgr[:, :, ::-1] / 65535.0, atol=1e-7)


def test_orientation_tag_is_applied(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255  # bright on the right
    tags = Image.Exif()
    tags[0x0112] = 6  # turn by 90 degrees clockwise to view: right becomes bottom
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=tags)
    read = read_image(tmp_path / "turned.png")
    assert read.shape == (16, 8, 3) and read[:8].max() == 0.0 and read[8:].min() == 1.0


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_truncated_and_empty_files_are_named(tmp_path, suffix, keep):
    path = tmp_path / f"broken{suffix}"
    write_image(path, to_float(noise(64, 64)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match=rf"broken\{suffix}: cannot be read"):
        read_image(path)


def test_missing_text_and_folder_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    for name in ("text.png", "folder.png"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")


def test_image_files_are_found_below_and_sorted(tmp_path):
    for name in ("b.PNG", "a/z.jpeg", "a/notes.txt", ".hidden.png", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)] == ["a/z.jpeg", "a.png", "b.PNG"]


def test_atomic_takes_the_longest_name_a_file_can_have(tmp_path):
    name = "夏" * 83 + ".png"  # 253 bytes
    with atomic(tmp_path / name) as part:
        assert part.parent == tmp_path and part.name.startswith(".夏") and part.name.endswith(".part")
        part.touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    (tmp_path / "kept").write_text("old")
    with pytest.raises(RuntimeError), atomic(tmp_path / "kept") as part:
        part.write_text("half")
        raise RuntimeError
    assert (tmp_path / "kept").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_two_processes_of_one_host_name_and_number_write_files_of_their_own(tmp_path, monkeypatch):
    """As in two containers with one folder; who finds the other's number dead leaves the file that is written alone."""
    with atomic(tmp_path / "a.png") as part:
        part.write_text("first")
        with atomic(tmp_path / "a.png") as other:
            assert other != part
            other.write_text("second")
        monkeypatch.setattr("psutil.pid_exists", lambda number: False)
        remove_leftovers([tmp_path / "a.png"])
        assert part.read_text() == "first"
    assert (tmp_path / "a.png").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_a_link_that_waits_in_a_parts_place_is_not_written_through(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda count: "0123abcd")
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / f".a.png.{HOST}-{os.getpid()}.0123abcd.part").symlink_to(victim)
    with pytest.raises(FileExistsError), atomic(tmp_path / "a.png"):
        pass
    assert victim.read_text() == "kept" and not (tmp_path / "a.png").exists()


def test_results_of_different_places_have_different_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = [
        "best",
        "A/checkpoints/best",
        "B/checkpoints/best",
        "A-checkpoints/best",
        "../elsewhere/best",
        "/best",
        ".",
    ]
    assert len({folder_name(place) for place in places}) == len({one_name(place) for place in places}) == len(places)
    assert folder_name("A/checkpoints/best") == Path("A/checkpoints/best") and one_name("best") == "best"
    assert folder_name("A/../best") == folder_name(tmp_path / "best") == Path("best")
    assert all(not folder_name(place).is_absolute() for place in places)


@pytest.mark.process
def test_leftovers_of_processes_that_no_longer_live_are_removed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, long, kept = process.pid, "x" * 230 + ".png", []
    for name in (
        f".a.png.{HOST}-{dead}.part",
        f".{long[:80]}.{HOST}-{dead}.0123abcd.part",
    ):
        (tmp_path / name).touch()
    for name in (
        f".a.png.{HOST}-{os.getpid()}.part",
        f".other.png.{HOST}-{dead}.part",
        f"a.png.{HOST}-{dead}.part",
        "a.png",
        ".a.png.part",
        f".a.png.elsewhere-{dead}.part",
        f".a.png.{HOST}-{'9' * 30}.part",
    ):
        (tmp_path / name).touch()
        kept.append(name)
    remove_leftovers([tmp_path / name for name in ("a.png", "b.mp4", long)] + [tmp_path / "none/c.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
