"""Shared fixtures: numeric tests run in plain float32, and real pairs are found where they are laid."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # a GPU's TF32 keeps 10 bits, and tolerances here ask for more


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with GOPRO/ in it: $MADN_TEST_DATA, or shared/data beside the checkout; skips where neither is."""
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MADN_TEST_DATA", here))
    if not (folder / "GOPRO").is_dir():
        pytest.skip("real GoPro pairs are not here: set MADN_TEST_DATA to the folder that holds GOPRO/")
    return folder
