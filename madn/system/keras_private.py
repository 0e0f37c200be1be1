"""What is used of Keras that Keras does not publish. A new version of Keras is tried against this file first."""

from pathlib import Path

from keras.src.backend import config
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.models.functional import Functional
from keras.src.saving.saving_lib import H5IOStore, _load_state, _raise_loading_failure, _save_state

__all__ = [
    "Functional",
    "H5IOStore",
    "download_to",
    "get_stateless_scope",
    "leave_images_channels_last",
    "load_state_from",
    "save_state_to",
]

save_state_to = _save_state


def load_state_from(saveable, store: H5IOStore) -> None:
    """What `load_weights` does, of a file that lies in memory. Raises `ValueError` where the weights do not fit."""
    failed: set[int] = set()
    errors: dict[int, tuple] = {}
    _load_state(saveable, store, None, "", visited_saveables=set(), failed_saveables=failed, error_msgs=errors)
    if failed:
        _raise_loading_failure(errors, warn_only=False)


def download_to(folder: Path) -> None:
    """Have Keras keep what it downloads in a folder, by default the one that `KERAS_HOME` named when it started."""
    config._KERAS_DIR = str(folder)


def leave_images_channels_last() -> None:
    """Have convolutions and pooling on PyTorch take images (batch, height, width, channels) as they lie in memory.

    Keras 3.15 copies them to lie as (batch, channels, height, width), and for a convolution back again; PyTorch
    computes with both, and the values are the same.
    """
    import torch
    from keras.src.backend.torch import nn

    nn._transpose_spatial_inputs = lambda images: torch.movedim(images, -1, 1)
