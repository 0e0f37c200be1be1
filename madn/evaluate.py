"""Measure a trained network, or a traditional reference, on pairs: python -m madn.evaluate MODEL --data DIR

Or print the papers' tables beside what was measured: python -m madn.evaluate --table
"""

import hashlib
import re
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from madn import recipes
from madn.data.images import DecodedImages
from madn.data.index import Pair, PairIndex, check_pairs, some_lines
from madn.data.scenes import in_scenes
from madn.data.sets import PHOTO_BLURS, open_pairs
from madn.data.synthetic import Motion, check_photos, find_photos, hold_out_photos, write_pairs
from madn.errors import UserError, run_command
from madn.evaluation.deconvolution import REFERENCES
from madn.evaluation.metrics import SMALLEST
from madn.evaluation.pictures import comparison, triple_labels
from madn.evaluation.scoring import RestorePair, evaluate_method
from madn.papers.published import report
from madn.restoration.ensemble import ensembled
from madn.restoration.restorer import restore
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.weights import registry

PROG = "python -m madn.evaluate"
WINDOW = 512  # pixels: the side of a pair that is made of a photograph


@dataclass(frozen=True)
class Options:
    """What to measure, on which pairs."""

    model: Annotated[str | None, tyro.conf.Positional] = None
    """A shipped name (python -m madn.weights), a run folder, a .weights.h5 file or a SavedModel folder; or, without a
    network, deconvolution-fitted (an oracle: it is given the sharp image) or deconvolution-blind."""
    data: str | None = None
    """Folder in the GoPro, REDS or RealBlur layout; 'samples' is the built-in sample set."""
    blurred: Path | None = None
    """Folder of blurred images, instead of --data."""
    sharp: Path | None = None
    """Folder of their sharp partners, under the same names."""
    photos: Path | None = None
    """Folder of sharp photographs, each measured against itself, instead of pairs: what a network does to them."""
    held_photos: int | None = None
    """Of these only the ones that a training run with the same number holds out."""
    photo_blur: Literal["none", "shake", "camera", "video"] = "none"
    """Blur a window of 512 pixels of each photograph, as madn.train --photo-blur does, and measure these pairs, which
    are written below the output folder. A blur that would change nothing is drawn anew."""
    longest_shake: float | None = None
    """With it: longest path of the synthesised motion in pixels, as madn.train takes it."""
    split: str = "test"
    """Part of --data."""
    scenes: str | None = None
    """Only these scenes: names with commas between, as madn.train --validation takes them."""
    blur_kind: str = "blur"
    """GoPro's blurred images: blur or blur_gamma."""
    protocol: Literal["full", "crop", "both"] = "full"
    """Whole images, one random crop of each, or both after each other. Their numbers are not comparable."""
    crop: int = 256
    """Size of the crops in pixels."""
    seed: int = 0
    """Seed of the crops' places, and of the photographs' blur."""
    every: int = 1
    """Only every Nth pair: neighbours are often frames of one scene."""
    limit: int | None = None
    """Only the first N pairs of these."""
    skip_bad: bool = False
    """Leave bad pairs out and name them, instead of stopping."""
    out: Path | None = None
    """Folder for JSON and pictures; by default below the run folder, or in runs/evaluation for any other model."""
    pictures: int = 12
    """Side-by-side pictures (blurred, restored, sharp) of the first N pairs; 0 for none."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    ensemble: bool = False
    """Restore each image in its eight flips and turns and measure the mean of these."""
    table: tuple[str, ...] | None = None
    """Measure nothing: print the tables of these papers (by default all) beside the results that there are."""
    results: tuple[Path, ...] | None = None
    """Folders or JSON files of the results for --table; by default runs."""


def main(argv: list[str]) -> None:
    """The command: table on the screen; JSON and pictures in the output folder."""
    options = parse(Options, argv, PROG, __doc__)
    if options.table is not None:
        return print(_tables(options))
    if options.results is not None:
        raise UserError("--results is of --table; add --table, or leave it out")
    if options.model is None:
        raise UserError(f"missing MODEL: name what to measure, or print what was measured with --table ({PROG} --help)")
    index = _pairs(options)
    for problem in index.problems:
        print(f"left out: {problem}")
    if index.notes:
        print(some_lines(index.notes))
    method, about = _method(options, index.blur_kind)
    out = options.out or _default_out(options)
    about["scenes"], about["photo_blur"] = _scenes(options), None
    if options.photo_blur != "none":
        index, about["photo_blur"] = _blurred(options, index, out)
    kind = f", blur kind: {index.blur_kind}" if index.blur_kind else ""
    what = "photographs" if options.photos and options.photo_blur == "none" else "pairs"
    print(f"{about['model']}\n{len(index.pairs)} {what} of {index.root} ({index.layout}){kind}")
    for protocol in ("full", "crop") if options.protocol == "both" else (options.protocol,):
        with tqdm(total=len(index.pairs), unit="image", desc=protocol, leave=False) as bar:

            def shown(result, *images, protocol=protocol, bar=bar):
                if bar.n < options.pictures:
                    place = out / "pictures" / f"{protocol}_{result.name.replace('/', '_')}.png"
                    comparison([images], place, [triple_labels(*images)])
                bar.update()

            results = evaluate_method(method, index.pairs, protocol, options.crop, options.seed, shown)
        results.write_json(
            out / f"{protocol}.json",
            **about,
            command=shlex.join([*PROG.split(), *argv]),
            data=index.root,
            layout=index.layout,
            split=_split(options, index),
            blur_kind=index.blur_kind,
            left_out=index.problems,
        )
        print(f"\n{results.table()}")
    print(f"\nwritten to {out}")


def _method(options: Options, blur_kind: str | None) -> tuple[RestorePair, dict[str, object]]:
    """What restores the images, and what the JSON says of it."""
    there = Path(options.model).exists()
    if options.model in REFERENCES and not there:
        if options.recipe or options.which != "best" or options.ensemble:
            raise UserError(
                f"{options.model}: there is no checkpoint, no recipe and no ensemble; leave --which, "
                "--recipe and --ensemble out"
            )
        reference = REFERENCES[options.model]
        return reference, {"model": reference.description, "recipe": None, "parameters": None}
    start_keras()  # late: a bad command line or folder is reported before
    from madn.restoration.loading import load_network

    try:
        model = load_network(options.model, options.which, options.recipe)
    except UserError as problem:
        if there or options.model in registry.entries():
            raise
        raise UserError(f"{problem} (without a network: {', '.join(REFERENCES)})") from None
    if model.recipe and blur_kind and model.recipe.blur_kind != blur_kind:
        print(f"note: trained on {model.recipe.blur_kind}, measured on {blur_kind}")
    changed = {}
    if model.recipe and model.recipe_name:
        differences = recipes.differences(model.recipe, recipes.get(model.recipe_name))
        changed = {field: mine for field, (mine, _) in differences.items() if field != "vgg_weights"}  # a place
    if options.ensemble:
        changed["ensemble"] = True

    def restored(image):
        return restore(model.network, image, model.multiple)

    return (
        lambda blurred, sharp: ensembled(restored, blurred) if options.ensemble else restored(blurred),
        {
            "model": model.description,
            "recipe": model.recipe_name,
            "changed": changed,
            "parameters": model.model.count_params() if model.model else None,
        },
    )


def _tables(options: Options) -> str:
    idle = [
        field.name
        for field in fields(Options)
        if field.name not in ("table", "results") and getattr(options, field.name) != field.default
    ]
    if idle:
        names = ", ".join(name.upper() if name == "model" else f"--{name.replace('_', '-')}" for name in idle)
        raise UserError(f"--table measures nothing and takes --results alone; leave out {names}")
    return report(options.table, options.results)


def _pairs(options: Options) -> PairIndex:
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: at least 1 pair is measured")
    if options.every < 1:
        raise UserError(f"--every {options.every}: 1 takes every pair, 2 every second one")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: seeds are 0 or more")
    smallest = SMALLEST if options.protocol == "full" else max(options.crop, SMALLEST)
    if options.photos is not None:
        return _photos(options, smallest)
    if options.held_photos is not None:
        raise UserError("--held-photos needs photographs: --photos DIR")
    if options.photo_blur != "none" or options.longest_shake is not None:
        raise UserError("--photo-blur and --longest-shake need photographs: --photos DIR")
    index = open_pairs(options.data, options.blurred, options.sharp, options.split, options.blur_kind)
    pairs = in_scenes(index.pairs, options.scenes, "--scenes: scene") if options.scenes is not None else index.pairs
    index = replace(index, pairs=pairs[:: options.every][: options.limit])
    # Every file is decoded once before the network starts: a broken one is named now, not in the middle.
    return check_pairs(index, DecodedImages("none"), smallest, options.skip_bad)


def _photos(options: Options, smallest: int) -> PairIndex:
    """Photographs as pairs with themselves; with --photo-blur all that things may be taken from, --limit or not."""
    if options.data or options.blurred or options.sharp:
        raise UserError("give pairs (--data DIR, or --blurred DIR and --sharp DIR) or photographs (--photos DIR)")
    if options.scenes is not None:
        raise UserError(f"--scenes {options.scenes}: photographs have no scenes; leave it out")
    blur, images = options.photo_blur != "none", DecodedImages("none")
    _check_blur(options)
    paths, notes = find_photos(options.photos)
    photos, problems = check_photos(paths, images, SMALLEST if blur else smallest, options.skip_bad)
    if options.held_photos is not None:
        photos = hold_out_photos(photos, options.held_photos)[1]
    if blur:  # after these were chosen: training, whose crops are smaller, chose among all of them
        way_out = f"a window of {WINDOW} pixels and the margin of its blur need as much"
        photos, small = check_photos(
            photos, images, _motion(options).photo_side(WINDOW), options.skip_bad, way_out=way_out
        )
        problems += small
    else:
        photos = photos[:: options.every][: options.limit]
    pairs = tuple(Pair(photo, photo, "", photo.relative_to(options.photos).as_posix()) for photo in photos)
    return PairIndex(pairs, problems, "sharp photographs", None, str(options.photos), notes)


def _check_blur(options: Options) -> None:
    """Raises `UserError` for options of the photographs' blur that make no sense together."""
    longest, blur = options.longest_shake, options.photo_blur != "none"
    if longest is not None and not blur:
        raise UserError("--longest-shake is of a blur: add --photo-blur shake, camera or video, or leave it out")
    if longest is not None and not 0 < longest <= 256:
        raise UserError(f"--longest-shake must be above 0 and at most 256 pixels; received {longest:g}")
    if not blur:
        return
    if options.protocol != "full":  # a crop may hold nothing that moved
        raise UserError(
            f"--protocol {options.protocol}: pairs of --photo-blur are windows of {WINDOW} pixels already; leave it out"
        )
    out = options.out or _default_out(options)
    if out.resolve().is_relative_to(options.photos.resolve()):
        raise UserError(
            f"{out}: its pairs would be among the photographs of {options.photos} the next time; name a "
            "folder outside with --out"
        )


