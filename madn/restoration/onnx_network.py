"""Restoration networks in ONNX files, run by onnxruntime: ours, and others' that make an image of an image.

What a file takes is found: layout, type and fixed sizes in the shape of its input; range and multiple in its metadata
(`layout`, `range`, `multiple`, as madn.export writes them) or by running it on a small photograph. Nothing here imports
Keras or TensorFlow.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from madn.errors import UserError
from madn.restoration.loaded import BLEND, ELSEWHERE, Loaded
from madn.restoration.restorer import padded_size, reflected
from madn.restoration.tiles import Span, fixed_tiles, join, probe_picture
from madn.system import memory
from madn.system.startup import processor

PROVIDERS = {
    "CUDAExecutionProvider": "CUDA",
    "ROCMExecutionProvider": "ROCm",
    "CoreMLExecutionProvider": "CoreML",
    "DmlExecutionProvider": "DirectML",
    "OpenVINOExecutionProvider": "OpenVINO",
    "CPUExecutionProvider": "CPU",
}
"""What of onnxruntime computes, the first that is installed first. TensorRT is not among them: it compiles for minutes,
once more for each size of tile."""
TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
Range = Literal["0..1", "0..255", "-1..1"]
LIMITS: dict[str, tuple[float, float]] = {"0..1": (0, 1), "0..255": (0, 255), "-1..1": (-1, 1)}
MULTIPLES = tuple(2**i for i in range(8))
FACTS = "madn"  # The key in a file's metadata under which madn.export keeps what tiles need, as JSON.
ALIKE = 0.1  # A restored image resembles what it was: in the right range the mean change is a smaller share of it.
SAFE = (1, 24)  # From this version on onnxruntime refuses weights that lie outside the network's folder.
SIDE = 384  # The memory is measured on an image with sides of so many pixels.


@dataclass(frozen=True)
class Format:
    """What an ONNX network takes and gives; None where it is to be found."""

    layout: Literal["nchw", "nhwc"] | None = None
    range: Range | None = None
    multiple: int | None = None


def is_installed() -> bool:
    """Whether onnxruntime is."""
    return importlib.util.find_spec("onnxruntime") is not None


class OnnxNetwork:
    """An ONNX file as a network of the image contract: float32 (batch, height, width, 3) in [0, 1] -> the same.

    A file that takes one size only is given larger images in overlapping tiles of that size, and smaller ones padded.

    Args:
        file: the ONNX file.
        given: what the user says of it; the rest is found.
    Raises:
        UserError: onnxruntime is not installed, the file is damaged, or not a network that makes an image of an image
            of the same size.
    """

    def __init__(self, file: Path, given: Format | None = None):
        self.file, given = file, given or Format()
        self._session = _session(file)
        about = self._session.get_modelmeta().custom_metadata_map
        self.facts = _facts(about)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            taken = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
            raise UserError(f"{file}: a restoration network takes one batch of images; this one takes {taken}")
        self._input, self._type = inputs[0].name, TYPES[inputs[0].type]
        self._output: str | None = None
        shape = inputs[0].shape
        if isinstance(shape[0], int) and shape[0] > 1:
            raise UserError(f"{file}: takes {shape[0]} images at once; export it for one, or for any number")
        self._layout = given.layout or _layout(file, shape, about.get("layout", "").lower())
        height, width = (shape[i] for i in ((2, 3) if self._layout == "nchw" else (1, 2)))
        self.size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        stored = about.get("range")
        self._range: str = given.range or (stored if stored in LIMITS else "")
        if self._type is np.uint8:
            self._range = "0..255"
        self.multiple = 1 if self.size else given.multiple or self.facts.get("multiple") or 0
        if self.multiple < 0:
            raise UserError(f"--onnx-multiple must be 1 or more; received {self.multiple}")
        self._find(unknown_range=not self._range)

    @property
    def provider(self) -> str:
        """The part of onnxruntime that computes."""
        name = self._session.get_providers()[0]
        return PROVIDERS.get(name, name)

    @property
    def description(self) -> str:
        """What was found."""
        taken = f"{'x'.join(map(str, self.size))} alone" if self.size else f"multiples of {self.multiple}"
        return f"{self._layout.upper()} {np.dtype(self._type).name}, range {self._range}, {taken}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate([self._in_tiles(image) if self.size else self._run(image) for image in images[:, None]])

    def bytes_per_pixel(self) -> int:
        """The memory that onnxruntime takes for each pixel of an image, measured; of the processor alone."""
        if self.size:
            return 256  # One tile is computed at a time, however large the image is.
        if self.provider != "CPU":
            return ELSEWHERE
        side = padded_size(SIDE, self.multiple)
        before = memory.used()
        self._run(np.zeros((1, side, side, 3), np.float32))
        return max(64, round((memory.used() - before) / side**2))

    def _run(self, image: np.ndarray) -> np.ndarray:
        """One image of a size that the network takes, (1, height, width, 3) in [0, 1]."""
        low, high = LIMITS[self._range]
        given = image * np.float32(high - low) + np.float32(low)
        if self._type is np.uint8:
            given = np.rint(np.clip(given, 0, 255))
        if self._layout == "nchw":
            given = given.transpose(0, 3, 1, 2)
        (made,) = self._session.run([self._output], {self._input: np.ascontiguousarray(given, self._type)})
        if self._layout == "nchw":
            made = made.transpose(0, 2, 3, 1)
        return (made.astype(np.float32) - np.float32(low)) / np.float32(high - low)

    def _in_tiles(self, image: np.ndarray) -> np.ndarray:
        tall, wide = self.size
        height, width = image.shape[1:3]
        rows, columns = reflected(height, max(height, tall)), reflected(width, max(width, wide))
        image = image[:, rows][:, :, columns]
        restored = np.empty(image.shape, np.float32)

        def tile(row: Span, column: Span) -> np.ndarray:
            return self._run(image[:, row.start : row.start + tall, column.start : column.start + wide])[0]

        def store(top: int, left: int, part: np.ndarray) -> None:
            restored[0, top : top + part.shape[0], left : left + part.shape[1]] = part[: len(rows) - top]

        join(fixed_tiles(len(rows), len(columns), tall, wide, BLEND), tile, store)
        return restored[:, :height, :width]

    def _find(self, unknown_range: bool) -> None:
        """Find the output that is the image, and what is not known of range and multiple, by running the network."""
        names = [each.name for each in self._session.get_outputs() if len(each.shape) in (0, 4)]
        if not names:
            raise UserError(f"{self.file}: has no output that is an image")
        self._output = "deblurred" if "deblurred" in names else names[0]
        if self.facts.get("multiple") and not unknown_range:
            return  # It is one of ours, which was run when it was written.
        ranges = list(LIMITS) if unknown_range else [self._range]
        picture = probe_picture(512)
        reason = ""
        for multiple in (self.multiple,) if self.multiple else MULTIPLES:
            height, width = self.size or tuple(multiple * (-(-least // multiple) | 1) for least in (64, 96))
            rows, columns = reflected(512, height), reflected(512, width)
            image = picture[rows][:, columns][None]
            errors = {}
            for self._range in ranges:
                try:
                    made = self._run(image)
                except Exception as problem:  # onnxruntime's classes have no common public name.
                    reason = _in_short(problem)
                    break
                if made.shape != image.shape:
                    reason = f"makes {'x'.join(map(str, made.shape[1:]))} of {'x'.join(map(str, image.shape[1:]))}"
                    break
                errors[self._range] = float(np.abs(made - image).mean())
            if len(errors) == len(ranges):
                self.multiple = multiple
                first = ranges[0]
                self._range = first if errors[first] <= ALIKE else min(errors, key=lambda name: errors[name])
                return
        raise UserError(
            f"{self.file}: not a network that makes an image of the same size ({reason}); where its sizes must be "
            "multiples of more than 128, say so by --onnx-multiple"
        )


def load_onnx(file: Path, given: Format | None = None) -> Loaded:
    """The network of an ONNX file, ready to restore.

    Raises:
        UserError: as `OnnxNetwork`; or onnxruntime is so old that it reads any file that a network names.
    """
    if is_installed():
        import onnxruntime

        if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < SAFE:
            raise UserError(
                f"{file}: onnxruntime {onnxruntime.__version__} lets a network read files outside its folder; "
                f'python -m pip install "onnxruntime>={SAFE[0]}.{SAFE[1]}"'
            )
    network = OnnxNetwork(file, given)
    facts = {**network.facts, "multiple": network.multiple}
    if network.size:
        facts |= {"tile_blend": BLEND, "reach": BLEND}
    return Loaded(
        network, f"{file} ({network.description})", facts=facts, runtime=runtime_of(network), device=device_of(network)
    )


def runtime_of(network: OnnxNetwork) -> str:
    """What computes the network, in words."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__} ({network.provider})"


