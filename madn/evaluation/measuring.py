"""A network, or a traditional reference, measured on the images of a selection: table, JSON and pictures."""

from pathlib import Path

from tqdm import tqdm

from madn import recipes
from madn.data.images import DecodedImages
from madn.data.index import some_lines
from madn.errors import UserError
from madn.evaluation.deconvolution import REFERENCES
from madn.evaluation.scoring import RestorePair, evaluate_method
from madn.evaluation.selection import Selection
from madn.imaging.grids import triple_labels, write_grid
from madn.restoration import runtimes
from madn.restoration.ensemble import ensembled
from madn.restoration.restorer import restore
from madn.weights import registry


def measure(
    model: str,
    selection: Selection,
    *,
    which: str = "best",
    recipe: str | None = None,
    runtime: runtimes.RuntimeOptions | None = None,
    ensemble: bool = False,
    out: Path | None = None,
    pictures: int = 12,
    command: str = "",
) -> None:
    """Print the scores of a model, and write them, with the first `pictures` side by side, into a folder.

    Args:
        model: one of `REFERENCES`, or what `madn.restoration.runtimes.load` takes, with `which`, `recipe` and
            `runtime`.
        ensemble: measure the mean over the eight flips and turns of each image.
        out: by default below the run folder, or in runs/evaluation for any other model.
        command: what was typed, for the JSON.
    """
    out = out or _default_out(model, selection)
    selection.check_blur(out)
    images = DecodedImages("memory" if selection.blurs else "none", limit_gb=1.0)
    index = selection.open(images)
    for problem in index.problems:
        print(f"left out: {problem}")
    if index.notes:
        print(some_lines(index.notes))
    method, about = _method(model, which, recipe, runtime, ensemble, index.blur_kind)
    about |= {"scenes": selection.scene_names, "photo_blur": None}
    if selection.blurs:
        index, about["photo_blur"] = selection.blur(index, images, out)
    kind = f", blur kind: {index.blur_kind}" if index.blur_kind else ""
    what = "photographs" if selection.photos and not selection.blurs else "pairs"
    print(f"{about['model']}\n{len(index.pairs)} {what} of {index.root} ({index.layout}){kind}")
    for protocol in ("full", "crop") if selection.protocol == "both" else (selection.protocol,):
        with tqdm(total=len(index.pairs), unit="image", desc=protocol, leave=False) as bar:

            def show(result, *images, protocol=protocol, bar=bar):
                if bar.n < pictures:
                    place = out / "pictures" / f"{protocol}_{result.name.replace('/', '_')}.png"
                    write_grid(place, [images], [triple_labels(result.blurred.psnr, result.restored.psnr)])
                bar.update()

            results = evaluate_method(method, index.pairs, protocol, selection.crop, selection.seed, show)
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
    print(f"\nwritten to {out}")


def _method(
    name: str,
    which: str,
    recipe: str | None,
    runtime: runtimes.RuntimeOptions | None,
    ensemble: bool,
    blur_kind: str | None,
) -> tuple[RestorePair, dict[str, object]]:
    """What restores the images, and what the JSON says of it."""
    there = Path(name).exists()
    if name in REFERENCES and not there:
        if recipe or which != "best" or ensemble:
            raise UserError(
                f"{name}: there is no checkpoint, no recipe and no ensemble; leave --which, --recipe and --ensemble out"
            )
        return REFERENCES[name], {"model": REFERENCES[name].description, "recipe": None, "parameters": None}
    try:  # The runtime starts late, so that a bad command line or folder is reported at once.
        loaded = runtimes.load(name, which, recipe, options=runtime)
    except UserError as problem:
        if there or name in registry.entries():
            raise
        raise UserError(f"{problem} (without a network: {', '.join(REFERENCES)})") from None
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
            "runtime": loaded.runtime,
            "recipe": loaded.recipe_name,
            "changed": changed,
            "parameters": loaded.model.count_params() if loaded.model else None,
        },
    )


def _default_out(model: str, selection: Selection) -> Path:
    if (Path(model) / "settings.json").is_file():
        return Path(model) / "evaluation" / selection.folder_name()
    return Path("runs/evaluation") / Path(model).resolve().name / selection.folder_name()
