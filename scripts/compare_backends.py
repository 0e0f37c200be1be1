"""Time the training step of each recipe on several backends, in turns within one run.

    python scripts/compare_backends.py [--recipes madn sisnet] [--backends tensorflow jax] [--precision float32]
        [--batch 1] [--crop 128] [--rounds 2] [--repeats 5] [--seconds 5] [--json FILE]

Each measurement is `madn.benchmarks.timing.measure_step` in a process of its own, the backends of a recipe one after
the other and that `--rounds` times, so that what else keeps the machine busy meets all of them. Prints the median of
all steps and its ratio to the first backend's. Compiling is not timed.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

from madn.bench import PAPERS
from madn.benchmarks.suite import TIMING, in_own_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=PAPERS)
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows: list[dict] = []
    machines: dict[str, dict] = {}
    for recipe in asked.recipes:
        os.environ["KERAS_BACKEND"] = asked.backends[0]
        stages = in_own_process(TIMING, "about", [recipe], True)["stages"][recipe]
        for stage, name in enumerate(stages):
            for precision in asked.precision:
                step = {"source": recipe, "precision": precision, "stage": stage, "batch": asked.batch}
                step |= {"crop": asked.crop, "repeats": asked.repeats, "seconds": asked.seconds}
                seconds: dict[str, list[float]] = {backend: [] for backend in asked.backends}
                for _ in range(asked.rounds):
                    for backend in asked.backends:
                        os.environ["KERAS_BACKEND"] = backend  # The process that measures inherits it.
                        if backend not in machines:
                            machines[backend] = in_own_process(TIMING, "about", [], False)
                        found = in_own_process(TIMING, "measure_step", **step)
                        rows.append({"backend": backend, "recipe": recipe, "stage_name": name, **step, **found})
                        seconds[backend] += found.get("seconds", [])
                        if "failed" in found:
                            print(f"{recipe} on {backend}: {found['failed']}", flush=True)
                        if asked.json:
                            report = {"environments": machines, "training": rows}
                            asked.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                medians = {backend: statistics.median(each) for backend, each in seconds.items() if each}
                first = medians.get(asked.backends[0])
                cells = [
                    f"{backend} {middle:.2f} s" + (f" ({middle / first:.2f})" if first else "")
                    for backend, middle in medians.items()
                ]
                title = f"{recipe} {name}".strip()
                print(f"{title}, {precision}, {asked.batch} of {asked.crop}: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
