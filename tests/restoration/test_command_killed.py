"""kill -9 in the middle of a folder: what is there is whole, and the next run finishes the rest."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from madn.models.madn.recipe import MADN
from madn.system.writing import HOST
from madn.training.checkpoint import save_generator

TINY = replace(MADN, widths=(4, 8, 16), res_blocks=1)
PHOTOS = 50


@pytest.fixture
def start(tmp_path):
    """A folder of photos and a function that starts the command on it."""
    generator = TINY.build_generator()
    save_generator(generator, tmp_path / "tiny.weights.h5", "madn", TINY.fields(), step=0)
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    for i in range(PHOTOS):
        Image.fromarray(np.roll(pixels, i, axis=1)).save(tmp_path / f"in/{i:02}.{('png', 'jpg', 'tif')[i % 3]}")
    command = [sys.executable, "-m", "madn.deblur", "in", "-o", "out", "--model", "tiny.weights.h5"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)  # which an imported TensorFlow may have set here
    return lambda: subprocess.Popen(
        command, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_the_next_run_finishes_what_was_killed(tmp_path, start):
    out = tmp_path / "out"
    process = start()
    deadline = time.monotonic() + 120
    while len(list(out.glob("[0-9]*"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    results = [path for path in out.iterdir() if not path.name.startswith(".")]
    assert 3 <= len(results) < PHOTOS
    for path in results:
        with Image.open(path) as picture:
            picture.load()
            assert picture.size == (48, 48)
    finished = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results}

    todo = next(path for path in sorted((tmp_path / "in").iterdir()) if not (out / path.name).exists())
    (out / f".{todo.name}.{HOST}-{process.pid}.part").write_bytes(b"half a photo")  # had it been killed a moment later
    process = start()
    said = process.communicate(timeout=120)
    assert process.returncode == 0 and said[1] == "", said
    assert f"{PHOTOS - len(finished)} of {PHOTOS} restored" in said[0] and f"{len(finished)} skipped" in said[0]
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in (tmp_path / "in").iterdir())
    assert finished == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in finished}
