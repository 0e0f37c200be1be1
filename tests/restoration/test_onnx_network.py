"""ONNX networks of others: what they take is found or given, and photos go through them as through our own."""

import json

import numpy as np
import pytest
from PIL import Image

from madn.errors import UserError, run_command
from madn.restoration import command, onnx_network
from madn.restoration.onnx_network import Format, OnnxNetwork, load_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper

FLOAT, HALF, BYTES = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
NCHW, NHWC = ["n", 3, "h", "w"], ["n", "h", "w", 3]


def write(file, nodes, shape, kind=FLOAT, constants=(), made=None, inputs=1, **metadata):
    """An ONNX file of `nodes` from x to y."""
    values = [helper.make_tensor_value_info("xzab"[i], kind, shape) for i in range(inputs)]
    output = helper.make_tensor_value_info("y", kind, made or shape)
    graph = helper.make_graph(nodes, "test", values, [output], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, file)
    return file


def constant(name, values, kind=FLOAT):
    values = np.atleast_1d(values)
    return helper.make_tensor(name, kind, values.shape, values.ravel().tolist())


def blocks(file, size=8, scale=0.875):
    """Takes multiples of `size` alone, NCHW: an image times `scale`."""
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["a"], blocksize=size),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("DepthToSpace", ["b"], ["y"], blocksize=size),
    ]
    return write(file, nodes, NCHW, constants=[constant("scale", [scale])])


def inverting(file, high, low=0.0, shape=NHWC, kind=FLOAT, **metadata):
    """low + high - x: where a network is to be given its range, an image of another range comes out of bounds."""
    node = helper.make_node("Sub", ["sum", "x"], ["y"])
    return write(file, [node], shape, kind, [constant("sum", [low + high], kind)], **metadata)


def clipping(file, low, high, shape=NHWC):
    """Passes on what lies between two values: an image in that range comes back as it was."""
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    scalars = [helper.make_tensor(name, FLOAT, (), [value]) for name, value in (("low", low), ("high", high))]
    return write(file, [node], shape, constants=scalars)


IMAGE = np.random.default_rng(0).random((1, 16, 24, 3), dtype=np.float32)


def test_layout_and_multiple_are_found(tmp_path):
    network = OnnxNetwork(blocks(tmp_path / "a.onnx"))
    assert (network.multiple, network.size) == (8, None)
    assert network.description == "NCHW float32, range 0..1, multiples of 8"
    np.testing.assert_allclose(network(np.repeat(IMAGE, 2, axis=0)), np.repeat(IMAGE * 0.875, 2, axis=0), atol=1e-6)


def test_layout_and_range_are_read_from_metadata_or_given(tmp_path):
    undecided = ["n", "a", "b", "c"]
    file = inverting(tmp_path / "a.onnx", 255.0, shape=undecided, layout="NHWC", range="0..255")
    np.testing.assert_allclose(OnnxNetwork(file)(IMAGE), 1 - IMAGE, atol=1e-5)
    file = inverting(tmp_path / "b.onnx", 0.0, shape=undecided)
    with pytest.raises(UserError, match=r"b\.onnx: where the channels are .* --onnx-layout"):
        OnnxNetwork(file)
    network = OnnxNetwork(file, Format("nhwc", "-1..1", 4))  # -x is inverted in [-1, 1]
    np.testing.assert_allclose(network(IMAGE), 1 - IMAGE, atol=1e-6)
    assert network.multiple == 4


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0.0, 1.0, "0..1"), (0.0, 255.0, "0..1"), (100.0, 1000.0, "0..255"), (-1.0, 0.0, "-1..1")],
)
def test_the_range_is_the_one_in_which_a_photograph_comes_back(tmp_path, low, high, found):
    """A network that takes several ranges is given [0, 1]."""
    network = OnnxNetwork(clipping(tmp_path / "a.onnx", low, high))
    assert f"range {found}" in network.description


@pytest.mark.parametrize(("kind", "tolerance"), [(HALF, 2e-3), (BYTES, 2.1e-3)])
def test_other_types(tmp_path, kind, tolerance):
    network = OnnxNetwork(inverting(tmp_path / "a.onnx", 255 if kind == BYTES else 1, kind=kind, range="0..1"))
    restored = network(IMAGE)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, 1 - IMAGE, atol=tolerance)


