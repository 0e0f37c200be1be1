"""Start a second training in the run folder of a first one, at random moments, and look whether the first one suffers.

    python scripts/two_trainers.py [--tries 20] [--seed 0] [--folder DIR]

The first is `python -m madn.train` for many steps. At each try a second one is started in the same folder, some time
after the one before was refused: it must end with exit code 2 and one line that names the first by process and host.
At the end the first is stopped by SIGTERM and checked (every state whole, the log without gaps, no unfinished file).
Then it is resumed and killed by SIGKILL, and resumed once more: a lock that outlived it would refuse that. Exits with 1
if anything is not so.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import kill_and_resume
from kill_and_resume import pictures, wait

from madn.system.locking import LOCK
from madn.training.checkpoint import newest_whole
from madn.training.runfolder import RunFolder

start = partial(kill_and_resume.start, steps=1_000_000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="for the run, instead of a temporary one; must not exist")
    options = parser.parse_args()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="two_trainers-")) / "runs"
    folder.mkdir(parents=True)
    data, run, failed, rng = pictures(folder / "data"), RunFolder(folder / "run"), 0, random.Random(options.seed)
    first = start(data, run.path, resume=False)
    wait(first, lambda: (run.path / LOCK).is_file())
    for number in range(options.tries):
        moment = rng.random() * 6
        until = time.monotonic() + moment
        wait(first, lambda until=until: time.monotonic() > until)
        before = len(run.states())
        second = start(data, run.path, resume=before > 0)
        said = second.communicate()[0].strip().splitlines()
        right = (
            second.returncode == 2
            and first.poll() is None
            and said[-1].startswith(f"madn: error: {run.path}: in use by madn.train, process {first.pid} on ")
            and not any("Traceback" in line for line in said)
        )
        failed += not right
        at = f"step {run.states()[0].name[6:13].lstrip('0')}" if run.states() else "no state yet"
        print(
            f"try {number + 1}, at {at}: {'refused' if right else f'NOT SO: {second.returncode} {said[-3:]}'}",
            flush=True,
        )
    first.send_signal(signal.SIGTERM)
    said = first.communicate()[0]
    steps = [int(row["step"]) for row in run.rows()]
    whole = [newest_whole([state]) for state in run.states()]
    wrong = []
    if first.returncode != 130:
        wrong.append(f"the first ended with {first.returncode}: {said[-1000:]}")
    if steps != list(range(3, steps[-1] + 1, 3)):
        wrong.append(f"log.csv has the steps {steps}")
    if not whole or list(run.path.rglob(".*")):
        wrong.append(f"states {whole}, left {list(run.path.rglob('.*'))}")
    again = start(data, run.path)
    newest = run.states()[0]
    wait(again, lambda: run.states()[0] != newest)
    again.kill()
    again.communicate()
    if not (run.path / LOCK).exists():
        wrong.append("the killed one held no lock")
    last = start(data, run.path)
    newest = run.states()[0]
    wait(last, lambda: run.states()[0] != newest)
    last.send_signal(signal.SIGTERM)
    said = last.communicate()[0]
    if last.returncode != 130:
        wrong.append(f"after a kill the run could not go on: {last.returncode}: {said[-1000:]}")
    print(
        f"{options.tries} tries, {failed} not refused; the first's run: {wrong or f'whole, {steps[-1]} steps'}; "
        f"after a kill: {'gone on' if last.returncode == 130 else 'REFUSED'}"
    )
    shutil.rmtree(folder)
    return 1 if failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
