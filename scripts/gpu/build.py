"""Write the kit: `make gpu-kit DATA=... PHOTOS=... WEIGHTS=...`; python -m gpu.build does it."""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gpu import KitError, jobs, parts
from madn import recipes
from madn.errors import UserError, run_command
from madn.system.commandline import parse

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
LISTS = ("gpu-kit.txt", "gpu-kit-more.txt")
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17)] + [
    "manylinux2014_x86_64",
    "manylinux1_x86_64",
]
MOST_PACK = 45
TRANSFER, CHECKOUT = 64 * parts.MIB, 12 * parts.MIB  # what one call takes along, and what a checkout takes of it


@dataclass(frozen=True)
class KitOptions:
    """What goes into the kit beside the wheels."""

    data: tuple[str, ...] = ("samples",)
    """Sets of pairs to cut training crops from, as madn.train takes them; the test pairs are the first set's."""
    photos: Path | None = None
    """Folder of sharp photographs."""
    weights: tuple[Path, ...] = ()
    """Weights files, or folders of them: srn, madn-srn, and VGG16's and VGG19's; stored in float16."""
    out: Path = Path("build/gpu-kit")
    """Folder of the kit. What an earlier one left in it goes, but for runs/."""
    pack_mb: float = 20.0
    """Most MiB of a pack of images; at most 45."""
    packs: int = 2
    """Most packs of crops, and of photographs."""
    python: str = "3.12"
    """The machine's Python."""
    wheels: bool = True
    """Fetch the wheels; without, those of an earlier kit stay."""

    def __post_init__(self):
        if not 0 < self.pack_mb <= MOST_PACK:
            raise UserError(f"--pack-mb must be above 0 and at most {MOST_PACK}; received {self.pack_mb:g}")
        if self.packs < 1:
            raise UserError(f"--packs must be at least 1; received {self.packs}")


def main(argv: list[str]) -> None:
    """The command: the kit, and a line for each pack and each job."""
    options = parse(KitOptions, argv, "python -m gpu.build", __doc__)
    kit, limit = options.out, int(options.pack_mb * parts.MIB)
    try:
        queue = jobs.read_queue(HERE / "queue.json", PROJECT, recipes.check_name)
    except KitError as problem:
        raise UserError(str(problem)) from None
    clear(kit, keep=("runs",) if options.wheels else ("runs", "wheels", *(f"wheels-{n}" for n in range(1, 10))))
    write_scripts(kit)
    if options.wheels:
        write_wheels(kit, options.python)
    write_images(options, kit, limit)
    write_weights(options.weights, kit)
    print("\n".join(report(kit, queue)))


def clear(kit: Path, keep: tuple[str, ...]) -> None:
    """Empty the kit's folder, but for what it keeps. Raises `UserError` for a folder that is no kit."""
    if kit.is_dir() and any(kit.iterdir()) and not (kit / "run.sh").is_file():
        raise UserError(f"{kit}: holds something else than a kit; choose another --out")
    kit.mkdir(parents=True, exist_ok=True)
    for entry in kit.iterdir():
        if entry.name not in keep:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def write_scripts(kit: Path) -> None:
    """What runs there."""
    (kit / "gpu").mkdir()
    for file in sorted(HERE.glob("*.py")):
        if file.name not in ("build.py", "crops.py"):
            shutil.copy(file, kit / "gpu")
    for name in ("run.sh", "queue.json", "README.md"):
        shutil.copy(HERE / name, kit)
    for name in LISTS:
        shutil.copy(PROJECT / "requirements" / name, kit)


