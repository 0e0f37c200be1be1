"""The process stays within --memory-gb for photos of every shape; each is restored in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")  # `getrusage` would count the process that this one was forked from, too.
if not STATUS.is_file():
    pytest.skip("the system tells no process its own peak memory", allow_module_level=True)

SCRIPT = """
import pathlib, sys
import numpy as np
from madn.system.startup import start_keras
start_keras()
from madn.restoration.loading import load_network
height, width, memory_gb = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
restorer = load_network("madn-small").restorer(memory_gb=memory_gb, scale=1.0)
restorer(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
peak = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(restorer.base, 1024 * int(peak.split()[1]))
"""


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (128, 5_000), (700, 900)])
def test_the_peak_is_within_the_bound(shape):
    """Weights of a resize as a matrix would take 1.6 GB for a side of 20,000 pixels alone."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", SCRIPT, *map(str, shape), "1.6"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    base, peak = map(int, done.stdout.split())
    assert base < peak < 1.6e9
