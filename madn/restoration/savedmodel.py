"""Loads a SavedModel, and looks first at what it would run.

A SavedModel is a program: its operations may read and write any file, and some run while it is loaded. One that
`madn.export` wrote is known by three things, which are looked at before TensorFlow opens the folder: madn.json lists
each file with its SHA-256; what can be called has no operation but those of `OPERATIONS`, which compute and nothing
else; its variables and constants are no larger than its files. Hashes alone would prove nothing, for whoever changes a
file can write its hash as well. Every other SavedModel is loaded only for somebody who trusts its maker.
"""

import graphlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from madn.errors import UserError
from madn.system.reading import read_content, sha256_of

MODEL, FACTS = "saved_model.pb", "madn.json"
LARGEST_GRAPH = 200_000_000  # The largest of our networks has a graph of 3 MB.
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
# Arithmetic on tensors, photos that are decoded and encoded, and variables that are read. None of these reads or writes
# a file, opens a connection or calls Python. Loops, which restore photo files one after the other, may be long.
OPERATIONS = CALLS | set(
    """
    DecodeJpeg DecodePng DecodeRaw EncodePng StatelessIf Substr TensorListFromTensor TensorListGetItem TensorListReserve
    TensorListSetItem TensorListStack While
    Abs Add AddN AddV2 All Any ArgMax ArgMin AvgPool BatchMatMulV2 BatchToSpaceND BiasAdd BroadcastTo Cast Ceil
    ClipByValue ConcatV2 Const Conv2D Conv2DBackpropInput Cos Cumsum DepthToSpace DepthwiseConv2dNative Einsum Elu
    EnsureShape Equal Erf Exp ExpandDims Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater
    GreaterEqual Identity IdentityN L2Loss LeakyRelu Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr MatMul Max
    MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 Pow PreventGradient
    Prod Range Rank ReadVariableOp RealDiv Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor ReverseV2 Roll Round Rsqrt Select SelectV2 Selu Shape Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient
    StridedSlice Sub Sum Tanh Tile Transpose Unpack Where Xdivy ZerosLike
    """.split()
)
OBJECTS = {"user_object", "function", "bare_concrete_function", "variable", "constant", "captured_tensor"}


def load(folder: Path, trusted: bool = False) -> tuple[Any, dict]:
    """The function of a SavedModel from float32 (batch, height, width, 3) to the same, and what madn.json says of it.

    Raises `UserError` where it is none, has no signature `serving_default`, or is not as `madn.export` writes it and
    not `trusted` either; nothing of it has been run then.
    """
    try:
        import tensorflow as tf
    except ImportError:
        raise UserError(f"{folder}: a SavedModel needs TensorFlow, which is not installed here") from None
    facts = _facts(folder)
    if not trusted:
        try:
            _check_files(folder, facts)
            _check_graph(folder)
        except _Stranger as reason:
            raise UserError(
                f"{folder}: a SavedModel is a program, and this one is not as madn.export writes it ({reason}): take "
                "the network's .weights.h5 file, or give --trust-model (in Python trust_model=True) if you trust its "
                "maker as much as a program of his"
            ) from None
    try:
        loaded = tf.saved_model.load(str(folder))
        signature = loaded.signatures["serving_default"]
    except Exception as problem:  # Its parsers fail in any way that a damaged file leads them to.
        raise UserError(f"{folder}: not a SavedModel with a serving_default signature ({_short(problem)})") from None

    def network(images: np.ndarray, _loaded=loaded) -> np.ndarray:  # The signature alone does not keep the model alive.
        return signature(tf.constant(images))["deblurred"].numpy()

    return network, facts


class _Stranger(Exception):
    """What a SavedModel has that those of `madn.export` have not."""


