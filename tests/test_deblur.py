"""The door with a network that inverts, so that what it wrote can be told from what it read."""

from types import SimpleNamespace

import numpy as np
import pytest

from madn import deblur, loading
from madn.errors import UserError, run_door
from madn.imaging.files import read_image, to_float, to_uint8, write_image


@pytest.fixture(autouse=True)
def inverting(monkeypatch):
    """Loads as any model, and inverts; keeps what it was asked for and the shapes it was given."""
    asked = SimpleNamespace(calls=[], shapes=[])

    def network(batch):
        asked.shapes.append(batch.shape)
        return 1.0 - batch

    def load(*arguments):
        asked.calls.append(arguments)
        return loading.Loaded(network, "an inverting network", SimpleNamespace(multiple=16))

    monkeypatch.setattr(loading, "load_network", load)
    return asked


def photo(path, height=21, width=35):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)
    write_image(path, to_float(pixels))
    return 255 - pixels


def test_one_photo(tmp_path, inverting, capsys):
    expected = photo(tmp_path / "in.png")
    assert deblur.main([f"{tmp_path}/in.png", f"{tmp_path}/new/out.png", "--model", "run", "--which", "last"]) == 0
    np.testing.assert_array_equal(to_uint8(read_image(tmp_path / "new/out.png")), expected)
    assert inverting.calls == [("run", "last", None)] and inverting.shapes == [(1, 32, 48, 3)]
    assert "1 of 1 photos restored" in capsys.readouterr().out


def test_a_folder_goes_on_past_a_broken_photo(tmp_path, capsys):
    expected = {name: photo(tmp_path / "in" / name, height) for name, height in (("a.png", 9), ("trip/b.png", 16))}
    (tmp_path / "in/broken.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:60])
    with pytest.raises(SystemExit) as stop:
        run_door(deblur.main, [f"{tmp_path}/in", f"{tmp_path}/out", "--model", "run"])
    assert stop.value.code == 1
    for name, pixels in expected.items():
        np.testing.assert_array_equal(to_uint8(read_image(tmp_path / "out" / name)), pixels)
    said = capsys.readouterr()
    assert "2 of 3 photos restored" in said.out and "broken.png: cannot be read" in said.err
    assert not (tmp_path / "out/broken.png").exists()


def test_bad_input_is_said_before_the_model_is_loaded(tmp_path, inverting):
    photo(tmp_path / "in.png")
    for arguments, message in (
        (["none", "out", "--model", "run"], "none: no such file or folder"),
        ([f"{tmp_path}/in.png", f"{tmp_path}/out.raw", "--model", "run"], r"out\.raw: '\.raw' is not"),
        ([f"{tmp_path}/in.png", f"{tmp_path}/out.png"], "--model"),
        ([f"{tmp_path}/in.png", f"{tmp_path}/out.png", "--model", "run", "--tile", "9"], "--tile"),
    ):
        with pytest.raises(UserError, match=message):
            deblur.main(arguments)
    assert inverting.calls == []
