"""Twenty steps of each paper's recipe, narrow, on either backend: the losses, and the whole state before and after."""

from pathlib import Path

import numpy as np
from narrow import narrow

from madn.training.checkpoint import load_state, save_state
from madn.training.model import AdversarialModel

# Learning rates are the papers': with narrow runs' higher ones SIS-Net's losses change by more than 1e-4 on TensorFlow
# alone where its first weights are changed by a rounding. Where most of the gradient is VGG's, they are a tenth: a
# rounding of the image that switches one of its ReLUs changes that gradient by 7e-4 on one backend too, and at the
# paper's rate has grown to 1e-3 of the losses ten steps later. EGNet's parts follow each other, each with the rest
# frozen.
RECIPES = {
    "madn": {"widths": (4, 8, 16), "d_widths": (4, 4, 4, 4, 8), "lr_g": 1e-4},
    "sisnet": {"lr_g": 1e-4, "vgg_weights": "vgg16"},
    "structure_guided": {
        "width": 4,
        "gradient_width": 8,
        "n_mbrb": 1,
        "d_widths": (4, 8, 8, 8),
        "critic_steps": 2,
        "lr_g": 1e-5,
        "lr_d": 1e-5,
        "vgg_weights": "vgg19",
    },
    "msr2b": {
        "widths": (4, 8, 8),
        "num_blocks": 1,
        "group_width": 4,
        "bypass_width": 8,
        "d_widths": (4, 8, 8, 8),
        "critic_steps": 2,
        "lr_g": 1e-5,
        "lr_d": 1e-5,
        "vgg_weights": "vgg19",
    },
    "egnet": {"parts": ("backbone", "egn", "sen"), "part_shares": (1.0, 1.0, 1.0), "lr_g": 2e-4},
}
CROP, STEPS = 32, 20
LARGER = {"structure_guided": (5.0, {"out_conv": 0.25})}
"""Recipe -> factors on its generator's first kernels, as four channels need them, and on those of some layers."""

Losses = list[dict[str, float]]  # the terms of each step


def crops(step: int) -> tuple[np.ndarray, np.ndarray]:
    """(blurred, sharp), two crops of patches with noise."""
    rng = np.random.default_rng(step)
    patches = rng.random((2, 8, 8, 3)).repeat(CROP // 8, axis=1).repeat(CROP // 8, axis=2)
    sharp = np.round(255 * (0.7 * patches + 0.3 * rng.random(patches.shape))) / 255
    blurred = sum(np.roll(sharp, shift, axis=2) for shift in range(3)) / 3
    return blurred.astype("float32"), sharp.astype("float32")


def start_here(name: str, folder: Path, vgg: dict[str, str]) -> tuple[AdversarialModel, Losses]:
    """Twenty steps from random weights; the state that each stage starts from is left in `folder`."""
    return _run(name, vgg, folder, save_state)


def start_there(name: str, folder: Path, vgg: dict[str, str]) -> Losses:
    """The same steps from the states in `folder`, and one more after the state has been saved there, too."""
    model, rows = _run(name, vgg, folder, load_state)
    save_state(model, folder / f"{name}-end.weights.h5")
    return [*rows, step(model, STEPS)]


def step(model: AdversarialModel, number: int) -> dict[str, float]:
    """The terms of one step, on crops of its own."""
    model.reset_metrics()
    terms = model.train_on_batch(*crops(number), return_dict=True)
    return {name: float(value) for name, value in terms.items()}


def _run(name, vgg, folder, save_or_load) -> tuple[AdversarialModel, Losses]:
    changes = RECIPES[name]
    if "vgg_weights" in changes:
        changes = {**changes, "vgg_weights": vgg[changes["vgg_weights"]]}
    rows, model = [], None
    for number, (stage, steps) in enumerate(narrow(name, crop=CROP, **changes).stages(STEPS)):
        previous, model = model, stage.build_model(steps + 1)
        _enlarge(model.generator, *LARGER.get(name, (1.0, {})))
        save_or_load(model, folder / f"{name}-{number}.weights.h5")
        if previous is not None:
            stage.transfer(previous.generator, model.generator)
        rows += [step(model, len(rows)) for _ in range(steps)]
    return model, rows


def _enlarge(generator, factor: float, of_layers: dict[str, float]) -> None:
    for layer in generator._flatten_layers(recursive=True):
        for weight in layer.weights if not layer._layers else ():
            if weight.name == "kernel":
                weight.assign(of_layers.get(layer.name, factor) * weight)
