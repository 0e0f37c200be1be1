"""Trained weights by name, and how weights come into the registry.

python -m madn.weights            the table: name, recipe, size, licence, scores
python -m madn.weights --check    hashes every file; exit code 1 and a line for each bad one

python -m madn.weights mean FILE FILE --out OUT.weights.h5               the mean of two generators, or of more
python -m madn.weights add RUN NAME --licence MIT --trained-on "..."     the file, and its line in the registry
python -m madn.evaluate NAME --data DIR --out OUT                        measures the file that was written
python -m madn.weights score NAME OUT/full.json --data "..." --command "..."
python -m madn.weights card NAME DIR      the file with a Hugging Face model card in a folder, ready for `hf upload`
"""

import functools
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn.errors import UserError, run_command
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.system.tables import score_text, text_table
from madn.weights import cards, publishing, registry

PROG = "python -m madn.weights"


@dataclass(frozen=True)
class WeightsOptions:
    """The table, or the check."""

    check: bool = False
    """Hash every file, and name those that are not what the registry says."""


@dataclass(frozen=True)
class AddOptions:
    """What is stored, and under which name."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder or a .weights.h5 file."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """What it is to be called."""
    licence: str
    """Under which it may be used."""
    trained_on: str
    """Data, hours and device."""
    notes: str = ""
    """What a user should know: where the log is, where it fails."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""


@dataclass(frozen=True)
class ScoreOptions:
    """Which scores are kept, and of what."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The weights that were measured."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="JSON")]
    """What python -m madn.evaluate NAME wrote."""
    data: str
    """The pairs in words, with their blur kind."""
    command: str
    """The command that prints the scores."""


@dataclass(frozen=True)
class CardOptions:
    """Whose card, and where it goes with its file. Nothing is uploaded."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The weights."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A new folder."""


@dataclass(frozen=True)
class MeanOptions:
    """The mean of generators' weights, layer by layer: of two trainings, or of a training and what it started from.

    Averaging with its start keeps more of what the start knew (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models").
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE FILE [FILE ...]")]
    """Run folders or .weights.h5 files. The result is a network of the last one's recipe, which has all layers of the
    others; a layer that some of them lack is the mean over those that have it."""
    out: Path
    """The .weights.h5 file to write."""
    shares: tuple[float, ...] | None = None
    """Share of each file, 1 in all; equal by default."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of run folders."""


def main(argv: list[str]) -> int:
    """The command; 1 when --check finds a bad file."""
    what = argv[0] if argv else ""
    if what == "add":
        asked = parse(AddOptions, argv[1:], f"{PROG} add", __doc__)
        start_keras()
        entry = publishing.add(asked.run, asked.name, asked.licence, asked.trained_on, asked.notes, asked.which)
        print(f"wrote {registry.folder() / entry.file}: {entry.bytes:,} bytes, {entry.short_hash}")
        cards.write_cards()
    elif what == "score":
        asked = parse(ScoreOptions, argv[1:], f"{PROG} score", __doc__)
        score = publishing.add_score(asked.name, asked.file, asked.data, asked.command)
        print(f"{asked.name} on {score.data}: {float(score.blurred['psnr']):.2f} -> {score.restored['psnr']:.2f} dB")
        cards.write_cards()
    elif what == "card":
        asked = parse(CardOptions, argv[1:], f"{PROG} card", inspect.getdoc(CardOptions))
        for file in cards.write_upload(asked.name, asked.folder):
            print(f"wrote {file}")
        print(f"to upload it: pip install huggingface_hub; hf auth login; hf upload USER/{asked.name} {asked.folder}")
    elif what == "mean":
        asked = parse(MeanOptions, argv[1:], f"{PROG} mean", inspect.getdoc(MeanOptions))
        of = publishing.write_mean(asked.files, asked.out, asked.shares, asked.which)
        print(f"wrote {asked.out}: the mean of {len(asked.files)} files")
        for name, files in of.items():
            if len(files) < len(asked.files):
                print(f"layer {name}: of {' and '.join(map(str, files))} alone; the others lack it")
    elif what and not what.startswith("-"):
        raise UserError(
            f"{what}: {PROG} adds, scores, averages and describes weights: {PROG} add RUN NAME, "
            f"{PROG} score NAME JSON, {PROG} mean FILE FILE, or {PROG} card NAME DIR"
        )
    elif parse(WeightsOptions, argv, PROG, __doc__).check:
        return _check_all()
    else:
        print(weights_table(registry.entries()))
    return 0


def weights_table(known: dict[str, registry.Entry]) -> str:
    """An aligned table, a row for each score, with the commands that print them below."""
    metrics = list(dict.fromkeys(name for entry in known.values() for score in entry.scores for name in score.restored))
    header = ["name", "recipe", "MB", "licence", "measured on (blurred -> restored)", *metrics]
    rows: list[list[str]] = []
    for entry in known.values():
        about = [entry.name, entry.recipe, f"{entry.bytes / 1e6:.2f}", entry.licence]
        rows += [
            [
                *about,
                f"{score.data}, {score.protocol}",
                *(_before_and_after(metric, score) for metric in metrics),
            ]
            for score in entry.scores
        ]
        rows += [] if entry.scores else [[*about, "not measured", *[""] * len(metrics)]]
    return "\n".join(
        [text_table(header, rows), "", *(score.command for entry in known.values() for score in entry.scores)]
    )


def _before_and_after(metric: str, score: registry.Score) -> str:
    if metric not in score.restored:
        return ""
    return " -> ".join(score_text(metric, scores[metric]) for scores in (score.blurred, score.restored))


def _check_all() -> int:
    known, bad = registry.entries(), []
    checks = [functools.partial(registry.checked, entry) for entry in known.values()]
    checks += [functools.partial(registry.checked_twin, entry) for entry in known.values() if entry.onnx]
    for check in checks:
        try:
            print(f"{check()}: as the registry says")
        except UserError as problem:
            bad.append(problem)
            print(f"madn: error: {problem}", file=sys.stderr)
    print(f"{len(checks) - len(bad)} of {len(checks)} files in {registry.folder()} are what the registry says")
    return 1 if bad else 0


if __name__ == "__main__":
    run_command(main)
