"""Every paper's network, narrow: tiles agree with the whole photo, and the memory estimate with a count by hand."""

import keras
import numpy as np
import pytest
from narrow import narrow
from skimage import data

from madn.nn.statistic_kinds import MEAN, MOMENTS, RANGE
from madn.restoration.inference import Inference
from madn.restoration.restorer import Restorer
from madn.restoration.tiles import restore_batch

NETWORKS = {
    **{name: narrow(name) for name in ("madn", "sisnet", "structure_guided", "msr2b")},
    "egnet": narrow("egnet", parts=("backbone", "egn")),
}
PHOTO = data.astronaut()[40:280, 100:420].astype(np.float32) / 255


@pytest.fixture(scope="module")
def networks():
    """Name -> compiled network, its weights moved from where they start, so that no part of it is silent."""
    made = {}

    def network(name):
        if name not in made:
            keras.utils.set_random_seed(0)
            generator = NETWORKS[name].build_generator()
            rng = np.random.default_rng(0)
            for variable in generator.trainable_variables:
                value = keras.ops.convert_to_numpy(variable)
                variable.assign(value + 0.02 * rng.standard_normal(value.shape).astype(np.float32))
            made[name] = Inference(generator)
        return made[name]

    return network


def psnr(one, other):
    return -10 * np.log10(np.square(one - other).mean() + 1e-20)


@pytest.mark.parametrize(
    "name, reach, decibels",
    [
        pytest.param("madn", 64, 80, marks=pytest.mark.slow),
        ("msr2b", 64, 80),
        pytest.param("structure_guided", 64, 70, marks=pytest.mark.slow),
        pytest.param("sisnet", 64, 50, marks=pytest.mark.slow),
        pytest.param("egnet", 16, 38, marks=pytest.mark.slow),
    ],
)
def test_tiles_agree_with_the_whole(networks, name, reach, decibels):
    recipe, network = NETWORKS[name], networks(name)
    whole, plan = Restorer(network, recipe.multiple, 1000)(PHOTO)
    assert plan.count == 1 and np.abs(whole - PHOTO).max() > 1e-3, "does nothing"
    if name == "egnet":  # which cuts a whole photo into patches, and tiles not
        whole = restore_batch(network, PHOTO[None], network.measure(PHOTO[None], (0, 240, 0, 320)))[0]
    tiled = Restorer(network, recipe.multiple, 1000, recipe.tile_blend, tile=208)
    tiled._reach = reach
    restored, plan = tiled(PHOTO)
    assert plan.count > 2
    assert psnr(restored, whole) > decibels
    if network.kinds and name != "egnet":  # and not because statistics do not matter
        network._kinds, kinds = [], network._kinds
        alone, _ = tiled(PHOTO)
        network._kinds = kinds
        assert psnr(restored, whole) > psnr(alone, whole) + 6


@pytest.mark.slow
def test_what_statistics_the_networks_take(networks):
    kinds = {name: networks(name).kinds for name in NETWORKS}
    assert kinds["madn"] == kinds["msr2b"] == []
    assert [name for name in NETWORKS if not networks(name).knows_tiles] == ["madn", "msr2b"]
    assert kinds["sisnet"] == [MOMENTS] * 5
    # 5 normalisations; two blocks of 3 layers with an attention each and one of their own; one at the end
    assert sorted(kinds["structure_guided"]) == sorted([MOMENTS] * 5 + [MEAN] * (2 * 4 + 1))
    assert kinds["egnet"] == [RANGE] * 2  # of the gradient map; attention goes by patches


@pytest.mark.slow
def test_tiles_are_not_cut_into_patches():
    """MPRNet, EGNet without its gradient networks, takes no statistics of tiles, but is told that they are tiles."""
    network, tile = Inference(narrow("egnet", parts=("backbone",)).build_generator()), PHOTO[None, :128, :160]
    assert network.kinds == [] and network.knows_tiles
    cut, uncut = network(tile), network(tile, [])
    distance = np.abs(cut - uncut)[0].max(axis=2)
    assert distance[62:66].mean() > 3 * distance[:8].mean()


@pytest.mark.slow
def test_statistics_of_the_only_tile_change_nothing(networks):
    network, tile = networks("structure_guided"), PHOTO[None, :128, :160]
    found = network.measure(tile, (0, 128, 0, 160))
    for _ in range(len(network.kinds)):  # what a layer is given changes what the layers behind it find
        found = network.measure(tile, (0, 128, 0, 160), found)
    np.testing.assert_allclose(network(tile, found), network(tile), atol=2e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="read from TensorFlow's graph")
def test_memory_a_pixel_by_hand():
    image = keras.Input((None, None, 3))
    wide = keras.layers.Conv2D(8, 3, padding="same", activation="relu", use_bias=False)(image)
    narrowed = keras.layers.Conv2D(4, 1, use_bias=False)(wide)
    out = keras.layers.Concatenate()([narrowed, wide])
    out = keras.layers.Conv2D(3, 1, use_bias=False)(out)
    # at the concatenation: 8 + 4 channels that go into it, its own 12 and the image's 3, 4 bytes each
    assert Inference(keras.Model(image, {"deblurred": out})).bytes_per_pixel(64) == 4 * (12 + 12 + 3)


def test_a_network_of_any_size_and_batch(networks):
    network = networks("madn")
    batch = np.stack([PHOTO[:64, :96], PHOTO[100:164, 60:156]])
    np.testing.assert_allclose(network(batch), np.concatenate([network(each[None]) for each in batch]), atol=1e-5)
