"""Deblur the photos of a bucket or a very large folder with Apache Beam: python -m madn.batch IN... -o OUT

The direct runner on this machine is the default. Beam's own options come after --, say for four processes:
python -m madn.batch gs://bucket/photos -o gs://bucket/sharp -- --direct_num_workers 4
--direct_running_mode multi_processing
"""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from madn.errors import UserError, run_command
from madn.imaging.decoding import MEGAPIXELS
from madn.restoration.model_source import find_model
from madn.restoration.places import Source, absolute, find_sources, is_remote
from madn.system.commandline import parse
from madn.system.writing import WEIGHTS
from madn.weights.registry import DEFAULT, ONNX, is_path


@dataclass(frozen=True)
class BatchOptions:
    """Which photos are restored, and by what network."""

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IN...")]
    """Photos, folders (all photos below them) or patterns (* in one folder, ** through all), local or gs://, s3://,
    hdfs://, as far as the extras of apache-beam are installed."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """A folder, there or not yet; results have the names that the photos have below their input."""
    failed: str | None = None
    """List of the files that failed, a line of JSON each; by default failed.jsonl in OUT."""
    model: str = DEFAULT
    """A model as madn.deblur takes it, but no ONNX file; or a .weights.h5 file of a bucket. The workers load it."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    trust_model: bool = False
    """Load a SavedModel that madn.export did not write: it is a program, and may do whatever its maker wants."""
    overwrite: bool = False
    """Restore again what is there already."""
    memory_gb: float | None = None
    """What each worker process may take, in GB. By default half of the memory that is free where it starts; local
    processes share it."""
    tile: int | None = None
    """Pixels of a tile's side, in place of what follows from the memory."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is faster on hardware that has it."""
    max_megapixels: float = MEGAPIXELS
    """Larger photos are refused before they are decoded."""


def main(argv: list[str]) -> int:
    """The command. Returns 1 when some of the files could not be restored; raises `UserError` for options at fault."""
    end = argv.index("--") if "--" in argv else len(argv)
    options = parse(BatchOptions, argv[:end], "python -m madn.batch", __doc__)
    if not options.inputs:
        raise UserError("no photos: python -m madn.batch IN... -o OUT")
    output = absolute(options.output)
    failed = absolute(options.failed) if options.failed else f"{output}/failed.jsonl"
    if not failed.endswith(".jsonl"):
        # A list of another suffix could replace a photo.
        raise UserError(f"{options.failed}: the list of failures is a .jsonl file")
    if is_remote(options.model) and not options.model.endswith(WEIGHTS):
        raise UserError(f"{options.model}: of a bucket only a {WEIGHTS} file is taken; others, local to the workers")
    if not is_remote(options.model):  # The workers find the same: a local path is of a disk that they share.
        if find_model(options.model, options.which).path.suffix.lower() == ONNX:
            raise UserError(
                f"{options.model}: madn.batch takes no ONNX file; madn.deblur does, or give --model a network"
            )
    sources = find_sources(options.inputs, output)
    return _run(options, sources, output, failed, argv[end + 1 :])


def _run(options: BatchOptions, sources: list[Source], output: str, failed: str, flags: list[str]) -> int:
    try:
        from madn.beam import pipeline, running, storage
    except ModuleNotFoundError as missing:
        raise UserError(f'{missing.name.partition(".")[0]} is not installed: pip install "madn[beam]"') from None

    beam_options = running.parsed(flags)
    counts, failures = running.run(
        beam_options,
        sources,
        pipeline.BatchSettings(
            output=output,
            failed=failed,
            parts=storage.new_parts(output),
            model=_place(options.model),
            which=options.which,
            recipe=options.recipe,
            trust_model=options.trust_model,
            precision=options.precision,
            memory_gb=running.share(beam_options) if options.memory_gb is None else options.memory_gb,
            tile=options.tile,
            megapixels=options.max_megapixels,
            overwrite=options.overwrite,
        ),
    )
    left_out = counts.pop("left out", 0)
    if counts and not any(counts.values()):  # Some engines keep no counters.
        raise UserError(f"{', '.join(options.inputs)}: no photos there")
    said = [f"{counts.get('restored', 0)} restored to {output}, by {options.model}"]
    if counts.get("noted"):
        said.append(
            f"{counts['noted']} of them without something beside the photo (a gain map, records): the workers' "
            "logs say what, and python -m madn.deblur does"
        )
    if counts.get("skipped"):
        said.append(f"{counts['skipped']} skipped that were there (--overwrite restores them again)")
    if left_out:
        said.append(f"{left_out} left out that are no photos, hidden or earlier results")
    if failures:
        said.append(f"{failures} failed: {failed}")
    print("; ".join(said))
    return 1 if failures else 0


def _place(model: str) -> str:
    """The model's name for workers in other folders: a local path in full, where they cannot mean another by it."""
    return os.path.abspath(model) if is_path(model) and os.path.exists(model) else model


if __name__ == "__main__":
    run_command(main)
