"""One call of run.sh: what was asked for, where things are, and how much of its time is left."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """minutes: of training; limit: minutes of all of it, from `began` on. `site`: the packages that were installed."""

    kit: Path
    out: Path
    work: Path
    site: Path
    device: str
    minutes: float
    limit: float
    trial: float
    cpu: bool
    began: float

    @property
    def slack(self) -> float:
        """How much longer than on a GPU machine starting, measuring and saving may take: a rehearsal has time."""
        return 10.0 if self.cpu else 1.0

    def left(self) -> float:
        """Seconds until the call must end."""
        return self.began + 60 * self.limit - time.monotonic()


def module(name: str, *arguments: object) -> list[str]:
    """The command of a module of the kit or of madn."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def follow(
    command: list[str],
    log: Path,
    cwd: Path,
    environment: Mapping[str, str],
    seconds: float,
    tick: Callable[[], None],
    patience: float = 60.0,
) -> int:
    """Run a command, its output appended to `log`, calling `tick` once a second; returns its exit code.

    After `seconds`, or where this process is asked to stop, it is asked to stop (SIGTERM: `madn.train` saves then), and
    killed when it has not ended `patience` seconds later.
    """
    deadline = time.monotonic() + seconds
    with (
        open(log, "ab") as output,
        subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(1)
                tick()
            if process.poll() is None:
                process.terminate()
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def last_lines(log: Path, count: int = 8) -> str:
    """The end of what a command has printed, progress bars left out."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return "\n".join([line for line in lines if line.strip() and "it/s" not in line and "step/s" not in line][-count:])
