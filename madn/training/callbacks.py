"""What happens around the training step: progress, logs, checkpoints, pictures, a clean stop."""

import math
import shutil
import signal
import time

import keras
import numpy as np
from tqdm import tqdm

from madn.errors import UserError
from madn.imaging.files import atomic
from madn.imaging.pictures import comparison, triple_labels
from madn.training.checkpoint import Place, save_generator, save_state
from madn.training.runfolder import RunFolder


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and has saved its state."""


class Progress(keras.callbacks.Callback):
    """One bar over the whole run, with the time left."""

    def __init__(self, first_step: int, total_steps: int):
        super().__init__()
        self.bar = tqdm(total=total_steps, initial=first_step, unit="step", dynamic_ncols=True, smoothing=0.05)
        self.shown = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        if time.monotonic() - self.shown > 1:
            self.shown = time.monotonic()
            self.bar.set_postfix(loss=f"{float(logs['loss']):.4f}", psnr=f"{float(logs['psnr']):.2f} dB", refresh=False)

    def close(self):
        self.bar.close()


class Record(keras.callbacks.Callback):
    """At the end of each round: a line in log.csv and TensorBoard, the state, the last and the best generator.

    Args:
        facts: recipe's name and fields, written into each generator's file.
        place: the stage, written into the state.
        rows: the log so far, which holds the best score of a resumed run.
    """

    def __init__(self, run: RunFolder, facts: dict, place: Place, rows: list[dict], score: str):
        super().__init__()
        self.run, self.facts, self.place, self.score = run, facts, place, score
        self.started = time.monotonic() - (float(rows[-1]["seconds"]) if rows else 0)
        # A new stage's network may be another one, and be called worse by the same score at first.
        scores = [float(row[score]) for row in rows if row.get(score) and int(row["step"]) > place.first_step]
        self.best = max(scores, default=-math.inf)
        try:
            from tensorboard.summary import Writer

            self.writer = Writer(str(run.tensorboard))
        except ImportError:  # a machine with PyTorch alone may lack it; log.csv holds the same numbers
            self.writer = None

    def elapsed(self) -> float:
        """Seconds of training, those before an interruption included."""
        return time.monotonic() - self.started

    def on_epoch_end(self, epoch, logs=None):
        step = self.model.step
        row = {"step": step, "seconds": round(self.elapsed(), 1),
               "lr_g": float(self.model.optimizer.learning_rate)}
        if self.model.d_optimizer is not None:
            row["lr_d"] = float(self.model.d_optimizer.learning_rate)
        row |= {name: float(value) for name, value in logs.items()}
        if not math.isfinite(row["loss"]):
            raise UserError(f"{self.run.path}: the loss is {row['loss']} at step {step}; the checkpoints of the round "
                            "before are kept. Start again with a lower --lr-g")
        if self.writer:
            for name, value in row.items():
                self.writer.add_scalar(name, value, step=step)
            self.writer.flush()
        self.run.add_row(row)
        facts = {"step": step, **{name: row[name] for name in ("val_psnr", "val_blurred_psnr") if name in row}}
        save_generator(self.model.generator, self.run.generator("last"), **self.facts, **facts)
        if row[self.score] > self.best:
            self.best = row[self.score]
            save_generator(self.model.generator, self.run.generator("best"), **self.facts, **facts)
        save_state(self.model, self.run.state, self.place)

    def close(self):
        if self.writer:
            self.writer.close()


class Clock(keras.callbacks.Callback):
    """Ends the round at hand, and with it the run, when `seconds` have passed since `record` started; None: never."""

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
    """At the end of each round, fixed crops: blurred | restored | sharp, with their PSNR.

    Args:
        blurred, sharp: a few float32 crops (n, height, width, 3) in [0, 1].
    """

    def __init__(self, run: RunFolder, blurred: np.ndarray, sharp: np.ndarray, keep: int = 20):
        super().__init__()
        self.run, self.blurred, self.sharp, self.keep = run, blurred, sharp, keep

    def on_epoch_end(self, epoch, logs=None):
        restored = keras.ops.convert_to_numpy(self.model.predict_on_batch(self.blurred)["deblurred"])
        rows = [(b, np.clip(r, 0, 1), s) for b, r, s in zip(self.blurred, restored, self.sharp, strict=True)]
        labels = [triple_labels(*row) for row in rows]
        newest = self.run.samples / f"step-{self.model.step:07d}.png"
        comparison(rows, newest, labels)
        with atomic(self.run.samples / "latest.png") as part:
            shutil.copyfile(newest, part)
        kept = sorted(self.run.samples.glob("step-*.png"))
        # Thin the series out evenly: drop every second one, the first and the newest stay.
        if len(kept) > self.keep:
            for picture in kept[1:-1:2]:
                picture.unlink()


class StopCleanly(keras.callbacks.Callback):
    """Ctrl-C and SIGTERM end the run after the step at hand, its state saved; a second Ctrl-C ends it at once."""

    def __init__(self, run: RunFolder, place: Place):
        super().__init__()
        self.run, self.place, self.asked, self.before = run, place, False, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def on_train_batch_end(self, batch, logs=None):
        if self.asked and batch + 1 < self.params["steps"]:
            save_state(self.model, self.run.state, self.place)
            raise Stopped

    def on_epoch_end(self, epoch, logs=None):
        if self.asked:  # the round is complete, and `Record`, which comes before, has saved everything
            raise Stopped
