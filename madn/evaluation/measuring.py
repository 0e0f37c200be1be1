"""A network, or a traditional reference, measured on the images of a selection: table, JSON and pictures."""

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from madn import recipes
from madn.data.images import DecodedImages
from madn.data.index import PairIndex, some_lines
from madn.errors import UserError, one_line
from madn.evaluation.deconvolution import REFERENCES
from madn.evaluation.restored import RestoredElsewhere, find_restored
from madn.evaluation.scoring import RestorePair, evaluate_method
from madn.evaluation.selection import Scorers, Selection
from madn.imaging.grids import triple_labels, write_grid
from madn.restoration.ensemble import ensembled
from madn.restoration.model_source import find_model
from madn.restoration.restorer import restore
from madn.system.locking import held
from madn.system.startup import device, processor, shown, start_keras
from madn.system.writing import folder_name
from madn.weights import registry


def measure(
    model: str,
    selection: Selection,
    *,
    which: str = "best",
    recipe: str | None = None,
    trust_model: bool = False,
    ensemble: bool = False,
    out: Path | None = None,
    pictures: int = 12,
    command: str = "",
) -> None:
    """Print the scores of a model, and write them, with the first `pictures` side by side, into a folder.

    Args:
        model: one of `REFERENCES`, or what `madn.restoration.loading.load_network` takes, with `which`, `recipe` and
            `trust_model`.
        ensemble: measure the mean over the eight flips and turns of each image.
        out: by default below the run folder, or in runs/evaluation for any other model.
        command: what was typed, for the JSON.
    """
    _check_method(model, which)
    out = out or _default_out(model, which, ensemble, selection)
    selection.check_blur(out)
    images = DecodedImages("memory" if selection.blurs else "none", limit_gb=1.0)
    index = selection.open(images)
    _say_left_out(index)
    scorers = selection.scorers(index)
    method, about = _method(model, which, recipe, trust_model, ensemble, index.blur_kind)
    about |= {"scenes": selection.scene_names, "photo_blur": None, "notes": index.notes}
    with _held(out):
        if selection.blurs:
            index, about["photo_blur"] = selection.blur(index, images, out)
        _measure(method, about, index, selection, scorers, out, pictures, command)


def measure_restored(
    folder: Path,
    name: str,
    selection: Selection,
    *,
    out: Path | None = None,
    pictures: int = 12,
    command: str = "",
) -> None:
    """Score the images of a folder, which another system restored, as `measure` scores a network's.

    Args:
        name: the method's, which the papers' tables find it by.
        out: by default in runs/evaluation, by the method's name.
    Raises:
        UserError: as `madn.evaluation.restored.find_restored` does; for photographs, and for crops: a network sees its
            crop alone, and these images were restored whole.
    """
    if selection.photos is not None:
        raise UserError("--restored holds images of pairs: give --data DIR, or --blurred DIR and --sharp DIR")
    if selection.protocol != "full":
        raise UserError(f"--protocol {selection.protocol}: --restored images were restored whole; leave it out")
    out = out or Path("runs/evaluation") / _as_folder(name) / selection.folder_name()
    images = DecodedImages("none")
    index = selection.open(images)
    _say_left_out(index)
    scorers = selection.scorers(index)
    restored = find_restored(folder, index.pairs, selection.whole_set().pairs, images, selection.skip_bad)
    asked = len(index.pairs)
    index = replace(index, pairs=restored.pairs, problems=(*index.problems, *restored.problems))
    for line in (*(f"left out: {problem}" for problem in restored.problems), *restored.notes):
        print(one_line(line))
    if restored.problems:
        print(f"{folder}: {len(restored.problems)} of {asked} pairs have no usable image; the mean is of the others")
    about: dict[str, object] = {
        "model": f"images of {folder}, restored elsewhere by {name}",
        "method": name,
        "recipe": None,
        "parameters": None,
        "scenes": selection.scene_names,
        "photo_blur": None,
        "notes": (*index.notes, *restored.notes),
    }
    with _held(out):
        _measure(_InOrder(restored), about, index, selection, scorers, out, pictures, command, timed=False)


def _held(out: Path) -> contextlib.AbstractContextManager:
    """A block in which no other process writes results into the folder."""
    return held(out, "madn.evaluate", "wait until it has ended, or name another folder with --out")


class _InOrder:
    """Hands out the restored images of the pairs, one for each pair that is measured."""

    def __init__(self, restored: RestoredElsewhere):
        self.restored, self.pairs = restored, iter(restored.pairs)

    def __call__(self, blurred: np.ndarray, sharp: np.ndarray) -> np.ndarray:
        return self.restored.read(next(self.pairs))


