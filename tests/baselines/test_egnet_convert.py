"""MPRNet's published weights: read from either PyTorch format without running anything, and put where they belong.

The official names and shapes, and the network in PyTorch, are written here from the specification alone.
"""

import collections
import copy
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from baselines.egnet import convert
from baselines.egnet.convert import load_official, official_state
from baselines.egnet.generator import build_egnet
from baselines.egnet.torch_file import read_checkpoint
from madn.errors import UserError

TINY = {"n_feat": 8, "scale_unetfeats": 4, "scale_orsnetfeats": 4, "num_cab": 2, "egn": False}


def official_shapes(n=96, unet=48, ors=32, cabs=8):
    """Name -> shape of every entry of the official state dictionary, its convolutions (out, in, height, width)."""
    shapes = {}

    def conv(name, out, into, kernel):
        shapes[f"{name}.weight"] = (out, into, kernel, kernel)

    def cab(name, width):
        conv(f"{name}.CA.conv_du.0", width // 4, width, 1)
        conv(f"{name}.CA.conv_du.2", width, width // 4, 1)
        conv(f"{name}.body.0", width, width, 3)
        shapes[f"{name}.body.1.weight"] = (1,)
        conv(f"{name}.body.2", width, width, 3)

    levels = {1: n, 2: n + unet, 3: n + 2 * unet}
    for stage in (1, 2, 3):
        conv(f"shallow_feat{stage}.0", n, 3, 3)
        cab(f"shallow_feat{stage}.1", n)
    for stage in (1, 2):
        encoder, decoder = f"stage{stage}_encoder", f"stage{stage}_decoder"
        for level, width in levels.items():
            for i in (0, 1):
                cab(f"{encoder}.encoder_level{level}.{i}", width)
                cab(f"{decoder}.decoder_level{level}.{i}", width)
            if stage == 2:
                conv(f"{encoder}.csff_enc{level}", width, width, 1)
                conv(f"{encoder}.csff_dec{level}", width, width, 1)
        for level in (1, 2):
            conv(f"{encoder}.down{level}{level + 1}.down.1", levels[level + 1], levels[level], 1)
            conv(f"{decoder}.up{level + 1}{level}.up.1", levels[level], levels[level + 1], 1)
            cab(f"{decoder}.skip_attn{level}", levels[level])
    for level in (1, 2, 3):
        for i in range(cabs):
            cab(f"stage3_orsnet.orb{level}.body.{i}", n + ors)
        conv(f"stage3_orsnet.orb{level}.body.{cabs}", n + ors, n + ors, 3)
        for kind in ("enc", "dec"):
            conv(f"stage3_orsnet.conv_{kind}{level}", n + ors, n, 1)
    for kind in ("enc", "dec"):
        conv(f"stage3_orsnet.up_{kind}1.up.1", levels[1], levels[2], 1)
        conv(f"stage3_orsnet.up_{kind}2.0.up.1", levels[2], levels[3], 1)
        conv(f"stage3_orsnet.up_{kind}2.1.up.1", levels[1], levels[2], 1)
    for sam in ("sam12", "sam23"):
        conv(f"{sam}.conv1", n, n, 1)
        conv(f"{sam}.conv2", 3, n, 1)
        conv(f"{sam}.conv3", n, 3, 1)
    conv("concat12", n, 2 * n, 3)
    conv("concat23", n + ors, 2 * n, 3)
    conv("tail", 3, n + ors, 3)
    return shapes


def official_weights(seed=0, **widths):
    """Random kernels that keep activations near 1, and one slope for every PReLU."""
    draw = np.random.default_rng(seed)
    return {
        name: np.array([0.2], np.float32)
        if shape == (1,)
        else (draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in official_shapes(**widths).items()
    }


class _Pickler(pickle._Pickler):
    """Writes arrays as PyTorch writes tensors, without PyTorch: a storage by its key, and a call that views it."""

    def __init__(self, file, storages):
        super().__init__(file, protocol=2)
        self.storages = storages

    def _global(self, module, name):
        self.write(b"c" + f"{module}\n{name}\n".encode())

    def save(self, obj, *rest, **options):
        if not isinstance(obj, np.ndarray):
            return super().save(obj, *rest, **options)
        self.storages.append(np.ascontiguousarray(obj))
        self._global("torch._utils", "_rebuild_tensor_v2")
        self.write(b"((" + b"X" + struct.pack("<I", 7) + b"storage")
        self._global("torch", "FloatStorage")
        super().save(str(len(self.storages) - 1))
        super().save("cpu")
        super().save(obj.size)
        self.write(b"tQ")  # the persistent id
        stride = tuple(int(step) // obj.itemsize for step in np.ascontiguousarray(obj).strides)
        for value in (0, obj.shape, stride, False, collections.OrderedDict()):
            super().save(value)
        return self.write(b"tR")


def write_zip(path, checkpoint, root="archive", **change):
    """A checkpoint in PyTorch's zip format."""
    pickled, storages = io.BytesIO(), []
    _Pickler(pickled, storages).dump(checkpoint)
    with zipfile.ZipFile(path, "w", **change) as archive:
        archive.writestr(f"{root}/data.pkl", pickled.getvalue())
        archive.writestr(f"{root}/version", "3\n")
        for key, storage in enumerate(storages):
            archive.writestr(f"{root}/data/{key}", storage.tobytes())
    return path


def write_legacy(path, checkpoint):
    """A checkpoint in the format before PyTorch 1.6."""
    pickled, storages = io.BytesIO(), []
    _Pickler(pickled, storages).dump(checkpoint)
    with open(path, "wb") as file:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001}):
            pickle.dump(value, file, protocol=2)
        file.write(pickled.getvalue())
        pickle.dump([str(key) for key in range(len(storages))], file, protocol=2)
        for storage in storages:
            file.write(struct.pack("<q", storage.size) + storage.tobytes())
    return path


def test_official_names():
    shapes = official_shapes()
    assert len(shapes) == 316
    assert sum(shape == (1,) for shape in shapes.values()) == 55
    assert sum(int(np.prod(shape)) for shape in shapes.values()) - 54 == 20_127_073


@pytest.mark.slow
def test_converts_the_full_network(tmp_path, capsys):
    state = official_weights()
    file = write_zip(
        tmp_path / "model_deblurring.pth",
        {"epoch": 3, "state_dict": collections.OrderedDict((f"module.{name}", value) for name, value in state.items())},
    )
    out = tmp_path / "mprnet.weights.h5"
    convert.main([str(file), str(out)])
    assert "20,127,073 parameters" in capsys.readouterr().out

    from madn import recipes
    from madn.training.checkpoint import load_generator, read_recipe

    stored = read_recipe(out)
    assert stored["recipe"] == "egnet-mprnet"
    recipe = recipes.from_fields("egnet-mprnet", stored["fields"])
    generator = recipe.build_generator()
    load_generator(generator, out, recipe)
    assert_array_equal(generator.get_layer("tail").get_weights()[0], state["tail.weight"].transpose(2, 3, 1, 0))
    kernel = generator.get_layer("stage3_orsnet").get_layer("stage3_orsnet_up_dec2_0_up_1").get_weights()[0]
    assert_array_equal(kernel, state["stage3_orsnet.up_dec2.0.up.1.weight"].transpose(2, 3, 1, 0))
    with pytest.raises(UserError, match="is there already"):
        convert.main([str(file), str(out)])
    official = recipes.get("egnet-official").stages(100)[0][0]
    assert official.grows_from(stored["fields"])["parts"] == ("backbone",)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_both_formats(tmp_path, write):
    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((1,), np.float32)}
    found = read_checkpoint(write(tmp_path / "a.pth", {"state_dict": state, "epoch": 7}))
    assert found["epoch"] == 7
    for name, value in state.items():
        assert_array_equal(found["state_dict"][name], value)


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_pytorch_writes(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    saved = {
        "state_dict": collections.OrderedDict(
            whole=base, view=base[1, :, 1:3], turned=base.permute(2, 0, 1), half=base.half(), count=torch.tensor(3)
        ),
        "optimizer": {"state": {0: {"step": 5}}, "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999)}]},
    }
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "a.pth")
    for name, value in saved["state_dict"].items():
        assert_array_equal(found["state_dict"][name], value.numpy())
    assert found["optimizer"]["param_groups"][0]["betas"] == [0.9, 0.999]


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-run",)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_runs_nothing(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "a.pth", {"state_dict": {"a": np.ones(2, np.float32)}, "more": Hostile()})
    with pytest.raises(UserError, match=r"a\.pth: asks for (posix|nt)\.system, which MPRNet's weights do not need"):
        read_checkpoint(file)
    assert not (tmp_path / "hostile-was-run").exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cbuiltins\neval\n(V1+1\ntR.",
        b"cnumpy\nload\n.",
        b"ctorch\nload\n.",
        b"ctorch.serialization\nload\n.",
        b"c__builtin__\nexec\n.",
        b"ccollections\nOrderedDict.__init__.__globals__\n.",
    ],
)
def test_refuses_every_other_name(tmp_path, pickled):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", pickled)
    with pytest.raises(UserError, match="which MPRNet's weights do not need; nothing of it was run"):
        read_checkpoint(tmp_path / "a.pth")


STORAGE = b"((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"  # four numbers; opened for the tensor's arguments


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (b"I0\n(I5\nt(I1\ntI00\nNtR.", "reaches outside"),
        (b"I2\n(I2\nI2\nt(I2\nI1\ntI00\nNtR.", "reaches outside"),
        (b"I-1\n(I2\nt(I1\ntI00\nNtR.", "reaches outside"),
        (b"I0\n(I9999\nt(I0\ntI00\nNtR.", "reaches outside"),
        (b"I3\n(I4\nt(I-1\ntI00\nNtR.", "reaches outside"),
        (b"I0\n(I4\nt(I1\ntI00\nNtR}(Voffset\nI-9\nub.", "insides"),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, description, reason):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE + description)
        archive.writestr("a/data/0", np.arange(4, dtype=np.float32).tobytes())
    with pytest.raises(UserError, match=reason):
        read_checkpoint(tmp_path / "a.pth")


