"""Kill a short training run at random moments, resume it, and compare it with the run that nobody disturbed.

    python scripts/kill_and_resume.py [--tries 30] [--seed 0] [--folder DIR]

Every try starts `python -m madn.train --deterministic` in a fresh folder and ends it with SIGKILL at a random moment:
in one of five tries during the start-up, else some time after a step drawn from the whole run has been saved, and in
every other try as soon after that as a file is being written. Then the run is resumed, in every third try killed once
more, and at its end held against the undisturbed one: every dataset of the newest state and of both generators,
log.csv but for the times, every picture. The times of the rows up to the newest state tell that it went on from there.
Before that, two accidents: the newest checkpoint cut short, and a full disk (a small tmpfs, where one can be mounted).
Exits with 1 if anything differs.
"""

import argparse
import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from madn.training.runfolder import RunFolder

OPTIONS = (
    "-m madn.train --recipe madn --widths 4 8 16 --res-blocks 1 --d-widths 4 4 4 4 8 --d-dense 8 "
    "--adversarial-domains image --crop 32 --batch 2 --validation GOPR0002_00_00 --round-steps 3 --deterministic "
    "--checkpoint-minutes 0.01"
)
STEPS = 36
STARTING = 0.2  # share of the moments before the first step
TIMES = ("seconds", "input_wait")


