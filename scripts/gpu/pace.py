"""How fast a recipe trains on a backend, tried for a while: steps a second once it is compiled.

python -m gpu.pace SECONDS OPTIONS-OF-MADN-TRAIN      in a process of its own, by KERAS_BACKEND; prints JSON
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gpu import KitError

WARM_UP = 2  # steps that compile and settle
SYNC_SECONDS = 0.5  # between two looks at a loss, which wait for the device


def choose(paces: Mapping[str, dict]) -> str:
    """The backend with the most steps a second. Raises `KitError` with every reason where none could be timed."""
    timed = {backend: pace["steps_per_second"] for backend, pace in paces.items() if "failed" not in pace}
    if not timed:
        reasons = "; ".join(f"{backend}: {pace['failed']}" for backend, pace in paces.items())
        raise KitError(f"no backend can run this job ({reasons})")
    return max(timed, key=timed.get)


def tried(
    backend: str, options: list[str], seconds: float, environment: Mapping[str, str], kit: Path, longest: float
) -> dict:
    """Try a backend in a process of its own, which has `longest` seconds to start, to compile and to train for
    `seconds`: {"steps_per_second", ...}, or {"failed": why}."""
    command = [sys.executable, "-m", "gpu.pace", str(seconds), *options]
    try:
        done = subprocess.run(command, cwd=kit, env=environment, capture_output=True, text=True, timeout=longest)
    except subprocess.TimeoutExpired:
        return {"failed": f"not a step ended in {longest:.0f} seconds"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    said = [line for line in (done.stderr + done.stdout).strip().splitlines() if line.strip()]
    return {"failed": (said or ["no message"])[-1].removeprefix("madn: error: ")[:300]}


def rate(times: list[tuple[int, float]]) -> float:
    """Steps a second between the first and the last of (steps, seconds)."""
    (first, began), (last, ended) = times[0], times[-1]
    if last <= first:
        raise KitError("too few steps ended to time them")
    return (last - first) / (ended - began)


def recipe_and_options(argv: list[str]):
    """What `madn.train` makes of its command line: the recipe with its fields, and the images."""
    from madn import recipes
    from madn.data.sets import DataOptions
    from madn.system.commandline import parse_groups
    from madn.train import RunOptions

    recipe = recipes.get(argv[argv.index("--recipe") + 1])
    _, data, recipe = parse_groups([RunOptions(), DataOptions(), recipe], argv, "madn.train", "Train a recipe.")
    return recipe, data


def measure(argv: list[str], seconds: float, clock: Callable[[], float] = time.monotonic) -> dict:
    """Train the recipe's longest stage on random crops for `seconds` after the first steps; nothing is saved."""
    import keras
    import numpy as np

    recipe, _ = recipe_and_options(argv)
    stages = recipe.stages(recipe.steps or 1000)
    stage, steps = max(stages, key=lambda stage: stage[1])
    model = stage.build_model(steps)
    images = np.random.default_rng(0).random((2, stage.batch, stage.crop, stage.crop, 3), np.float32)
    times = []

    class Timing(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done >= WARM_UP and (not times or clock() - times[-1][1] > SYNC_SECONDS):
                float(logs["loss"])
                times.append((self.done, clock()))
                self.model.stop_training = clock() - times[0][1] > seconds

    def batches():
        while not model.stop_training:
            yield images[0], images[1]

    model.stop_training = False
    model.fit(batches(), steps_per_epoch=1_000_000, epochs=1, verbose=0, shuffle=False, callbacks=[Timing()])
    return {
        "steps_per_second": rate(times),
        "steps": times[-1][0] - times[0][0],
        "crops_per_step": stage.batch,
        "crop": stage.crop,
        "stages": len(stages),
    }


def main(argv: list[str]) -> None:
    from madn.system.startup import start_keras

    start_keras(training=True)
    print(json.dumps(measure(argv[1:], float(argv[0]))))


if __name__ == "__main__":
    from madn.errors import run_command

    run_command(main)
