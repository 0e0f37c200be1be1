"""One self-contained HTML page of a run: the curves of its log, its settings and its newest picture.

Curves are SVG inside the page, the picture is a data URI, and the page's Content-Security-Policy forbids the network.
"""

import base64
import contextlib
import importlib.util
import io
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from madn.errors import UserError
from madn.system.templates import templates
from madn.system.writing import write_durably
from madn.training.log_groups import GROUPS, group_of
from madn.training.runfolder import RunFolder, best_row

TITLES = {
    "held_out": "PSNR of the held-out crops in dB",
    "psnr": "PSNR of the training crops in dB",
    "loss": "Loss and its terms",
    "discriminator": "Discriminators",
    "learning_rate": "Learning rate",
    "gradient": "Gradient norm",
    "speed": "Share of the time that steps waited for input",
}
SPREAD = 30  # Positive curves whose values differ by more than this factor get a logarithmic axis.
GREY = "#808080"  # It can be read on a light and on a dark page.
STYLE: Any = {
    "svg.fonttype": "none",  # Text stays text.
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": GREY,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
}


def write_run_report(run: RunFolder, file: Path | None = None) -> Path:
    """Write the page of `run` to `file`, by default report.html in its folder, and return where it is.

    Raises `UserError` where there is no log yet, the page cannot be written, or matplotlib is not installed.
    """
    if not run.path.is_dir():
        raise UserError(f"{run.path}: no such run folder; name one that python -m madn.train has written")
    rows = run.rows()
    if not rows:
        raise UserError(f"{run.log}: no round has been logged yet; come back when the first one has ended")
    file = file or run.path / "report.html"
    if file.is_dir():
        raise UserError(f"{file}: is a folder; give the report a file name, such as {file / 'report.html'}")
    settings = run.settings() or {}
    page = (
        templates(Path(__file__).parent)
        .get_template("run_report.html")
        .render(
            title=f"Training of {settings.get('recipe', run.path.name)}",
            summary=run.result().splitlines()[0],
            facts=_facts(run, settings, rows),
            charts=_charts(rows),
            picture=_picture(run.samples / "latest.png"),
            verdicts=[(row["step"], row["critics"]) for row in rows if row.get("critics")],
            last=[(name, value) for name, value in rows[-1].items() if value],
        )
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, page.encode("utf-8", "replace"))
    except OSError as problem:
        raise UserError(f"{file}: the report cannot be written ({problem.strerror or problem})") from None
    return file


def _facts(run: RunFolder, settings: dict, rows: list[dict[str, str]]) -> dict[str, str]:
    """What the page says of the run beside its curves."""
    pairs = settings.get("pairs") or {}
    facts = {
        "run folder": str(run.path),
        "paper": settings.get("paper"),
        "trained on": pairs.get("train"),
        "steps": rows[-1]["step"] + (f" of {settings['total_steps']}" if settings.get("total_steps") else ""),
        "hours": f"{float(rows[-1].get('seconds') or 0) / 3600:.2f}",
        "device": settings.get("device"),
        "started": settings.get("started"),
        "command": settings.get("command"),
        "written": f"{datetime.now():%Y-%m-%d %H:%M}",
    }
    if best := best_row(rows):
        facts["best held-out score"] = f"{float(best['val_psnr']):.2f} dB at step {best['step']}"
    return {name: str(value) for name, value in facts.items() if value}


def _charts(rows: list[dict[str, str]]) -> list[tuple[str, Markup]]:
    """(title, SVG) for each group of columns that has numbers."""
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ("step", "critics")]
    steps = [int(row["step"]) for row in rows]
    charts = []
    with _matplotlib():
        for group in GROUPS:
            curves = {
                name: [_number(row.get(name)) for row in rows]
                for name in columns
                if group_of(name) == group and name != "seconds"
            }
            curves = {name: values for name, values in curves.items() if any(map(math.isfinite, values))}
            if curves:
                charts.append((TITLES[group], _svg(group, steps, curves)))
    return charts


def _number(text: str | None) -> float:
    """A number of the log; what is not finite, or not there, leaves a gap in the curve."""
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else math.nan


def _svg(group: str, steps: list[int], curves: dict[str, list[float]]) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE | {"svg.hashsalt": group}):  # The same log gives the same page.
        figure = Figure(figsize=(4.8, 3 + 0.16 * ((len(curves) + 1) // 2)), layout="constrained")
        axes = figure.subplots()
        for name, values in curves.items():
            mark = "." if sum(map(math.isfinite, values)) < 3 else ""  # One point makes no line.
            axes.plot(steps, values, marker=mark, label=name)
        shown = [value for values in curves.values() for value in values if math.isfinite(value)]
        if min(shown) > 0 and max(shown) > SPREAD * min(shown):
            axes.set_yscale("log")
        axes.set_xlabel("step")
        figure.legend(loc="outside lower center", ncols=2)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return Markup(svg[svg.index("<svg") :])


@contextlib.contextmanager
def _matplotlib() -> Iterator[None]:
    """A block in which matplotlib can be imported without leaving its folders in the home folder.

    Raises `UserError` where it is not installed: a machine that only trains need not have it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("matplotlib, which draws them, is not installed; python -m madn.report draws them later")
    if "matplotlib.font_manager" in sys.modules or "MPLCONFIGDIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="madn-matplotlib-") as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            importlib.import_module("matplotlib.font_manager")
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]


def _picture(file: Path) -> str | None:
    """A picture as a JPEG's data URI; None where it is missing or damaged."""
    text = io.BytesIO()
    try:
        with Image.open(file) as picture:
            picture.convert("RGB").save(text, format="JPEG", quality=90, subsampling=0)
    except OSError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(text.getbuffer()).decode("ascii")
