"""The cells of the tables of `python -m madn.bench`: what was measured, as texts."""

import numpy as np

RATES = ("s p50", "s p95", "of")
RESTORATION = ("recipe", "precision", "photo", *RATES, "megapixels/s", "GMACs", "GMAC/s")
RESTORATION += ("of convolutions", "of matrix peak", "peak GB")
TRAINING = ("recipe", "precision", "batch", *RATES, "crops/s", "GMACs", "GMAC/s", "of matrix peak", "peak GB")


def restoration_cells(row: dict) -> list[str]:
    """The cells of a line of `RESTORATION`; for a failure, its reason."""
    first = [row["recipe"], row["precision"]]
    if "failed" in row:
        return [*first, f"failed: {row['failed']}", *[""] * (len(RESTORATION) - 3)]
    width, height = row["size"]
    where = f"{width}x{height}" + ("" if row["tiles"] == "whole" else f", {row['tiles']}")
    return [*first, where, *_times(row, row["megapixels"]), *rates(row)]


def training_cells(row: dict) -> list[str]:
    """The cells of a line of `TRAINING`; for a failure, its reason."""
    recipe = f"{row['recipe']}: {row['stage']}" if row.get("stage") else row["recipe"]
    first = [recipe, row["precision"] + (", XLA" if row.get("jit") else "")]
    if "failed" in row:
        return [*first, f"failed: {row['failed']}", *[""] * (len(TRAINING) - 3)]
    batch = f"{row['crops_per_step']} of {row['crop']}"
    return [*first, batch, *_times(row, row["crops_per_step"]), *rates(row)]


def rates(row: dict) -> list[str]:
    """Operations, their rate, its shares and memory, empty where the operations are unknown."""
    peak = product_rate(row)
    share = [""] if "stack" in row else []
    cells = ["", "", *share, ""]
    if row["macs"]:
        rate = row["macs"] / percentile(row["seconds"], 50)
        if "stack" in row:
            share = [f"{rate / (row['stack']['macs'] / percentile(row['stack']['seconds'], 50)):.0%}"]
        cells = [f"{row['macs'] / 1e9:,.1f}", f"{rate / 1e9:,.1f}", *share, f"{rate / peak:.0%}"]
    return [*cells, f"{row['peak_memory_bytes'] / 1e9:.2f}"]


def product_rate(row: dict) -> float:
    """Multiply-adds a second of the fastest matrix product of the row's process: the peak."""
    return row["matrix_product"]["macs"] / min(row["matrix_product"]["seconds"])


def percentile(seconds: list[float], percent: float) -> float:
    """The percentile, interpolated between the two nearest times; of few times, p95 is close to the longest."""
    return float(np.percentile(seconds, percent))


def _times(row: dict, amount: float) -> list[str]:
    middle = percentile(row["seconds"], 50)
    return [
        f"{middle:.3g}",
        f"{percentile(row['seconds'], 95):.3g}",
        str(len(row["seconds"])),
        f"{amount / middle:.3g}",
    ]
