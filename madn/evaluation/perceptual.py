"""LPIPS (Zhang et al. 2018) and DISTS (Ding et al. 2020), by torchmetrics: distances of ImageNet features, 0 is best.

torchmetrics (Apache 2.0) brings the small trained layers of both; the features are torchvision's AlexNet or VGG16, two
files that are not part of any package. They are taken from the folder that the user names, else from PyTorch's own
cache, else from the network.
"""

import tempfile
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from madn.errors import UserError
from madn.imaging.arrays import to_float, to_uint8

EXTRA = "python -m pip install 'madn[metrics]'"


def open_lpips(network: str, weights: Path | None = None) -> "Distance":
    """LPIPS, version 0.1, with the features of "alex" or "vgg". Raises `UserError` as `Distance` does."""

    def build():
        from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

        metric = LearnedPerceptualImagePatchSimilarity(net_type=network, normalize=True).eval()

        def measure(x, y):
            value = metric(x, y)
            metric.reset()  # It would keep a sum of all that it measures.
            return value

        return measure

    return Distance(f"LPIPS with {network}", {"alex": "AlexNet", "vgg": "VGG16"}[network], weights, build)


def open_dists(weights: Path | None = None) -> "Distance":
    """DISTS, whose features are VGG16's. Raises `UserError` as `Distance` does."""

    def build():
        # The metric around this network builds it, and reads its weights, anew for each image.
        from torchmetrics.functional.image.dists import DISTSNetwork

        return DISTSNetwork().eval()

    return Distance("DISTS", "VGG16", weights, build)


class Distance:
    """A metric of torchmetrics, ready: called with a restored and a sharp float (H, W, 3) image in [0, 1] it returns
    their distance. Both are rounded to 8 bits first.

    `features` is "AlexNet" or "VGG16"; `build` makes the metric, which loads them.
    Raises `UserError` where torchmetrics or torchvision are not installed, where `weights`, a folder, does not hold the
    features' file under torchvision's name, where that file is another one, and where it cannot be downloaded.
    """

    def __init__(self, what: str, features: str, weights: Path | None, build: Callable[[], Any]):
        try:
            import torch
            import torchmetrics  # noqa: F401
            import torchvision
        except (ImportError, RuntimeError) as problem:  # RuntimeError: a torchvision that is another PyTorch's.
            raise UserError(f"{what} needs PyTorch, torchvision and torchmetrics ({problem}): {EXTRA}") from None
        url = getattr(torchvision.models, f"{features}_Weights").DEFAULT.url
        file = url.rsplit("/", 1)[1]
        if weights is not None and not (weights / file).is_file():
            raise UserError(f"--metric-weights {weights}: holds no {file}; get it from {url}, or leave the option out")
        try:
            with _hub(weights):
                self._measure = build()
        except OSError as problem:  # Among these is URLError.
            raise UserError(
                f"{what}: {file} cannot be downloaded ({problem}); get it from {url} and name its folder with "
                "--metric-weights"
            ) from None
        except Exception as problem:  # What pickle and PyTorch raise for a file that is another one has no base class.
            line = " ".join(str(problem).split())[:120]
            raise UserError(
                f"{weights or torch.hub.get_dir()}: {file} is not torchvision's, or damaged ({line})"
            ) from None
        self._torch = torch
        self._lock = threading.Lock()  # A metric of torchmetrics has a state.

    def __call__(self, restored: np.ndarray, sharp: np.ndarray) -> float:
        x, y = (
            self._torch.from_numpy(np.ascontiguousarray(to_float(to_uint8(image)).transpose(2, 0, 1)[None]))
            for image in (restored, sharp)
        )
        with self._lock, self._torch.inference_mode():
            return float(self._measure(x, y))


@contextmanager
def _hub(weights: Path | None):
    """PyTorch's cache of downloaded weights is this folder, where one is named, as long as the context lasts."""
    if weights is None:
        yield
        return
    from torch import hub

    before = hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").symlink_to(weights.resolve(), target_is_directory=True)
        hub.set_dir(folder)
        try:
            yield
        finally:
            hub.set_dir(before)
