"""The run folder: settings, checkpoints, logs and pictures of one training run.

settings.json                     recipe, every field, data, versions, device, command
data.json                         the images that it is trained on, with a hash of each
checkpoints/state-*.weights.h5    generator, discriminators, optimisers at a step: what --resume reads; the last three
checkpoints/last.weights.h5       the generator as it is
checkpoints/best.weights.h5       the generator at its best PSNR on held-out crops, where some were held out
log.csv, tensorboard/             every loss term, PSNR and learning rate
report.html                       the curves of the log in one page
samples/                          blurred | restored | sharp crops; latest.png is the newest
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from madn.data.fingerprint import changes
from madn.errors import UserError
from madn.system import hdf5
from madn.system.json_files import convert, decode_json, read_json
from madn.system.locking import held
from madn.system.reading import read_content
from madn.system.seals import is_whole
from madn.system.writing import HOST, remove_leftovers, write_durably

SETTINGS, DATA = "settings.json", "data.json"
STORED_SETTINGS = "madn_settings"  # A state's attribute.
STATE = re.compile(r"state-(\d+)\.weights\.h5")
TEMPORARY = ".temporary"
KEEP = 3  # So many states are kept.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """settings.json. All but the first three are for people, or were not there in earlier versions."""

    recipe: str
    fields: dict[str, Any]
    data: dict[str, Any]
    version: int = 0
    sha256: str = ""
    """Of all others, as `_digest` has it."""
    paper: str = ""
    pairs: dict[str, Any] = {}
    total_steps: int = 0
    weights: str | None = None
    options: dict[str, Any] = {}
    prepared: dict[str, dict[str, Any]] = {}
    """What the recipe says of what it took beside the images (`Recipe.prepare`)."""
    perceptual: dict[str, Any] | None = None
    """What earlier versions kept of that."""
    command: str = ""
    started: str = ""
    device: str = ""
    backend: str = ""
    versions: dict[str, str] = {}
    resumed: list[dict[str, Any]] = []


class Trained(msgspec.Struct, forbid_unknown_fields=True):
    """data.json: the images of a run."""

    version: int
    files: dict[str, str]
    """Path -> hash."""


def step_of(state: Path) -> int:
    """The step that a state's file has in its name."""
    return int(STATE.fullmatch(state.name)[1])


def best_row(rows: Iterable[dict[str, str]]) -> dict[str, str] | None:
    """The line of the log with the highest PSNR on held-out crops; None where no line has one."""
    return max((row for row in rows if row.get("val_psnr")), key=lambda row: float(row["val_psnr"]), default=None)


