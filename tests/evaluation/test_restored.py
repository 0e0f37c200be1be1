"""Images that another system restored: found by the pairs' names, counted and named where they do not fit."""

import json

import numpy as np
import pytest

from madn import evaluate
from madn.data.images import DecodedImages
from madn.data.sets import open_pairs
from madn.errors import UserError
from madn.evaluation.restored import find_restored
from madn.evaluation.scoring import score
from madn.imaging.arrays import read_image, to_float, to_uint8, write_image


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return to_float(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def pairs(tmp_path):
    """set/test/{a,b}/{blur,sharp}/{1,2}.png."""
    for number, scene in enumerate("ab"):
        for frame in "12":
            sharp = picture(10 * number + int(frame))
            write_image(tmp_path / f"set/test/{scene}/sharp/{frame}.png", sharp)
            write_image(tmp_path / f"set/test/{scene}/blur/{frame}.png", sharp * 0.5)
    return open_pairs(str(tmp_path / "set"), split="test").pairs


def fill(folder, pairs, spell=lambda pair: f"{pair.name}.png"):
    """An image between blurred and sharp for each pair."""
    for pair in pairs:
        write_image(folder / spell(pair), read_image(pair.sharp) * 0.9)
    return folder


@pytest.mark.parametrize(
    "spell",
    [
        lambda pair: f"{pair.name}.png",
        lambda pair: f"{pair.scene}/blur/{pair.blurred.stem}.tiff",
        lambda pair: f"{pair.name.replace('/', '-')}.png",
        lambda pair: f"{pair.name.replace('/', '_')}.png",
    ],
)
def test_ways_in_which_restored_images_are_named(tmp_path, pairs, spell):
    found = find_restored(fill(tmp_path / "out", pairs, spell), pairs[1:], pairs, DecodedImages("none"))
    assert found.pairs == pairs[1:] and found.problems == found.notes == ()  # the first pair's image is no stranger
    expected = to_uint8(read_image(pairs[2].sharp) * 0.9)
    np.testing.assert_array_equal(to_uint8(found.read(pairs[2])), expected)


def test_missing_misshaped_broken_and_foreign_files_are_counted_and_named(tmp_path, pairs):
    out = fill(tmp_path / "out", pairs)
    (out / "a/1.png").unlink()
    write_image(out / "a/2.png", picture(0, 12, 16))
    (out / "b/1.png").write_bytes((out / "b/1.png").read_bytes()[:60])
    write_image(out / "c/7.png", picture(0))
    (out / "readme.txt").write_text("how it was made")
    with pytest.raises(UserError) as problem:
        find_restored(out, pairs, pairs, DecodedImages("none"))
    lines = str(problem.value).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"a/1: no image of it below {out}; add a/1.png")
    assert lines[1].startswith(f"{out / 'a/2.png'}: 16x12, but its sharp partner ") and lines[1].endswith("is 32x24")
    assert lines[2].startswith(f"{out / 'b/1.png'}: cannot be read")
    assert lines[3] == f"{out}: 3 of 4 pairs have no usable image; leave such pairs out with --skip-bad"
    found = find_restored(out, pairs, pairs, DecodedImages("none"), skip_bad=True)
    assert [pair.name for pair in found.pairs] == ["b/2"] and len(found.problems) == 3
    assert found.notes == (
        f"{out / 'c/7.png'}: of no pair of the set",
        f"{out}: 1 of 4 images are of no pair, and are not scored",
        f"{out}: left out: 1 .txt file",
    )
    (out / "b/2.png").unlink()
    with pytest.raises(UserError, match="4 of 4 pairs have no usable image; no usable image is left"):
        find_restored(out, pairs, pairs, DecodedImages("none"), skip_bad=True)


def test_two_images_of_one_pair_an_empty_folder_and_none(tmp_path, pairs):
    out = fill(tmp_path / "out", pairs)
    write_image(out / "a-1.png", picture(0))
    with pytest.raises(UserError, match=r"a-1\.png: of the same pair as .*a/1\.png; remove one of them"):
        find_restored(out, pairs, pairs, DecodedImages("none"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    with pytest.raises(UserError, match="empty: holds no images; there is 1 .txt file"):
        find_restored(tmp_path / "empty", pairs, pairs, DecodedImages("none"))
    with pytest.raises(UserError, match="gone: no such folder; --restored names"):
        find_restored(tmp_path / "gone", pairs, pairs, DecodedImages("none"))


def test_the_command_scores_them_as_a_networks(tmp_path, pairs, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("madn.evaluation.measuring.start_keras", lambda: pytest.fail("needs no network"))
    fill(tmp_path / "out", pairs)
    command = ["--restored", "out", "--name", "deepdeblur", "--data", "set"]
    evaluate.main(command)
    read = json.loads((tmp_path / "runs/evaluation/Nah/set-test-blur/full.json").read_text())
    assert (read["method"], read["recipe"], read["parameters"], read["median_seconds"]) == ("Nah", None, None, None)
    assert read["model"] == "images of out, restored elsewhere by Nah"
    assert [image["name"] for image in read["images"]] == [pair.name for pair in pairs]
    for pair, image in zip(pairs, read["images"], strict=True):
        restored = read_image(tmp_path / f"out/{pair.name}.png")
        assert image["restored"]["psnr"] == score(restored, read_image(pair.sharp)).psnr
        assert image["blurred"]["psnr"] == score(read_image(pair.blurred), read_image(pair.sharp)).psnr
        assert image["seconds"] is None
    assert len(list((tmp_path / "runs/evaluation/Nah/set-test-blur/pictures").rglob("*.png"))) == 4
    assert "mean of 4" in capsys.readouterr().out
    (tmp_path / "out/a/1.png").unlink()
    evaluate.main([*command, "--skip-bad", "--scenes", "a", "--out", "few", "--pictures", "0"])
    said = capsys.readouterr().out
    assert (
        "left out: a/1: no image of it" in said and "out: 1 of 2 pairs have no usable image; the mean is of the" in said
    )
    read = json.loads((tmp_path / "few/full.json").read_text())
    assert [image["name"] for image in read["images"]] == ["a/2"] and len(read["left_out"]) == 1


def test_what_makes_no_sense_with_restored_images(tmp_path, pairs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "out", pairs)
    restored, named = ["--restored", "out"], ["--restored", "out", "--name", "Nah"]
    for arguments, message in (
        ([*restored, "--data", "set"], "--restored DIR and --name NAME go together"),
        (["--name", "Nah", "--data", "set"], "--restored DIR and --name NAME go together"),
        (["runs/a", *named, "--data", "set"], "leave MODEL, --which, --recipe and --ensemble out"),
        ([*named, "--data", "set", "--ensemble"], "leave MODEL, --which, --recipe and --ensemble out"),
        ([*named, "--data", "set", "--protocol", "both"], "--protocol both: --restored images were restored whole"),
        ([*named, "--photos", "set"], "--restored holds images of pairs"),
        ([*restored, "--name", "Xu", "--data", "set"], "the papers call several methods so; say which: Xu 2013, Xu 2"),
        (["--table", *restored], "leave out --restored"),
        ([*named, "--data", "set", "--images", "store=a/1"], "--images is of --table"),
        (["--table", "madn", "--images", "store"], "--images store: give COLUMN=SCENE/FRAME"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(arguments)
    assert not (tmp_path / "runs").exists()
