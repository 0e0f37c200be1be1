"""The JAX backend: it restores what the others trained, trains as TensorFlow does, and states and runs move."""

import importlib.util
import json

import backend_twins as twins
import h5py
import keras
import numpy as np
import pytest
from narrow import narrow
from other_backend import run_on
from PIL import Image
from skimage import data
from twenty_steps import RECIPES

from madn.restoration import command as deblur
from madn.restoration.loading import load_network
from madn.training.checkpoint import save_generator
from madn.training.runfolder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.process,
    pytest.mark.skipif(
        importlib.util.find_spec("jax") is None, reason="JAX is not installed: make test-all JAX=1 installs it"
    ),
]

RESTORE = """
from pathlib import Path
import numpy as np
from madn.restoration.loading import load_network

folder = Path(sys.argv[1])
photo = np.load(folder / "photo.npy")
for file in folder.glob("*.weights.h5"):
    network = load_network(file).network
    found = [network(photo)]
    if file.name.startswith("structure_guided"):
        statistics = network.measure(photo, (16, 64, 0, 32))
        found += [network(photo, statistics), *(value for values in statistics for value in values)]
    np.savez(folder / f"{file.name}.npz", *found)
print("done")
"""
DOOR = """
from madn.restoration import command as deblur
from madn.errors import UserError
from madn.train import main

assert deblur.main(sys.argv[1:]) == 0
try:
    main(["--recipe", "madn-sample", "--run", sys.argv[-1] + "-run", "--strategy", "mirrored"])
except UserError as problem:
    print(problem)
"""
BENCH = """
import json
from madn.system.startup import start_keras

start_keras(training=True)
from madn.benchmarks import reference_rates, timing

reference_rates.on_gpu = timing.on_gpu = lambda: True
reference_rates.SIDES = {True: 64}
common = {"source": "madn-sample", "precision": "float32", "repeats": 3, "seconds": 0.1}
found = {
    "environment": reference_rates.environment(),
    "step": timing.measure_step(**common, batch=1, crop=32),
    "photo": timing.measure_photo(**common, size=(64, 32)),
}
print(json.dumps(found))
"""
SIZES = """
import json
from madn.system.startup import start_keras

start_keras(training=True)
from madn import recipes

papers = sys.argv[1:]
print(json.dumps([recipes.get(name).without_downloads().build_generator().count_params() for name in papers]))
"""
# One step of each: what is logged, and the means of gradients that Adam has kept of the generator.
OPTIONS = {
    "plain": {},
    "accumulate": {"accumulate": 2},
    "remat": {"remat": "blocks"},
    "bfloat16": {"precision": "mixed_bfloat16"},
}
ONE_STEP = """
import json
import keras
import numpy as np
from narrow import narrow
from twenty_steps import crops

found = {}
for name, changes in json.loads(sys.argv[2]).items():
    model = narrow("madn", crop=32, widths=(4, 8, 16), d_widths=(4, 4, 4, 4, 8), adversarial_domains="image",
                   **changes).build_model(10)
    logs = model.train_on_batch(*crops(0), return_dict=True)
    means = [keras.ops.convert_to_numpy(v).ravel() for v in model.optimizer.variables if "momentum" in v.path]
    np.save(f"{sys.argv[1]}/{name}.npy", np.concatenate(means))
    found[name] = {key: float(value) for key, value in logs.items()}
print(json.dumps(found))
"""
TRAIN = """
from madn.errors import UserError
from madn.train import main
from madn.training.runfolder import RunFolder

options = ["--recipe", "madn-sample", "--widths", "4", "8", "16", "--res-blocks", "1", "--d-dense", "8",
           "--d-widths", "4", "4", "4", "4", "8", "--adversarial-domains", "image", "--crop", "32", "--batch", "2",
           "--round-steps", "4", "--checkpoint-minutes", "1e-9", "--deterministic", "--validation", "none",
           "--data", "samples"]
for name in ("whole", "broken"):
    assert main([*options, "--run", f"{sys.argv[1]}/{name}", "--steps", "8"]) is None
states = RunFolder(f"{sys.argv[1]}/broken").states()
states[0].unlink()
assert main(["--run", f"{sys.argv[1]}/broken", "--resume"]) is None
try:
    main([*options, "--run", f"{sys.argv[1]}/wild", "--steps", "8", "--lr-g", "1e30"])
except UserError as problem:
    print(states[1].name, str(problem).splitlines()[0])
"""


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """(folder of random weights of all five papers with what JAX made of a photo by them, the photo)."""
    folder = tmp_path_factory.mktemp("weights")
    photo = data.astronaut()[:64, 100:196].astype("float32")[None] / 255
    np.save(folder / "photo.npy", photo)
    for name, changes in RECIPES.items():
        recipe = narrow(name, **{key: value for key, value in changes.items() if key != "vgg_weights"})
        keras.utils.set_random_seed(0)
        save_generator(recipe.build_generator(), folder / f"{name}.weights.h5", name, recipe.fields())
    run_on("jax", RESTORE, folder)
    return folder, photo


