"""SavedModels of strangers: nothing of one is run that does more than compute, unless its maker is trusted."""

import hashlib
import json

import keras
import numpy as np
import pytest

from madn.errors import UserError

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from madn.export.exporting import export
from madn.restoration.loading import load_network

SPEC = [tf.TensorSpec((None, None, None, 3), tf.float32)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What `madn.export` writes of a network that halves its images."""
    x = keras.Input((None, None, 3))
    half = keras.layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(0.5), use_bias=False)
    folder = tmp_path_factory.mktemp("models") / "half"
    export(keras.Model(x, half(x)), folder)
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    """A copy that a test may change."""
    import shutil

    return shutil.copytree(exported, tmp_path / "model")


def vouch(folder):
    """Write madn.json as its maker would who wants a folder to be taken for an export."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "madn.json"]
    files = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "madn.json").write_text(json.dumps({"formats": {"savedmodel": {"sha256": files}}}))


def changed(folder, change):
    """The graph of a model, changed and vouched for."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    change(model)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    for example in folder.glob("example_*"):
        example.unlink()
    vouch(folder)


class Writes(tf.Module):
    """A file is written as the model is called; `saved` lets it be written as it is loaded."""

    def __init__(self, place):
        super().__init__()
        self.place = str(place)

    @tf.function(input_signature=SPEC)
    def run(self, images):
        tf.io.write_file(self.place, "was here")
        return {"deblurred": images}


def hostile(tmp_path, at_load):
    """A SavedModel that writes a file, as it is called or as it is loaded, with the madn.json of an export."""
    model, place = Writes(tmp_path / "written"), tmp_path / "hostile"
    if at_load:
        model.run = tf.function(lambda images: {"deblurred": images}, input_signature=SPEC)

        class Resource(tf.saved_model.experimental.TrackableResource):
            def _create_resource(self):
                return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

            def _initialize(self):
                tf.io.write_file(model.place, "was here")

        model.resource = Resource()
        model.table = tf.function(lambda: tf.size(tf.constant(1)) + 0 * tf.size(model.resource.resource_handle))
        model.table.get_concrete_function()
    tf.saved_model.save(model, str(place), {"serving_default": model.run})
    (tmp_path / "written").unlink(missing_ok=True)
    vouch(place)
    return place


def test_an_export_is_loaded_without_being_trusted(exported):
    image = np.full((1, 5, 7, 3), 0.5, np.float32)
    np.testing.assert_allclose(load_network(exported).network(image), image / 2, atol=1e-6)


@pytest.mark.parametrize("at_load", [False, True])
def test_a_model_that_writes_files_is_refused_and_nothing_is_written(tmp_path, at_load):
    place = hostile(tmp_path, at_load)
    with pytest.raises(UserError, match=r"a SavedModel is a program, .* --trust-model") as problem:
        load_network(place)
    assert "\n" not in str(problem.value) and ("WriteFile" in str(problem.value) or at_load)
    assert not (tmp_path / "written").exists()
    # The test would show nothing if the model were harmless.
    loaded = load_network(place, trust_model=True)
    if not at_load:
        assert not (tmp_path / "written").exists()
        loaded.network(np.zeros((1, 2, 2, 3), np.float32))
    assert (tmp_path / "written").read_text() == "was here"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "madn.json").unlink(), "no madn.json"),
        (lambda f: (f / "madn.json").write_text("[" * 100_000), "no madn.json"),
        (lambda f: (f / "madn.json").write_text('{"formats": {"savedmodel": {"sha256": [1]}}}'), "no madn.json"),
        (lambda f: (f / "assets").joinpath("more.txt").touch(), "other files than are there: assets/more.txt"),
        (lambda f: (f / "fingerprint.pb").unlink(), "other files than are there: fingerprint.pb"),
        (lambda f: (f / "saved_model.pbtxt").touch(), "other files than are there: saved_model.pbtxt"),
        (lambda f: (f / "variables/variables.index").write_bytes(b"x"), "another SHA-256"),
    ],
)
def test_files_that_are_not_as_listed_are_named(folder, change, said):
    change(folder)
    with pytest.raises(UserError, match=said):
        load_network(folder)


def no_object_graph(model):
    model.meta_graphs[0].ClearField("object_graph_def")


def asset(model):
    model.meta_graphs[0].object_graph_def.nodes.add().asset.asset_file_def_index = 0


def large_variable(model):
    for node in model.meta_graphs[0].object_graph_def.nodes:
        if node.WhichOneof("kind") == "variable":
            node.variable.shape.dim[0].size = 10**9


def large_constant(model):
    node = model.meta_graphs[0].graph_def.node.add(name="large", op="Const")
    node.attr["value"].tensor.tensor_shape.dim.add().size = 10**10


def save_as_a_call(model):
    graph = model.meta_graphs[0]
    name = next(f.signature.name for f in graph.graph_def.library.function if "traced_save" in f.signature.name)
    graph.object_graph_def.concrete_functions[name].SetInParent()


def circle(model):
    function = model.meta_graphs[0].graph_def.library.function[0]
    for each in model.meta_graphs[0].graph_def.library.function:
        if each.signature.name.startswith("__inference_restore"):
            function = each
    node = function.node_def.add(name="again", op="StatefulPartitionedCall")
    node.attr["f"].func.name = function.signature.name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_object_graph, "not of TensorFlow 2"),
        (asset, "an object of the kind asset"),
        (large_variable, "more values than its files"),
        (large_constant, "more values than its files"),
        (
            save_as_a_call,
            "operation (SaveV2|MergeV2Checkpoints|StaticRegexFullMatch|ShardedFilename|StringJoin|Disable)",
        ),
        (circle, "call themselves"),
    ],
)
def test_graphs_that_do_more_than_an_exports_are_refused(folder, change, said):
    changed(folder, change)
    with pytest.raises(UserError, match=said):
        load_network(folder)


def test_a_graph_that_is_none_is_refused(folder):
    (folder / "saved_model.pb").write_bytes(b"nothing")
    for example in folder.glob("example_*"):
        example.unlink()
    vouch(folder)
    with pytest.raises(UserError, match="is damaged"):
        load_network(folder)