def device_of(network: OnnxNetwork) -> str:
    """The processor, or the part of onnxruntime that computes on something else."""
    return processor() if network.provider == "CPU" else network.provider


def _session(file: Path) -> Any:
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"{file}: an ONNX network needs onnxruntime: python -m pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # What fails is raised, too.
    # Threads that wait in a loop take the processor from others: beside busy processes a photo took twice the seconds.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
    if "DmlExecutionProvider" in providers:  # DirectML asks for it.
        options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(file, options, providers=providers)
    except Exception as problem:  # onnxruntime's classes have no common public name.
        raise UserError(f"{file}: not an ONNX network that onnxruntime can run ({_in_short(problem)})") from None


def _layout(file: Path, shape: list, said: str) -> Literal["nchw", "nhwc"]:
    """Where the channels are: the axis that has three. Raises `UserError` where neither or both may be it."""
    if said in ("nchw", "nhwc"):
        return "nchw" if said == "nchw" else "nhwc"
    first, last = shape[1], shape[3]
    if (first == 3) != (last == 3):
        return "nchw" if first == 3 else "nhwc"
    if isinstance(first, int) and isinstance(last, int):
        raise UserError(f"{file}: takes images of shape {shape}; RGB with 3 channels is what can be given")
    raise UserError(f"{file}: where the channels are does not follow from the shape {shape}: say so by --onnx-layout")


def _facts(about: dict[str, str]) -> dict:
    """What a file says of itself; nothing where it is damaged, or not ours."""
    found: dict = {}
    try:
        found = json.loads(about.get(FACTS, "{}"))
    except ValueError:
        pass
    found = found if isinstance(found, dict) else {}
    if about.get("multiple", "").isdigit() and int(about["multiple"]) > 0:
        found.setdefault("multiple", int(about["multiple"]))  # Ours take any size, and tiles go by the network's own.
    return found


def _in_short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:160]
