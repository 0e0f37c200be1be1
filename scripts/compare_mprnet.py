"""Time the training step of EGNet's backbone beside that of its authors' own code, in turns within one run on a CPU.

    git clone https://github.com/swz30/MPRNet
    python scripts/compare_mprnet.py MPRNet/Deblurring [--ways official tensorflow] [--batch 1] [--crop 128]
        [--rounds 6] [--json FILE]

Each way is a process of its own that makes a step when it is asked to, the ways one after the other and that `--rounds`
times, so that what else keeps the machine busy meets all of them. The first two steps, which compile, are not timed.
All take the loss of MPRNet's paper and Adam. The authors' code, whose licence allows no commercial use, is no part of
madn: `official` is their network and step as they are, `official-last` the same with channels last in memory. The
others are ours by backend. `-bf16` computes in bfloat16, by PyTorch's autocast and by our mixed_bfloat16.
"""

import argparse
import functools
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WAYS = ("official", "official-last", "tensorflow", "torch")
WAYS += tuple(f"{way}-bf16" for way in WAYS)
READY = "ready"


def official_step(folder: str, way: str, batch: int, crop: int) -> Callable[[], object]:
    """The loop body of the authors' train.py, on random crops."""
    import torch

    sys.path.insert(0, folder)
    from losses import CharbonnierLoss, EdgeLoss
    from MPRNet import MPRNet

    order = torch.channels_last if "last" in way else torch.contiguous_format
    network = MPRNet().train().to(memory_format=order)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4)
    blurred, sharp = (torch.rand(batch, 3, crop, crop).to(memory_format=order) for _ in range(2))
    charbonnier, edges = CharbonnierLoss(), EdgeLoss()

    def step() -> float:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=way.endswith("bf16")):
            restored = network(blurred)
        restored = [image.float() for image in restored]
        loss = sum(charbonnier(image, sharp) + 0.05 * edges(image, sharp) for image in restored)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def our_step(way: str, batch: int, crop: int) -> Callable[[], object]:
    """`train_on_batch` of the recipe egnet-mprnet, which returns numbers: the step has ended."""
    from dataclasses import replace

    from madn.system.startup import start_keras

    start_keras()  # One operation at a time, as madn.bench has it.
    from madn import recipes
    from madn.benchmarks.timing import sample_crops

    precision = "mixed_bfloat16" if way.endswith("bf16") else "float32"
    recipe = replace(recipes.get("egnet-mprnet"), batch=batch, crop=crop, precision=precision)
    model = recipe.build_model(1000)
    blurred, sharp = sample_crops(batch, crop)
    return lambda: model.train_on_batch(blurred, sharp, return_dict=True)


def answer(folder: str, way: str, batch: int, crop: int) -> None:
    """In a process of its own: two steps, then one for each line that is read; after them READY is printed."""
    step = official_step(folder, way, batch, crop) if way.startswith("official") else our_step(way, batch, crop)
    step(), step()
    print(READY, flush=True)
    for _ in sys.stdin:
        step()
        print(READY, flush=True)


def ask(way: str, process: subprocess.Popen) -> None:
    """Have a process make a step, and wait for its end."""
    process.stdin.write("\n")
    process.stdin.flush()
    wait_for(way, process)


def wait_for(way: str, process: subprocess.Popen) -> None:
    if process.stdout.readline().strip() != READY:
        raise SystemExit(f"{way}: no step was made; what is wrong stands above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the authors' code: a folder with MPRNet.py and losses.py")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.answer:
        answer(asked.folder, asked.ways[0], asked.batch, asked.crop)
        return
    missing = [name for name in ("MPRNet.py", "losses.py") if not (Path(asked.folder) / name).is_file()]
    if missing:
        parser.error(f"{asked.folder} has no {' and no '.join(missing)}; clone https://github.com/swz30/MPRNet")
    from madn.system.startup import start_keras

    start_keras()
    from madn.benchmarks.costs import in_turns
    from madn.benchmarks.reference_rates import environment

    processes: dict[str, subprocess.Popen] = {}
    for way in asked.ways:
        command = [sys.executable, __file__, asked.folder, "--answer", "--ways", way]
        command += ["--batch", str(asked.batch), "--crop", str(asked.crop)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "KERAS_BACKEND": way.removesuffix("-bf16")},
        )
        wait_for(way, process)
        processes[way] = process
    steps = {way: functools.partial(ask, way, process) for way, process in processes.items()}
    seconds = in_turns(steps, asked.rounds, math.inf)
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    for way, times in seconds.items():
        ratio = medians[way] / medians[asked.ways[0]]
        print(f"{way}: {medians[way]:.2f} s ({min(times):.2f} to {max(times):.2f}), {ratio:.2f} of {asked.ways[0]}")
    for process in processes.values():
        process.stdin.close()
        process.wait()
    if asked.json:
        report = {"environment": environment(), "batch": asked.batch, "crop": asked.crop, "medians": medians}
        report["seconds"] = seconds
        asked.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