@pytest.mark.parametrize("size", [(16, 24), (40, 50), (5, 100), (1, 1), (32, 48)])
def test_a_network_of_one_size_gets_tiles_of_it(tmp_path, size):
    network = OnnxNetwork(inverting(tmp_path / "a.onnx", 1.0, shape=[1, 32, 48, 3], range="0..1"))
    assert network.size == (32, 48) and network.multiple == 1
    image = np.random.default_rng(1).random((2, *size, 3), dtype=np.float32)
    np.testing.assert_allclose(network(image), 1 - image, atol=1e-6)


def test_what_is_no_restoration_network_is_refused_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    twice = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")
    twice = write(tmp_path / "twice.onnx", [twice], NCHW, constants=[constant("scales", [1.0, 1.0, 2.0, 2.0])],
                  made=["n", 3, "h2", "w2"])  # fmt: skip
    same = helper.make_node("Identity", ["x"], ["y"])
    for file, said in {
        tmp_path / "none.onnx": "no such file",
        tmp_path / "bad.onnx": "not an ONNX network that onnxruntime can run",
        twice: "of the same size .makes \\d+x",
        blocks(tmp_path / "wide.onnx", 160): "--onnx-multiple",
        write(tmp_path / "two.onnx", [same], NCHW, inputs=2): "one batch of images; this one takes x .* z ",
        write(tmp_path / "grey.onnx", [same], ["n", 1, "h", 4]): "RGB with 3 channels",
        write(tmp_path / "flat.onnx", [same], ["n", 3]): "one batch of images",
        write(tmp_path / "many.onnx", [same], [4, 3, "h", "w"]): "4 images at once",
    }.items():
        with pytest.raises(UserError, match=said) as problem:
            OnnxNetwork(file)
        assert str(file) in str(problem.value) and "\n" not in str(problem.value)
    assert OnnxNetwork(tmp_path / "wide.onnx", Format(multiple=160)).multiple == 160
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UserError, match="needs onnxruntime: python -m pip install onnxruntime"):
        OnnxNetwork(twice)


def test_what_our_files_say_decides_on_the_tiles(tmp_path, monkeypatch):
    facts = {"multiple": 4, "bytes_per_pixel": 100, "tile_blend": 0, "tile_pixels": 5000, "reach": 8}
    file = inverting(tmp_path / "a.onnx", 1.0, range="0..1", madn=json.dumps(facts))
    monkeypatch.setattr(OnnxNetwork, "_run", lambda self, image: pytest.fail("it need not be run to be known"))
    restorer = load_onnx(file).restorer(tile=64)
    assert (restorer.multiple, restorer.bytes_per_pixel, restorer.blend, restorer.tile_pixels) == (4, 100, 0, 5000)
    assert restorer.reach == 8
    other = inverting(tmp_path / "b.onnx", 1.0, range="0..1", madn="[", multiple="0")  # damaged
    monkeypatch.undo()
    restorer = load_onnx(other).restorer(tile=64)
    assert (restorer.multiple, restorer.blend) == (1, 64) and restorer.bytes_per_pixel >= 64


def deblur(*words):
    with pytest.raises(SystemExit) as stop:
        run_command(command.main, [str(word) for word in words])
    return stop.value.code


