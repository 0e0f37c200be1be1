"""Which runtime computes a network: Keras, or onnxruntime, which starts sooner and needs no TensorFlow.

A published network may have a twin, the same network as an ONNX file. onnxruntime is imported in a fraction of the
seconds that TensorFlow takes, and so restores a few photos sooner; of many, TensorFlow's time for each decides.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from madn.errors import UserError
from madn.restoration import onnx_network
from madn.restoration.loaded import Loaded
from madn.restoration.onnx_network import Format, OnnxNetwork, Range
from madn.system.startup import device, start_keras
from madn.weights import registry
from madn.weights.registry import ONNX, Entry


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """The options that say what computes the network."""

    runtime: Literal["auto", "keras", "onnx"] = "auto"
    """Keras on its backend, or onnxruntime. Auto: onnxruntime for ONNX files, for a few photos with a published network
    that has an ONNX twin, and where TensorFlow is not installed; Keras otherwise."""
    onnx_layout: Literal["nchw", "nhwc"] | None = None
    """Where an ONNX file has the channels, if that does not follow from its shape."""
    onnx_range: Range | None = None
    """The range of pixels that an ONNX file takes and gives, in place of the one that is found."""
    onnx_multiple: int | None = None
    """What heights and widths an ONNX file takes multiples of, in place of what is found."""

    @property
    def format(self) -> Format:
        """What is said of an ONNX file."""
        return Format(self.onnx_layout, self.onnx_range, self.onnx_multiple)


def load(
    source: str | Path,
    which: str = "best",
    recipe: str | None = None,
    precision: str = "float32",
    options: RuntimeOptions | None = None,
    few: bool = False,
    trust_model: bool = False,
) -> Loaded:
    """A network, ready to restore, by the runtime that `options` ask for.

    Args:
        source: an ONNX file, or what `madn.restoration.loading.load_network` takes, with which, recipe, precision
            and trust_model.
        few: whether so few photos are to be restored that the start of the runtime counts.
    Raises:
        UserError: no such network, a runtime that is not installed or cannot compute it, or options of another one.
    """
    options = options or RuntimeOptions()
    if Path(source).suffix.lower() == ONNX:
        for name, idle in (
            ("--which", which != "best"),
            ("--recipe", recipe),
            ("--precision", precision != "float32"),
            ("--runtime keras", options.runtime == "keras"),
        ):
            if idle:
                raise UserError(f"{source}: {name} is not for an ONNX file, which onnxruntime computes as it is")
        return onnx_network.load_onnx(Path(source), options.format)
    if options.format != Format():
        raise UserError(f"{source}: --onnx-layout, --onnx-range and --onnx-multiple are for ONNX files; leave them out")
    twin = _twin(source)
    if options.runtime == "onnx":
        if twin is None:
            raise UserError(
                f"{source}: has no ONNX twin; write it as an ONNX file and take that as the model: "
                f"python -m madn.export {source} DIR --formats onnx"
            )
        if which != "best" or precision != "float32" or recipe not in (None, twin.recipe):
            raise UserError(f"{source}: its ONNX twin is in float32; leave --which, --recipe and --precision out")
        return _load_twin(twin)
    plain = which == "best" and precision == "float32" and twin is not None and recipe in (None, twin.recipe)
    if plain and options.runtime == "auto" and _prefers_onnx(few):
        return _load_twin(twin)
    start_keras()
    from madn.restoration.loading import load_network

    return replace(load_network(source, which, recipe, precision, trust_model), runtime=_keras(), device=device())


def _prefers_onnx(few: bool) -> bool:
    """Whether a network that both can compute is for onnxruntime."""
    if not onnx_network.is_installed() or os.environ.get("KERAS_BACKEND"):
        return False
    if importlib.util.find_spec("tensorflow") is None:
        return True
    return few and not shutil.which("nvidia-smi")  # Where there is a GPU, TensorFlow uses it.


def _twin(source: str | Path) -> Entry | None:
    """The entry of a published name that has an ONNX twin; a path never is one."""
    entry = None if registry.is_path(source) else registry.entries().get(str(source))
    return entry if entry and entry.onnx else None


def _load_twin(entry: Entry) -> Loaded:
    file = registry.checked_twin(entry)
    network = OnnxNetwork(file)
    return Loaded(
        network,
        f"{entry.name}, {entry.short_hash}: {file.name} (recipe {entry.recipe})",
        recipe_name=entry.recipe,
        facts=network.facts,
        runtime=onnx_network.runtime_of(network),
        device=onnx_network.device_of(network),
    )


def _keras() -> str:
    import keras

    backend = keras.backend.backend()
    names = {"tensorflow": "TensorFlow", "torch": "PyTorch", "jax": "JAX"}
    return f"Keras on {names.get(backend, backend)} ({device().split()[0]})"