def _facts(folder: Path) -> dict:
    """What an export says of itself; nothing where its file is damaged, or not ours."""
    try:
        facts = json.loads(read_content(folder / FACTS))
    except (UserError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _check_files(folder: Path, facts: dict) -> None:
    """Raise `_Stranger` unless madn.json has the hash of each file that TensorFlow would read, and no other."""
    size = (folder / MODEL).stat().st_size
    if size > LARGEST_GRAPH:
        raise _Stranger(f"{MODEL} has {size / 1e6:.0f} MB")
    try:
        hashes = facts["formats"]["savedmodel"]["sha256"]
        hashes = {str(name): str(digest) for name, digest in hashes.items()}
    except (KeyError, TypeError, AttributeError):
        raise _Stranger(f"no {FACTS} with the hashes of its files") from None
    parts = [path for name in ("variables", "assets", "assets.extra") for path in (folder / name).rglob("*")]
    there = {
        path.relative_to(folder).as_posix()
        for path in (*parts, *folder.glob("saved_model.*"), *folder.glob("fingerprint.*"))
        if not path.is_dir()
    }
    if there != set(hashes):
        odd = sorted(there ^ set(hashes))
        raise _Stranger(f"{FACTS} lists other files than are there: {ascii(odd[0])[1:-1]}")
    for name, digest in hashes.items():
        try:
            if sha256_of(folder / name) != digest:
                raise _Stranger(f"{name} has another SHA-256 than {FACTS} says: it was changed or damaged")
        except UserError as problem:
            raise _Stranger(str(problem)) from None


def _check_graph(folder: Path) -> None:
    """Raise `_Stranger` where what can be called, now or while loading, has operations that do more than compute."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    size = (folder / MODEL).stat().st_size
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString((folder / MODEL).read_bytes())
    except (DecodeError, RecursionError):
        raise _Stranger(f"{MODEL} is damaged") from None
    # Without an object graph TensorFlow would load the file in the way of its first version, and run the outer graph.
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].object_graph_def.nodes:
        raise _Stranger("it is not of TensorFlow 2")
    graph = model.meta_graphs[0]
    objects = graph.object_graph_def
    for node in objects.nodes:
        if (kind := node.WhichOneof("kind")) not in OBJECTS or node.registered_name or node.registered_saver:
            raise _Stranger(f"it holds an object of the kind {kind or node.registered_name}")
    functions = {each.signature.name: each for each in graph.graph_def.library.function}
    called: dict[str, set[str]] = {}  # What can be reached; saving and loading variables, as a rule, cannot.
    waiting = set(objects.concrete_functions)
    while waiting:
        name = waiting.pop()
        if name not in functions:
            raise _Stranger(f"it calls {ascii(name)[1:-1]}, which is not there")
        called[name] = set()
        for node in functions[name].node_def:
            if node.op not in OPERATIONS:
                raise _Stranger(f"it has the operation {ascii(node.op)[1:-1]}, which our networks do not need")
            for value in node.attr.values():
                if value.WhichOneof("value") in ("func", "list"):
                    inner = [value.func] if value.WhichOneof("value") == "func" else value.list.func
                    called[name] |= {each.name for each in inner}
        waiting |= called[name] - set(called)
    try:
        graphlib.TopologicalSorter(called).prepare()
    except graphlib.CycleError:
        raise _Stranger("its functions call themselves") from None
    stored = sum(path.stat().st_size for path in (folder / "variables").glob("variables.data-*"))
    shapes = [node.variable.shape for node in objects.nodes if node.WhichOneof("kind") == "variable"]
    constants = [
        node.attr["value"].tensor.tensor_shape
        for nodes in (graph.graph_def.node, *(functions[name].node_def for name in called))
        for node in nodes
        if node.op == "Const"
    ]
    if _values(shapes) > stored or _values(constants) > size:  # A value takes a byte at the least.
        raise _Stranger("its tensors have more values than its files")


def _values(shapes: Iterable) -> int:
    """How many values tensors of these shapes have together."""
    return sum(math.prod(max(each.size, 0) for each in shape.dim) for shape in shapes)


def _short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]
