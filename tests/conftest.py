"""Shared fixtures: numeric tests run in plain float32, and real pairs are found where they are laid."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers are imported by name
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # a GPU's TF32 keeps 10 bits, and tolerances here ask for more
# Beside another worker, PyTorch's OpenMP threads spend most of their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _seed():
    import keras

    keras.utils.set_random_seed(0)


# Random weights are the same in every run, whichever tests ran before: those of fixtures, and those of a test itself.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    _seed()


@pytest.fixture
def eager_steps(monkeypatch):
    """Runs' steps are executed eagerly: tracing a graph takes longer than a few steps."""
    from madn.training.model import AdversarialModel

    monkeypatch.setattr(AdversarialModel, "run_eagerly", property(lambda self: True, lambda self, value: None))


@pytest.fixture
def networks_of_few_layers(monkeypatch):
    """MADN's recipes build networks of a few layers: for what is tested of the commands around them."""
    import few_layers

    from madn.models.madn.recipe import MADNRecipe

    monkeypatch.setattr(MADNRecipe, "build_generator", few_layers.generator)
    monkeypatch.setattr(MADNRecipe, "build_critics", few_layers.critics)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with GOPRO/ in it: $MADN_TEST_DATA, or shared/data beside the checkout; skips where neither is."""
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MADN_TEST_DATA", here))
    if not (folder / "GOPRO").is_dir():
        pytest.skip("real GoPro pairs are not here: set MADN_TEST_DATA to the folder that holds GOPRO/")
    return folder


@pytest.fixture(scope="session")
def vgg_weights(tmp_path_factory):
    """A function: network name -> file of VGG weights: the real ones where they are laid, random ones elsewhere."""
    here = Path(__file__).resolve().parents[2] / "shared" / "weights"
    folder = Path(os.environ.get("MADN_TEST_WEIGHTS", here))
    made = {}

    def file(network: str) -> str:
        real = folder / f"{network}_notop_float16.h5"
        if real.is_file():
            return str(real)
        if network not in made:
            import keras

            keras.utils.set_random_seed(0)
            build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[network]
            made[network] = tmp_path_factory.mktemp("vgg") / f"{network}.weights.h5"
            build(include_top=False, weights=None).save_weights(made[network])
        return str(made[network])

    return file
