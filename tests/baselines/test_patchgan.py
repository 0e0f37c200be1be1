"""The PatchGAN critic: sizes, receptive field, normalisation."""

import keras
import numpy as np
import pytest
from keras import ops

from baselines.layers import ClipImages, doubling_deconv, padded_conv
from baselines.patchgan import build_patchgan
from madn.nn.layers import InstanceNormalization


def values(x):
    return ops.convert_to_numpy(x)


def support(critic, size):
    """Sides of the patch that the map's middle score sees: where a change of the image changes it.

    All kernels are set to 1, so that no two paths cancel; a changed row or column reaches the score or does not.
    """
    for weight in critic.weights:
        weight.assign(np.full(weight.shape, 0.1 if len(weight.shape) > 1 else 0.0))
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (1, size, size, critic.input_shape[-1])).astype("float32")
    middle = values(critic(image))[0].shape[0] // 2
    base = values(critic(image))[0, middle, middle, 0]
    rows = []
    for start in range(0, size, 32):  # row r of the batch has row r of the image changed
        batch = np.repeat(image, 32, axis=0)
        for k in range(32):
            batch[k, start + k] += 10
        rows += list(values(critic(batch))[:, middle, middle, 0])
    seen = np.flatnonzero(np.abs(np.array(rows) / base - 1) > 1e-3)
    return int(seen[-1] - seen[0] + 1)


def test_parameters_and_map_at_full_width():
    critic = build_patchgan()
    assert critic.count_params() == 2_764_737
    assert critic.compute_output_shape((1, 256, 256, 3)) == (1, 30, 30, 1)
    assert build_patchgan(channels=6).count_params() == 2_764_737 + 4 * 4 * 3 * 64


def test_a_score_sees_70_pixels():
    assert support(build_patchgan((1, 1, 1, 1), normalize=False), 128) == 70


def test_literal_strides_give_a_15x15_map_of_94_pixels():
    critic = build_patchgan((1, 1, 1, 1), strides=(2, 2, 2, 2, 1), normalize=False)
    assert critic.compute_output_shape((1, 256, 256, 3)) == (1, 15, 15, 1)
    assert support(critic, 160) == 94


def test_instance_normalisation_on_layers_two_to_four_without_affine():
    critic = build_patchgan((4, 4, 4, 4))
    norms = [layer for layer in critic.layers if isinstance(layer, InstanceNormalization)]
    assert [layer.name for layer in norms] == ["conv_2_norm", "conv_3_norm", "conv_4_norm"]
    assert all(not layer.weights and layer.epsilon == 1e-5 for layer in norms)
    assert "conv_1_norm" in {layer.name for layer in build_patchgan((4, 4, 4, 4), first_norm=True).layers}


def test_kernels_start_at_002_and_differ():
    critic = build_patchgan((8, 32, 32, 8))
    first, second = (values(critic.get_layer(name).kernel) for name in ("conv_2", "conv_3"))
    assert abs(second.std() - 0.02) < 1e-3
    assert abs(first.std() - 0.02) < 1e-3
    assert not np.array_equal(first, second[:, :, :8])


def test_scores_of_a_batch_are_those_of_its_images():
    critic = build_patchgan((4, 4, 4, 4))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 48, 32, 3)).astype("float32")
    alone = np.concatenate([values(critic(image[None])) for image in images])
    np.testing.assert_allclose(values(critic(images)), alone, atol=1e-6)
    assert alone.min() < 0 < alone.max()


def test_strides_must_match_widths():
    with pytest.raises(ValueError, match="one entry more"):
        build_patchgan((4, 4), strides=(2, 2))


def test_padded_conv_and_doubling_deconv_align_as_pytorch_does():
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).normal(size=(1, 8, 6, 3)).astype("float32")
    x = keras.Input((None, None, 3))
    for kernel, strides, padding in ((3, 2, 1), (7, 1, 3), (4, 1, 1), (4, 2, 1)):
        model = keras.Model(x, padded_conv(x, 5, kernel, strides, padding, name="conv"))
        layer = model.get_layer("conv")
        theirs = (
            torch.nn.functional.conv2d(
                torch.tensor(image.transpose(0, 3, 1, 2)),
                torch.tensor(values(layer.kernel).transpose(3, 2, 0, 1)),
                stride=strides,
                padding=padding,
            )
            .numpy()
            .transpose(0, 2, 3, 1)
        )
        np.testing.assert_allclose(values(model(image)), theirs, atol=1e-5)
    model = keras.Model(x, doubling_deconv(x, 5, name="deconv"))
    kernel = values(model.get_layer("deconv").kernel)  # (rows, columns, out, in)
    theirs = (
        torch.nn.functional.conv_transpose2d(
            torch.tensor(image.transpose(0, 3, 1, 2)),
            torch.tensor(kernel.transpose(3, 2, 0, 1)),
            stride=2,
            padding=1,
            output_padding=1,
        )
        .numpy()
        .transpose(0, 2, 3, 1)
    )
    np.testing.assert_allclose(values(model(image)), theirs, atol=1e-5)


def test_clip_images_clips_at_inference_or_always():
    images = np.array([-0.5, 0.25, 1.5], "float32")
    for when, trained in (("inference", images), ("always", [0, 0.25, 1])):
        layer = ClipImages(when)
        np.testing.assert_array_equal(values(layer(images)), [0, 0.25, 1])
        np.testing.assert_array_equal(values(layer(images, training=True)), trained)
        assert ClipImages.from_config(layer.get_config()).when == when
    with pytest.raises(ValueError, match="always"):
        ClipImages("never")