def write_wheels(kit: Path, python: str) -> None:
    """The wheels of both lists and the project's; `wheels` always travels, `wheels-1`, ... where they are missing.

    A wheel larger than a pack is cut into parts, which `machine.install` joins.
    """
    print(f"fetching wheels for Python {python}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        more = Path(folder)
        fetch(PROJECT / "requirements" / LISTS[0], kit / "wheels", python)
        fetch(PROJECT / "requirements" / LISTS[1], more, python)
        pieces = more / "pieces"
        for file in sorted(more.glob("*.whl")):
            if file.stat().st_size > MOST_PACK * parts.MIB:
                parts.split(file, pieces, file.name, MOST_PACK * parts.MIB - 1)
            else:
                pieces.mkdir(exist_ok=True)
                file.rename(pieces / file.name)
        for number, files in enumerate(parts.deal(sorted(pieces.iterdir()), MOST_PACK * parts.MIB), 1):
            (kit / f"wheels-{number}").mkdir()
            for file in files:
                parts.copy(file, kit / f"wheels-{number}" / file.name)
    write_own_wheel(kit / "wheels")


def fetch(requirements: Path, folder: Path, python: str) -> None:
    """Download wheels for that machine, not for this one."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    _pip(
        [
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            python,
            "--implementation",
            "cp",
            *platforms,
            "-d",
            str(folder),
            "-r",
            str(requirements),
        ]
    )


def write_own_wheel(folder: Path) -> None:
    """madn and baselines, without the published weights: a job's own lie in weights/."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(PROJECT / name, source)
        for name in ("madn", "baselines"):
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        (source / "weights").mkdir()
        (source / "weights" / "registry.json").write_text("{}\n")
        _pip(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)])


def write_images(options: KitOptions, kit: Path, limit: int) -> None:
    """Crops, test pairs and photographs."""
    from gpu import crops
    from madn.data.sets import open_pairs
    from madn.data.synthetic import find_photos

    print("cutting crops", flush=True)
    for _ in crops.write_crops(open_pairs(options.data).pairs, kit, limit, options.packs):
        pass
    crops.write_test(open_pairs(options.data[0], split="test").pairs, kit, limit)
    if options.photos:
        crops.write_photos(find_photos(options.photos)[0], kit, limit, options.packs)


def write_weights(named: tuple[Path, ...], kit: Path) -> None:
    """Each file in float16, under the name that the queue knows it by. Raises `UserError` for one it does not know."""
    from madn.weights.publishing import store_float16

    (kit / "weights").mkdir()
    for path in named:
        files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise UserError(f"{path}: no weights file here (.h5)")
        for file in files:
            name = weights_name(file.name)
            if name is None and not path.is_dir():
                raise UserError(
                    f"{file}: its name must hold vgg16 or vgg19, or be srn.weights.h5 or madn-srn.weights.h5"
                )
            if name:
                store_float16(file, kit / "weights" / name)
                if file.stat().st_size < (kit / "weights" / name).stat().st_size:  # in float16 and compressed already
                    parts.copy(file, kit / "weights" / name)


def weights_name(name: str) -> str | None:
    """What a weights file is called in the kit; None for one that no job reads."""
    if found := re.search("vgg1[69]", name.lower()):
        return f"{found.group()}.h5"
    return name if name in ("srn.weights.h5", "madn-srn.weights.h5") else None


def report(kit: Path, queue: dict[str, jobs.QueuedJob]) -> list[str]:
    """The size of each pack, and what each job takes along."""
    sizes = {entry.name: size_of(entry) for entry in sorted(kit.iterdir()) if entry.is_dir() and entry.name != "runs"}
    base = sizes["gpu"] + sizes["wheels"] + sum(file.stat().st_size for file in kit.iterdir() if file.is_file())
    sizes |= {f"weights/{file.name}": file.stat().st_size for file in sorted((kit / "weights").iterdir())}
    lines = [
        "",
        f"{kit}:",
        *(f"  {size / parts.MIB:7.2f} MiB  {name}" for name, size in sizes.items()),
        f"  {base / parts.MIB:7.2f} MiB  run.sh, queue.json, gpu and wheels, which every job takes along",
        "",
    ]
    for job in queue.values():
        start = next(([file] for file in job.start if file in sizes), list(job.start)[:1])
        taken = [*job.packs, *start]
        missing = [pack for pack in taken if pack not in sizes]
        total = base + sum(sizes.get(pack, 0) for pack in taken)
        state = f"lacks {', '.join(missing)}" if missing else f"{total / parts.MIB:.1f} MiB"
        way = "" if missing or total + CHECKOUT <= TRANSFER else ", two transfers of 64 MiB beside a checkout"
        lines.append(f"  {job.name:30} {job.minutes:g} minutes  {state}{way}")
    return lines


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _pip(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise UserError(f"pip {arguments[0]} failed: {(said or ['no message'])[0]}")


if __name__ == "__main__":
    run_command(main)
