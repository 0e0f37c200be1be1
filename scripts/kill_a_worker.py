"""Kill one of two workers in the middle of a run, see the other end, start both again, and see the run finish.

    python scripts/kill_a_worker.py [--folder DIR]

Two processes of `python -m madn.train --strategy multiworker` on this machine, on the sample set. Exits with 1 where
the other worker does not end with 75 and a line, the run does not finish, or does not go on from its checkpoint.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from madn.training.runfolder import RunFolder

OPTIONS = (
    "-m madn.train --recipe madn --widths 4 8 8 --scales 2 --res-blocks 1 --d-widths 4 4 8 8 8 --d-dense "
    "16 --crop 32 --batch 4 --steps 300 --round-steps 50 --data samples --strategy multiworker --resume"
)
TRAIN = [sys.executable, *OPTIONS.split()]


def start_both(run: Path) -> list[subprocess.Popen]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
    return [
        subprocess.Popen(
            [*TRAIN, "--run", str(run)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}),
            },
        )
        for index in (0, 1)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="by default a temporary one")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    run = RunFolder(folder / "run")
    chief, other = start_both(run.path)
    while not run.states():
        if chief.poll() is not None:
            sys.exit(f"the run ended with {chief.returncode} before its first checkpoint:\n{chief.communicate()[0]}")
        time.sleep(0.2)
    other.kill()
    killed = time.monotonic()
    said = chief.communicate(timeout=600)[0].strip().splitlines()[-1]
    print(
        f"killed worker 1 after {run.states()[0].name}; worker 0 ended {time.monotonic() - killed:.1f} s later with "
        f"{chief.returncode}: {said}",
        flush=True,
    )
    if chief.returncode != 75 or "another worker has stopped" not in said:
        sys.exit(1)
    before = run.rows()
    both = start_both(run.path)
    said = [process.communicate(timeout=1800)[0] for process in both]
    steps = [int(row["step"]) for row in run.rows()]
    print(f"started again: ended with {[process.returncode for process in both]}, rounds at steps {steps}", flush=True)
    kept = run.rows()[: len(before)] == before and before  # with their seconds: not trained again
    if any(process.returncode for process in both) or steps != list(range(50, 301, 50)) or not kept:
        sys.exit("\n".join(said))


if __name__ == "__main__":
    main()
