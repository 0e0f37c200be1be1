"""A training state of a generator alone: its weights, and optimisers that stand at its step with empty moments.

    python -m gpu.state RUN GENERATOR.weights.h5 STEP SECONDS      writes RUN/checkpoints/state-STEP.weights.h5

The schedule of the learning rate, the crops and the log go on as if nothing had been lost. Critics start anew.
"""

from pathlib import Path

from madn import recipes
from madn.errors import run_command
from madn.system.startup import start_keras
from madn.training.runfolder import RunFolder


def stage_at(stages, step: int) -> tuple[int, int]:
    """(number of the stage that a step belongs to, the steps before it); a stage's last step is still its own."""
    first = 0
    for number, (_, steps) in enumerate(stages):
        if step <= first + steps or number == len(stages) - 1:
            return number, first
        first += steps


def main(argv: list[str]) -> None:
    run, file, step, seconds = RunFolder(argv[0]), Path(argv[1]), int(argv[2]), float(argv[3])
    start_keras(training=True)
    from madn.training.checkpoint import Place, load_generator, save_state

    settings = run.settings()
    recipe = recipes.from_fields(settings["recipe"], settings["fields"])
    stages = recipe.stages(settings["total_steps"])
    number, first = stage_at(stages, step)
    stage, steps = stages[number]
    model = stage.build_model(steps)
    load_generator(model.generator, file, stage)
    model.optimizer.iterations.assign(step - first)
    if model.d_optimizer is not None:
        model.d_optimizer.iterations.assign((step - first) * stage.critic_steps)
    place = Place(number, first, settings["total_steps"] if len(stages) > 1 else 0, seconds)
    save_state(model, run.state(step), place)


if __name__ == "__main__":
    run_command(main)
