"""The adversarial train_step: who moves, how far, in which order (the specification's oracles 15, 17, 18, 24)."""

import time
from dataclasses import replace

import keras
import numpy as np
import pytest
from helpers import FEW, TINY, alternating, batch, eager, same, values
from keras import ops
from narrow import narrow

from madn.errors import UserError
from madn.training.gradients import global_norm, losses_and_gradients


def gradients(model, player):
    """Gradients of the generator's ("loss") or the critics' objective by all variables of both."""
    blurred, sharp = batch()
    variables = [*model.generator.trainable_variables, *model.critic_variables]

    def compute():
        outputs = model.generator(blurred)
        losses = model.objective.generator_losses if player == "loss" else model.objective.critic_losses
        return [losses(blurred, sharp, outputs, model.critic)[0]], None

    found = losses_and_gradients(compute, [variables])[2][0]
    count = len(model.generator.trainable_variables)
    return found[:count], found[count:]


def test_critic_loss_gives_the_generator_no_gradient():
    model = eager(FEW)
    for_generator, for_critic = gradients(model, "critic_loss")
    assert all(not np.any(ops.convert_to_numpy(g)) for g in for_generator)
    assert all(np.any(ops.convert_to_numpy(g)) for g in for_critic)


def test_lambda_zero_makes_the_generator_loss_independent_of_the_critic():
    _, for_critic = gradients(eager(replace(FEW, adversarial=0.0)), "loss")
    assert all(not np.any(ops.convert_to_numpy(g)) for g in for_critic)


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_each_player_moves_its_own_weights(order):
    blurred, sharp = batch()
    for frozen in ("generator", "critic"):
        recipe = replace(
            alternating(FEW) if order == "alternating" else FEW, **{"lr_g" if frozen == "generator" else "lr_d": 0.0}
        )
        model = eager(recipe)
        g, d = values(model.generator.variables), values(model.critic_variables)
        model.train_on_batch(blurred, sharp)
        assert same(g, values(model.generator.variables)) == (frozen == "generator")
        assert same(d, values(model.critic_variables)) == (frozen == "critic")


def test_first_adam_step_moves_each_weight_by_its_learning_rate():
    model = eager(replace(FEW, clip_norm=None))
    for optimizer in (model.optimizer, model.d_optimizer):
        assert (optimizer.epsilon, optimizer.beta_1, optimizer.beta_2) == (1e-8, 0.9, 0.999)
    before = values(model.generator.trainable_variables), values(model.critic_variables)
    for_generator, for_critic = gradients(model, "loss")[0], gradients(model, "critic_loss")[1]
    model.train_on_batch(*batch())
    after = values(model.generator.trainable_variables), values(model.critic_variables)
    for old, new, found, rate in zip(before, after, (for_generator, for_critic), (1e-4, 4e-4), strict=True):
        for a, b, g in zip(old, new, found, strict=True):
            large = np.abs(ops.convert_to_numpy(g)) > 1e-3
            np.testing.assert_allclose(np.abs(a - b)[large], rate, rtol=2e-2)
    assert int(model.optimizer.iterations) == int(model.d_optimizer.iterations) == 1


def test_simultaneous_takes_both_gradients_at_the_same_weights():
    """Algorithm 1: the generator's step does not see the discriminator's; alternating order does."""
    recipe = replace(FEW, scales=1, adversarial=10.0, lr_d=0.1, clip_norm=None)
    still = replace(recipe, lr_d=0.0)
    moved = {}
    for name, each in {"simultaneous": recipe, "alternating": alternating(recipe), "still": still}.items():
        model = eager(each)
        model.train_on_batch(*batch())
        moved[name] = values(model.generator.trainable_variables)
    assert same(moved["simultaneous"], moved["still"])
    assert not same(moved["alternating"], moved["still"])


def test_five_critic_steps_are_five():
    model = eager(alternating(FEW, critic_steps=5))
    model.train_on_batch(*batch(2))
    assert (int(model.optimizer.iterations), int(model.d_optimizer.iterations)) == (1, 5)
    with pytest.raises(ValueError, match="alternating"):
        model.compile(model.optimizer, model.d_optimizer, critic_steps=5)


