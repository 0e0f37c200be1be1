"""The training loop: a run from its first or its resumed step to its last."""

from pathlib import Path

from madn.data.batches import Shares, input_errors, training_batches
from madn.data.crops import CropSource
from madn.data.sets import FixedCrops
from madn.errors import UserError
from madn.training.callbacks.reporting import Clock, Pictures, Progress, Record
from madn.training.callbacks.safety import Checkpoints, Faults, StopCleanly, Waiting, signals_left_to_the_chief
from madn.training.checkpoint import Place, load_start, load_state, newest_whole, read_place
from madn.training.distribution import Devices
from madn.training.kept import write_lost_generators
from madn.training.model import AdversarialModel
from madn.training.recipe import Recipe
from madn.training.runfolder import RunFolder

PICTURES = 4


def train(
    name: str,
    recipe: Recipe,
    source: CropSource,
    run: RunFolder,
    validation: FixedCrops | None = None,
    round_steps: int = 0,
    weights: Path | None = None,
    minutes: float | None = None,
    checkpoint_minutes: float = 0,
    devices: Devices | None = None,
) -> int:
    """Train `recipe` on the crops of `source`, and return the last step.

    The run goes on from the newest whole state in its folder. Where there is none it starts, from the generator's
    `weights` if they are given. The recipe's stages follow each other, each from the weights of the one before. A round
    ends with validation, a line in the logs, a picture and checkpoints.

    Args:
        round_steps: steps of a round; 0 stands for an epoch, but at least 100 steps or a tenth of all.
        minutes: end the run before its last step; stages get their share of them.
        checkpoint_minutes: how often the state is saved inside a round; 0 means never.
        devices: share each batch. Of several processes one writes, and all read the same run folder.
    Raises:
        Stopped: the run was asked to stop; its state is saved.
        UserError: a run of several stages is to go on with another number of steps, every state is damaged, a loss or
            gradient is not finite, the disk is full, or another process has stopped.
    """
    devices = devices or Devices()
    total = recipe.total_steps(len(source))
    stages = recipe.stages(total)
    states = run.states()
    state = newest_whole(states) if states else None
    place, means = read_place(state) if state else Place(), {}
    if place.total not in (0, total):
        raise UserError(f"{run.path}: a run of several stages goes on with the steps that it was started with")
    if devices.chief:
        with run.writing():
            run.remove_leftovers()
    first_step, model = place.first_step, None
    devices.agree(total, "a run with the number of steps")
    for number, (stage, steps) in list(enumerate(stages))[place.stage :]:
        previous, model = model, stage.build_model(steps, devices)
        model.first_step = first_step
        if previous is not None:
            stage.transfer(previous.generator, model.generator)
            for domain, critic in previous.critics.items():
                model.critics[domain].set_weights(critic.get_weights())
        else:
            if state:
                means = load_state(model, state)
            elif weights:
                load_start(model.generator, weights, stage)
            if devices.chief:
                with run.writing():
                    run.keep_rows(model.step)
                    if state:
                        facts = {"recipe": name, "fields": stage.fields()}
                        write_lost_generators(run, model, state, facts, first_step, validation is not None, bool(means))
            devices.agree(model.step, "a checkpoint of step")
        if model.updates < steps:
            if len(stages) > 1:
                print(f"stage {number + 1} of {len(stages)}: {stage.stage_name}, {steps} steps", flush=True)
            share = sum(length for _, length in stages[: number + 1]) / total
            _train_stage(
                name,
                stage,
                model,
                Place(number, first_step, total if len(stages) > 1 else 0, place.seconds),
                means,
                first_step + steps,
                total,
                source,
                run,
                validation,
                round_steps,
                minutes and 60 * minutes * share,
                60 * checkpoint_minutes,
            )
        first_step, means = model.step, {}
    return model.step


def _train_stage(
    name: str,
    recipe: Recipe,
    model: AdversarialModel,
    place: Place,
    means: dict,
    last_step: int,
    total: int,
    source: CropSource,
    run: RunFolder,
    validation: FixedCrops | None,
    round_steps: int,
    seconds: float | None,
    checkpoint_seconds: float,
) -> None:
    """Train one stage's model from its current step to `last_step`, or until the run has taken `seconds`.

    `means` are the running means of the logs of a round that was broken off.
    """
    round_steps = round_steps or max(recipe.steps_per_epoch(len(source)), min(100, max(1, total // 10)))
    fixed = validation or FixedCrops.of(source, min(PICTURES, len(source)))
    facts = {"recipe": name, "fields": recipe.fields()}
    devices = model.devices
    progress = Progress(model.step, total, hidden=not devices.chief)
    record = Record(run, facts, place, run.rows(), validation is not None, model.step, progress.say)
    faults = Faults(run, source, recipe.batch, progress.say)
    checkpoints = Checkpoints(run, place, record.elapsed, faults.check, checkpoint_seconds, means)
    clock = Clock(record, seconds)
    stop = StopCleanly(checkpoints)
    callbacks = [progress, faults, clock, Waiting()]
    if devices.chief:
        callbacks[2:2] = [record, Pictures(run, *fixed.floats(PICTURES), events=record.events), checkpoints, stop]
    try:
        with stop if devices.chief else signals_left_to_the_chief(), input_errors():
            for first, steps, rounds in segments(model.step, last_step, round_steps):
                if clock.over:
                    break
                model.fit(
                    training_batches(source, recipe.batch, first, steps * rounds, Shares(*devices.shares)),
                    steps_per_epoch=steps,
                    epochs=rounds,
                    verbose=0,
                    shuffle=False,  # The source has shuffled the crops.
                    validation_data=validation and validation.floats(),
                    validation_batch_size=recipe.batch,
                    callbacks=callbacks,
                )
    finally:
        progress.close()


def segments(step: int, total: int, round_steps: int) -> list[tuple[int, int, int]]:
    """Cut [step, total) into (first step, steps in a round, rounds) so that rounds end at multiples of `round_steps`.

    A resumed run then ends its rounds where an undisturbed one does.
    """
    cuts = []
    if step % round_steps:
        steps = min(round_steps - step % round_steps, total - step)
        cuts.append((step, steps, 1))
        step += steps
    if rounds := (total - step) // round_steps:
        cuts.append((step, round_steps, rounds))
        step += rounds * round_steps
    if step < total:
        cuts.append((step, total - step, 1))
    return cuts
