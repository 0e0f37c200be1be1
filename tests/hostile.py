"""A folder of files that a stranger might send to harm who reads them: python tests/hostile.py FOLDER

Each tries one thing: to run a program, to write a file (`written` in the folder), to read another one, or to take time
or memory without end. `make` returns what reads each.
"""

import copy
import hashlib
import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np


class Case(NamedTuple):
    """A file or folder, and which of the readers takes it: model, keras, registry, checkpoint or onnx."""

    name: str
    reader: str
    path: Path


def make(folder: Path) -> list[Case]:
    """Write all files into an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for reader, makers in (
        ("model", WEIGHTS),
        ("model", RUNS),
        ("model", SAVEDMODELS),
        ("keras", KERAS_FILES),
        ("registry", REGISTRIES),
        ("checkpoint", CHECKPOINTS),
        ("onnx", ONNX_FILES),
    ):
        for name, (suffix, maker) in makers.items():
            path = folder / f"{len(cases):02} {name}{suffix}"
            maker(path)
            cases.append(Case(name, reader, path))
    return cases


# Weights: HDF5 files, and what they say of their recipe.


def h5(fill: Callable[[h5py.File], object]) -> tuple[str, Callable[[Path], None]]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            fill(file)

    return ".weights.h5", write


def content(make_content: Callable[[], bytes], suffix: str) -> tuple[str, Callable[[Path], None]]:
    return suffix, lambda path: path.write_bytes(make_content()) and None


def recipe(text: str) -> tuple[str, Callable[[Path], None]]:
    def fill(file):
        file.create_dataset("layers/conv/vars/0", data=np.zeros((3, 3, 3, 8), "f4"))
        file.attrs["madn_recipe"] = text

    return h5(fill)


def fields(name: str = "madn", **changes: object) -> tuple[str, Callable[[Path], None]]:
    return recipe(json.dumps({"recipe": name, "fields": changes}))


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "a", (4,))
    file.create_virtual_dataset("a", layout)


def circle(file):
    outer = file.create_group("a")
    outer.create_group("b")["c"] = outer


def deep(file):
    group = file
    for _ in range(500):
        group = group.create_group("a")


def packed(file):
    for name in "abcdefgh":
        file.create_dataset(name, data=np.zeros(10_000_000, "f4"), compression="gzip")


WEIGHTS = {
    "array in another file": h5(lambda f: f.create_dataset("a", (4,), "u1", external=[("/etc/hostname", 0, 4)])),
    "virtual array": h5(virtual),
    "array of 3 GB that is not there": h5(lambda f: f.create_dataset("a", (750_000_000,), "f4")),
    "chunks of 3 GB that are not there": h5(lambda f: f.create_dataset("a", (750_000_000,), "f4", chunks=(1000,))),
    "compressed zeros": h5(packed),
    "link": h5(lambda f: f.__setitem__("a", h5py.SoftLink("/"))),
    "link to a file": h5(lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/hostname", "/"))),
    "groups in a circle": h5(circle),
    "groups within groups": h5(deep),
    "references": h5(lambda f: f.create_dataset("a", data=np.array([f.ref], dtype=h5py.ref_dtype))),
    "no HDF5": content(lambda: b"nothing", ".weights.h5"),
    "empty": content(bytes, ".weights.h5"),
    "zeros": content(lambda: bytes(3_000_000), ".weights.h5"),
    "recipe that is no JSON": recipe("{"),
    "recipe that is a list": recipe("[1]"),
    "recipe in brackets": recipe("[" * 60_000),
    "recipe that is not known": fields("os.system"),
    "recipe without fields": recipe('{"recipe": "madn"}'),
    "field that is a module": fields("sisnet", d_activation={"module": "os", "class_name": "system"}),
    "field that is not known": fields(activation={"module": "os"}),
    "field of another type": fields(widths="4096"),
    "ten million blocks": fields(res_blocks=10_000_000),
    "widths of a million": fields(widths=[1_000_000, 1_000_000, 1_000_000]),
    "kernels of a thousand": fields(kernels=[1001, 1001]),
    "weights for download": fields("sisnet", backbone="inception_resnet_v2", backbone_weights="imagenet"),
    "pipe": (".weights.h5", os.mkfifo),
    "endless device": (".weights.h5", lambda path: path.symlink_to("/dev/zero")),
}


# Run folders and their settings.


def run(settings: str | bytes | None) -> tuple[str, Callable[[Path], None]]:
    def write(path: Path) -> None:
        (path / "checkpoints").mkdir(parents=True)
        if settings is None:
            os.mkfifo(path / "settings.json")
        else:
            (path / "settings.json").write_bytes(settings if isinstance(settings, bytes) else settings.encode())
        for name in ("best", "state-0000001"):
            os.mkfifo(path / f"checkpoints/{name}.weights.h5")

    return "", write


RUNS = {
    "settings that are no JSON": run("{"),
    "settings that are a list": run("[]"),
    "settings that are no text": run(b"\xff\xfe\xff"),
    "settings that are a pipe": run(None),
    "weights that are a pipe": run(json.dumps({"recipe": "madn", "fields": {}, "data": {}})),
}


# SavedModels, each with a madn.json that vouches for all of it, as its maker would write one.


def vouch(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "madn.json"]
    files = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "madn.json").write_text(json.dumps({"formats": {"savedmodel": {"sha256": files}}}))


def savedmodel(called: bool = False, loaded: bool = False, change: Callable | None = None, vouched: bool = True):
    """One that copies its images, writes `written` beside itself as it is called or loaded, or has a changed graph."""

    def write(path: Path) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        place = str(path.parent / "written")
        module = tf.Module()

        def copies(images):
            if called:
                tf.io.write_file(place, "was here")
            return {"deblurred": images}

        module.run = tf.function(copies, input_signature=[tf.TensorSpec((None, None, None, 3))])
        module.weight = tf.Variable(tf.zeros(8))
        if loaded:

            class Resource(tf.saved_model.experimental.TrackableResource):
                def _create_resource(self):
                    return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

                def _initialize(self):
                    tf.io.write_file(place, "was here")

            module.resource = Resource()
            module.table = tf.function(lambda: 0 * tf.size(module.resource.resource_handle))
            module.table.get_concrete_function()
        tf.saved_model.save(module, str(path), {"serving_default": module.run})
        Path(place).unlink(missing_ok=True)
        if change:
            model = saved_model_pb2.SavedModel()
            model.ParseFromString((path / "saved_model.pb").read_bytes())
            change(model.meta_graphs[0])
            (path / "saved_model.pb").write_bytes(model.SerializeToString())
        if vouched:
            vouch(path)

    return "", write


def large_variable(graph):
    for node in graph.object_graph_def.nodes:
        if node.WhichOneof("kind") == "variable":
            node.variable.shape.dim[0].size = 10**9


def large_constant(graph):
    graph.graph_def.node.add(name="a", op="Const").attr["value"].tensor.tensor_shape.dim.add().size = 10**10


def calls_itself(graph):
    for function in graph.graph_def.library.function:
        if function.signature.name in graph.object_graph_def.concrete_functions:
            node = function.node_def.add(name="again", op="StatefulPartitionedCall")
            node.attr["f"].func.name = function.signature.name


def reads_files(graph):
    for function in graph.graph_def.library.function:
        function.node_def.add(name="reads", op="ReadFile")


def written_bytes(names: dict[str, bytes]) -> tuple[str, Callable[[Path], None]]:
    def write(path: Path) -> None:
        for name, data in names.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        vouch(path)

    return "", write


def large_graph(path: Path) -> None:
    path.mkdir()
    with open(path / "saved_model.pb", "wb") as file:
        file.truncate(3_000_000_000)
    (path / "madn.json").write_text(json.dumps({"formats": {"savedmodel": {"sha256": {"saved_model.pb": "0" * 64}}}}))


SAVEDMODELS = {
    "model that writes when called": savedmodel(called=True),
    "model that writes when loaded": savedmodel(loaded=True),
    "model that is not ours": savedmodel(vouched=False),
    "model that reads files": savedmodel(change=reads_files),
    "model with a variable of 4 GB": savedmodel(change=large_variable),
    "model with a constant of 40 GB": savedmodel(change=large_constant),
    "model that calls itself": savedmodel(change=calls_itself),
    "model of TensorFlow 1": savedmodel(change=lambda graph: graph.ClearField("object_graph_def")),
    "model that is none": written_bytes({"saved_model.pb": b"nothing"}),
    "model of 3 GB": ("", large_graph),
}


# .keras files.


def keras_file(config: object = None, weights: bytes | None = None, config_bytes: bytes | None = None):
    def write(path: Path) -> None:
        file = io.BytesIO()
        with h5py.File(file, "w") as opened:
            opened.create_group("layers")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
            archive.writestr("config.json", config_bytes or json.dumps(config))
            archive.writestr("model.weights.h5", weights or file.getvalue())

    return ".keras", write


def layer(module: str, name: str, /, **config: object) -> dict:
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def sequential(*layers: dict) -> dict:
    return layer("keras", "Sequential", name="a", layers=list(layers), build_input_shape=[None, 8])


LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
KERAS_FILES = {
    "function": keras_file(sequential(layer("keras.layers", "Lambda", function=LAMBDA))),
    "module": keras_file(layer("os", "system", command="touch written")),
    "function of Keras": keras_file(sequential(layer("keras.utils", "get_file", origin="file:///etc/hostname"))),
    "layer of a billion": keras_file(sequential(layer("keras.layers", "Dense", units=10**9))),
    "brackets": keras_file(config_bytes=b"[" * 1_000_000),
    "expanding configuration": keras_file(config_bytes=b" " * 300_000_000),
    "weights that are none": keras_file(sequential(), weights=b"nothing"),
}


# Registries of weights, each in a folder of its own.


def registry(text: str | bytes | None, files: dict[str, Callable[[Path], object]] | None = None):
    def write(path: Path) -> None:
        path.mkdir()
        if text is None:
            (path / "registry.json").symlink_to("/dev/zero")
        else:
            (path / "registry.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, maker in (files or {}).items():
            maker(path / name)

    return "", write


def entry(**changes: object) -> str:
    line = {"file": "a.weights.h5", "bytes": 1, "sha256": "0" * 64, "licence": "", "recipe": "madn", "trained_on": ""}
    return json.dumps({"a": {**line, **changes}})


REGISTRIES = {
    "registry that leads elsewhere": registry(entry(file="../../etc/passwd.weights.h5")),
    "registry of a pipe": registry(entry(), {"a.weights.h5": os.mkfifo}),
    "registry of a device": registry(entry(), {"a.weights.h5": lambda path: path.symlink_to("/dev/zero")}),
    "registry of other weights": registry(entry(), {"a.weights.h5": lambda path: path.write_bytes(b"x")}),
    "registry without end": registry(None),
    "registry in brackets": registry("[" * 1_000_000),
    "registry that is no text": registry(b"\xff\xfe"),
    "registry with code": registry(entry(__class__="os.system")),
}


# PyTorch checkpoints.


class Call:
    """Pickled, it calls a function as it is read."""

    def __init__(self, function: Callable, *arguments: object):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pth(pickled: bytes, *others: tuple[str, bytes], compression: int = zipfile.ZIP_STORED):
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in (("a/data.pkl", pickled), *others):
                archive.writestr(name, data)

    return ".pth", write


def overlapping(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/data/0", bytes(10_000_000))
        for number in range(1, 500):
            another = copy.copy(archive.filelist[-1])
            another.filename = f"a/data/{number}"
            archive.filelist.append(another)


CHECKPOINTS = {
    "command": pth(pickle.dumps(Call(os.system, "touch written"))),
    "expression": pth(pickle.dumps(Call(eval, "open('written', 'w')"))),
    "command in the old format": (
        ".pth",
        lambda path: path.write_bytes(pickle.dumps(Call(os.system, "touch written"))),
    ),
    "tuples in tuples": pth(b"\x80\x04})" + b"2\x86" * 60 + b"K\x01s."),
    "entries in one place": (".pth", overlapping),
    "expanding pickle": pth(b"N" * 300_000_000, compression=zipfile.ZIP_DEFLATED),
    "endless pickle": (".pth", lambda path: path.symlink_to("/dev/zero")),
    "text of an exabyte": pth(b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"x."),
}


# ONNX networks whose weights lie in other files. onnxruntime 1.23 and older read them.


def onnx_file(location: str, place: str = "weights", offset: int = 0):
    """x + w, where w is stored elsewhere: among the weights, as a constant, or as a constant of a function."""

    def write(path: Path) -> None:
        from onnx import TensorProto, helper

        links = path.with_suffix(".links")
        links.mkdir()
        for name, target in (("file", "/etc/passwd"), ("folder", "/etc"), ("device", "/dev/zero")):
            (links / name).symlink_to(target)
        os.mkfifo(links / "pipe")
        where = location.format(links=links.name, itself=path.name)
        stored = TensorProto(name="w", data_type=1, dims=[3, 1, 1], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", where), ("offset", offset), ("length", 12)):
            stored.external_data.add(key=key, value=str(value))
        inputs, outputs = ([helper.make_tensor_value_info(name, 1, ["n", 3, "h", "w"])] for name in "xy")
        constant, add = (
            helper.make_node("Constant", [], ["w"], value=stored),
            helper.make_node("Add", ["x", "w"], ["y"]),
        )
        opsets, functions, weights, nodes = [helper.make_opsetid("", 17)], [], [], [constant, add]
        if place == "weights":
            weights, nodes = [stored], [add]
        elif place == "function":
            functions = [helper.make_function("own", "F", ["x"], ["y"], nodes, opsets)]
            opsets, nodes = (
                [*opsets, helper.make_opsetid("own", 1)],
                [helper.make_node("F", ["x"], ["y"], domain="own")],
            )
        graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)
        path.write_bytes(model.SerializeToString())

    return ".onnx", write


ONNX_FILES = {
    "weights in the folder above": onnx_file(10 * "../" + "etc/passwd"),
    "weights by an absolute path": onnx_file("/etc/passwd"),
    "weights behind a link": onnx_file("{links}/file"),
    "weights in a linked folder": onnx_file("{links}/folder/passwd"),
    "weights in a device": onnx_file("{links}/device"),
    "weights in a pipe": onnx_file("{links}/pipe"),
    "weights at an address in memory": onnx_file("*/_ORT_MEM_ADDR_/*", offset=2**46),
    "weights after the file's end": onnx_file("{itself}", offset=10**12),
    "constant by an absolute path": onnx_file("/etc/passwd", "constant"),
    "constant of a function by an absolute path": onnx_file("/etc/passwd", "function"),
}


if __name__ == "__main__":
    for case in make(Path(sys.argv[1])):
        print(f"{case.reader:10} {case.path}")
