"""SRN's weights as MADN's scale network: against the network as its paper describes it, built from TensorFlow alone."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from madn.errors import UserError
from madn.models.madn import srn
from madn.models.madn.recipe import MADN_SRN, SRN
from madn.restoration.loading import load_network
from madn.training.checkpoint import load_start, save_generator

tf = pytest.importorskip("tensorflow", reason="a TensorFlow checkpoint is read by TensorFlow")


def shapes() -> dict[str, tuple[int, ...]]:
    """SRN's variables, as its released colour model has them."""
    found = {"dec1_0": (5, 5, 32, 3)}
    for level, width, below in ((1, 32, 6), (2, 64, 32), (3, 128, 64)):
        found[f"enc{level}_1"] = (5, 5, below, width)
        found |= {
            f"{name}/conv{conv}": (5, 5, width, width)
            for conv in (1, 2)
            for name in (*(f"enc{level}_{k}" for k in (2, 3, 4)), *(f"dec{level}_{k}" for k in (1, 2, 3)))
        }
        if level < 3:
            found[f"dec{level}_4"] = (4, 4, width, 2 * width)
    return found


@pytest.fixture(scope="module")
def variables():
    """Random weights of SRN, small enough that images stay images."""
    random, found = np.random.default_rng(0), {}
    for name, shape in shapes().items():
        fan_in = np.prod(shape[:2]) * (shape[3] if name in ("dec1_4", "dec2_4") else shape[2])
        found[f"{name}/weights"] = random.normal(0, 0.7 / np.sqrt(fan_in), shape).astype("float32")
        found[f"{name}/biases"] = random.normal(0, 0.1, shape[2] if name in ("dec1_4", "dec2_4") else shape[3]).astype(
            "float32"
        )
    return found


