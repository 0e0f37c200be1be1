"""What keeps a run from being lost: states on disk, a clean stop, and a look at what its steps noticed."""

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

NAMED = 16  # files of a batch


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C or SIGTERM) and has saved its state."""


class Faults(keras.callbacks.Callback):
    """Stops the run on values that are not finite, before anything is saved; reports batches without content.

    The steps keep note of both on the device; it is asked about once a second, and before the state is saved.

    Args:
        source, crops: where the crops of a batch come from, and how many a step consumes.
        say: prints a line beside the progress bar.
    """

    def __init__(self, run: RunFolder, source: CropSource, crops: int, say: Callable[[str], None]):
        super().__init__()
        self.run, self.source, self.crops, self.say = run, source, crops, say
        self.asked, self.told = time.monotonic(), 0

    def check(self) -> None:
        """Raises `UserError` with the step, the terms, the files and the way out, if there was a fault."""
        fault = self.model.fault()
        if fault:
            states = [path for path in self.run.states() if step_of(path) < fault.step]
            kept = f"{states[0]} is from before; " if states else "no checkpoint was saved before; "
            raise UserError(
                f"{self.run.path}: step {fault.step}: not finite: {fault.what}\n"
                f"step {fault.step} took its crops from {self._files(fault.step)}\n"
                f"{kept}look at these files, or start again with a lower --lr-g"
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
        """The files of the crops that a step, counted from 1, consumed."""
        names = list(dict.fromkeys(self.source.name(k) for k in range((step - 1) * self.crops, step * self.crops)))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more


class Waiting(keras.callbacks.Callback):
    """Comes last: from here to the next step, a PyTorch run waits for its batch (`AdversarialModel.waited`)."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.step_ended()


@contextlib.contextmanager
def signals_left_to_the_chief() -> Iterator[None]:
    """Ctrl-C and SIGTERM, which reach all processes of a job, are answered by the one that saves; the others follow."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Checkpoints(keras.callbacks.Callback):
    """Saves the whole state at the end of each round, when all else of the round is on disk, and inside long ones.

    Args:
        place: the stage, written into the state.
        elapsed: gives the seconds that the run has taken.
        check: called before saving; raises where the state is not worth it.
        seconds: between two states inside a round; 0: none there.
        means: what the means of a round that was broken off are made of (`load_state`).
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

    def save(self, inside_a_round: bool) -> None:
        self.check()
        self.model.sync()
        path, place = self.run.state(self.model.step), dataclasses.replace(self.place, seconds=self.elapsed())
        with self.run.writing():
            save_state(self.model, path, place, tracked_means(self.model) if inside_a_round else None)
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
    """Ctrl-C and SIGTERM end the run after the step at hand, its state saved; a second Ctrl-C ends it at once.

    Comes after `checkpoints` in the list of callbacks.
    """

    def __init__(self, checkpoints: Checkpoints):
        super().__init__()
        self.checkpoints, self.asked, self.before = checkpoints, False, {}

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
            self.checkpoints.save(inside_a_round=True)
            raise Stopped

    def on_epoch_end(self, epoch, logs=None):
        if self.asked:  # the round is complete, and everything of it saved
            raise Stopped
