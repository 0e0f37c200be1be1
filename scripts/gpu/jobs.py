"""The queue: what is to be run on a GPU, in order of worth, and what has been. queue.json holds it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from gpu import KitError

KINDS, BACKENDS = ("bench", "train"), ("torch", "jax")
MOST_MINUTES = 8.0  # of training: with installing, trying and measuring, a call ends within ten
PACK = re.compile(r"crops\d+|photos\d+|test|weights/[A-Za-z0-9._-]+")
STEPS = "{steps}"  # in a command: as many as the job's minutes hold at the pace that was tried
DONE = ("date", "device", "result")


@dataclass(frozen=True)
class QueuedJob:
    """A line of the queue.

    kind: "bench", or "train" with the options of `madn.train` in `command`, where `STEPS` is filled in.
    minutes: of training in all; of a bench, in all.
    backend: torch, jax, or None for the faster one.
    packs: files and folders of the kit that it reads, beside the wheels.
    start: weights to start from -> options that go with them; the first that is there is taken.
    cpu: options added by --cpu, which rehearses the job at a width that a processor computes.
    round_seconds: between two lines of its log.
    status: "todo", or {"date", "device", "result"}, where the result is a file of the project.
    """

    name: str
    kind: str
    about: str
    minutes: float
    command: list[str]
    cpu: list[str] = field(default_factory=list)
    packs: list[str] = field(default_factory=list)
    start: dict[str, list[str]] = field(default_factory=dict)
    backend: str | None = None
    round_seconds: float = 30.0
    status: str | dict = "todo"

    def options(self, kit: Path, cpu: bool, steps: int | None) -> list[str]:
        """The options of the job's command, with `steps` and its start weights filled in.

        Raises `KitError` where a pack is missing, or all start weights are.
        """
        missing = [pack for pack in self.packs if not (kit / pack).exists()]
        if missing:
            raise KitError(
                f"job {self.name} reads {', '.join(missing)}, which the kit here does not hold: carry it "
                "too, or build it (make gpu-kit with DATA, PHOTOS and WEIGHTS)"
            )
        words = [str(steps or 1000) if word == STEPS else word for word in self.command]
        if self.start:
            there = [file for file in self.start if (kit / file).is_file()]
            if not there:
                raise KitError(
                    f"job {self.name} starts from {' or '.join(self.start)}, and the kit here holds "
                    "neither: build it with WEIGHTS=FOLDER"
                )
            words += ["--weights", there[0], *self.start[there[0]]]
        return words + (self.cpu if cpu else [])


def read_queue(
    file: Path, project: Path | None = None, check_recipe: Callable[[str], None] | None = None
) -> dict[str, QueuedJob]:
    """Name -> job, in the file's order. `project`: its folder, where the results that are named must be.

    Raises `KitError` for a file or a job that is not as `QueuedJob` says.
    """
    try:
        lines = json.loads(file.read_text(encoding="utf-8"))["jobs"]
        jobs = [_job(line) for line in lines]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise KitError(f"{file}: not a queue of jobs ({type(problem).__name__}: {problem})") from None
    queue = {}
    for job in jobs:
        problem = _problem(job) or (project and _no_result(job, project))
        if job.name in queue:
            problem = "is there twice"
        if problem:
            raise KitError(f"{file}: job {job.name} {problem}")
        if check_recipe and job.kind == "train":
            check_recipe(recipe_of(job))
        queue[job.name] = job
    return queue


def find(queue: dict[str, QueuedJob], name: str) -> QueuedJob:
    """Raises `KitError` naming all where there is none of that name."""
    if name not in queue:
        raise KitError(f"no job {name!r} in the queue: there are {', '.join(queue)}")
    return queue[name]


def recipe_of(job: QueuedJob) -> str:
    """The recipe that a training job's command names."""
    return job.command[job.command.index("--recipe") + 1]


def _job(line: dict) -> QueuedJob:
    unknown = sorted(set(line) - {each.name for each in fields(QueuedJob)})
    if unknown:
        raise ValueError(f"{line.get('name')}: unknown field {unknown[0]}")
    return QueuedJob(**line)


def _problem(job: QueuedJob) -> str | None:
    if not isinstance(job.name, str) or not re.fullmatch("[a-z0-9][a-z0-9_-]*", job.name):
        return "has a name that is no plain one (small letters, digits, - and _)"
    if job.kind not in KINDS:
        return f"is of kind {job.kind!r}, and there are {' and '.join(KINDS)}"
    if not isinstance(job.minutes, (int, float)) or not 0 < job.minutes <= MOST_MINUTES:
        return f"takes {job.minutes} minutes; it must be above 0 and at most {MOST_MINUTES:g}"
    if job.backend not in (None, *BACKENDS):
        return f"asks for backend {job.backend!r}; it is null, {' or '.join(BACKENDS)}"
    for name in ("command", "cpu", "packs"):
        value = getattr(job, name)
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            return f"has a {name} that is no list of words"
    if odd := [pack for pack in (*job.packs, *job.start) if not PACK.fullmatch(pack)]:
        return f"reads {odd[0]!r}, which is no pack: crops1, ..., photos1, ..., test, weights/FILE"
    if job.kind == "train" and "--recipe" not in job.command[:-1]:
        return "names no --recipe in its command"
    if job.kind == "train" and "test" not in job.packs:
        return "is not measured: it lacks the pack test"
    if job.status != "todo" and not (
        isinstance(job.status, dict)
        and set(job.status) == set(DONE)
        and all(isinstance(value, str) and value for value in job.status.values())
    ):
        return f'has a status that is neither "todo" nor {{{", ".join(DONE)}}}'
    if isinstance(job.status, dict) and not re.fullmatch(r"\d{4}-\d\d-\d\d", job.status["date"]):
        return f"has the date {job.status['date']!r}, which is not like 2026-01-31"
    return None


def _no_result(job: QueuedJob, project: Path) -> str | None:
    if isinstance(job.status, dict) and not (project / job.status["result"]).is_file():
        return f"names the result {job.status['result']}, which is no file of the project"
    return None
