"""All five recipes, narrow: 200 steps on real GoPro pairs lower the content loss; each player moves its own weights."""

from itertools import cycle, islice

import keras
import numpy as np
import pytest
from narrow import TINY, narrow

from madn.data.batches import numpy_batches
from madn.data.crops import PairCrops
from madn.data.images import DecodedImages
from madn.data.index import find_pairs

VGG = {"sisnet": "vgg16", "structure_guided": "vgg19", "msr2b": "vgg19"}


@pytest.fixture
def recipe_of(vgg_weights):
    """A function: paper -> its narrow recipe, with VGG weights where it needs them."""

    def recipe(name, **changes):
        weights = {"vgg_weights": vgg_weights(VGG[name])} if name in VGG else {}
        return narrow(name, **{**weights, **changes})

    return recipe


def crops(real_data, size):
    """Two batches of two crops, float32 in [0, 1], of two real pairs."""
    pairs = [pair for pair in find_pairs(real_data / "GOPRO").pairs if pair.scene == "GOPR0384_11_02"][:2]
    return list(islice(numpy_batches(PairCrops(pairs, DecodedImages("memory"), size, seed=0), 2), 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_200_steps_lower_the_content_loss_by_a_fifth(real_data, recipe_of, name):
    recipe = recipe_of(name, steps=200, crop=64 if name == "sisnet" else 32)
    model = recipe.build_model(200)
    contents = []
    for batch in islice(cycle(crops(real_data, recipe.crop)), 200):
        for tracker in model.metrics:
            tracker.reset_state()
        contents.append(float(model.train_on_batch(*batch, return_dict=True)["content"]))
    assert model.step == 200
    assert np.isfinite(contents).all()
    first, last = np.mean(contents[:4]), np.mean(contents[-20:])
    assert last < 0.8 * first, f"{first:.4f} -> {last:.4f}"


class Pixels:
    """Stands in for the perceptual loss: the network behind it does not matter here."""

    @staticmethod
    def distance(images, sharp):
        return keras.ops.mean(keras.ops.square(images - sharp))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TINY if name != "egnet"])
def test_each_player_moves_its_own_weights_alone(name, monkeypatch):
    recipe = narrow(name, crop=32)
    if name in VGG:
        monkeypatch.setattr(type(recipe), "perceptual", lambda self: Pixels())
    rng = np.random.default_rng(0)
    sharp = rng.random((recipe.batch, 32, 32, 3), dtype=np.float32)
    blurred = (sharp + np.roll(sharp, 1, axis=2)) / 2
    for still in ("lr_g", "lr_d"):
        model = narrow(name, crop=32, **{still: 0.0}).build_model(10)
        model.run_eagerly = True
        players = {"lr_g": model.generator.trainable_variables, "lr_d": model.critic_variables}
        before = {player: [v.numpy().copy() for v in variables] for player, variables in players.items()}
        model.train_on_batch(blurred, sharp)
        moved = {
            player: any(not np.array_equal(old, v.numpy()) for old, v in zip(before[player], own, strict=True))
            for player, own in players.items()
        }
        assert moved == {player: player != still for player in players}
        updates = int(model.optimizer.iterations), int(model.d_optimizer.iterations)
        assert updates == (1, 5 if name in ("structure_guided", "msr2b") else 1)


@pytest.mark.slow
def test_egnet_trains_its_parts_one_after_the_other():
    """The frozen backbone does not move while EGN trains, nor both while the self-ensemble network does."""
    recipe = narrow("egnet", parts=("backbone", "egn", "sen"))
    rng = np.random.default_rng(0)
    sharp = rng.random((2, 64, 64, 3), dtype=np.float32)
    blurred = (sharp + np.roll(sharp, 1, axis=2)) / 2
    previous = None
    for stage, steps in recipe.stages(6):
        model = stage.build_model(steps)
        model.run_eagerly = True
        if previous:
            stage.transfer(previous.generator, model.generator)
        before = {v.path: v.numpy().copy() for v in model.generator.variables}
        model.train_on_batch(blurred, sharp)
        moved = {v.path for v in model.generator.variables if not np.array_equal(before[v.path], v.numpy())}
        part = stage.parts[-1]
        assert moved and all(part == "backbone" or part in path for path in moved), (part, sorted(moved)[:3])
        previous = model