def test_critic_steps_take_the_same_batch(monkeypatch):
    """The batch keeps its size, and the generator restores it once for all critic steps and once for its own."""
    model = eager(alternating(FEW, critic_steps=5))
    calls = []
    real = model.generator.call
    monkeypatch.setattr(model.generator, "call", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    model.train_on_batch(*batch(2))
    assert (int(model.optimizer.iterations), int(model.d_optimizer.iterations), len(calls)) == (1, 5, 2)


def test_frozen_layers_do_not_move():
    class Frozen(type(FEW)):
        frozen = ("sn",)

    model = eager(Frozen(**{name: getattr(FEW, name) for name in FEW.fields()}))
    before = {name: model.generator.get_layer(name).get_weights() for name in ("sn", "gn", "upblock")}
    model.train_on_batch(*batch())
    after = {name: model.generator.get_layer(name).get_weights() for name in before}
    assert {name: same(before[name], after[name]) for name in before} == {"sn": True, "gn": False, "upblock": False}


def test_without_critics_only_the_generator_learns():
    model = eager(replace(FEW, adversarial_domains="none"))
    assert not model.critics and model.d_optimizer is None
    logs = model.train_on_batch(*batch(), return_dict=True)
    assert "critic_loss" not in logs and np.isfinite(logs["loss"])


def test_one_discriminator_judges_images_and_gradient_maps():
    model = eager(TINY)
    assert model.critics["image"] is model.critics["gradient"] and len(model.critic_variables) == 28


def test_clipping_reaches_the_generator():
    """Adam's first moment after one step is a tenth of the gradient as it was clipped; the critic's is not clipped."""
    norms = {}
    for clip_norm in (None, 1e-3):
        model = eager(replace(FEW, clip_norm=clip_norm, lr_g=0.0, lr_d=0.0))
        model.train_on_batch(*batch())
        norms[clip_norm] = [
            float(global_norm(optimizer._momentums)) * 10 for optimizer in (model.optimizer, model.d_optimizer)
        ]
    assert norms[1e-3][0] == pytest.approx(1e-3, rel=1e-4) and norms[None][0] > 1e-2
    assert norms[1e-3][1] == pytest.approx(norms[None][1], rel=1e-4)


def test_schedules():
    recipe = replace(TINY, steps=None, batch=16, crop=256)
    assert recipe.steps_per_epoch(2103) == 131
    assert recipe.total_steps(2103) == 262_000
    schedule = recipe.learning_rate(1e-4, 262_000)
    steps = (0, 65_500, 131_000, 196_500, 262_000, 300_000)
    np.testing.assert_allclose(
        [float(schedule(s)) for s in steps], [1e-4, 9.1731e-5, 8.1225e-5, 6.5975e-5, 0, 0], rtol=1e-4
    )
    linear = replace(recipe, lr_power=1.0).learning_rate(1e-4, 262_000)
    np.testing.assert_allclose(
        [float(linear(s)) for s in steps], [1e-4, 7.5e-5, 5e-5, 2.5e-5, 0, 0], rtol=1e-4, atol=1e-12
    )
    critic = recipe.learning_rate(4e-4, 262_000)
    assert all(float(critic(s)) == pytest.approx(4 * float(schedule(s))) for s in steps)


def test_the_seed_decides_the_weights():
    first, second, other = (eager(replace(FEW, seed=seed)) for seed in (3, 3, 4))
    assert same(values(first.generator.variables), values(second.generator.variables))
    assert not same(values(first.generator.variables), values(other.generator.variables))


def test_bfloat16_keeps_weights_and_losses_in_float32():
    model = eager(replace(TINY, precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == "float32"
    assert {v.dtype for v in model.generator.variables} == {"float32"}
    assert model.generator.get_layer("sn").get_layer("inblock_conv").compute_dtype == "bfloat16"
    for name in ("blur_1", "blur_2", "up_3", "sobel", "sn_input_1"):
        assert model.generator.get_layer(name).output.dtype == "float32"
    assert model.generator(batch()[0])["deblurred"].dtype == "float32"  # an image needs more than 8 bits
    logs = model.train_on_batch(*batch(), return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())


@pytest.mark.slow
def test_training_compiles_under_xla():
    pytest.importorskip("tensorflow")
    plain, compiled = eager(TINY), replace(TINY, jit=True).build_model(10)
    first, second = (model.train_on_batch(*batch(), return_dict=True) for model in (plain, compiled))
    for name in first:
        assert second[name] == pytest.approx(first[name], rel=1e-3, abs=1e-5), name


def test_pytorch_has_no_xla(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(UserError, match="--jit compiles with XLA, which PyTorch has not; leave it out"):
        replace(TINY, jit=True).build_model(10)


@pytest.mark.slow
def test_overfits_one_pair():
    """Oracle 24: 400 steps of the content loss on one 64-pixel pair gain at least 2 dB over its 9-pixel box blur."""
    cv2 = pytest.importorskip("cv2")
    from skimage.data import astronaut

    sharp = (astronaut()[180:244, 200:264] / np.float32(255))[None]
    blurred = cv2.blur(sharp[0], (9, 9))[None]
    recipe = replace(
        TINY,
        widths=(8, 16, 32),
        res_blocks=4,
        adversarial_domains="none",
        lr_g=1e-3,
        lr_power=1e-9,
        batch=1,
        crop=64,
        steps=400,
    )
    model = recipe.build_model(10_000)
    model.fit(np.repeat(blurred, 400, 0), np.repeat(sharp, 400, 0), batch_size=1, verbose=0)
    scores = model.evaluate(blurred, sharp, verbose=0, return_dict=True)
    assert scores["psnr"] > scores["blurred_psnr"] + 2


def test_every_term_is_logged():
    model = eager(FEW)
    logs = model.train_on_batch(*batch(), return_dict=True)
    assert set(logs) == {"loss", "critic_loss", "gradient_norm", "psnr", "blurred_psnr", *model.objective.term_names}


def two_steps(recipe, **changes):
    """Weights, moments and logs of two steps; of a wide epsilon, so that Adam's steps are as close as the gradients."""
    model = eager(replace(recipe, scales=1, batch=4, adam=(0.9, 0.999, 1e-3), **changes))
    logs = [model.train_on_batch(*batch(4, seed=seed), return_dict=True) for seed in (0, 1)]
    return values(
        [*model.generator.variables, *model.critic_variables, *model.optimizer.variables, *model.d_optimizer.variables]
    ) + [np.array(list(each.values())) for each in logs]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (FEW, {"accumulate": 2}),
        pytest.param(TINY, {"accumulate": 2}, marks=pytest.mark.slow),
        pytest.param(TINY, {"remat": "blocks"}, marks=pytest.mark.slow),
        pytest.param(TINY, {"remat": "blocks", "accumulate": 4}, marks=pytest.mark.slow),
    ],
)
def test_a_batch_in_parts_and_a_pass_computed_twice_change_nothing(recipe, changes):
    for a, b in zip(two_steps(recipe), two_steps(recipe, **changes), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_parts_of_critic_steps_draw_the_same_numbers():
    """WGAN-GP's shares belong to the image, so a batch in parts has the same penalty."""
    recipe, found = narrow("structure_guided", content_weight=0.0, critic_steps=2, batch=2, crop=32), []
    for accumulate in (1, 2):
        model = eager(replace(recipe, accumulate=accumulate))
        found.append(model.train_on_batch(*batch(4), return_dict=True))
    assert found[0]["gradient_penalty"] > 0
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_parts_must_divide_the_batch():
    with pytest.raises(UserError, match="--accumulate must divide the batch of 16; received 3"):
        replace(TINY, batch=16, accumulate=3)


def test_a_step_that_is_not_finite_is_noted_with_its_terms():
    model = eager(FEW)
    model.train_on_batch(*batch())
    assert model.fault() is None and model.empty_batch() is None
    blurred, sharp = batch()
    blurred[1, 3, 4, 0] = np.nan
    for _ in range(2):
        model.train_on_batch(blurred, sharp)
    model.first_step = 100
    fault = model.fault()
    assert fault.step == 102
    assert {"pixel", "image", "loss", "critic_image_fake", "the generator's gradient"} <= set(fault.what.split(", "))
    assert "critic_image_real" not in fault.what.split(", ")


def test_a_black_batch_is_noted_and_trained_on():
    model = eager(FEW)
    model.train_on_batch(*batch())
    black = np.zeros((2, 32, 32, 3), np.float32)
    logs = model.train_on_batch(black, black, return_dict=True)
    model.train_on_batch(*batch())
    assert model.empty_batch() == 2 and model.fault() is None
    assert all(np.isfinite(value) for value in logs.values())
    half = np.concatenate([black[:1], batch()[1][:1]])
    model.train_on_batch(half, half)
    assert model.empty_batch() == 2


def test_waiting_for_input_is_measured():
    model = eager(FEW)
    model.make_train_function()

    def slow():
        time.sleep(0.3)
        yield (*batch(), None)

    model.train_function(slow())
    assert 0.3 <= model.waited < 10  # what a busy machine adds