@pytest.mark.parametrize("name", RECIPES)
def test_restores_as_tensorflow_does(restored, name):
    folder, photo = restored
    network, found = load_network(folder / f"{name}.weights.h5").network, np.load(folder / f"{name}.weights.h5.npz")
    np.testing.assert_allclose(found["arr_0"], network(photo), atol=1e-5)


def test_tiles_share_a_photos_statistics(restored):
    folder, photo = restored
    network = load_network(folder / "structure_guided.weights.h5").network
    found = list(np.load(folder / "structure_guided.weights.h5.npz").values())
    statistics = network.measure(photo, (16, 64, 0, 32))
    assert np.abs(found[1] - found[0]).max() > 1e-3  # they are not the photo's own
    np.testing.assert_allclose(found[1], network(photo, statistics), atol=1e-4)
    for one, other in zip(found[2:], (value for values in statistics for value in values), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_the_command_restores_with_shipped_weights_and_several_devices_are_refused(tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[40:120, 100:201]).save(photo)
    said = run_on("jax", DOOR, photo, "-o", tmp_path / "jax.png")
    assert said == "--strategy mirrored needs TensorFlow; this is KERAS_BACKEND=jax"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["jax.png", "photo.png"]
    assert deblur.main([str(photo), "-o", str(tmp_path / "here.png")]) == 0
    here, there = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("here.png", "jax.png"))
    assert np.abs(here - there).max() <= 1 and (here != there).mean() < 1e-3  # one rounding to 8 bits may differ


@pytest.fixture(scope="module")
def steps(tmp_path_factory, vgg_weights):
    vgg = {network: vgg_weights(network) for network in ("vgg16", "vgg19")}
    return twins.twenty_steps("jax", tmp_path_factory.mktemp("states"), vgg)


@pytest.mark.parametrize("name", RECIPES)
def test_twenty_steps_equal_tensorflows(steps, name):
    twins.check_twenty_steps(steps, name)


@pytest.mark.parametrize("name", RECIPES)
def test_tensorflow_goes_on_from_jaxs_state(steps, name):
    twins.check_that_tensorflow_goes_on(steps, name)


@pytest.mark.parametrize("term", twins.OPTIONS)
def test_a_run_goes_on_under_either_backend(tmp_path, term):
    twins.check_a_run_under_either("jax", tmp_path, term)


def test_a_step_in_parts_rematerialised_or_in_bfloat16_is_the_plain_one(tmp_path):
    found = json.loads(run_on("jax", ONE_STEP, tmp_path, json.dumps(OPTIONS)))
    means = {name: np.load(tmp_path / f"{name}.npy") for name in OPTIONS}
    # TensorFlow's gradient, too, changes by 7% in bfloat16: in a network this narrow, every ReLU that switches counts.
    for name, of_terms, of_gradient in (("accumulate", 1e-5, 1e-5), ("remat", 1e-5, 1e-5), ("bfloat16", 5e-2, 0.2)):
        assert found[name] == pytest.approx(found["plain"], rel=of_terms), name
        assert np.linalg.norm(means[name] - means["plain"]) < of_gradient * np.linalg.norm(means["plain"]), name


def test_a_run_broken_off_inside_a_round_is_resumed_bit_for_bit_and_a_wild_one_stops(tmp_path):
    said = run_on("jax", TRAIN, tmp_path)
    state, problem = said.split(" ", 1)
    assert state == "state-0000007.weights.h5"
    assert problem.startswith(f"{tmp_path}/wild: step ") and "not finite: " in problem
    whole, broken = (content(RunFolder(tmp_path / name)) for name in ("whole", "broken"))
    assert len(whole) > 100 and whole == broken


def content(run: RunFolder) -> dict:
    """The newest state, and the log but for its times."""
    found = {}
    with h5py.File(run.states()[0]) as file:
        file.visititems(
            lambda key, item: found.update({key: np.asarray(item).tobytes()} if isinstance(item, h5py.Dataset) else {})
        )
    for row in run.rows():
        found |= {(row["step"], key): value for key, value in row.items() if key not in ("seconds", "input_wait")}
    return found


def test_the_benchmark_by_the_rules_of_a_gpu_needs_no_tensorflow():
    found = json.loads(run_on("jax", BENCH))
    assert found["environment"]["machine"]["tf32"] is True
    step, photo = found["step"], found["photo"]
    assert (step["batch"], step["crop"], photo["size"]) == (1, 32, [64, 32])
    assert len(step["seconds"]) == len(photo["seconds"]) == len(photo["stack"]["seconds"]) == 3
    assert min(*step["seconds"], *photo["seconds"], *photo["stack"]["seconds"]) > 0
    assert step["macs"] is None and step["matrix_product"]["macs"] == photo["matrix_product"]["macs"] == 64**3


def test_the_published_sizes_are_built():
    """The narrow networks of the other tests lack some layers: SIS-Net's Inception-ResNet, above all."""
    found = json.loads(run_on("jax", SIZES, "madn", "sisnet", "structure_guided", "msr2b", "egnet"))
    assert found == [29_071_817, 49_070_819, 5_371_475, 5_444_771, 26_611_255]
