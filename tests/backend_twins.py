"""What the tests of a backend beside TensorFlow share: the same losses step by step, states and runs that move."""

import json
from pathlib import Path

import numpy as np
import pytest
from other_backend import run_on
from twenty_steps import RECIPES, STEPS, Losses, crops, start_here, step

from madn import train
from madn.restoration.loading import load_network
from madn.training.checkpoint import load_state
from madn.training.model import AdversarialModel
from madn.training.runfolder import RunFolder

STEPS_THERE = """
import json
from pathlib import Path
from other_backend import run_on
from twenty_steps import RECIPES, start_there

folder, vgg = Path(sys.argv[1]), json.loads(sys.argv[2])
print(json.dumps({name: start_there(name, folder, vgg) for name in RECIPES}))
"""
OPTIONS = {  # by the term that is looked at: a gradient penalty; Muon
    "critic_global": """--recipe sisnet-wgan --tau-2 0 --backbone blocks --backbone-weights none
        --block-widths 8 16 16 32 32 --width 16 --stem-width 8 --d-width 8""",
    "content": "--recipe madn-small --widths 4 16 16 --res-blocks 1 --precision float32",
}
ALL = "--data samples --validation none --crop 64 --batch 2 --round-steps 2"
TRAIN_THERE = """
import numpy as np
from madn import train
from madn.restoration.loading import load_network

for steps in sys.argv[3].split():
    assert train.main(["--run", sys.argv[1], "--resume", "--steps", steps, *sys.argv[4:]]) is None
np.save(sys.argv[2], load_network(sys.argv[1], "last").network(np.load(sys.argv[2])))
print("done")
"""

Steps = tuple[dict[str, tuple[AdversarialModel, Losses]], dict[str, Losses], Path]


def twenty_steps(backend: str, folder: Path, vgg: dict[str, str]) -> Steps:
    """(TensorFlow's models and losses by recipe, the backend's losses from the same states, the folder of states)."""
    here = {name: start_here(name, folder, vgg) for name in RECIPES}
    return here, json.loads(run_on(backend, STEPS_THERE, folder, json.dumps(vgg))), folder


def check_twenty_steps(steps: Steps, name: str) -> None:
    here, there, _ = steps
    expected, found = here[name][1], there[name][:STEPS]
    assert len(expected) == STEPS
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=True), start=1):
        assert_same_terms(theirs, ours, f"step {number}")


def check_that_tensorflow_goes_on(steps: Steps, name: str) -> None:
    """From the state that the other backend left, with the losses of its next step."""
    here, there, folder = steps
    model, _ = here[name]
    for weight in model.weights:
        weight.assign(weight * 0)
    load_state(model, folder / f"{name}-end.weights.h5")
    assert_same_terms(step(model, STEPS), there[name][STEPS], "the step after them")


def assert_same_terms(found: dict[str, float], expected: dict[str, float], where: str) -> None:
    """To 1e-4, but for the gradient's norm, which jumps wherever a rounding switches a ReLU."""
    # A critic's scores are sums of both signs that pass zero: 1e-6 is their terms' rounding.
    found, expected = dict(found), dict(expected)
    norms = [terms.pop("gradient_norm") for terms in (found, expected)]
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), where
    assert norms[0] == pytest.approx(norms[1], rel=1e-2), where


def check_a_run_under_either(backend: str, folder: Path, term: str) -> None:
    """Begun on the backend, gone on under TensorFlow and there again: the same images, and every round in the log."""
    run, blurred = folder / "run", np.tile(crops(0)[0], (1, 2, 2, 1))  # 64 pixels: madn-small takes multiples of 64

    def both_restore(steps: str, *options: str) -> None:
        np.save(folder / "images.npy", blurred)
        run_on(backend, TRAIN_THERE, run, folder / "images.npy", steps, *options)
        np.testing.assert_allclose(
            load_network(run, "last").network(blurred), np.load(folder / "images.npy"), atol=1e-5
        )

    both_restore("2 4", *OPTIONS[term].split(), *ALL.split())
    assert train.main(["--run", str(run), "--resume", "--steps", "6"]) is None
    both_restore("6")
    both_restore("8")
    rows = RunFolder(run).rows()
    assert [row["step"] for row in rows] == ["2", "4", "6", "8"]
    assert all(np.isfinite(float(row[term])) for row in rows)
