"""EGNet's network f and the self-ensemble around it, against the specification's counts and oracles."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from baselines.egnet.generator import InferenceAverage, build_egnet, build_self_ensemble, self_ensemble_network

TINY = {"n_feat": 8, "scale_unetfeats": 4, "scale_orsnetfeats": 4, "num_cab": 1, "egm_per_stage": 1, "pa_dim": 4}
SUB_TOTALS = {
    "shallow_feat1": 173_089,
    "shallow_feat2": 173_089,
    "shallow_feat3": 173_089,  # each with the shared PReLU
    "stage1_encoder": 2_513_665,
    "stage2_encoder": 2_647_297,
    "stage1_decoder": 3_067_777,
    "stage2_decoder": 3_067_777,
    "stage3_orsnet": 7_901_185,
    "sam12": 9_792,
    "sam23": 9_792,
    "concat12": 165_888,
    "concat23": 221_184,
    "tail": 3_456,
    "egn1": 3_216_581,
    "egn2": 3_216_581,
}


def images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def array(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def tiny():
    """f with EGNs that have left their start at zero."""
    keras.utils.set_random_seed(0)
    network = build_egnet(**TINY)
    for stage in (1, 2):
        tail = network.get_layer(f"egn{stage}").get_layer(f"egn{stage}_tail")
        tail.set_weights([0.3 * images(*tail.kernel.shape, seed=stage) - 0.1])
    return network


@pytest.fixture(scope="module", params=["network", pytest.param("average", marks=pytest.mark.slow)])
def ensemble(request, tiny):
    keras.utils.set_random_seed(2)
    return build_self_ensemble(tiny, request.param)


def test_default_counts():
    egnet = build_egnet()
    assert {layer.name: layer.count_params() for layer in egnet.layers if layer.weights} == SUB_TOTALS
    assert egnet.count_params() == 26_560_235
    assert egnet.count_params() - 2 * SUB_TOTALS["egn1"] == 20_127_073  # MPRNet
    ensemble = build_self_ensemble(egnet)
    assert ensemble.get_layer("sen").count_params() == 51_020
    assert ensemble.count_params() == 26_611_255
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in egnet._flatten_layers())


@pytest.mark.slow
def test_the_denoising_width_is_another_network():
    assert build_egnet(n_feat=80, egn=False).count_params() == 15_741_025


def test_shapes(tiny):
    outputs = tiny(images(2, 32, 48, 3))
    assert [tuple(image.shape) for image in outputs["stages"]] == [(2, 32, 48, 3)] * 3
    assert_array_equal(array(outputs["deblurred"]), array(outputs["stages"][0]))


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(1)
    return build_egnet(**TINY, egn=False)


@pytest.mark.parametrize(
    "egn_input",
    [
        "gradient",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("random_add", "random_add_wide", "random_mul")),
    ],
)
def test_egn_starts_as_the_backbone(backbone, egn_input):
    egnet = build_egnet(**TINY, egn_input=egn_input)
    for layer in backbone.layers:
        if layer.weights:
            egnet.get_layer(layer.name).set_weights(layer.get_weights())
    blurred = images(2, 16, 24, 3)
    for mine, theirs in zip(egnet(blurred)["stages"], backbone(blurred)["stages"], strict=True):
        assert_array_equal(array(mine), array(theirs))


@pytest.mark.slow
def test_zero_outputs_give_the_blurred_image():
    blurred = images(1, 16, 24, 3)
    for image in build_egnet(**TINY, zero_outputs=True)(blurred)["stages"]:
        assert_array_equal(array(image), blurred)


@pytest.mark.slow
def test_bfloat16_is_near_float32(tiny):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_egnet(**TINY)
    finally:
        keras.config.set_dtype_policy(before)
    network.set_weights(tiny.get_weights())
    blurred = images(1, 16, 24, 3)
    for mine, theirs in zip(network(blurred)["stages"], tiny(blurred)["stages"], strict=True):
        assert keras.backend.standardize_dtype(mine.dtype) == "float32"
        assert_allclose(array(mine), array(theirs), atol=0.05)


def test_a_patch_of_stage_1_sees_itself_and_its_half_of_the_decoder(backbone):
    taps = keras.Model(
        backbone.input,
        {  # without EGN, whose gradient map is normalised over the whole image
            "encoded": [backbone.get_layer(f"stage1_merge{level}").input for level in (1, 2, 3)],
            "stage1": backbone.output["stages"][2],
        },
    )
    blurred = images(1, 32, 32, 3)
    changed = blurred.copy()
    changed[:, 16:, 16:] = images(1, 16, 16, 3, seed=5)
    before, after = taps(blurred), taps(changed)
    for mine, theirs in zip(before["encoded"], after["encoded"], strict=True):
        moved = np.abs(array(mine) - array(theirs)).max((1, 2, 3))
        assert_array_equal(moved[:3], 0)
        assert moved[3] > 1e-4
    moved = np.abs(array(before["stage1"]) - array(after["stage1"]))[0]
    assert_array_equal(moved[:16], 0)
    assert moved[16:, :16].max() > 1e-6


def test_batch_is_singles_side_by_side(tiny):
    blurred = images(2, 16, 24, 3)
    together = array(tiny(blurred)["deblurred"])
    singles = np.concatenate([array(tiny(one[None])["deblurred"]) for one in blurred])
    assert_allclose(together, singles, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"egn_attention": False}, {"pa_mode": "window", "pa_window": 4}])
def test_variants_run(options):
    network = build_egnet(**TINY, **options)
    assert network(images(1, 16, 24, 3))["deblurred"].shape == (1, 16, 24, 3)


def test_sizes_are_multiples(tiny):
    with pytest.raises(ValueError, match=r"multiples of 8; received 16 x 20"):
        tiny(images(1, 16, 20, 3))
    with pytest.raises(ValueError, match=r"multiples of 16; received 16 x 24"):
        build_self_ensemble(tiny)(images(1, 16, 24, 3))


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="graphs of unknown size are TensorFlow's")
def test_graph_of_unknown_size(tiny):
    import tensorflow as tf

    graph = tf.function(
        lambda x: tiny(x, training=False)["deblurred"],
        autograph=False,
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    for size in ((16, 24), (24, 16)):
        blurred = images(2, *size, 3)
        assert_allclose(array(graph(blurred)), array(tiny(blurred, training=False)["deblurred"]), atol=1e-5)


def test_ensemble_of_equal_images_is_that_image():
    network, image = self_ensemble_network(3), images(1, 8, 8, 3)
    assert_allclose(array(network([image] * 3)), image, atol=1e-6)


def test_ensemble_lies_between_its_images():
    network, results = self_ensemble_network(3), [images(2, 8, 8, 3, seed=i) for i in range(3)]
    found = array(network(results))
    assert (found >= np.min(results, axis=0) - 1e-6).all()
    assert (found <= np.max(results, axis=0) + 1e-6).all()
    last = network.get_layer("sen_c5")
    last.set_weights([np.zeros_like(w) for w in last.get_weights()])
    assert_allclose(array(network(results)), np.mean(results, axis=0), atol=1e-6)


def test_ensemble_branches_may_be_permuted_with_their_weights():
    network, permuted, order = self_ensemble_network(3), self_ensemble_network(3), (2, 0, 1)
    results = [images(1, 8, 8, 3, seed=i) for i in range(3)]
    for name in ("sen_c3", "sen_c4"):
        permuted.get_layer(name).set_weights(network.get_layer(name).get_weights())
    for i, old in enumerate(order, start=1):
        for name in ("sen_c1_", "sen_c2_"):
            permuted.get_layer(f"{name}{i}").set_weights(network.get_layer(f"{name}{old + 1}").get_weights())
    kernel, bias = network.get_layer("sen_c5").get_weights()
    permuted.get_layer("sen_c5").set_weights([kernel[..., list(order)], bias[list(order)]])
    assert_allclose(array(permuted([results[old] for old in order])), array(network(results)), atol=1e-6)


@pytest.mark.slow
def test_the_three_results_of_the_average(tiny):
    blurred = images(1, 32, 48, 3)

    def restore(x):
        return array(tiny(x)["deblurred"]).clip(0, 1)

    half = blurred.reshape(1, 16, 2, 24, 2, 3).mean((2, 4))
    up = array(keras.layers.UpSampling2D(2, interpolation="bilinear")(restore(half)))
    corners = [(rows, columns) for rows in (slice(0, 16), slice(16, 32)) for columns in (slice(0, 24), slice(24, 48))]
    quarters = np.zeros_like(blurred)
    for corner, restored in zip(
        corners, restore(np.concatenate([blurred[:, *corner] for corner in corners])), strict=True
    ):
        quarters[0, *corner] = restored
    average = build_self_ensemble(tiny, "average")
    assert len(average.output["stages"]) == 3
    assert_allclose(
        array(average(blurred, training=False)["deblurred"]), (up + restore(blurred) + quarters) / 3, atol=1e-5
    )


def test_the_average_is_of_inference_alone():
    first, *results = (images(1, 4, 4, 3, seed=i) for i in range(3))
    assert_array_equal(array(InferenceAverage()([first, *results], training=True)), first)
    assert_allclose(array(InferenceAverage()([first, *results])), (results[0] + results[1]) / 2)


def test_ensemble_weights_are_saved_once_and_come_back(tiny, ensemble, tmp_path):
    mode = "average" if ensemble.name == "egnet_average" else "network"
    own = ensemble.get_layer("sen").count_params() if mode == "network" else 0
    assert ensemble.count_params() == tiny.count_params() + own
    ensemble.save_weights(tmp_path / "a.weights.h5")
    again = build_self_ensemble(build_egnet(**TINY), mode)
    again.load_weights(tmp_path / "a.weights.h5")
    for mine, theirs in zip(again.weights, ensemble.weights, strict=True):
        assert_array_equal(array(mine), array(theirs))
