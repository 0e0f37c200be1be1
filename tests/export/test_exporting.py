"""An exported folder holds what was checked, or what it held before."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from madn.errors import UserError

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf

from madn.export.exporting import FORMATS, check_free, export, photographs

ALL = tuple(FORMATS)


@pytest.fixture(autouse=True)
def packages():
    """The optional ones, of `pip install ".[export]"`."""
    for name in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def scaling(scale: float) -> keras.Model:
    """The smallest network: an image times `scale`."""
    x = keras.Input((None, None, 3))
    return keras.Model(x, keras.layers.Rescaling(scale)(x))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exporting") / "model"
    lines = []
    written = export(scaling(0.5), folder, ALL, {"description": "half"}, multiple=4, say=lines.append)
    return folder, written, lines


def test_the_folder_says_what_is_in_it(exported):
    folder, written, lines = exported
    about = json.loads((folder / "madn.json").read_text())
    assert about["description"] == "half" and about["multiple"] == 4
    assert set(about["signatures"]) == {"serving_default", "uint8", "bytes"}
    assert about["formats"] == written and list(written) == ["savedmodel", "onnx", "litert"]
    files = {"madn.json", "example_tensorflow_tiles.py", *(each.example for each in FORMATS.values())}
    for name, each in written.items():
        assert (folder / each["file"]).exists() and each["dynamic"] == ["batch", "height", "width"]
        assert 0 <= each["largest_difference"] < 1e-6
        assert (
            each["runtime"].split()[0]
            == {"savedmodel": "tensorflow", "onnx": "onnxruntime", "litert": "ai-edge-litert"}[name]
        )
        for file, digest in each["sha256"].items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
        files |= set(each["sha256"])
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == files
    assert "saved_model.pb" in files and "variables/variables.index" in files
    assert [path.name for path in folder.parent.iterdir()] == ["model"]  # no temporary folder is left
    assert [line.split()[3] for line in lines] == ["savedmodel", "onnx", "litert"]


def test_only_what_is_asked_for_is_written_and_may_be_replaced(tmp_path):
    folder = tmp_path / "model"
    export(scaling(0.5), folder, ["onnx"])
    assert {path.name for path in folder.iterdir()} == {"madn.json", "model.onnx", "example_onnxruntime.py"}
    assert "signatures" not in json.loads((folder / "madn.json").read_text())
    with pytest.raises(UserError, match="already holds an exported network: add --overwrite"):
        export(scaling(0.5), folder, ["litert"])
    export(scaling(0.5), folder, ["litert"], overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"madn.json", "model.tflite", "example_litert.py"}


def scale_of(folder):
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return serve(tf.ones((1, 1, 1, 3)))["deblurred"].numpy().max()


def test_overwrite_replaces_the_whole_folder_where_a_link_leads(tmp_path):
    (tmp_path / "current").symlink_to("model")
    export(scaling(1.0), tmp_path / "model", ["savedmodel", "onnx"], finish=lambda new: (new / "page.html").touch())
    export(scaling(0.5), tmp_path / "current", overwrite=True)
    assert (tmp_path / "current").is_symlink() and scale_of(tmp_path / "model") == 0.5
    assert not {"model.onnx", "page.html"} & {file.name for file in (tmp_path / "model").iterdir()}


def test_files_beside_an_export_are_never_deleted(tmp_path):
    model = tmp_path / "model"
    export(scaling(1.0), model)
    (model / "restored").mkdir()
    (model / "restored" / "a.png").write_bytes(b"a")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds files beside an exported network, such as restored/a.png"):
            export(scaling(0.5), model, overwrite=overwrite)
    assert (model / "restored" / "a.png").read_bytes() == b"a" and scale_of(model) == 1.0
    (model / "restored" / "a.png").unlink()
    about = json.loads((model / "madn.json").read_text())
    assert set(about.pop("files")) == {file.name for file in model.iterdir() if file.is_file()} | {
        name for name in about["formats"]["savedmodel"]["sha256"] if "/" in name
    }
    (model / "madn.json").write_text(json.dumps(about))  # as before exports listed all of their files
    export(scaling(0.5), model, overwrite=True)
    assert scale_of(model) == 0.5


def test_a_savedmodel_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"another")
    with pytest.raises(UserError, match="holds other files and is left as it is"):
        check_free(tmp_path, overwrite=True)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    (tmp_path / "photos" / "madn.json").write_text("[]")
    (tmp_path / "file").write_bytes(b"a")
    (tmp_path / "empty").mkdir()
    for name in ("photos", "file"):
        for overwrite in (False, True):
            with pytest.raises(UserError, match=name):
                export(scaling(1.0), tmp_path / name, overwrite=overwrite)
    check_free(tmp_path / "empty", overwrite=False)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"a"


@pytest.mark.parametrize("name", ALL)
def test_a_format_that_differs_leaves_what_was_there(name, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "madn.json").write_text('{"formats": {}}')
    # Every row and column is the second one; Keras sees the photograph as it is.
    monkeypatch.setattr("madn.export.serving.reflected_indices", lambda size, multiple: tf.ones([size], tf.int32))
    with pytest.raises(UserError, match=f"{name}: differs from the Keras model by .* nothing was written"):
        export(scaling(1.0), folder, [name], overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "madn.json"]


def test_a_network_whose_output_is_no_number_is_refused(tmp_path):
    with pytest.raises(UserError, match="savedmodel: differs from the Keras model by nan"):
        export(scaling(float("nan")), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_an_operator_that_the_format_lacks_is_named(name, tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Singular(keras.layers.Layer):
        def call(self, images):
            return images * tf.linalg.svd(images, compute_uv=False)[:, :1, None, :1]

        def compute_output_shape(self, shape):
            return shape

    x = keras.Input((None, None, 3))
    with pytest.raises(UserError, match=f"{name}: this network cannot be converted .*Svd") as refused:
        export(keras.Model(x, Singular()(x)), tmp_path / "model", ["savedmodel", name])
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(importlib.import_module("sys").modules, "tf2onnx", None)
    with pytest.raises(UserError, match="onnx needs tf2onnx: python -m pip install tf2onnx, or leave it out"):
        export(scaling(1.0), tmp_path / "model", ALL)
    assert list(tmp_path.iterdir()) == []


def test_another_backend_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(UserError, match="KERAS_BACKEND=tensorflow"):
        export(scaling(1.0), tmp_path / "model")


@pytest.mark.parametrize("shape", [(2, 101, 77), (1, 192, 240), (1, 720, 1280), (1, 1, 1)])
def test_the_photographs_are_photographs(shape):
    images = photographs(shape)
    assert images.shape == (*shape, 3) and images.dtype == np.float32
    assert 0 <= images.min() and images.max() <= 1
    if shape[1] > 1:
        assert images.std() > 0.2 and abs(np.diff(images, axis=2)).mean() < 0.1  # not flat, and no noise
    if shape[0] > 1:
        assert abs(images[0] - images[1]).mean() > 0.1


def test_an_interrupted_replacement_leaves_what_was_there(tmp_path, monkeypatch):
    folder, replace = tmp_path / "model", os.replace
    export(scaling(0.5), folder, ("savedmodel",), {"description": "old"})

    def interrupted(source, target):
        if Path(source).name == "fresh":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(scaling(0.25), folder, ("savedmodel",), {"description": "new"}, overwrite=True)
    assert json.loads((folder / "madn.json").read_text())["description"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("formats", ["onnx", (), ("tflite",)])
def test_formats_that_are_none_are_refused(formats, tmp_path):
    with pytest.raises(UserError, match="formats are one or more of savedmodel, onnx, litert"):
        export(scaling(0.5), tmp_path / "model", formats)
    assert not any(tmp_path.iterdir())


def test_formats_may_come_one_by_one(tmp_path):
    assert list(export(scaling(0.5), tmp_path / "model", (name for name in ("savedmodel",)))) == ["savedmodel"]


def test_the_current_folder_cannot_be_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="name a new one in it"):
        export(scaling(0.5), ".", ("savedmodel",))
