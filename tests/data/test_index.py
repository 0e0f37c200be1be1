"""Pairs are found in each layout, every bad file is named, and a scene stays on one side."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from madn.data.images import DecodedImages
from madn.data.index import Pair, check_pairs, find_pairs, pair_folders
from madn.data.scenes import hold_out
from madn.errors import UserError


def picture(path: Path, seed: int = 0, shape: tuple = (40, 48, 3), dtype=np.uint8) -> Path:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = np.iinfo(dtype).max
    Image.fromarray(np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)).save(path)
    return path


def scene(folder: Path, names: list[str], kind: str = "blur") -> Path:
    """A scene of the GoPro layout."""
    for number, name in enumerate(names):
        picture(folder / kind / f"{name}.png", 2 * number)
        picture(folder / "sharp" / f"{name}.png", 2 * number + 1)
    return folder


def names(pairs) -> list[str]:
    return [pair.name for pair in pairs]


def check(index, crop=None, **options):
    return check_pairs(index, DecodedImages("none"), crop, **options)


def complaint(index, crop=None) -> list[str]:
    with pytest.raises(UserError) as error:
        check(index, crop)
    return str(error.value).splitlines()


def test_gopro_layout_from_the_set_its_split_folder_or_a_scene(tmp_path):
    scene(tmp_path / "train" / "GOPR1", ["000002", "000001"])
    scene(tmp_path / "train" / "GOPR2", ["000001"])
    scene(tmp_path / "test" / "GOPR3", ["000009"])
    expected = ["GOPR1/000001", "GOPR1/000002", "GOPR2/000001"]
    index = find_pairs(tmp_path)
    assert names(index.pairs) == expected and index.blur_kind == "blur" and not index.problems
    first = index.pairs[0]
    assert first.blurred == tmp_path / "train/GOPR1/blur/000001.png"
    assert first.sharp == tmp_path / "train/GOPR1/sharp/000001.png" and first.scene == "GOPR1"
    assert names(find_pairs(tmp_path / "train").pairs) == expected
    assert names(find_pairs(tmp_path / "train" / "GOPR1").pairs) == expected[:2]
    assert names(find_pairs(tmp_path, "test").pairs) == ["GOPR3/000009"]


def test_blur_kind_is_chosen_and_a_missing_one_is_answered_with_those_there(tmp_path):
    scene(tmp_path / "train" / "A", ["1"], "blur")
    scene(tmp_path / "train" / "A", ["1"], "blur_gamma")
    index = find_pairs(tmp_path, blur_kind="blur_gamma")
    assert index.blur_kind == "blur_gamma" and index.pairs[0].blurred.parent.name == "blur_gamma"
    with pytest.raises(UserError, match="no blur kind 'blur_x' here; there is blur, blur_gamma"):
        find_pairs(tmp_path, blur_kind="blur_x")


@pytest.mark.parametrize(
    "blurred, sharp",
    [
        ("train_blur", "train_sharp"),  # laid side by side
        ("train/train_blur", "train/train_sharp"),  # as the archives unpack in one folder
        ("train_blur/train/train_blur", "train_sharp/train/train_sharp"),  # each in a folder of its own
    ],
)
def test_reds_layout(tmp_path, blurred, sharp):
    for sequence in ("000", "001"):
        picture(tmp_path / blurred / sequence / "00000007.png", 1)
        picture(tmp_path / sharp / sequence / "00000007.png", 2)
    index = find_pairs(tmp_path)
    assert index.layout == "REDS" and names(index.pairs) == ["000/00000007", "001/00000007"]
    with pytest.raises(UserError, match="no train_blur_comp"):
        find_pairs(tmp_path, blur_kind="blur_comp")


def test_reds_validation_serves_as_test(tmp_path):
    picture(tmp_path / "val_blur" / "000" / "1.png", 1)
    picture(tmp_path / "val_sharp" / "000" / "1.png", 2)
    assert names(find_pairs(tmp_path, "test").pairs) == ["000/1"]


REALBLUR = {"J": "RealBlur-J_ECC_IMCORR_centroid_itensity_ref", "R": "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref"}


def realblur(root: Path, which: str = "J", lists: bool = True) -> Path:
    """Three scenes of two pairs as the archive unpacks, the last scene the test set; returns the set's folder."""
    for s in (1, 2, 3):
        for i in (1, 2):
            for k, kind in enumerate(("gt", "blur")):
                picture(root / REALBLUR[which] / f"scene00{s}" / kind / f"{kind}_{i}.png", 10 * s + 2 * i + k)
    for split, numbers in (("train", (1, 2)), ("test", (3,))) if lists else ():
        lines = [
            f"{REALBLUR[which]}/scene00{s}/gt/gt_{i}.png {REALBLUR[which]}/scene00{s}/blur/blur_{i}.png "
            for s in numbers
            for i in (1, 2)
        ]
        (root / f"RealBlur_{which}_{split}_list.txt").write_text("\n".join(lines) + "\n")
    return root / REALBLUR[which]


