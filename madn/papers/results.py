"""Evaluations on disk: the JSON files of `python -m madn.evaluate`, found and read again."""

import re
from collections.abc import Sequence
from pathlib import Path

from madn.errors import UserError
from madn.training.runfolder import RunFolder
from madn.weights.measurements import OfARecipe, read_measured

FILES = ("full.json", "crop.json")
Result = dict  # It is an evaluation's JSON, and "file", the path that it was read from.


def find_results(places: Sequence[str | Path]) -> list[Result]:
    """Every evaluation below folders (full.json, crop.json), and the files that are named, whole images first.

    A damaged or foreign file below a folder is passed over. Raises `UserError` for one that is named itself, and for a
    place that is not there.
    """
    found = {}
    for place in map(Path, places):
        if place.is_dir():
            files = [file for name in FILES for file in place.rglob(name)]
            found |= {file.resolve(): read_result(file) for file in files}
        elif place.is_file():
            found[place.resolve()] = _with_file(read_measured(place, OfARecipe), place)
        else:
            raise UserError(f"{place}: no such folder or file of results; name one that python -m madn.evaluate wrote")
    results = [result for result in found.values() if result]
    return sorted(results, key=lambda result: (result["protocol"] != "full", result["file"]))


def read_result(file: str | Path) -> Result | None:
    """An evaluation's JSON with its "file"; None where it is damaged or something else."""
    try:
        return _with_file(read_measured(Path(file), OfARecipe), Path(file))
    except UserError:
        return None


def _with_file(result: dict, file: Path) -> Result:
    return {**result, "file": file.as_posix()}


def family(recipe: str) -> str:
    """The recipe that a narrow one stands for: madn-budget and madn-sample are madn's."""
    return {"egnet-budget": "egnet-nosen"}.get(recipe) or re.sub("-(budget|sample)$", "", recipe)


def is_of(result: Result, data: str | None) -> bool:
    """Whether the test part of that set ("GoPro", "RealBlur-J", "RealBlur-R", "Köhler") was measured.

    GoPro's layout alone is also that of others (REDS, the samples), so one scene must be named as GoPro's are.
    """
    if result.get("split") != "test":
        return False
    if data == "GoPro":
        return result.get("layout") == "GoPro" and any(image["scene"].startswith("GOPR") for image in result["images"])
    if data == "Köhler":
        return result.get("layout") == "Köhler"
    named = re.findall("realblur[-_]?([jr])(?![a-z])", result["data"].lower())
    return result.get("layout") == "RealBlur" and named != [] and data == f"RealBlur-{named[-1].upper()}"


def protocol(result: Result) -> str:
    """What was measured of each pair, in words."""
    return "whole images" if result["protocol"] == "full" else "{0}x{0} crops".format(result.get("crop"))


def seconds(result: Result) -> float | None:
    """The median time of restoring one whole image; None for crops, and for what was restored elsewhere."""
    median = result.get("median_seconds")
    return float(median) if result["protocol"] == "full" and isinstance(median, int | float) else None


def size(result: Result) -> str:
    """Width x height of the images, where they have one size."""
    sizes = {tuple(image.get("size") or ()) for image in result["images"]}
    return "{1}x{0}".format(*sizes.pop()) if len(sizes) == 1 and sizes != {()} else "several sizes"


def label(result: Result) -> str:
    """The recipe, or what was measured without one: deconvolution and what was restored elsewhere by their names, a
    SavedModel by its folder."""
    model = result["model"]
    name = re.split(r"[\s,:;(]", model)[0] if model.startswith("deconvolution") else model
    return result["recipe"] or result.get("method") or name


def provenance(result: Result) -> list[str]:
    """Where a result comes from: protocol and data, weights, training (if it lies in its run folder), file, command."""
    chance = f", seed {result.get('seed')}" if result["protocol"] == "crop" else ""
    recipe = f"recipe {result['recipe']}" if result["recipe"] else ""
    count, pairs = result.get("parameters"), len(result["images"])
    return [
        part
        for part in (
            f"{protocol(result)}{chance}, {pairs} pair{'s' * (pairs != 1)} of {result['data']}",
            f"blur kind {result.get('blur_kind')}",
            f"weights: {result['model']}",
            recipe if recipe not in result["model"] else "",
            f"{count:,} parameters" if isinstance(count, int) else "",
            f"other than its recipe in {', '.join(result['changed'])}" if result.get("changed") else "",
            f"timed on {result['device']}" if result.get("device") else "",
            _training(result),
            f"{result['file']}, written by `{result.get('command')}`",
        )
        if part
    ]


def _training(result: Result) -> str:
    """Steps, minutes and command of the run whose folder the result lies in."""
    for folder in list(Path(result["file"]).resolve().parents)[:4]:
        run = RunFolder(folder)
        try:
            settings = run.settings()
            if settings and settings["recipe"] == result["recipe"]:
                last = run.rows()[-1]
                seconds = float(last["seconds"])
                time = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
                return (
                    f"trained {int(last['step']):,} of {settings['total_steps']:,} steps, {time}, "
                    f"by `{settings['command']}`"
                )
        except (UserError, OSError, ValueError, KeyError, IndexError, TypeError):
            continue
    return ""