def _say_left_out(index: PairIndex) -> None:
    for problem in index.problems:
        print(f"left out: {one_line(problem)}")
    if index.notes:
        print("\n".join(some_lines(index.notes)))


def _measure(
    method: RestorePair,
    about: dict[str, object],
    index: PairIndex,
    selection: Selection,
    scorers: Scorers,
    out: Path,
    pictures: int,
    command: str,
    timed: bool = True,
) -> None:
    """Print and write the scores of a method by each protocol."""
    kind = f", blur kind: {index.blur_kind}" if index.blur_kind else ""
    what = "photographs" if selection.photos and not selection.blurs else "pairs"
    print(f"{about['model']}\n{len(index.pairs)} {what} of {index.root} ({index.layout}){kind}")
    for protocol, scorer in scorers.items():
        with tqdm(total=len(index.pairs), unit="image", desc=protocol, leave=False) as bar:

            def show(result, *images, protocol=protocol, bar=bar):
                if bar.n < pictures:
                    place = out / "pictures" / protocol / f"{result.name}.png"
                    write_grid(place, [images], [triple_labels(result.blurred.psnr, result.restored.psnr)])
                bar.update()

            results = evaluate_method(
                method, index.pairs, protocol, selection.crop, selection.seed, show, timed, scorer
            )
        results.write_json(
            out / f"{protocol}.json",
            **about,
            command=command,
            data=index.root,
            layout=index.layout,
            split=selection.split_of(index),
            blur_kind=index.blur_kind,
            left_out=index.problems,
        )
        print(f"\n{results.table()}")
        for line in results.remarks:
            print(f"note: {line}")
    print(f"\nwritten to {out}")


def _method(
    name: str, which: str, recipe: str | None, trust_model: bool, ensemble: bool, blur_kind: str | None
) -> tuple[RestorePair, dict[str, object]]:
    """What restores the images, and what the JSON says of it."""
    if _is_reference(name):
        if recipe or which != "best" or ensemble:
            raise UserError(
                f"{name}: there is no checkpoint, no recipe and no ensemble; leave --which, --recipe and --ensemble out"
            )
        about: dict[str, object] = {"model": REFERENCES[name].description, "recipe": None, "parameters": None}
        return REFERENCES[name], about | {"device": processor()}
    with shown(f"loading {name}"):
        start_keras()  # Keras starts late, so that a bad command line or folder is reported at once.
        from madn.restoration.loading import load_network

        loaded = load_network(name, which, recipe, trust_model=trust_model)
    if loaded.recipe and blur_kind and loaded.recipe.blur_kind != blur_kind:
        print(f"note: trained on {loaded.recipe.blur_kind}, measured on {blur_kind}")
    changed = {}
    if loaded.recipe and loaded.recipe_name:
        differences = recipes.differences(loaded.recipe, recipes.get(loaded.recipe_name))
        # Where the VGG file lies is no difference.
        changed = {field: mine for field, (mine, _) in differences.items() if field != "vgg_weights"}
    if ensemble:
        changed["ensemble"] = True

    def restored(image):
        return restore(loaded.network, image, loaded.multiple)

    return (
        lambda blurred, sharp: ensembled(restored, blurred) if ensemble else restored(blurred),
        {
            "model": loaded.description,
            "recipe": loaded.recipe_name,
            "changed": changed,
            "parameters": loaded.model.count_params() if loaded.model else None,
            "device": device(),
        },
    )


def _is_reference(name: str) -> bool:
    return name in REFERENCES


def _check_method(name: str, which: str) -> None:
    """Raises `UserError` where there is no such network or reference, before images are read for it."""
    if _is_reference(name):
        return
    try:
        find_model(name, which)
    except UserError as problem:
        if registry.is_path(name) or name in registry.entries():
            raise
        raise UserError(f"{problem} (without a network: {', '.join(REFERENCES)})") from None


def _default_out(model: str, which: str, ensemble: bool, selection: Selection) -> Path:
    """The folder of a measurement's results, another one for whatever may change them."""
    name = selection.folder_name()
    if which != "best":
        name += f"-{which}"
    if ensemble:
        name += "-ensemble"
    if registry.is_path(model) and (Path(model) / "settings.json").is_file():
        return Path(model) / "evaluation" / name
    return Path("runs/evaluation") / folder_name(model) / name


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", name)
