"""The settings of a run for settings.json: recipe, fields, data, versions, device and command."""

from datetime import UTC, datetime

import keras

from madn.system.startup import device
from madn.system.versions import versions
from madn.training.recipe import Recipe


def describe(name: str, recipe: Recipe, command: str, about: dict, before: dict | None = None) -> dict:
    """Everything that settings.json holds, as plain JSON values.

    `command` is what was typed. Where a run is resumed, `before` is what the file held: how the run was started stays,
    and this resumption joins the others.
    """
    process = {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device(),
        "backend": keras.backend.backend(),
        "versions": versions(),
    }
    said = {"recipe": name, "paper": recipe.paper, "fields": recipe.fields(), **about}
    if before is None:
        return {**said, **process}
    return {**before, **said, "resumed": [*before.get("resumed", []), process]}
