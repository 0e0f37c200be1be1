"""The run folder: settings, checkpoints, logs and pictures of one training run.

settings.json                     recipe, every field, data, versions, device, command
checkpoints/state-*.weights.h5    generator, discriminators, optimisers at a step: what --resume reads; the last three
checkpoints/last.weights.h5       the generator as it is
checkpoints/best.weights.h5       the generator at its best PSNR on held-out crops, where some were held out
log.csv, tensorboard/             every loss term, PSNR and learning rate
samples/                          blurred | restored | sharp crops; latest.png is the newest
"""

import contextlib
import csv
import errno
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from madn.errors import UserError
from madn.system.reading import read_text
from madn.system.writing import HOST, atomic, remove_leftovers

SETTINGS = "settings.json"
STATE = re.compile(r"state-(\d+)\.weights\.h5")
KEEP = 3  # So many states are kept.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def step_of(state: Path) -> int:
    """The step that a state's file has in its name."""
    return int(STATE.fullmatch(state.name)[1])


class RunFolder:
    """Paths and small files of a run; nothing is created before `write_settings`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.log = self.path / "log.csv"
        self.tensorboard = self.path / "tensorboard"
        self.samples = self.path / "samples"

    def generator(self, which: str) -> Path:
        """The weights file of the `best` or `last` generator."""
        return self.checkpoints / f"{which}.weights.h5"

    def chosen(self, which: str) -> Path:
        """The weights file that a user of the run takes: the best is the last where nothing was held out.

        PSNR on training crops, whose blur differs from round to round, chooses no checkpoint. Runs of earlier versions
        have a file of that name all the same. Raises `UserError` as `settings` does.
        """
        return self.generator("last" if which == "best" and not self.held_out() else which)

    def held_out(self) -> bool:
        """Whether images were held out of the training; of a run that does not say, it is presumed."""
        pairs = (self.settings() or {}).get("pairs")
        return not isinstance(pairs, dict) or pairs.get("validation") != []

    def state(self, step: int) -> Path:
        """The file of the whole training state after `step`."""
        return self.checkpoints / f"state-{step:07d}.weights.h5"

    def states(self) -> list[Path]:
        """The states that are there, the newest first."""
        found = [path for path in self.checkpoints.glob("state-*.weights.h5") if STATE.fullmatch(path.name)]
        return sorted(found, key=step_of, reverse=True)

    def keep_states(self, newest: Path) -> None:
        """Remove all states but the last few up to `newest`; one beyond it is damaged: the run began before it."""
        states = self.states()
        wanted = states[states.index(newest) :][:KEEP]
        for path in states:
            if path not in wanted:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A block in which an `OSError` becomes a `UserError` that says in one line what the disk refused."""
        try:
            yield
        except OSError as problem:
            # A library may raise an error without its number, so the disk itself is asked.
            full = problem.errno in FULL or (problem.errno is None and shutil.disk_usage(self.path).free < 1e6)
            why, way_out = (
                ("the disk is full", "Make room")
                if full
                else (f"cannot be written ({problem.strerror or problem})", "Choose another --run, or put it right")
            )
            raise UserError(
                f"{self.path}: {why}; what was saved before is whole. {way_out}, then go on with --resume"
            ) from None

    def remove_leftovers(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote."""
        for folder in (self.path, self.checkpoints, self.samples):
            remove_leftovers(folder / part.name[1:].rpartition(f".{HOST}-")[0] for part in folder.glob(".*.part"))

    def settings(self) -> dict | None:
        """What settings.json says; None where there is no run. Raises `UserError` where it cannot be read."""
        file = self.path / SETTINGS
        if not file.is_file():
            return None
        try:
            settings = json.loads(read_text(file))
            settings["recipe"], settings["fields"], settings["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError(f"{file}: not a run's settings; choose another --run folder") from None
        return settings

    def settings_to_go_on(self, recipe: str | None, resume: bool) -> dict | None:
        """The settings of the run that is to be resumed; None where a run starts.

        Raises `UserError` where the folder holds a run of another recipe, or one that is not to be resumed.
        """
        settings = self.settings()
        if settings and recipe not in (None, settings["recipe"]):
            raise UserError(
                f"{self.path}: this run folder belongs to recipe {settings['recipe']}, not {recipe}; "
                "choose another --run"
            )
        if settings is None and self.states():
            raise UserError(
                f"{self.path}: checkpoints of a run whose {SETTINGS} is gone; choose another --run (with "
                f"--weights it starts from a generator, if {self.checkpoints} holds one)"
            )
        if (self.checkpoints / "state.weights.h5").is_file():
            raise UserError(
                f"{self.path}: a run of an earlier version, which this one cannot go on with; choose "
                f"another --run, and start from its generator with --weights {self.generator('last')}"
            )
        if not resume and self.states():
            raise UserError(f"{self.path}: holds a run already; add --resume to go on with it, or choose another --run")
        return settings if resume else None

    def check_same(self, stored: dict, asked: dict) -> None:
        """Raises `UserError` where a resumed run is asked for other settings.

        Its length, its cache and the place of its VGG file may change.
        """
        changed = [
            key
            for key in asked
            if key not in ("steps", "epochs", "cache", "cache_gb", "vgg_weights") and asked[key] != stored.get(key)
        ]
        if changed:
            what = ", ".join(f"{key} {stored.get(key)} (asked: {asked[key]})" for key in changed)
            raise UserError(f"{self.path}: this run has other settings: {what}; leave them out or choose another --run")

    def result(self) -> str:
        """A text for the screen: where the run stands, and where its files are."""
        row = self.rows()[-1]
        score = "{:.2f} dB (blurred {:.2f} dB)".format
        line = f"step {row['step']}: training crops {score(float(row['psnr']), float(row['blurred_psnr']))}"
        if row.get("val_psnr"):
            line += f"; held-out crops {score(float(row['val_psnr']), float(row['val_blurred_psnr']))}"
        return f"{line}\nweights {self.chosen('best')}, pictures {self.samples / 'latest.png'}, log {self.log}"

    def write_settings(self, settings: dict) -> None:
        """Raises `UserError` where the folder cannot be made or written."""
        with self.writing(), atomic(self.path / SETTINGS) as part:
            part.write_text(json.dumps(settings, indent=2) + "\n")

    def rows(self) -> list[dict[str, str]]:
        """The lines of log.csv; a last one that was cut short is left out."""
        if not self.log.is_file():
            return []
        with self.log.open(newline="") as file:
            return list(csv.DictReader(line for line in file if line.endswith("\n")))

    def keep_rows(self, step: int) -> None:
        """Drop the lines after `step`, which a resumed run will write again."""
        rows = [row for row in self.rows() if int(row["step"]) <= step]
        if not rows:
            self.log.unlink(missing_ok=True)
            return
        self._write_rows(list(rows[0]), rows)

    def add_row(self, row: dict) -> None:
        """Add a line to log.csv; a stage with other terms adds its columns, and leaves those that it lacks empty."""
        before = self.rows()
        header = list(dict.fromkeys([*(before[0] if before else ()), *row]))
        self._write_rows(header, [*before, row])

    def _write_rows(self, header: list[str], rows: list[dict]) -> None:
        with atomic(self.log) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(rows)
