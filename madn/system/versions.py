"""Versions of what a number depends on."""

import platform
from importlib import metadata

from madn.version import __version__


def versions() -> dict[str, str]:
    """Versions of everything that a score depends on; packages that are not installed are left out."""
    found = {"madn": __version__, "python": platform.python_version()}
    scores = ("scikit-image", "opencv-python-headless", "torchmetrics", "torchvision")
    for package in ("keras", "tensorflow", "torch", "jax", "numpy", "scipy", *scores, "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