def write_checkpoint(folder, variables, scope="g_net"):
    """As TensorFlow 1 saves variables; `deblur.model` without its endings."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        stored = [tf.compat.v1.get_variable(f"{scope}/{name}", initializer=value) for name, value in variables.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(stored).save(session, str(folder / "deblur.model"), write_meta_graph=False)
    return folder / "deblur.model"


@pytest.fixture(scope="module")
def converted(tmp_path_factory, variables):
    folder = tmp_path_factory.mktemp("srn")
    srn.main([str(write_checkpoint(folder, variables)), str(folder / "srn.weights.h5")])
    return folder / "srn.weights.h5"


def reference(blurred, variables):
    """Tao et al. 2018, section 3 and Figure 2, written down with TensorFlow's operations: the finest image."""

    def conv(x, name, strides=1, activation=tf.nn.relu):
        return activation(tf.nn.conv2d(x, variables[f"{name}/weights"], strides, "SAME") + variables[f"{name}/biases"])

    def residual(x, name):
        return x + conv(conv(x, f"{name}/conv1"), f"{name}/conv2", activation=tf.identity)

    def blocks(x, *names):
        for name in names:
            x = residual(x, name)
        return x

    def deconv(x, name):
        kernel, (batch, height, width, _) = variables[f"{name}/weights"], x.shape
        return tf.nn.relu(
            tf.nn.conv2d_transpose(x, kernel, (batch, 2 * height, 2 * width, kernel.shape[2]), 2, "SAME")
            + variables[f"{name}/biases"]
        )

    restored = blurred
    for shrink in (4, 2, 1):
        size = (blurred.shape[1] // shrink, blurred.shape[2] // shrink)
        x = tf.concat([tf.compat.v1.image.resize_images(image, size) for image in (blurred, restored)], axis=3)
        e1 = blocks(conv(x, "enc1_1"), "enc1_2", "enc1_3", "enc1_4")
        e2 = blocks(conv(e1, "enc2_1", 2), "enc2_2", "enc2_3", "enc2_4")
        e3 = blocks(conv(e2, "enc3_1", 2), "enc3_2", "enc3_3", "enc3_4", "dec3_3", "dec3_2", "dec3_1")
        d2 = blocks(deconv(e3, "dec2_4") + e2, "dec2_3", "dec2_2", "dec2_1")
        d1 = blocks(deconv(d2, "dec1_4") + e1, "dec1_3", "dec1_2", "dec1_1")
        restored = conv(d1, "dec1_0", activation=tf.identity)
    return restored.numpy()


def test_the_converted_network_is_srn(converted, variables):
    assert sum(value.size for value in variables.values()) == 6_881_251
    blurred = np.random.default_rng(1).random((1, 64, 96, 3), dtype=np.float32)
    loaded = load_network(converted)
    assert loaded.recipe == SRN and loaded.recipe_name == "srn"
    expected = reference(blurred, variables)
    assert np.ptp(expected) > 0.1
    assert_allclose(loaded.network(blurred), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_madn_srn_starts_as_srn_at_its_own_resizing(converted):
    blurred = np.random.default_rng(2).random((1, 64, 64, 3), dtype=np.float32)
    stage, _ = MADN_SRN.stages(100)[0]
    generator = stage.build_generator()
    load_start(generator, converted, stage)
    alone = replace(SRN, resize="bicubic").build_generator()
    load_start(alone, converted, SRN)
    outputs, expected = generator(blurred), alone(blurred)["deblurred"]
    assert_allclose(outputs["deblurred"], expected, atol=1e-5)
    assert_array_equal(outputs["deblurred"], outputs["scales"][0])
    assert_array_equal(ops.convert_to_numpy(outputs["gradient"]), 0)


@pytest.mark.slow
def test_the_first_stage_leaves_srn_as_it_is(tmp_path):
    narrow = {"widths": (4, 8, 16), "res_blocks": 1, "crop": 32, "batch": 2, "precision": "float32"}
    alone = replace(SRN, **narrow)
    save_generator(alone.build_generator(), tmp_path / "srn.weights.h5", "srn", alone.fields())
    (first, _), (second, _) = replace(MADN_SRN, **narrow).stages(10)
    models = []
    for stage in (first, second):
        model = stage.build_model(5)
        model.run_eagerly = True
        load_start(model.generator, tmp_path / "srn.weights.h5", stage)
        before = model.generator.get_layer("sn").get_weights()
        images = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
        model.train_on_batch(images, images[:, ::-1])
        models.append(
            [np.array_equal(a, b) for a, b in zip(before, model.generator.get_layer("sn").get_weights(), strict=True)]
        )
        assert any(np.any(weight) for weight in model.generator.get_layer("upblock").get_layer("image").get_weights())
    assert all(models[0]) and not any(models[1][:4])


@pytest.mark.slow
def test_what_is_not_srns_colour_model_is_named(tmp_path, variables, capsys):
    (tmp_path / "there.weights.h5").write_bytes(b"")
    (tmp_path / "noise.index").write_bytes(b"noise")
    for folder, changed, scope in (
        ("grey", {**variables, "enc1_1/weights": np.zeros((5, 5, 2, 32), "float32")}, "g_net"),
        ("lstm", {**variables, "LSTM/weights": np.zeros(3, "float32")}, "g_net"),
        ("bias", {**variables, "dec1_0/biases": np.zeros(4, "float32")}, "g_net"),
        ("flat", {**variables, "dec1_0/weights": np.zeros(2400, "float32")}, "g_net"),
        ("less", {k: v for k, v in variables.items() if k != "dec1_0/biases"}, "g_net"),
        ("other", variables, "generator"),
    ):
        (tmp_path / folder).mkdir()
        write_checkpoint(tmp_path / folder, changed, scope)
    cut = tmp_path / "cut"
    cut.mkdir()
    data = write_checkpoint(cut, variables).with_suffix(".model.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:1000])
    for source, out, said in (
        ("none/deblur.model", "a.weights.h5", "deblur.model.index: no such file"),
        ("noise", "a.weights.h5", "not a readable TensorFlow checkpoint"),
        ("cut/deblur.model", "a.weights.h5", "not a readable TensorFlow checkpoint"),
        ("grey/deblur.model", "a.weights.h5", "enc1_1 of another shape"),
        ("bias/deblur.model", "a.weights.h5", r"dec1_0/biases of another shape: \(4,\)"),
        ("flat/deblur.model", "a.weights.h5", r"dec1_0/weights of another shape: \(2400,\)"),
        ("lstm/deblur.model", "a.weights.h5", "LSTM/weights is not one of its variables"),
        ("less/deblur.model", "a.weights.h5", "dec1_0/biases is missing"),
        ("other/deblur.model", "a.weights.h5", "dec1_0/biases is missing"),
        ("grey/deblur.model", "a.h5", "must end in .weights.h5"),
        ("grey/deblur.model", "there.weights.h5", "is there already"),
    ):
        with pytest.raises(UserError, match=said) as problem:
            srn.main([str(tmp_path / source), str(tmp_path / out)])
        assert "\n" not in str(problem.value)
    assert not (tmp_path / "a.weights.h5").exists()
