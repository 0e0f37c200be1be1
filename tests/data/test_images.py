"""Decoded images are the files' pixels, whichever cache holds them, and the limit holds."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from madn.data.images import DecodedImages, cache_folder, decode, in_threads
from madn.errors import UserError


@pytest.fixture
def files(tmp_path) -> dict[Path, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {tmp_path / f"{n}.png": rng.integers(0, 256, (20 + n, 30, 3), np.uint8) for n in range(4)}
    for path, pixels in made.items():
        Image.fromarray(pixels).save(path)
    return made


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that were decoded, one after the other."""
    paths = []
    monkeypatch.setattr("madn.data.images.decode", lambda path: paths.append(path) or decode(path))
    return paths


def test_a_file_name_that_is_not_utf_8_is_cached(tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(file)
    images = DecodedImages("disk", 1.0, tmp_path / "cache")
    assert (images.read(file) == images.read(file)).all() and len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_reads_are_the_pixels_and_decode_once(files, tmp_path, decoded, cache):
    images = DecodedImages(cache, 1.0, tmp_path / "cache")
    for _ in range(2):
        for path, pixels in files.items():
            read = images.read(path)
            assert read.dtype == np.uint8 and (read == pixels).all()
    assert len(decoded) == (8 if cache == "none" else 4)
    assert [images.size(path) for path in files] == [(20 + n, 30) for n in range(4)]
    assert len(decoded) == (8 if cache == "none" else 4)


def test_a_later_run_finds_the_disk_cache_and_a_changed_file_is_read_anew(files, tmp_path, decoded):
    first = DecodedImages("disk", 1.0, tmp_path / "cache")
    in_threads(first.read, list(files) * 10, "")  # many readers at a time
    later = DecodedImages("disk", 1.0, tmp_path / "cache")
    decoded.clear()
    assert all((later.read(path) == pixels).all() for path, pixels in files.items())
    assert not decoded
    path = next(iter(files))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    assert DecodedImages("disk", 1.0, tmp_path / "cache").read(path).shape == (9, 9, 3)
    assert len(list((tmp_path / "cache").iterdir())) == 5  # and no temporary file is left


@pytest.mark.parametrize("damage", ["flipped", "cut", "unsealed", "empty"])
def test_a_damaged_file_of_the_disk_cache_is_decoded_again(files, tmp_path, decoded, damage):
    path, pixels = next(iter(files.items()))
    DecodedImages("disk", 1.0, tmp_path / "cache").read(path)
    (kept,) = (tmp_path / "cache").iterdir()
    whole = kept.read_bytes()
    flipped = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
    kept.write_bytes({"flipped": flipped, "cut": whole[:-1], "unsealed": whole[:-44], "empty": b""}[damage])
    decoded.clear()
    again = DecodedImages("disk", 1.0, tmp_path / "cache")
    assert (again.read(path) == pixels).all() and (again.read(path) == pixels).all() and len(decoded) == 1
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_the_limit_holds(files, tmp_path, decoded, cache):
    images = DecodedImages(cache, 4000 / 1e9, tmp_path / "cache")  # two images of about 1,900 bytes
    for path in list(files) * 2:
        assert (images.read(path) == files[path]).all()
    assert len(decoded) == 4 + 2


def test_pixels_that_are_not_8_bit_rgb_are_converted_and_named(tmp_path):
    rng = np.random.default_rng(1)
    grey, rgba = rng.integers(0, 256, (8, 9), np.uint8), rng.integers(0, 256, (8, 9, 4), np.uint8)
    deep = rng.integers(0, 65536, (8, 9, 3), np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(deep[..., 0]).save(tmp_path / "grey16.png")
    cv2.imwrite(str(tmp_path / "rgb16.png"), deep[..., ::-1])
    rounded = np.rint(deep / 257.0)
    for name, expected in (
        ("grey", np.repeat(grey[..., None], 3, 2)),
        ("rgba", rgba[..., :3]),
        ("rgb16", rounded),
        ("grey16", np.repeat(rounded[..., :1], 3, 2)),
    ):
        pixels, note = decode(tmp_path / f"{name}.png")
        assert pixels.dtype == np.uint8 and (pixels == expected).all(), name
        assert note.startswith(str(tmp_path / f"{name}.png")) and note.endswith("taken as 8-bit RGB")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kept", [0, 0.05, 0.5, 0.97])
def test_truncated_files_are_refused_by_name(tmp_path, suffix, kept):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    assert decode(path)[0].shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=rf"cut\.{suffix}: cannot be read"):
        decode(path)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_missing_file_and_an_unknown_cache(tmp_path, cache):
    with pytest.raises(UserError, match="gone.png"):
        DecodedImages(cache, folder=tmp_path).read(tmp_path / "gone.png")
    with pytest.raises(UserError, match="memory, disk or none"):
        DecodedImages("ram")


def test_cache_folder_is_set_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MADN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MADN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "madn"
