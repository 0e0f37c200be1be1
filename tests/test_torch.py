"""The PyTorch backend: the same losses as TensorFlow's step by step, and states and runs that move between the two."""

import backend_twins as twins
import pytest
from twenty_steps import RECIPES

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.torch]
pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")


@pytest.fixture(scope="module")
def steps(tmp_path_factory, vgg_weights):
    vgg = {network: vgg_weights(network) for network in ("vgg16", "vgg19")}
    return twins.twenty_steps("torch", tmp_path_factory.mktemp("states"), vgg)


@pytest.mark.parametrize("name", RECIPES)
def test_twenty_steps_equal_tensorflows(steps, name):
    twins.check_twenty_steps(steps, name)


@pytest.mark.parametrize("name", RECIPES)
def test_tensorflow_goes_on_from_pytorchs_state(steps, name):
    twins.check_that_tensorflow_goes_on(steps, name)


@pytest.mark.parametrize("term", twins.OPTIONS)
def test_a_run_goes_on_under_either_backend(tmp_path, term):
    twins.check_a_run_under_either("torch", tmp_path, term)
