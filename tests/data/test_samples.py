"""The sample set is complete, deterministic, blurred within bounds, and rendered once."""

import numpy as np
import pytest

from madn.data import samples
from madn.data.images import DecodedImages
from madn.data.index import check_pairs, find_pairs
from madn.data.scenes import hold_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The two photographs of the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MADN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(samples, "SCENES", {"test": samples.SCENES["test"]})
        yield samples.sample_folder()


@pytest.mark.slow
def test_it_is_a_set_like_any_other(tmp_path, monkeypatch):
    monkeypatch.setenv("MADN_CACHE", str(tmp_path))
    folder = samples.sample_folder()
    images = DecodedImages()
    train = check_pairs(find_pairs(folder), images, 256)
    test = check_pairs(find_pairs(folder, "test"), images, 256)
    assert len(train.pairs) == 50 and len(test.pairs) == 8 and not train.notes
    assert {pair.scene for pair in test.pairs} == {"astronaut", "chelsea"}
    assert not {pair.scene for pair in train.pairs} & {pair.scene for pair in test.pairs}
    assert {pair.scene for pair in hold_out(train.pairs)[1]} == {"coffee"}


def test_the_test_photographs_are_blurred_but_not_lost(folder):
    images = DecodedImages()
    errors = [
        np.mean((images.read(pair.blurred) / 255.0 - images.read(pair.sharp) / 255.0) ** 2)
        for pair in find_pairs(folder, "test").pairs
    ]
    psnr = -10 * np.log10(errors)
    assert 23 < psnr.mean() < 27 and 18 < psnr.min() and psnr.max() < 33


def test_it_is_rendered_once_and_the_same_each_time(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "SCENES", {"test": samples.SCENES["test"]})
    samples.render(tmp_path)
    for path in tmp_path.rglob("*.png"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
    monkeypatch.setenv("MADN_CACHE", str(folder.parent))
    monkeypatch.setattr(samples, "render", lambda folder: pytest.fail("rendered again"))
    assert samples.sample_folder() == folder
    assert [entry.name for entry in folder.parent.iterdir()] == [samples.VERSION]


def test_a_rendering_cut_short_leaves_nothing(tmp_path, monkeypatch):
    def cut(folder):
        (folder / "train").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setenv("MADN_CACHE", str(tmp_path))
    monkeypatch.setattr(samples, "render", cut)
    with pytest.raises(KeyboardInterrupt):
        samples.sample_folder()
    assert not list(tmp_path.iterdir())