def test_damaged_and_other_files(tmp_path):
    file = tmp_path / "a.pth"
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(file)
    for content in (b"", b"weights", pickle.dumps({"state_dict": {}}), pickle.dumps(5)):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a PyTorch checkpoint"):
            read_checkpoint(file)
    for write in (write_zip, write_legacy):
        write(file, {"state_dict": {"a": np.ones(100, np.float32)}})
        file.write_bytes(file.read_bytes()[:-120])
        with pytest.raises(UserError, match="not a PyTorch checkpoint"):
            read_checkpoint(file)
    write_zip(file, {"state_dict": {"a": np.ones(9, np.float32)}}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="compressed"):
        read_checkpoint(file)
    for checkpoint in ([1, 2], {}, {"state_dict": {"a": 1}}):
        write_zip(file, checkpoint)
        with pytest.raises(UserError, match="has no state_dict"):
            official_state(file)


def test_what_takes_time_or_memory_is_refused(tmp_path):
    file = tmp_path / "a.pth"
    # A tuple of a tuple twice, forty times over, as the key of a dictionary: hashing it takes 2^40 steps.
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04})" + b"2\x86" * 40 + b"K\x01s.")
    with pytest.raises(UserError, match="tuples in tuples without end"):
        read_checkpoint(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(1000))
        for number in range(1, 50):  # More names for the same bytes.
            another = copy.copy(archive.filelist[-1])
            another.filename = f"archive/data/{number}"
            archive.filelist.append(another)
    with pytest.raises(UserError, match="lie in one place"):
        read_checkpoint(file)