def _motion(options: Options) -> Motion:
    """The most that --photo-blur blurs by."""
    usual = PHOTO_BLURS[options.photo_blur].MOTION
    return replace(usual, longest=options.longest_shake or usual.longest)


def _blurred(options: Options, index: PairIndex, out: Path) -> tuple[PairIndex, dict[str, object]]:
    """The photographs of `index` as blurred pairs below `out`, and what the JSON says of their blur.

    A pair is that of its photograph's number, so that --every and --limit choose among the same ones.
    """
    kind, motion = PHOTO_BLURS[options.photo_blur], _motion(options)
    crops = kind([pair.sharp for pair in index.pairs], DecodedImages(limit_gb=1.0), WINDOW, options.seed, motion=motion)
    numbers = range(len(crops))[:: options.every][: options.limit]
    pairs, problems = write_pairs(
        crops, tqdm(numbers, "blurring", unit="image", leave=False), options.photos, out / "pairs", options.skip_bad
    )
    for problem in problems:
        print(f"left out: {problem}")
    return (
        replace(index, pairs=pairs, problems=index.problems + problems, layout=f"photographs {kind.SAYS}"),
        {"kind": options.photo_blur, "longest_shake": motion.longest, "window": WINDOW, "seed": options.seed},
    )


def _split(options: Options, index: PairIndex) -> str | None:
    """The part that was measured, where the set is laid out in parts."""
    parted = index.layout in ("REDS", "RealBlur") or Path(index.root).name == options.split
    return options.split if parted else None


def _scenes(options: Options) -> list[str] | None:
    """The names that --scenes lists."""
    return None if options.scenes is None else sorted({name.strip() for name in options.scenes.split(",")})


def _default_out(options: Options) -> Path:
    """Another folder for other scenes and other blurs."""
    model = Path(options.model).resolve()
    data = (
        f"{Path(options.data).resolve().name}-{options.split}-{options.blur_kind}"
        if options.data
        else (options.blurred or options.photos).resolve().name
    )
    if scenes := _scenes(options):
        names = "+".join(scenes)
        if not re.fullmatch(r"[\w.+-]{1,100}", names):  # too long for a folder's name, or of subfolders
            names = f"{len(scenes)}-scenes-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
        data += f"-{names}"
    if options.photo_blur != "none":
        data += f"-{options.photo_blur}-{_motion(options).longest:g}-seed{options.seed}"
    if (model / "settings.json").is_file():
        return Path(options.model) / "evaluation" / data
    return Path("runs/evaluation") / model.name / data


if __name__ == "__main__":
    run_command(main)
