"""What a model's name stands for, found without Keras, whose start takes seconds: a misspelt name is said before."""

from dataclasses import dataclass
from pathlib import Path

from madn.errors import UserError
from madn.system.writing import WEIGHTS
from madn.training.runfolder import RunFolder
from madn.weights import registry


@dataclass(frozen=True)
class ModelSource:
    """Where a trained network lies."""

    path: Path
    """A weights file, or the folder of a SavedModel."""
    published: registry.Entry | None = None
    """The registry's line of published weights, whose file nobody has checked yet."""
    is_saved_model: bool = False
    remark: str = ""
    """What is to be said of the choice."""


def find_model(source: str | Path, which: str = "best") -> ModelSource:
    """Find a run folder's `which` checkpoint, a weights file, a SavedModel folder or published weights.

    What exists under the path `source` comes before published weights of that name. Raises `UserError` where there is
    nothing, or no such checkpoint.
    """
    name, path = str(source), Path(source)
    if (path / "saved_model.pb").is_file():
        return ModelSource(path, is_saved_model=True)
    run = RunFolder(path)
    if run.settings() is not None:
        file = run.chosen(which)
        if not file.is_file():
            raise UserError(
                f"{path}: no {file.name.removesuffix(WEIGHTS)} checkpoint yet; go on with python -m madn.train "
                f"--run {path} --resume"
            )
        if file != run.generator(which):
            return ModelSource(file, remark=": the last checkpoint, since the run held no images out to choose one by")
        return ModelSource(file)
    if path.is_file():
        return ModelSource(path)
    if name in (known := registry.entries()):  # A folder of that name, such as madn/ in a checkout, does not matter.
        if which != "best":
            raise UserError(f"{name}: published weights have no {which} checkpoint; leave --which out")
        return ModelSource(registry.folder() / known[name].file, known[name])
    if path.is_dir():
        raise UserError(f"{path}: neither a run folder (no settings.json) nor a SavedModel (no saved_model.pb)")
    raise UserError(
        f"{path}: no such run folder, {WEIGHTS} file or SavedModel, and no published weights of that "
        f"name: {registry.hint(name, known)}"
    )
