"""LPIPS and DISTS against their authors' packages, the features random: files of the real ones are no part of any."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from madn.errors import UserError
from madn.evaluation import perceptual
from madn.evaluation.metric_list import Scorer, choose
from madn.imaging.arrays import to_float, to_uint8

FILES = {"alexnet": "alexnet-owt-7be5be79.pth", "vgg16": "vgg16-397923af.pth"}


@pytest.fixture(scope="module")
def libraries():
    """torch, torchvision, and lpips, the reference; skips where one is missing."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")
    try:
        torchvision = pytest.importorskip("torchvision")
    except RuntimeError:
        # A torchvision built for CUDA beside a PyTorch without: its operators do not load, of which no network here
        # takes one, but these two have to be known.
        define = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            define.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        torchvision = pytest.importorskip("torchvision")
        torchvision.test_library = define  # It lasts as long as this object.
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed: make test-all TORCH=1 installs it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lpips = pytest.importorskip("lpips", reason="lpips is not installed: make test-all TORCH=1 installs it")
    return torch, torchvision, lpips


@pytest.fixture(scope="module")
def weights(libraries, tmp_path_factory):
    """A folder with files of torchvision's names: random features; the classifiers, which nothing takes, are zero."""
    torch, torchvision, _ = libraries
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    for name, file in FILES.items():
        with torch.device("meta"):
            shapes = getattr(torchvision.models, name)(weights=None).state_dict()
        state = {
            key: torch.zeros(1).expand(value.shape)  # one number in the file
            if key.startswith("classifier")
            else torch.randn(value.shape) * (2 / max(1, value[0].numel())) ** 0.5
            for key, value in shapes.items()
        }
        torch.save(state, folder / file)
    return folder


@pytest.fixture(scope="module")
def images():
    sharp = to_float(data.astronaut()[40:136, 150:258])
    return gaussian_filter(sharp, (1.5, 1.5, 0)), sharp


def reference(libraries, network, folder):
    """lpips' own network with those features."""
    torch, _, lpips = libraries
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It calls torchvision as that was years ago.
        model = lpips.LPIPS(net=network, pnet_rand=True, verbose=False).eval()
    features = torch.load(folder / FILES[{"alex": "alexnet", "vgg": "vgg16"}[network]])
    own = model.net.state_dict()  # sliceN.K.weight is torchvision's features.K.weight
    model.net.load_state_dict({key: features["features." + key.split(".", 1)[1]] for key in own})
    return model


def tensors(torch, *images):
    return [torch.from_numpy(to_uint8(image).transpose(2, 0, 1)[None] / np.float32(255)) for image in images]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_lpips_equals_its_reference_implementation(libraries, weights, images, network):
    torch = libraries[0]
    found = perceptual.open_lpips(network, weights)
    model = reference(libraries, network, weights)
    for restored, least in ((images[0], 1e-3), (1 - images[1], 0.02)):  # blurred, and its own negative
        with torch.inference_mode():
            x, y = (2 * image - 1 for image in tensors(torch, restored, images[1]))
            expected = float(model(x, y))
        assert expected > least
        for _ in range(2):  # Nothing of the first call is kept.
            assert found(restored, images[1]) == pytest.approx(expected, abs=1e-3 * least)
    assert found(images[1], images[1]) == 0.0


@pytest.mark.slow
@pytest.mark.torch
def test_dists_equals_its_reference_implementation(libraries, weights, images, monkeypatch):
    import torchmetrics

    torch, torchvision, _ = libraries
    package = pytest.importorskip("DISTS_pytorch", reason="DISTS_pytorch is not installed")
    found = perceptual.open_dists(weights)
    build = torchvision.models.vgg16

    def vgg16(pretrained):
        model = build(weights=None)
        model.load_state_dict(torch.load(weights / FILES["vgg16"]))
        return model

    monkeypatch.setattr(package.DISTS_pt.models, "vgg16", vgg16)
    model = package.DISTS(load_weights=False)  # It looks for its weights in sys.prefix.
    own = torch.load(Path(torchmetrics.__file__).parent / "functional/image/dists_models/weights.pt")
    model.alpha.data, model.beta.data = own["alpha"], own["beta"]
    with torch.inference_mode():
        expected = float(model(*tensors(torch, *images)))
    assert expected > 1e-3 and found(*images) == pytest.approx(expected, abs=1e-6)
    assert found(images[1], images[1]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.torch
def test_a_file_that_is_missing_or_another_one_is_named(libraries, tmp_path):
    torch = libraries[0]
    with pytest.raises(UserError, match=r"holds no alexnet-owt-7be5be79.pth; get it from https://") as problem:
        perceptual.open_lpips("alex", tmp_path)
    assert str(tmp_path) in str(problem.value) and "\n" not in str(problem.value)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / FILES["alexnet"])
    before = torch.hub.get_dir()
    with pytest.raises(UserError, match="alexnet-owt-7be5be79.pth is not torchvision's, or damaged") as problem:
        perceptual.open_lpips("alex", tmp_path)
    assert "\n" not in str(problem.value) and torch.hub.get_dir() == before
    (tmp_path / FILES["alexnet"]).write_bytes(b"no weights")
    with pytest.raises(UserError, match="not torchvision's, or damaged"):
        Scorer(choose(["lpips_alex"]), tmp_path)


@pytest.mark.torch
def test_without_a_network_the_way_out_is_said(libraries, tmp_path, monkeypatch):
    from urllib.error import URLError

    torch = libraries[0]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match="cannot be downloaded .*no network.*--metric-weights"):
        perceptual.open_lpips("alex")


def test_without_the_packages_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(UserError, match=r"LPIPS with alex needs PyTorch, .*madn\[metrics\]"):
        perceptual.open_lpips("alex")
