"""The bench job: training steps and restoration of every recipe on each backend, while there is time.

    python -m gpu.bench WORK.json ROWS.jsonl SECONDS      measures in one process, by KERAS_BACKEND

What `madn.bench` times, by its own functions, but one process after the other on the same backend: starting PyTorch or
JAX for every line would take the minutes that there are. A process that dies takes its line with it, and the next goes
on behind it. Where a batch is too large for the memory it is halved.
"""

import argparse
import functools
import gc
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gpu import machine, parts
from gpu.call import Call, follow, last_lines, module
from gpu.jobs import BACKENDS, QueuedJob

KEY = ("backend", "what", "recipe", "precision", "batch_asked", "crop_asked")
GRACE = 20  # Seconds that a measurement may go on when the time of its backend is over.
NO_MEMORY = ("out of memory", "outofmemory", "resource_exhausted", "resource exhausted")


def measurements(command: Sequence[str], kit: Path) -> list[dict]:
    """What a backend is to measure, training in bfloat16 first: the order in which a short time is best spent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--precision", nargs="+", default=["mixed_bfloat16", "float32"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args(command)
    common = {
        "repeats": asked.repeats,
        "seconds": asked.seconds,
        "vgg_weights": [str(file.relative_to(kit)) for file in sorted((kit / "weights").glob("vgg*"))],
    }
    return [
        {
            "what": what,
            "recipe": recipe,
            "precision": precision,
            "batch_asked": asked.batch,
            "crop_asked": asked.crop,
            "size": asked.size,
            **common,
        }
        for what in ("training", "restoration")
        for precision in asked.precision
        for recipe in asked.recipes
    ]


def left_to_do(work: Sequence[dict], rows: Sequence[dict], backend: str) -> list[dict]:
    """The measurements of which there is no row yet."""
    done = {key(row) for row in rows}
    return [line for line in work if key({**line, "backend": backend}) not in done]


def key(row: Mapping) -> tuple:
    """What tells measurements apart."""
    return tuple(row.get(name) for name in KEY)


def run(job: QueuedJob, call: Call) -> int:
    """Returns the exit code: 0 where something was measured."""
    home = call.work / job.name
    home.mkdir(parents=True, exist_ok=True)
    work = measurements(job.options(call.kit, call.cpu, None), call.kit)
    rows_file, log = home / "rows.jsonl", home / "output.txt"
    if not rows_file.is_file():
        earlier = earlier_rows([call.out, call.kit / "runs" / job.name], job.name, call.device)
        rows_file.write_text("".join(json.dumps(row) + "\n" for row in earlier))
    backends, skipped = [job.backend] if job.backend else list(BACKENDS), {}
    ends, shown = time.monotonic() + min(60 * call.minutes, call.left() - 10), len(read(rows_file))
    print(f"{len(work)} measurements on {' and on '.join(backends)}; {shown} were there already", flush=True)

    def tick() -> None:
        nonlocal shown
        rows = read(rows_file)
        for row in rows[shown:]:
            print(line(row, rows), flush=True)
        if len(rows) > shown:
            write(job, call, rows, skipped)
        shown = len(rows)

    for number, backend in enumerate(backends):
        until = time.monotonic() + max(0.0, ends - time.monotonic()) / (len(backends) - number)
        environment = machine.environment(call.site, call.kit, call.work, backend, call.cpu)
        while (rest := left_to_do(work, read(rows_file), backend)) and until - time.monotonic() > 5:
            parts.write_json(home / "work.json", {"work": rest})
            before, seconds = len(read(rows_file)), until - time.monotonic()
            code = follow(
                module("gpu.bench", home / "work.json", rows_file, round(seconds, 1)),
                log,
                call.kit,
                environment,
                seconds + GRACE,
                tick,
                2.0,
            )
            tick()
            if code == 0:
                break
            if time.monotonic() >= until + GRACE:
                print(f"{backend}: its time was over within a measurement, which another call begins again", flush=True)
                break
            died = rest[len(read(rows_file)) - before :]
            why = (last_lines(log, 1) or "no message")[:200].removeprefix("madn: error: ")
            if code == 2 and len(died) == len(rest):  # it has not begun: this backend cannot be started here
                skipped[backend] = why
                print(f"{backend}: {why}", flush=True)
            if not died or backend in skipped:
                break
            with open(rows_file, "a") as file:
                failed = {"backend": backend, **died[0], "failed": f"its process ended with {code}: {why}"}
                file.write(json.dumps(failed) + "\n")
            tick()
    rows = read(rows_file)
    write(job, call, rows, skipped)
    open_lines = sum(len(left_to_do(work, rows, backend)) for backend in backends)
    print(f"{len(rows)} rows; {open_lines} measurements are left for another call", flush=True)
    if log.is_file():
        (call.out / "output.txt").write_bytes(log.read_bytes()[-200_000:])
    return 0 if any("failed" not in row for row in rows) else 1


def earlier_rows(places: Sequence[Path], name: str, device: str) -> list[dict]:
    """What an earlier call measured on such a device and brought back."""
    for place in places:
        try:
            facts = json.loads((place / "job.json").read_text())
        except (OSError, ValueError):
            continue
        if facts.get("job") == name and facts.get("device") == device:
            return facts["rows"]
    return []


def write(job: QueuedJob, call: Call, rows: list[dict], skipped: dict[str, str]) -> None:
    """job.json with every row and why a backend was skipped, and the table for people."""
    call.out.mkdir(parents=True, exist_ok=True)
    parts.write_json(
        call.out / "job.json",
        {
            "job": job.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": call.device,
            "versions": machine.versions(),
            "rehearsal_on_cpu": call.cpu,
            "skipped": skipped,
            "rows": rows,
        },
    )
    (call.out / "table.txt").write_text("\n".join(line(row, rows) for row in rows) + "\n")


def read(rows_file: Path) -> list[dict]:
    """The rows so far; a last one that was cut short is left out."""
    lines = rows_file.read_text().splitlines(True) if rows_file.is_file() else []
    return [json.loads(text) for text in lines if text.endswith("\n")]


def line(row: dict, rows: Sequence[dict]) -> str:
    """A row for people: time, memory and the share of the matrix product's rate in the same process."""
    what = f"{row['recipe']} {row.get('stage_name', '')}".rstrip()
    who = f"{row['backend']:5} {row['what']:11} {what} {row['precision']}"
    if "failed" in row:
        return f"{who}: {row['failed']}"
    middle = sorted(row["seconds"])[len(row["seconds"]) // 2]
    product = row["matrix_product"]
    peak, macs = product["macs"] / min(product["seconds"]), operations(row, rows)
    share = f"{macs / middle / peak:.0%} of the matrix rate" if macs else "operations unknown"
    size = f"{row['crops_per_step']} of {row['crop']}" if row["what"] == "training" else "x".join(map(str, row["size"]))
    return (
        f"{who}, {size}: {middle:.4f} s, {share} ({2e-12 * peak:.1f} TFLOP/s), "
        f"{row['peak_memory_bytes'] / 2**30:.1f} GiB"
    )


def operations(row: dict, rows: Sequence[dict]) -> int | None:
    """Multiply-adds of a row; where its backend counts none, those of the same network on the other."""
    if row.get("macs"):
        return row["macs"]
    same = ("what", "recipe", "stage", "crops_per_step", "crop", "tile_size")
    for other in rows:
        if other.get("macs") and all(other.get(name) == row.get(name) for name in same):
            return other["macs"]
    return None


def measure_all(work: Sequence[dict], rows_file: Path, seconds: float, backend: str) -> None:
    """Measure line by line, a row each as soon as it is there; none is begun when `seconds` are over."""
    ends = time.monotonic() + seconds
    for todo in work:
        if time.monotonic() > ends:
            return
        for row in measured(todo):
            with open(rows_file, "a") as file:
                file.write(json.dumps({"backend": backend, **todo, **row}) + "\n")
        free_memory(backend)


def measured(todo: dict) -> list[dict]:
    """One row, or one for each stage of a recipe that trains in stages."""
    from madn.benchmarks import timing
    from madn.benchmarks.suite import guarded

    common = {
        "source": todo["recipe"],
        "precision": todo["precision"],
        "repeats": todo["repeats"],
        "seconds": todo["seconds"],
    }
    if todo["what"] == "restoration":
        size = tuple(map(int, todo["size"].split("x")))
        return [guarded(lambda: timing.measure_photo(**common, size=size))]
    found = []
    for number, stage in enumerate(timing.stages(todo["recipe"])):
        batch = todo["batch_asked"]
        while True:
            step = {"stage": number, "batch": batch, "crop": todo["crop_asked"], "vgg_weights": todo["vgg_weights"]}
            row = guarded(functools.partial(timing.measure_step, **common, **step))
            if batch == 1 or not any(sign in row.get("failed", "").lower() for sign in NO_MEMORY):
                break
            batch //= 2
            free_memory()
        found.append({"stage": number, "stage_name": stage.stage_name if "egnet" in todo["recipe"] else "", **row})
    return found


def free_memory(backend: str | None = None) -> None:
    """Give back what the last measurement held."""
    import keras

    keras.backend.clear_session()
    gc.collect()
    if (backend or keras.backend.backend()) == "torch":
        import torch

        torch.cuda.empty_cache()


def main(argv: list[str]) -> None:
    from madn.system.startup import start_keras

    start_keras(training=True)
    import keras

    measure_all(json.loads(Path(argv[0]).read_text())["work"], Path(argv[1]), float(argv[2]), keras.backend.backend())


if __name__ == "__main__":
    from madn.errors import run_command

    run_command(main)
