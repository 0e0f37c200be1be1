"""Keras' private modules are used in one file, and are these."""

import ast
from pathlib import Path

import madn

ROOT = Path(madn.__file__).parents[1]
PRIVATE = {
    "keras.src.backend",
    "keras.src.backend.common.stateless_scope",
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
