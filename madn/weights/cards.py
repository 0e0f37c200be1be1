"""A card for each published file, made from the registry: in weights/README.md, and as a Hugging Face model card.

The part that the registry knows stands between two comments, and is written again whenever the registry changes. What
people write around it stays as it is, and goes into the Hugging Face card of the same file.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from madn.errors import UserError
from madn.system.tables import score_text
from madn.system.writing import write_durably
from madn.weights import registry
from madn.weights.registry import Entry

README = "README.md"
LICENCES = ("mit", "apache-2.0", "cc-by-4.0", "bsd-3-clause")  # Hugging Face's names; anything else is "other".


def card(entry: Entry) -> str:
    """What the registry says of a file: a table of facts, and its scores with the commands that print them."""
    rows = {
        "file": f"`{entry.file}`, {entry.bytes / 1e6:.1f} MB, SHA-256 `{entry.sha256}`",
        "recipe": f"`{entry.recipe}`",
        "licence": entry.licence,
        "trained on": entry.trained_on,
        "notes": entry.notes,
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows.items() if text), ""]
    metrics = list(dict.fromkeys(metric for score in entry.scores for metric in score.restored))
    if not metrics:
        return "\n".join([*lines, "Not measured."])
    lines += [f"| measured on | images | {' | '.join(f'`{metric}`' for metric in metrics)} | by |"]
    lines += ["|---" * (len(metrics) + 3) + "|"]
    for score in entry.scores:
        cells = [
            " → ".join(score_text(metric, means[metric]) for means in (score.blurred, score.restored))
            if metric in score.restored
            else ""
            for metric in metrics
        ]
        data = f"{score.data}, {score.protocol}"
        lines.append("| " + " | ".join(map(_cell, [data, str(score.pairs), *cells, f"`{score.command}`"])) + " |")
    return "\n".join([*lines, "", "Scores are means, blurred → restored."])


def with_cards(readme: str, entries: Mapping[str, Entry]) -> str:
    """The text of weights/README.md with the card of each entry; an entry without a section gets one at the end.

    A file that is no longer in the registry loses its card, not its section.
    """
    for name in set(re.findall(r"^<!-- card (\S+) -->$", readme, re.M)) - set(entries):
        readme = _pattern(name).sub("", readme)
    for name, entry in entries.items():
        block = f"{_start(name)}\n{card(entry)}\n<!-- end of card -->\n"
        if not _pattern(name).search(readme):
            heading = _heading(name).search(readme)
            if heading:
                readme = (
                    f"{readme[: heading.end()]}\n\n{_start(name)}\n<!-- end of card -->\n{readme[heading.end() + 1 :]}"
                )
            else:
                readme = f"{readme.rstrip()}\n\n## `{name}`\n\n{_start(name)}\n<!-- end of card -->\n"
        place = _pattern(name).search(readme)
        readme = readme[: place.start()] + block + readme[place.end() :]
    return readme


def write_cards() -> Path | None:
    """Bring the README of the registry's folder up to date, and return it; None where there is none."""
    file = registry.folder() / README
    if not file.is_file():
        return None
    before = file.read_text(encoding="utf-8")
    after = with_cards(before, registry.entries())
    if after != before:
        write_durably(file, after.encode())
    return file


def hugging_face_card(entry: Entry, readme: str = "") -> str:
    """A model card with Hugging Face's metadata for Keras; `readme`, of weights/, gives the text of the entry.

    https://huggingface.co/docs/hub/model-cards has the names; the values are JSON, which is YAML, too.
    """
    licence = re.split(r"[;, ]", entry.licence.lower(), maxsplit=1)[0]
    metadata = {
        "library_name": "keras",
        "license": licence if licence in LICENCES else "other",
        "pipeline_tag": "image-to-image",
        "tags": ["keras", "tensorflow", "deblurring", "motion-deblurring", "image-restoration"],
        "model-index": [{"name": entry.name, "results": [_result(score) for score in entry.scores]}],
    }
    if metadata["license"] == "other":
        metadata["license_name"] = entry.licence
    if not entry.scores:
        del metadata["model-index"]
    lines = ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in metadata.items()), "---"]
    use = f"""# {entry.name}

A network that removes motion blur from photographs, for the Keras 3 library `madn`. With the file in a folder of its
own:

```
python -m madn.deblur photo.jpg --out restored --model {entry.file}
```

```python
import madn

network = madn.load("{entry.file}")  # a keras.Model: float32 RGB in [0, 1], (batch, height, width, 3)
```"""
    return "\n".join([*lines, "", use, "", _section(entry, readme).strip(), ""])


def write_upload(name: str, folder: Path) -> list[Path]:
    """Write into `folder`, which is new or empty, what is uploaded of a file: itself, its card and its licences.

    Raises `UserError` where the name is unknown, the file is not what the registry says, or the folder holds something.
    """
    entry = registry.find(name)
    file = registry.checked(entry)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; give a new folder")
    readme = file.parent / README
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mentioned = sorted(path for path in file.parent.glob("LICENSE*") if path.name in entry.licence)
        for source in [file, *mentioned]:
            shutil.copyfile(source, folder / source.name)
        write_durably(folder / README, hugging_face_card(entry, text).encode())
    except OSError as problem:
        raise UserError(f"{folder}: cannot be written ({problem.strerror or problem})") from None
    return sorted(folder.iterdir())


def _result(score: registry.Score) -> dict:
    """A score as Hugging Face's model-index has it: of the restored images."""
    return {
        "task": {"type": "image-to-image", "name": "Motion deblurring"},
        "dataset": {"type": re.sub(r"\W+", "-", score.data.split()[0].lower()), "name": score.data},
        "metrics": [
            {"type": metric, "name": metric, "value": round(float(value), 4)}
            for metric, value in score.restored.items()
            if value != "inf"
        ],
    }


def _section(entry: Entry, readme: str) -> str:
    """The entry's section of the README, without its heading; its card alone where there is none."""
    readme = with_cards(readme, {entry.name: entry})
    body = readme[_heading(entry.name).search(readme).end() :]
    following = re.search(r"^## ", body, re.M)
    return body[: following.start()] if following else body


def _heading(name: str) -> re.Pattern:
    """The line that begins a section, and may say more: ## `madn-srn`: the default."""
    return re.compile(rf"^## `{re.escape(name)}`.*$", re.M)


def _pattern(name: str) -> re.Pattern:
    return re.compile(rf"^{re.escape(_start(name))}\n.*?^<!-- end of card -->\n", re.M | re.S)


def _start(name: str) -> str:
    return f"<!-- card {name} -->"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
