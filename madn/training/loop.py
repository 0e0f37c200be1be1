"""A training run from its first or its resumed step to its last."""

from pathlib import Path

from madn.data.crops import CropSource
from madn.data.pipeline import input_errors, numpy_batches, training_dataset
from madn.data.sets import FixedCrops
from madn.training.callbacks import Pictures, Progress, Record, StopCleanly
from madn.training.checkpoint import load_generator, load_state
from madn.training.recipe import Recipe
from madn.training.runfolder import RunFolder

PICTURES = 4


def train(name: str, recipe: Recipe, source: CropSource, run: RunFolder, validation: FixedCrops | None = None,
          round_steps: int = 0, weights: Path | None = None) -> int:
    """Train `recipe` on the crops of `source`, in rounds of `round_steps` (0: an epoch, but at least 100 steps or a tenth
    of all).

    Goes on from the state in the run folder, if there is one, else starts, from the generator's `weights` if given.
    A round ends with validation, a line in the logs, checkpoints and a picture. Returns the last step. Raises
    `Stopped` where it was asked to stop, its state saved.
    """
    total = recipe.total_steps(len(source))
    model = recipe.build_model(total)
    step = 0
    if run.state.is_file():
        step = load_state(model, run.state)
        run.keep_rows(step)
    elif weights:
        load_generator(model.generator, weights, recipe)
    if step >= total:
        return step
    round_steps = round_steps or max(recipe.steps_per_epoch(len(source)), min(100, max(1, total // 10)))
    fixed = validation or FixedCrops.of(source, min(PICTURES, len(source)))
    record = Record(run, {"recipe": name, "fields": recipe.fields()}, run.rows(), "val_psnr" if validation else "psnr")
    progress = Progress(step, total)
    try:
        with StopCleanly(run) as stop, input_errors():
            for first, steps, rounds in segments(step, total, round_steps):
                model.fit(
                    _batches(source, recipe, first, steps * rounds), steps_per_epoch=steps, epochs=rounds, verbose=0,
                    shuffle=False,  # the crops come shuffled
                    validation_data=validation and validation.floats(),
                    validation_batch_size=recipe.batch,
                    callbacks=[progress, record, Pictures(run, *fixed.floats(PICTURES)), stop])
    finally:
        progress.close()
        record.close()
    return int(model.optimizer.iterations)


def segments(step: int, total: int, round_steps: int) -> list[tuple[int, int, int]]:
    """Cut [step, total) into (first step, steps in a round, rounds), rounds ending at multiples of `round_steps`.

    So a resumed run ends its rounds where an undisturbed one does; the first line of its log then averages what was
    left of its round.
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


def _batches(source: CropSource, recipe: Recipe, first: int, steps: int):
    """Batches for generator steps `first`, ...; tf.data, or NumPy where TensorFlow is not installed."""
    batch = recipe.batch * recipe.critic_steps
    try:
        return training_dataset(source, batch, first, steps)
    except ImportError:
        return numpy_batches(source, batch, first, steps)
