"""`python -m madn.export.twins NAME...`: the ONNX twins of published weights, beside them and in the registry.

A twin is the network as `madn.export` writes it, but for its weights: these it reads from the .weights.h5 file beside
it, in float16 as they are stored there. ONNX allows that: a tensor may name a file, and the place of its bytes in it.
So weights lie there once, and a twin has a few hundred kB. It is compared with Keras before the registry names it.
"""

import itertools
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from madn.errors import UserError, run_command
from madn.system.commandline import parse
from madn.system.reading import sha256_of
from madn.system.startup import start_keras
from madn.system.writing import atomic
from madn.weights import registry
from madn.weights.registry import ONNX, Twin

if TYPE_CHECKING:
    import onnx

PROG = "python -m madn.export.twins"
TOLERANCE = 1e-3


@dataclass(frozen=True)
class TwinOptions:
    """Which weights get a twin."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME...")]
    """Published names (python -m madn.weights)."""


def main(argv: list[str]) -> None:
    """The command."""
    options = parse(TwinOptions, argv, PROG, __doc__)
    for name in options.names:
        registry.find(name)
    start_keras()
    for name in options.names:
        twin = write_twin(name)
        print(
            f"wrote {registry.folder() / twin.file}: {twin.bytes:,} bytes, at most {twin.largest_difference:.1e} away "
            "from Keras"
        )


def write_twin(name: str) -> Twin:
    """Write the ONNX twin of published weights, compare it with Keras on photographs, and name it in the registry.

    Raises `UserError` where it differs by more than `TOLERANCE`, or weights are not stored as ONNX needs them.
    """
    from madn.export import exporting, to_onnx
    from madn.export.__main__ import facts
    from madn.export.serving import ServingModule
    from madn.restoration.loading import load_network
    from madn.restoration.onnx_network import OnnxNetwork

    entry = registry.find(name)
    weights = registry.path(name)
    loaded = load_network(name)
    place = registry.folder() / f"{name}{ONNX}"
    with atomic(place) as part:
        about = {**facts(loaded), "multiple": loaded.multiple}
        if not loaded.network.knows_tiles:
            about["reach"] = loaded.restorer().reach
        model = to_onnx.converted(ServingModule(to_onnx.prepared(loaded.model), loaded.multiple))
        take_weights_from(model, weights)
        to_onnx.describe(model, about)
        part.write_bytes(model.SerializeToString())
        to_onnx.describe(model, {**about, "bytes_per_pixel": _measured_bytes(part)})
        part.write_bytes(model.SerializeToString())
        network = OnnxNetwork(part)
        reference = exporting.keras_reference(loaded.model, loaded.multiple)
        difference = max(
            float(np.abs(np.clip(network(images), 0, 1) - reference(images)).max())
            for images in map(exporting.photographs, exporting.CHECKED_SHAPES)
        )
        if not difference <= TOLERANCE:
            raise UserError(f"{name}: its ONNX twin differs from Keras by {difference:.1e}; nothing was written")
        twin = Twin(place.name, part.stat().st_size, sha256_of(part), difference)
    registry.write({**registry.entries(), name: replace(entry, onnx=twin)})
    return twin


def _measured_bytes(file: Path) -> int:
    """`OnnxNetwork.bytes_per_pixel` in a process of its own, whose memory nothing else moves."""
    code = (
        "import sys; from pathlib import Path; from madn.restoration.onnx_network import OnnxNetwork\n"
        "print(OnnxNetwork(Path(sys.argv[1])).bytes_per_pixel())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def take_weights_from(model: "onnx.ModelProto", weights: Path) -> None:
    """Have an ONNX model read its float32 weights from a .weights.h5 file, in which they are stored in float16.

    They are found by their values: those of a stored array, whose axes may be in another order. What is not found
    there, as the kernels of resizing, stays in the model. Raises `UserError` for a file that compresses its arrays.
    """
    import h5py
    from onnx import TensorProto, numpy_helper

    stored: dict[int, list[tuple[np.ndarray, int]]] = {}
    with h5py.File(weights) as file:

        def note(_, item) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype == np.float16 and item.size:
                if item.id.get_offset() is None:
                    raise UserError(f"{weights}: stores arrays in parts or compressed; ONNX cannot read them there")
                stored.setdefault(item.size, []).append((item[()], item.id.get_offset()))

        file.visititems(note)
    decoding = []
    for tensor in list(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        candidates = stored.get(values.size, []) if values.dtype == np.float32 and values.ndim else []
        match = _matching(values, candidates) or _matching_deconvolution(values, candidates)
        if match is None:
            continue
        source = TensorProto(
            name=f"{tensor.name}/stored",
            data_type=TensorProto.FLOAT16,
            dims=match.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", weights.name), ("offset", match.offset), ("length", 2 * values.size)):
            source.external_data.add(key=key, value=str(value))
        nodes, constants = _decoding(tensor.name, source.name, match, values.shape)
        decoding += nodes
        model.graph.initializer.extend(constants)
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(source)
    nodes = [*decoding, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _decoding(name: str, source: str, match: "_Match", shape: tuple[int, ...]) -> tuple[list, list]:
    """The nodes that make the tensor `name` of what is stored as `source`, and the tensors that they take."""
    from onnx import TensorProto, helper, numpy_helper

    cast = helper.make_node("Cast", [source], [f"{name}/float32"], to=TensorProto.FLOAT)
    if match.parts is None:
        return [cast, helper.make_node("Transpose", [f"{name}/float32"], [name], perm=match.order)], []
    least = np.iinfo(np.int64).min
    numbers = {
        "parts": match.parts,
        "from": (-1, -1),
        "to": (least, least),
        "axes": (0, 2),
        "by": (-1, -1),
        "shape": shape,
    }
    names = {key: f"{name}/{key}" for key in numbers}
    reverse = [f"{name}/split", *(names[key] for key in ("from", "to", "axes", "by"))]
    nodes = [
        cast,
        helper.make_node("Reshape", [f"{name}/float32", names["parts"]], [f"{name}/split"]),
        helper.make_node("Slice", reverse, [f"{name}/reversed"]),
        helper.make_node("Transpose", [f"{name}/reversed"], [f"{name}/turned"], perm=match.order),
        helper.make_node("Reshape", [f"{name}/turned", names["shape"]], [name]),
    ]
    return nodes, [numpy_helper.from_array(np.array(each, np.int64), names[key]) for key, each in numbers.items()]


@dataclass(frozen=True)
class _Match:
    """Where values are stored, and what makes them of what is there: `parts` splits the axes, the first and third of
    which are reversed; `order` permutes them."""

    shape: tuple[int, ...]
    offset: int
    order: tuple[int, ...]
    parts: tuple[int, ...] | None = None


def _matching(values: np.ndarray, candidates: list[tuple[np.ndarray, int]]) -> _Match | None:
    """The stored array that `values` are, its axes permuted; shapes may differ in axes of length 1."""
    for array, offset in candidates:
        array = array if array.ndim == values.ndim else array.reshape(values.shape)
        for order in itertools.permutations(range(values.ndim)):
            turned = array.transpose(order)
            if turned.shape == values.shape and np.array_equal(turned.astype(np.float32), values):
                return _Match(array.shape, offset, order)
    return None


def _matching_deconvolution(values: np.ndarray, candidates: list[tuple[np.ndarray, int]]) -> _Match | None:
    """The stored kernel of a deconvolution that `values` are, with places as channels, as ONNX has kernels: outputs
    first (`madn.export.convolutions.places_as_channels`)."""
    from madn.export.convolutions import places_as_channels

    for array, offset in candidates:
        if array.ndim != 4 or values.ndim != 4 or array.shape[0] != array.shape[1] or array.shape[0] % values.shape[2]:
            continue
        taps, stride = values.shape[2], array.shape[0] // values.shape[2]
        if values.shape != (stride**2 * array.shape[2], array.shape[3], taps, taps):
            continue
        turned = np.asarray(places_as_channels(array.astype(np.float32), stride)).transpose(3, 2, 0, 1)
        if np.array_equal(turned, values):
            parts = (taps, stride, taps, stride, *array.shape[2:])
            return _Match(array.shape, offset, order=(1, 3, 4, 5, 0, 2), parts=parts)
    return None


if __name__ == "__main__":
    run_command(main)
