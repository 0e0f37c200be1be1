"""Callbacks that keep a run from being lost: they save its state, stop it cleanly, and end it on faults."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Iterator

import keras

from madn.data.crops import CropSource
from madn.errors import UserError
from madn.training.checkpoint import Place, save_state, track_on, tracked_means
from madn.training.runfolder import RunFolder, step_of

NAMED = 16  # A message names so many files of a batch, and counts the rest.


def stopping_signals() -> list[signal.Signals]:
    """Ctrl-C, SIGTERM and, where a closed terminal is to end the process (`nohup` ignores it), SIGHUP."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none.
    asked = [signal.SIGINT, signal.SIGTERM]
    return asked if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN else [*asked, hangup]


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM or SIGHUP) and has saved its state."""


class Faults(keras.callbacks.Callback):
    """Stops the run on values that are not finite, before anything is saved; reports batches without content.

    The steps note both on the device, which is asked about once a second, and before the state is saved.

    Args:
        source: what the crops come from.
        crops: how many of them a step takes.
        say: prints a line beside the progress bar.
    """

    def __init__(self, run: RunFolder, source: CropSource, crops: int, say: Callable[[str], None]):
        super().__init__()
        self.run, self.source, self.crops, self.say = run, source, crops, say
        self.asked, self.told = time.monotonic(), 0

    def check(self) -> None:
        """Raises `UserError` where a value was not finite: it names the step, the terms, the files and the way out."""
        fault = self.model.fault()
        if fault:
            states = [path for path in self.run.states() if step_of(path) < fault.step]
            kept = f"{states[0]} is from before; " if states else "no checkpoint was saved before; "
            raise UserError(
                f"{self.run.path}: step {fault.step}: not finite: {fault.what}",
                f"step {fault.step} took its crops from {self._files(fault.step)}",
                f"{kept}look at these files, or start again with a lower --lr-g",
            )

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.asked > 1:
            self.check()
            self.asked = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.check()
        step = self.model.empty_batch()
        if step and step > self.told:
            self.told = step
            self.say(
                f"warning: {self.run.path}: step {step}: all its sharp crops are of one colour: {self._files(step)}"
            )

    def _files(self, step: int) -> str:
        """The files that a step, counted from 1, took its crops from."""
        names = list(dict.fromkeys(self.source.name(k) for k in range((step - 1) * self.crops, step * self.crops)))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more


class Waiting(keras.callbacks.Callback):
    """Comes last of all callbacks: after it a PyTorch run waits for its next batch (`AdversarialModel.waited`)."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.step_ended()


@contextlib.contextmanager
def signals_left_to_the_chief() -> Iterator[None]:
    """Ignore what asks a job to stop, as it reaches all its processes: the one that saves answers; others follow."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in stopping_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Checkpoints(keras.callbacks.Callback):
    """Saves the whole state: at the end of each round, when everything else is on disk, and inside long rounds.

    Args:
        place: the stage, which is written into the state.
        elapsed: gives the seconds that the run has taken.
        check: is called before saving, and raises where the state is not worth it.
        seconds: how often a state is saved inside a round; 0 means never.
        means: the means of a round that was broken off, as `load_state` gives them.
    """

    def __init__(
        self,
        run: RunFolder,
        place: Place,
        elapsed: Callable[[], float],
        check: Callable[[], None],
        seconds: float = 0,
        means: dict | None = None,
    ):
        super().__init__()
        self.run, self.place, self.elapsed, self.check = run, place, elapsed, check
        self.seconds, self.means, self.saved = seconds, means, time.monotonic()
        self.settings = run.written_settings()  # Each state holds a copy.

    def save(self, inside_a_round: bool) -> None:
        self.check()
        self.model.sync()
        path, place = self.run.state(self.model.step), dataclasses.replace(self.place, seconds=self.elapsed())
        with self.run.writing():
            means = tracked_means(self.model) if inside_a_round else None
            save_state(self.model, path, place, means, self.settings)
            self.run.keep_states(path)
        self.saved = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        if self.means:
            track_on(self.model, self.means)
            self.means = None

    def on_train_batch_end(self, batch, logs=None):
        if self.seconds and time.monotonic() - self.saved > self.seconds and batch + 1 < self.params["steps"]:
            self.save(inside_a_round=True)

    def on_epoch_end(self, epoch, logs=None):
        self.save(inside_a_round=False)


class StopCleanly(keras.callbacks.Callback):
    """Ends the run after the current step on Ctrl-C, SIGTERM or SIGHUP, its state saved; another Ctrl-C ends it now.

    It comes after `checkpoints` in the list of callbacks.
    """

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self.checkpoints, self.asked, self.before = checkpoints, False, {}

    def __enter__(self):
        for number in stopping_signals():
            self.before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number, frame):
        if self.asked and number == signal.SIGINT:  # The end of a job may send several of the others.
            raise KeyboardInterrupt
        self.asked = True

    def on_train_batch_end(self, batch, logs=None):
        if self.asked and batch + 1 < self.params["steps"]:
            self.checkpoints.save(inside_a_round=True)
            raise Stopped

    def on_epoch_end(self, epoch, logs=None):
        if self.asked:  # The round is complete, and all of it is saved.
            raise Stopped
