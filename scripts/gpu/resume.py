"""What an earlier call of a job left, on this machine or as files that came back from another, and going on from it."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu import KitError
from gpu.parts import join, write_json


@dataclass(frozen=True)
class Left:
    """What there is to go on from.

    kind: "run" (the run folder with its whole state is on this machine), "state" (that state came back in parts),
    "generator" (the generator alone did, in float16: the moments of both optimisers and the critics start anew), or
    "nothing".
    facts: the job.json of that call, folder: where its files are.
    """

    kind: str
    step: int = 0
    facts: dict = field(default_factory=dict)
    folder: Path | None = None


def find(job: str, home: Path, places: Sequence[Path]) -> Left:
    """The furthest of what is left of a job: in `home`, its folder on this machine, or in the `places` of files.

    On the same step the whole state goes before the generator. Prints a line for what is there and cannot be used.
    """
    found = [Left("nothing")]
    states = sorted((home / "run" / "checkpoints").glob("state-*.weights.h5"))
    if states and (home / "run" / "settings.json").is_file():
        found.append(Left("run", int(states[-1].name[6:-11]), _facts(home) or {}, home))
    for place in places:
        facts = _facts(place)
        if not facts or facts.get("job") != job or not facts.get("sent"):
            continue
        sent = facts["sent"]
        missing = [part["name"] for part in sent["parts"] if not _whole(place / part["name"], part["bytes"])]
        if missing:
            print(
                f"{place}: job.json names weights of step {sent['step']}, but {missing[0]} is missing or cut short; "
                "they are left out",
                flush=True,
            )
        else:
            found.append(Left(sent["kind"], sent["step"], facts, place))
    ranks = ("nothing", "generator", "state", "run")
    return max(found, key=lambda left: (left.step, ranks.index(left.kind)))


def restore(left: Left, home: Path, environment: Mapping[str, str], kit: Path) -> None:
    """Make the run folder of what came back in parts, so that `madn.train --resume` goes on from it.

    From a generator, a state is made whose optimisers stand at its step, and with them the learning rate.
    """
    if left.kind not in ("state", "generator"):
        return
    run, sent = home / "run", left.facts["sent"]
    write_json(run / "settings.json", left.facts["settings"])
    if (left.folder / "log.csv").is_file():
        (run / "log.csv").write_bytes((left.folder / "log.csv").read_bytes())
    parts = [left.folder / part["name"] for part in sent["parts"]]
    if left.kind == "state":
        join(parts, run / "checkpoints" / sent["file"], sent["sha256"])
        return
    generator = home / "generator.weights.h5"
    join(parts, generator, sent["sha256"])
    command = [
        sys.executable,
        "-m",
        "gpu.state",
        str(run),
        str(generator),
        str(left.step),
        str(left.facts["trained_seconds"]),
    ]
    done = subprocess.run(command, cwd=kit, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise KitError(
            "no state can be made of the generator that came back: "
            f"{((done.stderr + done.stdout).strip().splitlines() or ['?'])[-1]}"
        )


def _facts(folder: Path) -> dict | None:
    try:
        return json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
