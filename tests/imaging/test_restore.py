import numpy as np
import pytest

from madn.errors import UserError
from madn.imaging.files import read_image, to_float, to_uint8, write_image
from madn.imaging.restore import output_files, padded_size, reflected, restore, restore_files


class Recorder:
    """A network that keeps what it was given, and gives it back."""

    def __call__(self, batch):
        self.batch = batch
        return batch


def noise(height, width):
    return np.random.default_rng(1).random((height, width, 3), np.float32)


def test_padded_size():
    assert [padded_size(n) for n in (1, 16, 17, 720, 721, 1280, 1283)] == [16, 16, 32, 720, 736, 1280, 1296]
    assert [padded_size(n, 8) for n in (33, 680, 773, 720)] == [40, 680, 776, 720]  # 773: a width in RealBlur


@pytest.mark.parametrize("size, padded", [((721, 1283), (736, 1296)), ((720, 1280), (720, 1280)), ((1, 1), (16, 16)),
                                          ((5, 3), (16, 16)), ((2, 40), (16, 48)), ((1, 33), (16, 48))])
def test_any_size_is_padded_by_reflection_and_cropped_back(size, padded):
    image, network = noise(*size), Recorder()
    np.testing.assert_array_equal(restore(network, image), image)
    assert network.batch.shape == (1, *padded, 3) and network.batch.dtype == np.float32
    expected = np.pad(image, ((0, padded[0] - size[0]), (0, padded[1] - size[1]), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(network.batch[0], expected)


def test_reflection_of_short_rows():
    assert reflected(1, 4).tolist() == [0, 0, 0, 0]
    assert reflected(2, 5).tolist() == [0, 1, 0, 1, 0]
    assert reflected(3, 8).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_output_is_clipped_float32():
    restored = restore(lambda batch: 3.0 * batch.astype(np.float64) - 1.0, noise(20, 20))
    assert restored.dtype == np.float32 and restored.min() == 0.0 and restored.max() == 1.0


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UserError, match="not numbers.*another checkpoint"):
        restore(lambda batch: batch * np.float32("nan"), noise(4, 4))


def test_a_file_goes_to_a_file_or_into_a_folder(tmp_path):
    photo = tmp_path / "photo.png"
    photo.touch()
    (tmp_path / "v1.2").mkdir()
    for target, output in (("out.jpg", "out.jpg"), ("new", "new/photo.png"), ("v1.2", "v1.2/photo.png")):
        assert output_files(photo, tmp_path / target) == [(photo, tmp_path / output)]


def test_a_folder_keeps_its_structure_and_its_earlier_results_are_no_input(tmp_path):
    for name in ("a.png", "trip/b.jpg", "restored/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    out = tmp_path / "restored"
    assert output_files(tmp_path, out) == [(tmp_path / "a.png", out / "a.png"),
                                           (tmp_path / "trip/b.jpg", out / "trip/b.jpg")]


def test_what_cannot_be_done_is_said(tmp_path):
    photo, empty = tmp_path / "photo.png", tmp_path / "empty"
    photo.touch()
    empty.mkdir()
    for source, target, message in (
        (tmp_path / "none", "out", "none: no such file or folder"), (empty, "out", "empty: no image files"),
        (photo, "photo.png", "written over its input"), (tmp_path, ".", "written over its input"),
        (photo, ".", "written over its input"), (photo, "out.gif", "'.gif' is not an image suffix"),
        (tmp_path, "photo.png", "photo.png: is a file"),
    ):
        with pytest.raises(UserError, match=message):
            output_files(source, tmp_path / target)


def test_unreadable_files_are_named_and_the_rest_restored(tmp_path):
    pixels = to_uint8(noise(5, 9))
    write_image(tmp_path / "in/good.png", to_float(pixels))
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    jobs = output_files(tmp_path / "in", tmp_path / "out")
    problems = restore_files(lambda batch: 1.0 - batch, jobs)
    assert len(problems) == 1 and "bad.png" in problems[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]
    np.testing.assert_array_equal(to_uint8(read_image(tmp_path / "out/good.png")), 255 - pixels)
