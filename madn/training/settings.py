"""What a run was: recipe, fields, data, versions, device and command, for settings.json."""

import platform
from datetime import UTC, datetime

import keras

from madn.system.versions import versions
from madn.training.recipe import Recipe


def describe(name: str, recipe: Recipe, command: str, about: dict, before: dict | None = None) -> dict:
    """Everything that settings.json holds, as plain JSON values.

    `command`: what was typed. `before`: what it held, where a run is resumed: how it was started stays, and this
    resumption joins the others.
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


def device() -> str:
    """The accelerator that training runs on, or the processor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            return ", ".join(tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in gpus)
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    if keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "gpu":
            return jax.devices()[0].device_kind
    return f"CPU {platform.processor() or platform.machine()}"