@pytest.fixture(scope="module")
def tiny():
    state = official_weights(n=8, unet=4, ors=4, cabs=2)
    network = build_egnet(**TINY)
    load_official(network, state)
    return network, state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tail.weight": None}, "lacks tail.weight$"),
        ({"spare.weight": np.ones(1, np.float32)}, "has spare spare.weight$"),
        ({"sam12.conv1.weight": np.ones((8, 8, 3, 3), np.float32)}, "has another shape for sam12.conv1.weight$"),
        ({"sam12.conv1.weight": np.ones(64, np.float32)}, "has another shape for sam12.conv1.weight$"),
        ({"sam12.conv1.weight": np.full((8, 8, 1, 1), np.nan, np.float32)}, "no finite numbers in sam12.conv1.weight$"),
        ({"shallow_feat3.1.body.1.weight": np.array([0.3], np.float32)}, "not the same PReLU everywhere: "),
    ],
)
def test_entries_that_do_not_fit(tiny, change, message):
    network, state = tiny
    before = network.get_weights()
    changed = {name: value for name, value in {**state, **change}.items() if value is not None}
    with pytest.raises(UserError, match=message):
        load_official(network, changed)
    for mine, theirs in zip(network.get_weights(), before, strict=True):
        assert_array_equal(mine, theirs)


