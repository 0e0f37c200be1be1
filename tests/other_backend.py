"""Code run by another Keras backend, in a process where TensorFlow cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name == "tensorflow" else super().find_spec(name, *rest)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
"""


def run_on(backend: str, code: str, *arguments) -> str:
    """The last line that the code prints; `sys` is imported, its `argv[1:]` the arguments."""
    path = os.pathsep.join([os.getcwd(), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW + code, *map(str, arguments)],
        text=True,
        capture_output=True,
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]
