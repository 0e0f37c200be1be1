"""MPRNet's own code, here a stand-in of one convolution, is timed in turns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_mprnet.py"
NETWORK = """
import torch
class MPRNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
    def forward(self, image):
        assert image.is_contiguous(memory_format=torch.channels_last) == (image.stride(1) == 1)
        return [self.conv(image) + image] * 3
"""
LOSSES = """
import torch
class CharbonnierLoss(torch.nn.Module):
    def forward(self, x, y):
        assert x.dtype == torch.float32
        return (x - y).abs().mean()
EdgeLoss = CharbonnierLoss
"""


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.process
@pytest.mark.torch
def test_the_ways_have_their_turns(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")
    (tmp_path / "MPRNet.py").write_text(NETWORK)
    (tmp_path / "losses.py").write_text(LOSSES)
    ways = ["official", "official-last-bf16"]
    done = run(tmp_path, "--ways", *ways, "--crop", 16, "--rounds", 3, "--json", tmp_path / "report.json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ways
    assert "1.00 of official" in done.stdout.splitlines()[0]
    report = json.loads((tmp_path / "report.json").read_text())
    assert {way: len(times) for way, times in report["seconds"].items()} == dict.fromkeys(ways, 3)
    assert all(time > 0 for times in report["seconds"].values() for time in times)


@pytest.mark.process
def test_a_folder_without_the_code(tmp_path):
    (tmp_path / "losses.py").write_text(LOSSES)
    done = run(tmp_path)
    assert done.returncode == 2 and "has no MPRNet.py; clone" in done.stderr and "Traceback" not in done.stderr