def start(data: Path, run: Path, resume: bool = True, steps: int = STEPS) -> subprocess.Popen:
    command = [sys.executable, *OPTIONS.split(), "--steps", str(steps), "--data", str(data), "--run", str(run)]
    return subprocess.Popen(
        command + ["--resume"] * resume, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(data: Path, run: Path, process: subprocess.Popen | None = None) -> str:
    """Resume until the end, or wait for the `process` that runs; returns what was said."""
    process = process or start(data, run)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{run}: the resumed run ended with {process.returncode}:\n{said[-3000:]}")
    return said


def kill(process: subprocess.Popen, run: Path, moment: float, starting: float, writing: bool) -> bool:
    """SIGKILL at a moment in [0, 1) of the run, if `writing` not before a temporary file is there; False: it had ended.

    `starting`: seconds of a start-up. The moments after it go by the steps that are saved, whatever the machine's load.
    """
    step = int((moment - STARTING) / (1 - STARTING) * STEPS) if moment >= STARTING else 0
    if step:
        wait(process, lambda: newest_step(run) >= step)
    # Between two steps, or in the start-up: of the first process, or of one that resumes beyond that step already.
    delay = moment * 997 % 1 * starting / 10 if step else moment / STARTING * starting
    until = time.monotonic() + delay
    wait(process, lambda: time.monotonic() > until)
    if writing:
        wait(process, lambda: any(run.rglob(".*.part")) or time.monotonic() > until + 20)
    process.kill()
    process.communicate()
    return process.returncode < 0


def wait(process: subprocess.Popen, reached: Callable[[], bool]) -> None:
    """Until something is so, or the process has ended."""
    while process.poll() is None and not reached():
        time.sleep(0.0005)


def newest_step(run: Path) -> int:
    states = RunFolder(run).states()
    return int(states[0].name.split(".")[0].removeprefix("state-")) if states else 0


def content(run: Path) -> dict:
    """Everything of a finished run that must not depend on how it came to its end."""
    folder = RunFolder(run)
    found = {}
    for name, file in (
        ("state", folder.states()[0]),
        ("last", folder.generator("last")),
        ("best", folder.generator("best")),
    ):
        with h5py.File(file) as opened:
            items = []
            opened.visititems(lambda key, item, items=items: items.append((key, item)))
            found |= {
                f"{name} {key}": np.asarray(each).tobytes() for key, each in items if isinstance(each, h5py.Dataset)
            }
            found[f"{name} recipe"] = opened.attrs.get("madn_recipe")
    with folder.log.open(newline="") as file:
        for row in csv.DictReader(file):
            found |= {f"log {row['step']} {key}": value for key, value in row.items() if key not in TIMES}
    found |= {f"picture {path.name}": path.read_bytes() for path in folder.samples.iterdir()}
    found["states"] = [path.name for path in folder.states()][:1]
    return found


def differences(expected: dict, run: Path) -> list[str]:
    found = content(run)
    left = [path.name for path in run.rglob(".*.part")]
    wrong = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
    return [
        f"{key}: {found.get(key)} for {expected.get(key)}" if key.startswith("log") else key for key in wrong
    ] + left


def times(run: Path, until: int) -> dict:
    """The log's times up to a step: a run that was begun again instead of resumed has others."""
    log = RunFolder(run).log
    if not until or not log.exists():
        return {}
    with log.open(newline="") as file:
        return {
            row["step"]: [row[key] for key in TIMES]
            for row in csv.DictReader(file)
            if row["step"].isdigit() and int(row["step"]) <= until
        }


def pictures(folder: Path) -> Path:
    """Two scenes of three pairs of noise in the GoPro layout."""
    rng = np.random.default_rng(0)
    for scene in ("GOPR0001_00_00", "GOPR0002_00_00"):
        for i in range(3):
            for kind in ("blur", "sharp"):
                path = folder / "train" / scene / kind / f"{i:06}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return folder


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 24 MB, or None where none can be mounted."""
    folder.mkdir()
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    except OSError:
        made = None
    if made is None or made.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def cut_short(data: Path, run: Path) -> str:
    """Kill a run, cut its newest state in half, and resume it."""
    process = start(data, run)
    wait(process, lambda: len(RunFolder(run).states()) > 1)
    process.kill()
    process.communicate()
    newest = RunFolder(run).states()[0]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    lines = [line for line in finish(data, run).splitlines() if "damaged" in line]
    if len(lines) != 1 or newest.name not in lines[0]:
        raise SystemExit(f"{run}: {newest.name} was cut short, and the run said {lines}")
    return lines[0]


def full_disk(data: Path, disk: Path) -> str:
    """Fill the disk under a run, make room again and resume it."""
    run, filler = disk / "run", disk / "filler"
    process = start(data, run)
    wait(process, lambda: len(RunFolder(run).states()) > 1)
    with filler.open("wb", buffering=0) as file:
        try:
            while process.poll() is None:
                file.write(bytes(4096))
        except OSError:
            pass
    said = process.communicate()[0].splitlines()
    if process.returncode != 2 or f"{run}: the disk is full" not in said[-1] or any("Traceback" in x for x in said):
        raise SystemExit(f"{run}: on the full disk the run ended with {process.returncode}:\n" + "\n".join(said[-30:]))
    filler.unlink()
    resumed = finish(data, run)
    if "damaged" in resumed:
        raise SystemExit(f"{run}: the full disk left a damaged checkpoint:\n{resumed}")
    return said[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="for the runs, instead of a temporary one; must not exist")
    options = parser.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="kill_and_resume-")) / "runs"
    folder.mkdir(parents=True)
    data, failed = pictures(folder / "data"), 0

    began = time.monotonic()
    process = start(data, folder / "whole")
    wait(process, lambda: newest_step(folder / "whole") > 0)
    starting = time.monotonic() - began
    finish(data, folder / "whole", process)
    expected = content(folder / "whole")
    print(
        f"undisturbed: {time.monotonic() - began:.0f} s, {starting:.0f} of them to the first checkpoint; "
        f"{len(expected)} values to compare",
        flush=True,
    )

    def report(name: str, what: str, run: Path, kept: dict | None = None) -> None:
        nonlocal failed
        wrong = differences(expected, run)
        after = times(run, STEPS)
        wrong += [f"log {step} times" for step, row in (kept or {}).items() if after.get(step) != row]
        failed += bool(wrong)
        print(f"{name}: {what}: {'the same' if not wrong else f'DIFFERENT in {len(wrong)}: {wrong[:5]}'}", flush=True)
        shutil.rmtree(run)

    report("a cut checkpoint", cut_short(data, folder / "cut"), folder / "cut")
    with small_disk(folder / "disk") as disk:
        if disk:
            report("a full disk", full_disk(data, disk), disk / "run")
        else:
            print("a full disk: left out, as no tmpfs can be mounted here (mount needs root)", flush=True)
    rng, killed = random.Random(options.seed), 0
    for number in range(options.tries):
        run, moments = folder / f"try{number}", []
        # Spread over the whole run, in an order that tells nothing when it is broken off.
        place = (number * 0.618034 + rng.random() / options.tries) % 1
        for moment in (place, rng.random())[: 1 + (number % 3 == 2)]:
            while not (hit := kill(start(data, run), run, moment, starting, writing=number % 2 == 1)) and not moments:
                shutil.rmtree(run)  # It had ended before: this try has to be another one.
                moment = rng.random()
            step = newest_step(run)
            moments.append(f"{'killed' if hit else 'had ended'} after {f'step {step}' if step else 'no checkpoint'}")
            killed += hit
        kept = times(run, newest_step(run))
        finish(data, run)
        report(f"try {number + 1}", ", ".join(moments), run, kept)
    print(f"{options.tries} tries, {killed} kills, {failed} differences, {time.monotonic() - began:.0f} s")
    shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
