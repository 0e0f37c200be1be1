"""A few steps of a tiny run on some devices, in a process of its own: what test_distribution.py starts.

python distributed.py none|mirrored|multiworker STEPS OUT.npz RECIPE|run...
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))  # narrow is imported by name

import numpy as np
import tensorflow as tf
from narrow import narrow

from madn.data.batches import Shares, training_dataset
from madn.data.sets import FixedCrops
from madn.training.callbacks import safety
from madn.training.distribution import Devices
from madn.training.loop import train
from madn.training.runfolder import RunFolder

FIELDS = {
    "madn": {"widths": (4, 8, 8), "scales": 2, "crop": 32},
    "sisnet": {"tau_2": 0.0, "lr_g": 1e-4},  # batch means over all devices, one random window; the recipe's own rate
}


class Crops:
    def __init__(self, crop: int):
        self.crop = crop

    def __len__(self):
        return 4

    def crop_at(self, k):
        sharp = np.random.default_rng(k).integers(0, 256, (self.crop, self.crop, 3), np.uint8)
        return np.roll(sharp, 1, axis=1), sharp


def run(devices: Devices, name: str, steps: int) -> dict[str, np.ndarray]:
    """Every variable and log after the steps. Epsilon is large, so that Adam's steps are as smooth as its gradients."""
    recipe = narrow(name, batch=4, adam=(0.9, 0.999, 1e-3), **FIELDS[name])
    model = recipe.build_model(steps, devices)
    shares = Shares(*devices.shares)
    batches = training_dataset(Crops(recipe.crop), recipe.batch, steps=steps, workers=1, shares=shares)
    logs = model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False).history
    variables = [
        *model.generator.variables,
        *model.critic_variables,
        *model.optimizer.variables,
        *model.d_optimizer.variables,
    ]
    return {f"{name}/log/{key}": np.float32(values[-1]) for key, values in logs.items()} | {
        f"{name}/{i}/{v.path}": v.numpy() for i, v in enumerate(variables)
    }


def whole_run(devices: Devices, folder: Path) -> dict[str, np.ndarray]:
    """The log of a run with validation, stopped inside its second round and gone on with."""
    recipe = narrow("madn", batch=4, adam=(0.9, 0.999, 1e-3), steps=6, adversarial_domains="none", **FIELDS["madn"])
    run, source = RunFolder(folder), Crops(recipe.crop)
    original = safety.StopCleanly.on_train_batch_end

    def stop(self, batch, logs=None):
        self.asked |= self.model.step == 4
        original(self, batch, logs)

    safety.StopCleanly.on_train_batch_end = stop
    try:
        train("madn", recipe, source, run, FixedCrops.of(source, 3), round_steps=3, devices=devices)
    except safety.Stopped:
        safety.StopCleanly.on_train_batch_end = original
    assert train("madn", recipe, source, run, FixedCrops.of(source, 3), round_steps=3, devices=devices) == 6
    return {
        f"run/log/{row['step']}/{key}": np.float32(value)
        for row in run.rows()
        for key, value in row.items()
        if key not in ("seconds", "input_wait", "critics")
    }


if __name__ == "__main__":
    strategy, steps, out, *names = sys.argv[1:]
    if strategy == "mirrored":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
    devices = Devices(strategy)
    assert devices.count == (1 if strategy == "none" else 2)
    found = {}
    for name in names:
        found |= whole_run(devices, Path(out).parent / strategy) if name == "run" else run(devices, name, int(steps))
    if devices.chief:
        np.savez(out, **found)