class RunFolder:
    """Paths and small files of a run; nothing is created before `write_settings`."""

    def __init__(self, path: str | Path):
        self._told = False
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
    def held(self) -> Iterator[None]:
        """A block in which no other process trains in this folder, and Python's temporary files lie in it.

        TensorFlow leaves some behind when it is killed; here the next training removes them. Raises `UserError` as
        `madn.system.locking.held`.
        """
        with held(self.path, "madn.train", "wait until it has ended, or choose another --run"):
            shutil.rmtree(self.path / TEMPORARY, ignore_errors=True)
            before = tempfile.tempdir
            try:
                (self.path / TEMPORARY).mkdir()
                tempfile.tempdir = str((self.path / TEMPORARY).absolute())
                yield
            finally:
                tempfile.tempdir = before
                shutil.rmtree(self.path / TEMPORARY, ignore_errors=True)

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
        """What settings.json says; None where there is no run.

        Where the file is missing or damaged, the newest whole state gives what it said, and a line says so. Raises
        `UserError` where that cannot be either.
        """
        try:
            settings, problem = self.written_settings(), "missing"
        except UserError as damaged:
            settings, problem = None, str(damaged)
        if settings is not None:
            return settings
        settings = self._settings_of_a_state()
        if settings is None and problem != "missing":
            raise UserError(problem)
        if settings is not None and not self._told:
            self._told = True
            why = f"{self.path / SETTINGS}: missing" if problem == "missing" else problem.split("; ")[0]
            print(f"warning: {why}; its content is taken from a checkpoint", file=sys.stderr)
        return settings

    def written_settings(self) -> dict | None:
        """What settings.json itself says; None where it is missing. Raises `UserError` where it is damaged."""
        file = self.path / SETTINGS
        if not file.is_file():
            return None
        what, way_out = "a run's settings", "choose another --run folder"
        settings = read_json(file, dict[str, Any], what, way_out)
        convert(settings, Settings, str(file), what, way_out)
        settings.pop("version", None)
        digest = settings.pop("sha256", None)
        if digest not in (None, _digest(settings)):
            raise UserError(
                f"{file}: not what madn wrote: damaged, or edited; choose another --run folder, or remove its line "
                "sha256 if the change is meant"
            )
        return settings

    def _settings_of_a_state(self) -> dict | None:
        """The settings that the newest whole state holds; None where there is none."""
        import h5py

        for state in self.states():
            with contextlib.suppress(OSError, UserError):
                content = read_content(state, math.inf)
                if not is_whole(content):
                    continue
                with h5py.File(hdf5.whole_content(content, state)) as file:
                    text = file.attrs.get(STORED_SETTINGS)
                if text is not None:
                    settings = decode_json(text, dict[str, Any], str(state), "a run's settings", "")
                    convert(settings, Settings, str(state), "a run's settings", "")
                    return settings
        return None

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

        Its length, its cache and the place of its VGG file may change; of --steps and --epochs only what counts.
        """
        if asked.get("steps") and asked["epochs"] != stored["epochs"]:
            raise UserError(
                f"{self.path}: this run's length is --steps {asked['steps']}, beside which --epochs {asked['epochs']} "
                "changes nothing; give another --steps"
            )
        changed = [
            key
            for key in asked
            if key not in ("steps", "epochs", "cache", "cache_gb", "vgg_weights") and asked[key] != stored.get(key)
        ]
        if changed:
            what = ", ".join(f"{key} {stored.get(key)} (asked: {asked[key]})" for key in changed)
            raise UserError(f"{self.path}: this run has other settings: {what}; leave them out or choose another --run")

    def check_data(self, files: Mapping[str, str]) -> None:
        """Raises `UserError` that names what was removed, added or changed since the run began.

        `files` is what `madn.data.fingerprint.fingerprints` gives. Runs of earlier versions have nothing to compare.
        """
        file = self.path / DATA
        if not file.is_file():
            return
        stored = read_json(file, Trained, "the list of a run's images", "remove it to go on without the comparison")
        if what := changes(stored.files, files):
            raise UserError(
                f"{self.path}: the images are no longer those of this run: {what}; put them back, or choose another "
                f"--run (with --weights {self.generator('last')} it starts from this one's generator)"
            )

    def write_data(self, files: Mapping[str, str]) -> None:
        """Keep the images that the run is trained on. Raises `UserError` where the folder cannot be written."""
        with self.writing():
            write_durably(
                self.path / DATA, (json.dumps({"version": 1, "files": dict(files)}, indent=1) + "\n").encode()
            )

    def result(self) -> str:
        """A text for the screen: where the run stands, and where its files are."""
        rows = self.rows()
        if not rows:
            return f"{self.log} is lost; weights {self.chosen('best')}"
        row = rows[-1]
        score = "{:.2f} dB (blurred {:.2f} dB)".format
        line = f"step {row['step']}: training crops {score(float(row['psnr']), float(row['blurred_psnr']))}"
        if row.get("val_psnr"):
            line += f"; held-out crops {score(float(row['val_psnr']), float(row['val_blurred_psnr']))}"
        return f"{line}\nweights {self.chosen('best')}, pictures {self.samples / 'latest.png'}, log {self.log}"

    def write_settings(self, settings: dict) -> None:
        """Raises `UserError` where the folder cannot be made or written."""
        sealed = {"version": 1, **settings, "sha256": _digest(settings)}
        with self.writing():
            write_durably(self.path / SETTINGS, (json.dumps(sealed, indent=2) + "\n").encode())

    def rows(self) -> list[dict[str, str]]:
        """The lines of log.csv; one that was cut short, or is damaged, is left out."""
        return [row for row in self._lines() if _is_whole_row(row)]

    def _lines(self) -> list[dict]:
        if not self.log.is_file():
            return []
        text = self.log.read_text(encoding="utf-8", errors="replace").replace("\0", "\ufffd")
        return list(csv.DictReader(line for line in text.splitlines(keepends=True) if line.endswith("\n")))

    def keep_rows(self, step: int) -> None:
        """Drop the lines after `step`, which a resumed run will write again, and damaged ones, which are counted."""
        lines = self._lines()
        rows = [row for row in lines if _is_whole_row(row)]
        if damaged := len(lines) - len(rows):
            print(f"warning: {self.log}: {damaged} damaged lines are left out", file=sys.stderr)
        rows = [row for row in rows if int(row["step"]) <= step]
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
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, header)
        writer.writeheader()
        writer.writerows(rows)
        write_durably(self.log, text.getvalue().encode())


def _digest(settings: dict) -> str:
    """The SHA-256 of settings, however they are laid out in a file."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _is_whole_row(row: dict) -> bool:
    """Whether a line of the log has its step, and a number or nothing in each other column but the judgements."""
    try:
        int(row["step"])
        [float(value) for name, value in row.items() if value != "" and name != "critics"]
    except (KeyError, TypeError, ValueError):
        return False
    return True
