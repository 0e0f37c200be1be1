"""The machine that a job runs on: its packages, installed from wheels without a network, and its device."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from gpu import KitError
from gpu.parts import join

IMPORTS = {  # where pip's name is another
    "absl-py": "absl",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-image": "skimage",
}


def install(kit: Path, work: Path) -> Path:
    """Install the kit's wheels that this Python lacks into a folder of their own, once; returns the folder.

    No network and no dependencies: the kit's lists are whole. A package that is there already is left as it is,
    whatever its version, for it fits what else is there. Raises `KitError` where pip fails, or a package is lacking.
    """
    site = work / "site"
    wheels = {file.name: file for file in sorted(kit.glob("wheels*/*.whl"))} | _joined(kit, work)
    wanted = [file for name, file in wheels.items() if name.startswith("madn-") or not _is_there(name)]
    if not any(name.startswith("madn-") for name in wheels):
        raise KitError(f"{kit}: no wheel of madn in wheels/; build the kit with make gpu-kit")
    stamp = site / "installed"
    said = "\n".join(f"{file.name} {file.stat().st_size}" for file in wanted)
    if not stamp.is_file() or stamp.read_text() != said:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--upgrade",
            "--target",
            str(site),
            *map(str, wanted),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise KitError(f"pip cannot install the kit's wheels: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        stamp.write_text(said)
    lacking = [name for name in _needed(kit) if not _is_there(name, site)]
    if lacking:
        raise KitError(
            f"this Python lacks {', '.join(lacking)}, and so does the kit here: carry its wheels-* packs too"
        )
    return site


def _needed(kit: Path) -> list[str]:
    """pip's names of all that the kit lists."""
    lines = [line for file in sorted(kit.glob("gpu-kit*.txt")) for line in file.read_text().splitlines()]
    return [line.partition("==")[0] for line in lines if "==" in line]


def _is_there(name: str, site: Path | None = None) -> bool:
    """Whether a package, by its wheel's file name or pip's name, is in this Python, or in `site`."""
    name = name.partition("-")[0] if name.endswith(".whl") else name
    name = name.replace("_", "-").lower()
    module = IMPORTS.get(name, name.replace("-", "_").replace("markdown_it_py", "markdown_it"))
    if site and ((site / module).exists() or (site / f"{module}.py").is_file()):
        return True
    try:
        metadata.version(name)
        return True
    except metadata.PackageNotFoundError:
        return importlib.util.find_spec(module) is not None


def _joined(kit: Path, work: Path) -> dict[str, Path]:
    """Wheels that are larger than a pack and came in parts, made whole."""
    found = {}
    for part in sorted(kit.glob("wheels*/*.whl.part1of*")):
        name, _, count = part.name.rpartition(".part1of")
        names = [f"{name}.part{number}of{count}" for number in range(1, int(count) + 1)]
        parts = [next(kit.glob(f"wheels*/{each}"), part.with_name(each)) for each in names]
        if all(path.is_file() for path in parts) and not _is_there(name):
            found[name] = work / "wheels" / name
            if not found[name].is_file():
                join(parts, found[name])
    return found


def environment(site: Path, kit: Path, work: Path, backend: str, cpu: bool) -> dict[str, str]:
    """The environment of a job's processes: its packages, its backend, and no GPU for --cpu."""
    paths = [str(site), str(kit), *filter(None, [os.environ.get("PYTHONPATH")])]
    added = {
        "PYTHONPATH": os.pathsep.join(paths),
        "KERAS_BACKEND": backend,
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(work / "jax-cache"),
        "MADN_CACHE": str(work / "cache"),
        "MPLBACKEND": "agg",
    }
    if cpu:
        added |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **added}


def device(cpu: bool = False) -> str:
    """The GPU by name, memory and driver, as nvidia-smi says; else the processor."""
    if not cpu:
        try:
            ask = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
            done = subprocess.run(ask, capture_output=True, text=True, timeout=30)
            if done.returncode == 0 and done.stdout.strip():
                return "; ".join(" ".join(line.split()) for line in done.stdout.strip().splitlines())
        except (OSError, subprocess.TimeoutExpired):
            pass
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        names = []
    return f"CPU {names[0] if names else '(unknown)'}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """Python's, and those of the frameworks that this Python holds."""
    found = {"python": sys.version.split()[0]}
    for name in ("torch", "jax", "jaxlib", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found
