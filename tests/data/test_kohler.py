"""Köhler's benchmark in the layout of its archives: which frames belong to which blurred image."""

from pathlib import Path

import numpy as np
import pytest

from madn.data.images import DecodedImages
from madn.data.index import check_pairs
from madn.data.kohler import find_kohler
from madn.data.sets import open_pairs
from madn.errors import UserError
from madn.imaging.arrays import write_image


def picture(path: Path, value: float, size: tuple[int, int] = (16, 16)) -> Path:
    write_image(path, np.full((*size, 3), value, np.float32))
    return path


def benchmark(root: Path, motions=((1, 1), (1, 2), (2, 11)), frames: int = 3) -> Path:
    """Blurred images beside the folders of sharp frames."""
    for image, motion in motions:
        picture(root / f"Blurry{image}_{motion}.png", 0.5)
        for frame in range(1, frames + 1):
            place = root / f"Image{image}" / f"Kernel{motion}" / f"GroundTruth{image}_{motion}_{frame}.png"
            picture(place, frame / 255)
    return root


def test_each_blurred_image_has_the_frames_of_its_motion_by_number(tmp_path):
    index = find_kohler(benchmark(tmp_path, motions=((2, 11), (1, 1), (1, 2)), frames=11))
    assert index.layout == "Köhler" and index.blur_kind is None and not index.problems
    assert [pair.name for pair in index.pairs] == ["Image1/Blurry1_1", "Image1/Blurry1_2", "Image2/Blurry2_11"]
    pair = index.pairs[2]
    assert pair.blurred == tmp_path / "Blurry2_11.png" and pair.scene == "Image2"
    assert [path.stem.split("_")[-1] for path in pair.frames] == [str(frame) for frame in range(1, 12)]
    assert pair.sharp == pair.frames[5]  # the sixth of eleven
    assert "Blurry1_1.png: 11 frames, and at least 197 were published" in index.notes[0] and len(index.notes) == 3


def test_the_archives_may_have_unpacked_in_folders_of_their_own(tmp_path):
    benchmark(tmp_path)
    (tmp_path / "BlurryImages").mkdir()
    for path in tmp_path.glob("Blurry*.png"):
        path.rename(tmp_path / "BlurryImages" / path.name)
    (tmp_path / "GroundTruth_pngs_Image1").mkdir()
    (tmp_path / "Image1").rename(tmp_path / "GroundTruth_pngs_Image1/Image1")
    index = open_pairs(str(tmp_path), split="test")
    assert [len(pair.frames) for pair in index.pairs] == [3, 3, 3] and not index.problems


def test_the_frames_that_the_official_script_passes_over_are_left_out(tmp_path):
    benchmark(tmp_path, motions=((1, 3), (1, 4)), frames=31)
    numbers = [[int(path.stem.split("_")[-1]) for path in pair.frames] for pair in find_kohler(tmp_path).pairs]
    assert numbers == [[*range(1, 30), 31], [*range(1, 32)]]


def test_what_is_missing_is_named(tmp_path):
    benchmark(tmp_path)
    (tmp_path / "Blurry1_2.png").unlink()
    picture(tmp_path / "Blurry3_4.png", 0.5)
    lonely, lost = find_kohler(tmp_path).problems
    assert "Blurry3_4.png: no sharp frames GroundTruth3_4_*.png" in lonely and "GroundTruth_pngs_Image3.zip" in lonely
    assert f"{tmp_path}: Blurry1_2.png is missing, whose 3 frames are here" in lost
    with pytest.raises(UserError, match="no sharp frames"):
        find_kohler(picture(tmp_path / "alone/Blurry1_1.png", 0.5).parent)


def test_it_is_no_training_set_and_other_folders_are_none(tmp_path):
    benchmark(tmp_path / "k")
    with pytest.raises(UserError, match="has no train part; it is for --split test"):
        open_pairs(str(tmp_path / "k"), split="train")
    picture(tmp_path / "other/train/A/blur/BlurryNight_1.png", 0.5)
    assert find_kohler(tmp_path / "other") is None and find_kohler(tmp_path / "nowhere") is None


def test_broken_and_odd_frames_are_found_before_anything_is_measured(tmp_path):
    benchmark(tmp_path)
    picture(tmp_path / "Image1/Kernel1/GroundTruth1_1_3.png", 0.1, (16, 20))
    (tmp_path / "Image2/Kernel11/GroundTruth2_11_1.png").write_bytes(b"no picture")
    index = find_kohler(tmp_path)
    with pytest.raises(UserError) as problem:
        check_pairs(index, DecodedImages("none"), None)
    first, second = str(problem.value).splitlines()
    assert "GroundTruth1_1_3.png: 20x16, but" in first and "GroundTruth2_11_1.png" in second
    kept = check_pairs(index, DecodedImages("none"), None, skip_bad=True)
    assert [pair.name for pair in kept.pairs] == ["Image1/Blurry1_2"] and len(kept.problems) == 2
