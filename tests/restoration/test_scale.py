"""The scale that a photo's blur asks for, and what is brought back from there."""

import cv2
import numpy as np
import pytest
from skimage import data

from madn.errors import UserError
from madn.restoration.restorer import Restorer
from madn.restoration.scale import FRAME, STEP, Measured, ScaledRestorer, measure
from madn.system import memory

ASTRONAUT = data.astronaut()


def enlarged(factor: int) -> np.ndarray:
    return cv2.resize(ASTRONAUT, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def knows_one_size(image: np.ndarray) -> np.ndarray:
    """A network that brings out detail of one size, as those do that have learnt from one length of blur."""
    fine, coarse = (cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (2, 4))
    return image + 2 * (fine - coarse)


def scale_of(pixels: np.ndarray) -> float:
    return measure(knows_one_size, pixels).scale


def test_a_larger_copy_is_restored_at_a_smaller_scale():
    """In copies of one photo the same detail is twice and four times as large: the scale follows within one step."""
    steps = [np.log(scale_of(enlarged(factor))) / np.log(STEP) for factor in (1, 2, 4)]
    assert steps[1] - steps[0] == pytest.approx(2, abs=1.01) and steps[2] - steps[0] == pytest.approx(4, abs=1.01)


def test_a_photo_of_a_frames_size_that_needs_no_other_is_restored_once():
    """Beside the photo itself the network sees the squares of one other scale."""
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(720, 1280, 3)), (0, 0), 1.5)
    photo, seen = (127 + 40 * grain / grain.std()).clip(0, 255).astype(np.uint8), []

    def network(batch):
        seen.append(batch.shape[1] * batch.shape[2])
        return np.stack([knows_one_size(image) for image in batch])

    restored, plan = ScaledRestorer(network, bytes_per_pixel=64)(photo)
    np.testing.assert_array_equal(restored, Restorer(network, bytes_per_pixel=64)(photo)[0])
    assert (plan.count, plan.scale, plan.note) == (1, 1, "")
    assert seen == [720 * 1280, *6 * [160**2], 720 * 1280]


def test_a_frame_of_longer_blur_is_restored_smaller():
    """The squares at its own size are those of the photo restored as a whole, and the scale is as without them."""
    photo = enlarged(2)
    assert photo.shape[0] * photo.shape[1] < FRAME
    whole = measure(knows_one_size, photo)
    assert whole.scale < 1 and whole.restored is None
    assert whole.scale == pytest.approx(scale_of(enlarged(4)) * 2, rel=0.5)


def test_photos_too_small_to_measure_stay_at_their_size():
    assert measure(knows_one_size, ASTRONAUT[:90, :400]) == Measured(1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [0.5, 0.37, 2.0])
def test_what_the_network_leaves_alone_comes_back_exactly(dtype, scale):
    photo = ASTRONAUT[:133, :97]
    photo = photo / np.float32(255) if dtype == np.float32 else photo.astype(dtype) * (257 if dtype == np.uint16 else 1)
    restored, plan = ScaledRestorer(lambda batch: batch, scale=scale)(photo)
    assert restored.dtype == photo.dtype and plan.scale == scale
    np.testing.assert_allclose(restored, photo, atol=1e-6 if dtype == np.float32 else 0)


def test_a_correction_is_brought_to_every_pixel_of_a_large_photo():
    """The network adds 28 of 255, at a seventh of the size, over the borders of blocks and to the photo's edges."""
    photo = np.full((2300, 4200, 1), 100, np.uint8)
    restored, plan = ScaledRestorer(lambda batch: batch + np.float32(0.11), scale=1 / 7)(photo)
    assert set(np.unique(restored)) == {128} and "at 0.14 of its size" in str(plan)


@pytest.mark.parametrize("scale", [0.25, 0.3, 1.5])
def test_corrections_lie_where_they_belong(scale):
    """A fifth of a smooth photo, taken at another size, is a fifth of it at its own, to a twentieth of a pixel."""
    photo = cv2.GaussianBlur(ASTRONAUT, (0, 0), 12).astype(np.float32) / 400
    restored, _ = ScaledRestorer(lambda batch: np.float32(1.2) * batch, scale=scale)(photo)
    shifted = 1.2 * np.roll(photo, 1, axis=1)
    inner = np.s_[16:-16, 16:-16]
    error = np.abs(restored - 1.2 * photo)[inner].mean()
    assert error < 2e-4 < 0.1 * np.abs(shifted - 1.2 * photo)[inner].mean()


def test_a_photo_that_hardly_changed_is_said_to_be():
    quiet = measure(lambda image: image, ASTRONAUT)
    assert quiet.note == "hardly changed: no motion blur found"
    lost = measure(lambda image: image, cv2.GaussianBlur(ASTRONAUT, (0, 0), 12))
    assert lost.note == "hardly changed: it may be blurred by more than this network handles"
    assert measure(knows_one_size, ASTRONAUT).note == ""


def test_a_videos_frames_have_the_scale_of_the_first():
    restorer = ScaledRestorer(lambda batch: np.stack([knows_one_size(image) for image in batch]))
    scale = restorer.for_frames(enlarged(2)).scale
    assert scale == scale_of(enlarged(2)) < 1 and restorer.scale is None
    plain = Restorer(lambda batch: batch)
    assert plain.for_frames(ASTRONAUT) is plain


def test_photo_and_result_count_beside_what_is_restored(monkeypatch):
    """A photo of 30 MB, restored at a quarter of its size: both stay in memory, beside the small ones."""
    monkeypatch.setattr(memory, "used", lambda: 10**9)
    photo = np.zeros((2000, 5000, 3), np.uint8)
    asked = []
    restorer = ScaledRestorer(lambda batch: batch, 4, 1000, memory_gb=1.2, scale=0.25)
    monkeypatch.setattr(restorer, "_room", lambda kept: asked.append(kept) or 10**9)
    restorer(photo)
    assert asked == [2 * 12 * 500 * 1252 + 2 * photo.nbytes]


def test_the_scale_is_measured_in_the_memory_that_there_is(monkeypatch):
    """With room for tiles of 256 squared, the network is never given more."""
    monkeypatch.setattr(memory, "used", lambda: 10**9)
    sizes = []

    def network(batch):
        sizes.append(batch.shape[1] * batch.shape[2])
        return np.stack([knows_one_size(image) for image in batch])

    room = 256 * 256 * (2.2 * 4096 + 60) + 4 * enlarged(4).nbytes
    ScaledRestorer(network, memory_gb=(10**9 + room) / 1e9)(enlarged(4))
    assert max(sizes) <= room / (2.2 * 4096 + 60) < 448**2


def test_scales_out_of_range_are_named():
    with pytest.raises(UserError, match="--scale must be auto or from 0.01 to 4; received 7"):
        ScaledRestorer(lambda batch: batch, scale=7.0)
