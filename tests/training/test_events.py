"""TensorBoard reads what was written, once, also after an interruption."""

import io

import numpy as np
import pytest
from PIL import Image

from madn.training.callbacks.events import Events

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.plugin_event_accumulator", reason="TensorBoard is not installed"
)


def scalars(folder, name):
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, float(event.tensor_proto.float_val[0])) for event in events.Tensors(name)]


def test_a_resumed_run_takes_the_place_of_what_was_interrupted(tmp_path, monkeypatch):
    first = Events(tmp_path, 1)
    for step in (2, 4, 6):
        first.write(step, {"loss": step / 8, "lr_g": 0.5})
    assert scalars(tmp_path, "loss") == [(2, 0.25), (4, 0.5), (6, 0.75)]
    first.file.write_bytes(first.file.read_bytes()[:-7])  # killed while it wrote
    second = Events(tmp_path, 5)
    second.file = second.file.with_name(second.file.name.replace("tfevents.", "tfevents.9"))
    second.write(6, {"loss": 2.0, "lr_g": 0.5})
    assert scalars(tmp_path, "loss") == [(2, 0.25), (4, 0.5), (6, 2.0)]
    assert scalars(tmp_path, "lr_g") == [(2, 0.5), (4, 0.5), (6, 0.5)]


def test_a_picture_is_read_back(tmp_path):
    picture = np.full((8, 24, 3), (200, 40, 90), np.uint8)
    Events(tmp_path, 1).write(2, {"loss/loss": 0.5}, {"crops/all": Image.fromarray(picture)})
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    (event,) = events.Tensors("crops/all")
    width, height, encoded = event.tensor_proto.string_val
    assert (event.step, int(width), int(height)) == (2, 24, 8)
    assert np.abs(np.asarray(Image.open(io.BytesIO(encoded))).astype(int) - picture).max() <= 3
