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

    Text is a path where `registry.is_path` says so, a `Path` always, and a published name otherwise: so nothing that
    lies in the working directory takes a published name. Raises `UserError` where there is nothing, or no such
    checkpoint.
    """
    if not registry.is_path(source):
        return _published(str(source), which)
    path = Path(source)
    if is_savedmodel(source):
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
    if path.is_dir():
        raise UserError(f"{path}: neither a run folder (no settings.json) nor a SavedModel (no saved_model.pb)")
    raise UserError(f"{path}: no such run folder, {WEIGHTS} file or SavedModel")


def is_savedmodel(source: str | Path) -> bool:
    """Whether a network's name is that of a SavedModel's folder."""
    return registry.is_path(source) and (Path(source) / "saved_model.pb").is_file()


def _published(name: str, which: str) -> ModelSource:
    known = registry.entries()
    if name not in known:
        here = f"; what lies here under that name is ./{name}" if Path(name).exists() else ""
        raise UserError(f"{name}: no published weights of that name: {registry.hint(name, known)}{here}")
    if which != "best":
        raise UserError(f"{name}: published weights have no {which} checkpoint; leave --which out")
    return ModelSource(registry.folder() / known[name].file, known[name])