@pytest.mark.parametrize("tile", [None, 160])
def test_the_command_restores_a_photo_by_a_file(tmp_path, capsys, tile):
    file = blocks(tmp_path / "half.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (210, 303, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png", dpi=(300, 300))
    words = [tmp_path / "in.png", "-o", tmp_path / "out.png", "--model", file, "--scale", 1]
    words += ["--report", tmp_path / "report.html"]
    assert deblur(*words, *(["--tile", tile] if tile else [])) == 0
    said = capsys.readouterr().out
    assert f"by {file} (NCHW float32, range 0..1, multiples of 8), on onnxruntime " in said and "(CPU)" in said
    with Image.open(tmp_path / "out.png") as restored:
        assert (
            np.abs(np.asarray(restored) - np.rint(pixels * 0.875)).max() <= 1 and round(restored.info["dpi"][0]) == 300
        )
    page = (tmp_path / "report.html").read_text()
    assert "onnxruntime" in page and ("tiles of" in page) == (tile is not None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--which", "last"], "--which is not for an ONNX file"),
        (["--runtime", "keras"], "--runtime keras is not for an ONNX file"),
        (["--precision", "bfloat16"], "--precision is not for an ONNX file"),
        (["--onnx-multiple", "-2"], "--onnx-multiple must be 1 or more"),
        (["--onnx-range", "0..2"], "--onnx-range"),
        (["--model", "madn-small", "--onnx-layout", "nchw"], "are for ONNX files; leave them out"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, capsys, words, said):
    file = blocks(tmp_path / "half.onnx")
    Image.new("RGB", (32, 32)).save(tmp_path / "in.png")
    model = [] if "--model" in words else ["--model", file]
    assert deblur(tmp_path / "in.png", "-o", tmp_path / "out.png", *model, *words) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and not (tmp_path / "out.png").exists()


def test_accelerators_come_before_the_processor(monkeypatch, tmp_path):
    import onnxruntime

    taken = []
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["TensorrtExecutionProvider", "CPUExecutionProvider", "DmlExecutionProvider", "CUDAExecutionProvider"],
    )
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda file, options, providers: taken.append((providers, options))
    )
    onnx_network._session(blocks(tmp_path / "half.onnx"))
    providers, options = taken[0]
    assert providers == ["CUDAExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider"]
    assert not options.enable_mem_pattern


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore:.*legacy TorchScript:DeprecationWarning")
def test_a_network_that_pytorch_exported(tmp_path, capsys):
    torch = pytest.importorskip("torch")

    class UNet(torch.nn.Module):
        """Three levels down and up, with connections across: sizes must be multiples of 8."""

        def __init__(self):
            super().__init__()
            conv = torch.nn.Conv2d
            self.down = torch.nn.ModuleList([conv(3, 8, 3, 2, 1), conv(8, 8, 3, 2, 1), conv(8, 8, 3, 2, 1)])
            self.up = torch.nn.ModuleList([torch.nn.ConvTranspose2d(8, 8, 2, 2) for _ in range(3)])
            self.last = conv(8, 3, 3, 1, 1)

        def forward(self, image):
            features, x = [], image
            for layer in self.down:
                x = torch.relu(layer(x))
                features.append(x)
            for layer, skip in zip(self.up, [*features[-2::-1], None]):
                x = layer(x) if skip is None else layer(x) + skip
            return image + 0.1 * self.last(x)

    torch.manual_seed(0)
    network, file = UNet().eval(), tmp_path / "unet.onnx"
    axes = {2: "height", 3: "width"}
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 64, 64),),
        file,
        input_names=["image"],
        output_names=["restored"],
        dynamic_axes={"image": axes, "restored": axes},
        dynamo=False,
    )
    rows, columns = np.mgrid[:300, :420] / 420
    pixels = np.uint8(np.stack([rows, columns, 0.5 + 0.5 * np.sin(40 * rows * columns)], axis=2) * 255)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    words = ["-o", tmp_path / "out.png", "--model", file, "--scale", 1, "--tile", 160]
    assert deblur(tmp_path / "in.png", *words, "--report", tmp_path / "report.html") == 0
    assert "NCHW float32, range 0..1, multiples of 8" in capsys.readouterr().out
    assert "tiles of" in (tmp_path / "report.html").read_text()
    padded = np.pad(np.float32(pixels) / 255, [(0, 4), (0, 4), (0, 0)], mode="reflect")
    with torch.inference_mode():
        expected = network(torch.tensor(padded.transpose(2, 0, 1)[None]))[0].numpy().transpose(1, 2, 0)[:300, :420]
    with Image.open(tmp_path / "out.png") as restored:
        assert np.abs(np.asarray(restored) / 255 - np.clip(expected, 0, 1)).max() <= 1.01 / 255


def test_an_onnxruntime_that_reads_any_file_a_network_names_is_refused(tmp_path, monkeypatch):
    import onnxruntime

    file = inverting(tmp_path / "network.onnx", 1)
    for version, taken in (("1.9.0", False), ("1.23.2", False), ("1.24.1", True), ("2.0.0.dev1", True)):
        monkeypatch.setattr(onnxruntime, "__version__", version)
        if taken:
            assert load_onnx(file).network.multiple == 1
        else:
            with pytest.raises(UserError, match=rf'network\.onnx: onnxruntime {version} .*"onnxruntime>=1\.24"'):
                load_onnx(file)