def test_realblur_is_split_by_its_lists(tmp_path):
    base = realblur(tmp_path)
    train = ["scene001/1", "scene001/2", "scene002/1", "scene002/2"]
    index = find_pairs(tmp_path)
    assert index.layout == "RealBlur" and names(index.pairs) == train and index.blur_kind == "blur"
    assert index.root == str(tmp_path / "RealBlur_J_train_list.txt")
    assert index.pairs[1].blurred == base / "scene001/blur/blur_2.png"
    assert index.pairs[1].sharp == base / "scene001/gt/gt_2.png" and index.pairs[1].scene == "scene001"
    assert len(check(index).pairs) == 4
    assert names(find_pairs(tmp_path, "test").pairs) == ["scene003/1", "scene003/2"]
    assert names(find_pairs(base).pairs) == train  # the lists lie beside it
    base.rename(tmp_path / "RealBlur")
    assert names(find_pairs(tmp_path / "RealBlur").pairs) == train  # whatever it is called
    assert names(find_pairs(tmp_path / "RealBlur" / "scene003").pairs) == ["scene003/1", "scene003/2"]
    (tmp_path / "RealBlur" / "scene002/gt/gt_1.png").unlink()
    assert ["gt_1.png: is in RealBlur_J_train_list.txt" in line for line in complaint(find_pairs(tmp_path))] == [True]
    (tmp_path / "RealBlur_J_test_list.txt").unlink()
    with pytest.raises(UserError, match="RealBlur_J_train_list.txt, but no list of the test pairs"):
        find_pairs(tmp_path, "test")


def test_realblur_without_lists_is_taken_by_its_folders(tmp_path):
    base = realblur(tmp_path, lists=False)
    index = find_pairs(tmp_path)
    assert index.layout == "RealBlur" and len(index.pairs) == 6 and index.root == str(base)
    (base / "scene002/blur/blur_1.png").rename(base / "scene002/blur/blur_7.png")
    index = find_pairs(base)
    assert len(index.pairs) == 5 and len(index.problems) == 2
    assert "blur_7.png: no partner 7 in" in index.problems[0] and "gt_1.png: no partner 1 in" in index.problems[1]
    for split, number in (("train", 1), ("test", 3)):
        (tmp_path / "mine" / split).mkdir(parents=True)
        (base / f"scene00{number}").rename(tmp_path / "mine" / split / f"scene00{number}")
    assert names(find_pairs(tmp_path / "mine", "test").pairs) == ["scene003/1", "scene003/2"]


