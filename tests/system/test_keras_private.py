"""Keras' private modules are used in one file, and are these."""

import ast
import json
from pathlib import Path

import pytest
from other_backend import run_on

import madn

ROOT = Path(madn.__file__).parents[1]
PRIVATE = {
    "keras.src.backend",
    "keras.src.backend.common.stateless_scope",
    "keras.src.backend.torch",
    "keras.src.models.functional",
    "keras.src.saving.saving_lib",
}


def test_private_modules_are_imported_in_one_file():
    found = {}
    for folder in ("madn", "baselines", "scripts"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
                found.setdefault(file, set()).update(name for name in names if name.startswith("keras.src"))
    assert {file: names for file, names in found.items() if names} == {ROOT / "madn/system/keras_private.py": PRIVATE}


CHANNELS_LAST = """
import json
from madn.system.startup import start_keras
start_keras()
import keras, numpy as np, torch
numbers = np.random.default_rng(0)
images, kernel = (numbers.normal(size=size).astype("float32") for size in ((2, 12, 10, 5), (3, 3, 5, 6)))
x = keras.ops.convert_to_tensor(images)
layers = {
    "conv": keras.layers.Conv2D(6, 3, padding="same", use_bias=False),
    "max": keras.layers.MaxPooling2D(2),
    "average": keras.layers.AveragePooling2D(2),
}
layers["conv"].build(x.shape)
layers["conv"].kernel.assign(kernel)
functional, first = torch.nn.functional, x.permute(0, 3, 1, 2).contiguous()
expected = {
    "conv": functional.conv2d(first, torch.tensor(kernel, device=x.device).permute(3, 2, 0, 1), padding=1),
    "max": functional.max_pool2d(first, 2),
    "average": functional.avg_pool2d(first, 2),
}
found = {}
for name, layer in layers.items():
    with torch.profiler.profile(record_shapes=True) as profile:
        result = layer(x)
    copies = [e.input_shapes[0] for e in profile.events() if e.name in ("aten::copy_", "aten::clone")]
    error = float((result - expected[name].permute(0, 2, 3, 1)).abs().max())
    found[name] = [error, sum(len(shape) == 4 and shape[0] == 2 for shape in copies)]
print(json.dumps(found))
"""


@pytest.mark.process
@pytest.mark.torch
def test_pytorch_takes_images_as_they_lie():
    """Convolutions and pooling have PyTorch's own results, and copy no image."""
    pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")
    found = json.loads(run_on("torch", CHANNELS_LAST))
    assert set(found) == {"conv", "max", "average"}
    assert all(error < 1e-5 and copies == 0 for error, copies in found.values()), found
