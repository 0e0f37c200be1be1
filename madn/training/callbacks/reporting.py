"""Callbacks that show how a run goes: progress, logs, the best and the last generator, pictures, and the clock."""

import contextlib
import shutil
import sys
import time

import keras
import numpy as np
from tqdm import tqdm

from madn.errors import one_line
from madn.imaging.grids import triple_labels, write_grid
from madn.nn.losses import batch_psnr
from madn.system.writing import atomic
from madn.training.callbacks.events import Events
from madn.training.checkpoint import Place, save_generator
from madn.training.gan_monitor import MEANING
from madn.training.kept import best_score
from madn.training.runfolder import RunFolder

EARLY = 100  # In so many steps of a stage a discriminator cannot have learned much.


class Progress(keras.callbacks.Callback):
    """One bar over the whole run, with the time left."""

    def __init__(self, first_step: int, total_steps: int, hidden: bool = False):
        super().__init__()
        self.bar = tqdm(
            total=total_steps, initial=first_step, unit="step", dynamic_ncols=True, smoothing=0.05, disable=hidden
        )
        self.shown = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        if time.monotonic() - self.shown > 1:
            self.shown = time.monotonic()
            self.bar.set_postfix(loss=f"{float(logs['loss']):.4f}", psnr=f"{float(logs['psnr']):.2f} dB", refresh=False)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        with contextlib.suppress(OSError):  # The terminal may have been closed.
            self.bar.write(one_line(line), file=sys.stderr)

    def close(self):
        self.bar.close()


class Record(keras.callbacks.Callback):
    """Writes a line into log.csv and TensorBoard at the end of each round, and the last and the best generator.

    Without held-out crops there is no best one: PSNR on training crops says which crops a round happened to have.

    Among other things the line says for what share of the round the steps waited for input, and whether a
    discriminator has won or collapsed.

    Args:
        facts: the recipe's name and fields, which are written into each generator's file.
        place: the stage, and the seconds that the run has taken before.
        rows: the log so far, which holds the best score of a resumed run.
        validated: whether held-out crops choose a best generator, by "val_psnr".
        step: the step at which the run goes on.
        say: prints a line beside the progress bar.
    """

    def __init__(
        self, run: RunFolder, facts: dict, place: Place, rows: list[dict], validated: bool, step: int = 0, say=print
    ):
        super().__init__()
        self.run, self.facts, self.validated, self.say = run, facts, validated, say
        self.started = time.monotonic() - max(place.seconds, float(rows[-1]["seconds"]) if rows else 0)
        self.best = best_score(run, rows, place.first_step)
        self.events = Events(run.tensorboard, step + 1)
        self.judged_from, self.verdicts = place.first_step + EARLY, {}

    def elapsed(self) -> float:
        """How many seconds the run has trained, before an interruption, too."""
        return time.monotonic() - self.started

    def on_epoch_begin(self, epoch, logs=None):
        self.round_began, self.model.waited = time.monotonic(), 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.trained = time.monotonic()  # The round's time ends here: neither validation nor saving is part of it.

    def on_epoch_end(self, epoch, logs=None):
        step = self.model.step
        row = {
            "step": step,
            "seconds": round(self.elapsed(), 1),
            "input_wait": round(self.model.waited / (self.trained - self.round_began), 4),
            "lr_g": float(self.model.optimizer.learning_rate),
        }
        if self.model.d_optimizer is not None:
            row["lr_d"] = float(self.model.d_optimizer.learning_rate)
        row |= {name: float(value) for name, value in logs.items()}
        facts = {"step": step, **{name: row[name] for name in ("val_psnr", "val_blurred_psnr") if name in row}}
        with self.run.writing():
            self.events.write(step, row)
            self.run.add_row(row | self._critics(row))
            save_generator(self.model.generator, self.run.generator("last"), **self.facts, **facts)
            if self.validated and row["val_psnr"] > self.best:
                self.best = row["val_psnr"]
                save_generator(self.model.generator, self.run.generator("best"), **self.facts, **facts)

    def _critics(self, row: dict) -> dict:
        """Judge the discriminators: returns their column of the log, and prints a line where a verdict changes."""
        if not self.model.critics:
            return {}
        rounds = [each for each in (*self.run.rows(), row) if int(each["step"]) > self.judged_from]
        verdicts = self.model.objective.critic_verdicts(rounds)
        for domain, verdict in verdicts.items():
            if verdict and verdict != self.verdicts.get(domain):
                self.say(
                    f"warning: {self.run.path}: step {row['step']}: the {domain} discriminator {verdict}: "
                    f"{MEANING[verdict]}"
                )
        self.verdicts = verdicts
        return {"critics": "; ".join(f"{domain} {verdict}" for domain, verdict in verdicts.items() if verdict)}


class Clock(keras.callbacks.Callback):
    """Ends the current round, and with it the run, when it has taken `seconds` by `record`; None means never."""

    def __init__(self, record: Record, seconds: float | None):
        super().__init__()
        self.record, self.seconds = record, seconds

    @property
    def over(self) -> bool:
        return self.seconds is not None and self.record.elapsed() >= self.seconds

    def on_train_batch_end(self, batch, logs=None):
        if self.over:
            self.model.stop_training = True


class Pictures(keras.callbacks.Callback):
    """Draws a few fixed crops at the end of each round: blurred | restored | sharp, with their PSNR.

    At most `keep` pictures stay, spread evenly over the run. The rounds in the log decide which, so that an
    interruption does not matter.

    Args:
        blurred, sharp: a few float32 crops (n, height, width, 3) in [0, 1].
    """

    def __init__(self, run: RunFolder, blurred: np.ndarray, sharp: np.ndarray, keep: int = 20):
        super().__init__()
        self.run, self.blurred, self.sharp, self.keep = run, blurred, sharp, keep

    def on_epoch_end(self, epoch, logs=None):
        restored = keras.ops.convert_to_numpy(self.model.predict_on_batch(self.blurred)["deblurred"])
        rows = [(b, np.clip(r, 0, 1), s) for b, r, s in zip(self.blurred, restored, self.sharp, strict=True)]
        labels = [triple_labels(*(float(batch_psnr(x[None], sharp[None])) for x in pair)) for *pair, sharp in rows]
        newest = self._file(self.model.step)
        with self.run.writing():
            write_grid(newest, rows, labels)
            with atomic(self.run.samples / "latest.png") as part:
                shutil.copyfile(newest, part)
            wanted = {self._file(step) for step in evenly([int(row["step"]) for row in self.run.rows()], self.keep)}
            for picture in set(self.run.samples.glob("step-*.png")) - wanted:
                picture.unlink()

    def _file(self, step: int):
        return self.run.samples / f"step-{step:07d}.png"


def evenly(steps: list[int], count: int) -> set[int]:
    """Choose at most `count` of the steps: every one, or every second, fourth and so on; and the newest."""
    stride = 1
    while len(steps[::stride]) >= count:
        stride *= 2
    return {*steps[::stride], *steps[-1:]}