def test_realblur_j_and_r_are_chosen_by_their_folders(tmp_path):
    j, r = realblur(tmp_path, "J"), realblur(tmp_path, "R")
    with pytest.raises(UserError, match=f"holds {j.name} and {r.name}; name one of them: {j}"):
        find_pairs(tmp_path)
    for base, which in ((j, "J"), (r, "R")):
        index = find_pairs(base, "test")
        assert index.pairs[0].blurred.is_relative_to(base) and index.root.endswith(f"RealBlur_{which}_test_list.txt")
    with pytest.raises(UserError, match="no blur kind 'blur_gamma' here; there is blur"):
        find_pairs(j, blur_kind="blur_gamma")
    j.rename(tmp_path / "real")
    with pytest.raises(UserError, match="RealBlur_J_test_list.txt or RealBlur_R_test_list.txt"):
        find_pairs(tmp_path / "real")


@pytest.mark.parametrize("line", ["only/one.png", "a b c", "gt blur", "set/s/blur/blur_1.png set/s/gt/gt_1.png"])
def test_a_line_of_a_realblur_list_that_is_none_is_named(tmp_path, line):
    realblur(tmp_path)
    (tmp_path / "RealBlur_J_train_list.txt").write_text(f"\n{line}\n")
    with pytest.raises(UserError, match="RealBlur_J_train_list.txt: line 2 is not 'SCENE/gt/FILE SCENE/blur/FILE'"):
        find_pairs(tmp_path)