def test_out_must_be_a_weights_file(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.weights\.h5"):
        convert.main([str(tmp_path / "a.pth"), str(tmp_path / "a.h5")])


def pytorch_mprnet(torch, weights, image, cabs):
    """MPRNet as the specification has it, from the state dictionary alone; image (1, 3, height, width)."""
    functional = torch.nn.functional

    def conv(name, x):
        w = weights[f"{name}.weight"]
        return functional.conv2d(x, w, padding=w.shape[-1] // 2)

    def cab(name, x):
        y = conv(f"{name}.body.2", functional.prelu(conv(f"{name}.body.0", x), weights[f"{name}.body.1.weight"]))
        a = functional.relu(conv(f"{name}.CA.conv_du.0", functional.adaptive_avg_pool2d(y, 1)))
        return x + y * torch.sigmoid(conv(f"{name}.CA.conv_du.2", a))

    def cabs_of(name, x, count=2):
        for i in range(count):
            x = cab(f"{name}.{i}", x)
        return x

    def resize(x, scale):
        return functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)

    def up(name, x):
        return conv(f"{name}.up.1", resize(x, 2))

    def encode(name, x, encoded=None, decoded=None):
        levels = []
        for level in (1, 2, 3):
            if level > 1:
                x = conv(f"{name}.down{level - 1}{level}.down.1", resize(x, 0.5))
            x = cabs_of(f"{name}.encoder_level{level}", x)
            if encoded:
                x = (
                    x
                    + conv(f"{name}.csff_enc{level}", encoded[level - 1])
                    + conv(f"{name}.csff_dec{level}", decoded[level - 1])
                )
            levels.append(x)
        return levels

    def decode(name, encoded):
        dec3 = cabs_of(f"{name}.decoder_level3", encoded[2])
        dec2 = cabs_of(f"{name}.decoder_level2", up(f"{name}.up32", dec3) + cab(f"{name}.skip_attn2", encoded[1]))
        dec1 = cabs_of(f"{name}.decoder_level1", up(f"{name}.up21", dec2) + cab(f"{name}.skip_attn1", encoded[0]))
        return [dec1, dec2, dec3]

    def sam(name, x, img):
        restored = conv(f"{name}.conv2", x) + img
        return conv(f"{name}.conv1", x) * torch.sigmoid(conv(f"{name}.conv3", restored)) + x, restored

    def shallow(stage, x):
        return cab(f"shallow_feat{stage}.1", conv(f"shallow_feat{stage}.0", x))

    height, width = image.shape[2:]
    halves = [image[:, :, : height // 2], image[:, :, height // 2 :]]
    encoded1, decoded1, attended, restored = [], [], [], []
    for half in halves:
        left, right = (
            encode("stage1_encoder", shallow(1, quarter))
            for quarter in (half[..., : width // 2], half[..., width // 2 :])
        )
        encoded1.append([torch.cat(pair, 3) for pair in zip(left, right, strict=True)])
        decoded1.append(decode("stage1_decoder", encoded1[-1]))
        features, img = sam("sam12", decoded1[-1][0], half)
        attended.append(features)
        restored.append(img)
    stage1 = torch.cat(restored, 2)

    encoded2 = [
        encode("stage2_encoder", conv("concat12", torch.cat([shallow(2, half), features], 1)), e, d)
        for half, features, e, d in zip(halves, attended, encoded1, decoded1, strict=True)
    ]
    encoded2 = [torch.cat(pair, 2) for pair in zip(*encoded2, strict=True)]
    decoded2 = decode("stage2_decoder", encoded2)
    features, stage2 = sam("sam23", decoded2[0], image)

    x, name = conv("concat23", torch.cat([shallow(3, image), features], 1)), "stage3_orsnet"
    for level in (1, 2, 3):
        x = x + conv(f"{name}.orb{level}.body.{cabs}", cabs_of(f"{name}.orb{level}.body", x, cabs))
        for kind, maps in (("enc", encoded2), ("dec", decoded2)):
            y = maps[level - 1]
            if level == 2:
                y = up(f"{name}.up_{kind}1", y)
            if level == 3:
                y = up(f"{name}.up_{kind}2.1", up(f"{name}.up_{kind}2.0", y))
            x = x + conv(f"{name}.conv_{kind}{level}", y)
    return [conv("tail", x) + image, stage2, stage1]


@pytest.mark.torch
def test_agrees_with_pytorch(tiny):
    torch = pytest.importorskip("torch")
    network, state = tiny
    image = np.random.default_rng(1).random((1, 32, 48, 3), dtype=np.float32)
    with torch.no_grad():
        theirs = pytorch_mprnet(
            torch,
            {name: torch.from_numpy(value) for name, value in state.items()},
            torch.from_numpy(image.transpose(0, 3, 1, 2)),
            cabs=2,
        )
    for mine, other in zip(network(image)["stages"], theirs, strict=True):
        other = other.numpy().transpose(0, 2, 3, 1)
        assert np.abs(other - image).max() > 0.1
        assert_allclose(ops.convert_to_numpy(mine), other, atol=1e-4)
