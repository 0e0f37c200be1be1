"""The command of the kit on the machine that runs it: run.sh --job NAME --minutes N --out DIR."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from gpu import KitError, jobs, machine
from gpu.call import Call


def main(argv: list[str]) -> int:
    began = time.monotonic()
    options = parser().parse_args(argv)
    kit, out, work = options.kit.resolve(), options.out.resolve(), options.work.resolve()
    queue = jobs.read_queue(kit / "queue.json")
    if options.list:
        print(
            "\n".join(
                f"{job.name:28} {job.minutes:g} minutes  {job.status if job.status == 'todo' else 'done'}  {job.about}"
                for job in queue.values()
            )
        )
        return 0
    job = jobs.find(queue, options.job)
    job.options(kit, options.cpu, None)  # what the kit lacks is said before anything is installed
    out.mkdir(parents=True, exist_ok=True)
    site = machine.install(kit, work)
    sys.path.insert(0, str(site))
    device = machine.device(options.cpu)
    trial = options.trial if options.trial is not None else 5.0 if options.cpu else 30.0
    call = Call(
        kit,
        out,
        work,
        site,
        device,
        options.minutes or job.minutes,
        options.limit or (60.0 if options.cpu else 9.5),
        trial,
        options.cpu,
        began,
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    print(f"{device}; {versions}; job {job.name}; installed after {time.monotonic() - began:.0f} s", flush=True)
    if options.send:
        from gpu.training import send_more

        return send_more(job, call, options.send)
    if job.kind == "bench":
        from gpu import bench

        return bench.run(job, call)
    from gpu.training import Training

    return Training(job, call)()


def parser() -> argparse.ArgumentParser:
    """The options of run.sh."""
    made = argparse.ArgumentParser(prog="run.sh", description=__doc__, allow_abbrev=False)
    made.add_argument("--job", default="bench", help="name of a job in queue.json")
    made.add_argument("--minutes", type=float, help="of training in this call; by default the job's")
    made.add_argument(
        "--limit",
        type=float,
        help="minutes of the whole call, installing and measuring included; "
        "training is cut so that it ends within them; by default 9.5, with --cpu 60",
    )
    made.add_argument(
        "--out",
        type=Path,
        default=Path(os.environ.get("OUT", "out")),
        help="folder that goes back: at most 8 files of at most 16 MiB",
    )
    made.add_argument("--work", type=Path, default=Path("/tmp/madn-gpu"), help="folder that stays on the machine")
    made.add_argument("--trial", type=float, help="seconds that each backend is tried for; by default 30, with --cpu 5")
    made.add_argument(
        "--cpu", action="store_true", help="rehearse on the processor, at the widths that the job has for it"
    )
    made.add_argument(
        "--send",
        type=int,
        metavar="N",
        help="run nothing: send the parts from number N on that an earlier call had no room for",
    )
    made.add_argument("--list", action="store_true", help="list the jobs, and stop")
    made.add_argument("--kit", type=Path, default=Path(__file__).resolve().parents[1], help=argparse.SUPPRESS)
    return made


def stop(number, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except KitError as problem:
        print(f"gpu-kit: error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("gpu-kit: stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