def test_two_folders_match_by_path_and_stem(tmp_path):
    picture(tmp_path / "b" / "one.png", 1)
    picture(tmp_path / "s" / "one.jpg", 2)
    picture(tmp_path / "b" / "deep" / "two.PNG", 3)
    picture(tmp_path / "s" / "deep" / "two.png", 4)
    index = pair_folders(tmp_path / "b", tmp_path / "s")
    assert [(pair.scene, pair.name) for pair in index.pairs] == [("deep", "deep/two"), ("", "one")]


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a file"):
        find_pairs(picture(tmp_path / "file" / "x.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pairs found; looked for train/SCENE/") as error:
        find_pairs(tmp_path / "empty")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no images found"):
        pair_folders(tmp_path / "empty", tmp_path / "empty")


def test_every_bad_file_is_named_in_one_line(tmp_path):
    folder = scene(tmp_path / "train" / "A", ["good", "lonely", "cut", "cutjpg", "sizes", "tiny", "same"])
    (folder / "sharp" / "lonely.png").unlink()
    cut = folder / "blur" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    for kind, seed in (("blur", 20), ("sharp", 21)):
        (folder / kind / "cutjpg.png").unlink()
        picture(folder / kind / "cutjpg.jpg", seed)
    cut_jpeg = folder / "sharp" / "cutjpg.jpg"
    cut_jpeg.write_bytes(cut_jpeg.read_bytes()[:-100])
    picture(folder / "sharp" / "sizes.png", 30, (40, 50, 3))
    for kind in ("blur", "sharp"):
        picture(folder / kind / "tiny.png", 40 if kind == "blur" else 41, (16, 16, 3))
        picture(folder / kind / "same.png", 50)
    lines = complaint(find_pairs(tmp_path), crop=32)
    expected = [
        ("blur/lonely.png: no partner lonely in", "add it or remove the file"),
        ("blur/cut.png: cannot be read", ""),
        ("sharp/cutjpg.jpg: cannot be read", ""),
        ("blur/same.png: identical to its partner", ""),
        ("blur/sizes.png: 48x40, but its partner", "sizes.png is 50x40"),
        ("blur/tiny.png: 16x16 is smaller than 32x32", "choose a smaller --crop"),
    ]
    assert len(lines) == len(expected)
    for start, end in expected:
        assert [line for line in lines if start in line and end in line and "--skip-bad" in line], start
    assert not any("good" in line for line in lines)

    kept = check(find_pairs(tmp_path), 32, skip_bad=True)
    assert names(kept.pairs) == ["A/good"] and len(kept.problems) == len(expected)


def test_no_good_pair_left_is_an_error_even_when_skipping(tmp_path):
    scene(tmp_path / "train" / "A", ["1"])
    with pytest.raises(UserError, match="no usable pair is left"):
        check(find_pairs(tmp_path), 64, skip_bad=True)


def test_twenty_lines_are_enough(tmp_path):
    folder = scene(tmp_path / "train" / "A", [f"{n:02}" for n in range(25)])
    for n in range(23):
        (folder / "blur" / f"{n:02}.png").unlink()
    lines = complaint(find_pairs(tmp_path))
    assert len(lines) == 21 and lines[-1] == "... and 3 more"


def test_grey_16_bit_and_rgba_are_accepted_and_noted(tmp_path):
    folder = scene(tmp_path / "train" / "A", ["plain"])
    for kind, seed in (("blur", 60), ("sharp", 61)):
        picture(folder / kind / "grey.png", seed, (40, 48))
        picture(folder / kind / "deep.png", seed, (40, 48), np.uint16)
        picture(folder / kind / "alpha.png", seed, (40, 48, 4))
    index = check(find_pairs(tmp_path), 32)
    assert len(index.pairs) == 4 and not index.problems
    assert sorted(Path(note.split(":")[0]).stem for note in index.notes) == ["alpha"] * 2 + ["deep"] * 2 + ["grey"] * 2


def made(**scenes: int) -> tuple[Pair, ...]:
    return tuple(
        Pair(Path("b"), Path("s"), name, f"{name}/{n:03}") for name, count in scenes.items() for n in range(count)
    )


@pytest.mark.parametrize(
    "scenes, held",
    [
        (dict(a=10, b=3, c=1, d=6), {"b": 3}),  # the fewest, but at least two
        (dict(a=10, b=10), {"a": 5}),  # no scene within a quarter: the rest of the scene is not trained on either
        (dict(a=1, b=50), {"a": 1}),
        (dict(a=25), {"a": 2}),
        (dict(a=3), {}),
        (dict(GOPR0477_11_00=3, GOPR0477_11_00_AVG11=2, x=20, y=4), {"y": 4}),
        (dict(GOPR0477_11_00=2, GOPR0477_11_00_AVG11=2, x=20, y=5), {"GOPR0477_11_00": 2, "GOPR0477_11_00_AVG11": 2}),
    ],
)
def test_hold_out_by_itself(scenes, held):
    pairs = made(**scenes)
    train, validation = hold_out(pairs)
    counts = {name: sum(pair.scene == name for pair in validation) for name in scenes}
    assert {name: count for name, count in counts.items() if count} == held
    if len(scenes) == 1:
        assert sorted(train + validation, key=lambda pair: pair.name) == list(pairs)
        assert names(validation) == names(pairs)[len(train) :]
    else:
        assert not set(held) & {pair.scene for pair in train}
        assert {pair.scene for pair in train} == set(scenes) - set(held)


def test_hold_out_by_name():
    pairs = made(GOPR0477_11_00=3, GOPR0477_11_00_AVG11=2, b=4, c=5)
    assert hold_out(pairs, "none") == (pairs, ())
    train, validation = hold_out(pairs, "c, GOPR0477_11_00_AVG11")
    assert {pair.scene for pair in train} == {"b"} and len(validation) == 10
    with pytest.raises(UserError, match="'d' is not here; there is GOPR0477_11_00, b, c"):
        hold_out(pairs, "d")
    with pytest.raises(UserError, match="leaves no pair"):
        hold_out(pairs, "GOPR0477_11_00,b,c")


def test_real_pairs_index_cleanly(real_data):
    for folder, split, layout in (("GOPRO", "train", "GoPro"), ("GOPRO", "test", "GoPro"), ("REDS", "train", "GoPro")):
        index = find_pairs(real_data / folder, split)
        assert index.pairs and not index.problems and index.layout == layout and index.blur_kind == "blur"
    index = check(find_pairs(real_data / "GOPRO", "test"), 256)
    assert len(index.pairs) == 4 and not index.notes
