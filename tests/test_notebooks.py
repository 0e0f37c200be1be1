"""The notebooks as they are kept: executed to their ends, small, every number traced to a file in the repository."""

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import madn

HERE = Path(__file__).resolve().parents[1] / "notebooks"
RECORDS = HERE / "records"
PAPERS = ["egnet", "madn", "msr2b", "sisnet", "structure_guided"]
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|tmp|work|usr|opt|Users|private)/|[A-Z]:\\")
DECIMAL = re.compile(r"(?<![\w.,-])-?(\d+\.\d{2,})(?![\d.]|e-?\d|\w)")
WORD = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\d)")
ROW = re.compile(
    r"\| (?P<method>.+) \| (?P<psnr>[\d.]+) \| (?P<ssim>[\d.]+) \| (?P<matlab>[\d.]+) "
    r"\| `(?:\.\./)?runs/(?P<file>.+)` \|"
)
COUNT = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+)(?![\w,]|\.\d)")


def cells(name: str) -> list[dict]:
    return json.loads((HERE / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def text(cell: dict) -> str:
    """What a code cell said in words: streams, and the Markdown or else the plain form of results."""
    said = []
    for output in cell.get("outputs", ()):
        if output["output_type"] == "stream":
            said.append(output["text"])
        else:
            forms = output.get("data", {})
            said.append(forms.get("text/markdown") or forms.get("text/html") or forms.get("text/plain", ""))
    return "\n".join("".join(each) for each in said)


def numbers(value) -> list[float]:
    """All numbers of JSON data, in texts that are numbers, too."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    try:
        return [] if value is None or isinstance(value, bool) else [float(value)]
    except ValueError:
        return []


def test_a_row_is_held_against_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "RECORDS", tmp_path)
    side = {"psnr": 24.236, "ssim": 0.74091, "ssim_matlab": 0.80471}
    (tmp_path / "full.json").write_text(json.dumps({"mean": {"blurred": {**side, "psnr": 24.0}, "restored": side}}))
    line = "| MADN (narrow) | {} | 0.7409 | 0.8047 | `runs/full.json` |"
    assert [is_of_file(ROW.fullmatch(line.format(psnr))) for psnr in ("24.24", "24.25")] == [True, False]
    assert is_of_file(ROW.fullmatch(line.format("24.00").replace("MADN (narrow)", "blurred input")))


@cache
def known(*folders: Path) -> np.ndarray:
    """All numbers of the JSON and CSV files below the folders, and of the published tables, in order."""
    files = [
        Path(madn.__file__).parent / "papers" / "published.json",
        *(file for folder in folders for file in folder.rglob("*")),
    ]
    found = []
    for file in files:
        if file.suffix == ".json":
            found += numbers(json.loads(file.read_text(encoding="utf-8")))
        if file.suffix == ".md" or file.name == "published.json":  # what madn.bench printed; the papers' slips in words
            found += [float(word.replace(",", "")) for word in WORD.findall(file.read_text(encoding="utf-8"))]
        if file.suffix == ".csv":
            with file.open(newline="") as lines:
                found += numbers([list(row.values()) for row in csv.DictReader(lines)])
    found = np.array(found)
    return np.unique(np.abs(found[np.isfinite(found)]))


def is_of_file(row: re.Match) -> bool:
    """Whether a row of `madn.notebook.study.scores` has the means of the file that it names."""
    mean = json.loads((RECORDS / row["file"]).read_text(encoding="utf-8"))["mean"]
    side = mean["blurred" if row["method"] == "blurred input" else "restored"]
    return [row["psnr"], row["ssim"], row["matlab"]] == [
        f"{float(side['psnr']):.2f}",
        f"{side['ssim']:.4f}",
        f"{side['ssim_matlab']:.4f}",
    ]


def untraced(said: str, pool: np.ndarray) -> list[str]:
    """Numbers with two or more decimals, or with thousands, that no file of the pool has when rounded alike."""
    missing = []
    for word in [*DECIMAL.findall(said), *COUNT.findall(said)]:
        value, digits = float(word.replace(",", "")), len(word.partition(".")[2])
        nearest = pool[np.clip(np.searchsorted(pool, value) + np.array([-1, 0]), 0, len(pool) - 1)]
        if np.abs(nearest - value).min() > 0.5001 * 10.0**-digits:
            missing.append(word)
    return missing


def test_tracing_finds_what_no_file_has():
    pool = np.array([0.71649, 24.1449, 29071817.0])
    assert untraced("24.14 dB and 0.7165 of 29,071,817, step 240, v1.2.3, --lr-g 0.5, 1.25e-3", pool) == []
    assert untraced("24.15 dB, 0.7166, 29,071,818", pool) == ["24.15", "0.7166", "29,071,818"]


def test_there_is_one_notebook_for_each_paper_and_one_to_start_with():
    assert sorted(file.stem for file in HERE.glob("*.ipynb")) == sorted([*PAPERS, "start"])


@pytest.mark.parametrize("name", [*PAPERS, "start"])
def test_is_kept_executed_from_top_to_bottom(name):
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output["name"] == "stdout" for output in outputs if output["output_type"] == "stream")
    assert any("image/png" in output.get("data", {}) or "image/jpeg" in output.get("data", {}) for output in outputs)
    assert name == "start" or "hand scale" in text(code[0])


@pytest.mark.parametrize("name", [*PAPERS, "start"])
def test_is_small_and_names_no_machine(name):
    file = HERE / f"{name}.ipynb"
    assert file.stat().st_size < 1_500_000
    words = "\n".join("".join(cell["source"]) + text(cell) for cell in cells(name))
    assert not MACHINE_PATH.search(words)


@pytest.mark.parametrize("name", PAPERS)
def test_every_number_is_in_a_file(name):
    said = "\n".join(text(cell) for cell in cells(name))
    files = set(re.findall(r"runs/[\w./-]+\.(?:json|csv)", said))
    assert files
    absent = sorted(file for file in files if not (RECORDS / file.removeprefix("runs/")).is_file())
    assert not absent
    wrong = [line for line in said.splitlines() if (row := ROW.fullmatch(line)) and not is_of_file(row)]
    assert not wrong
    pool = known(*(RECORDS / folder for folder in (f"{name}-hand-GOPRO", "shared-hand-GOPRO", "compare")))
    results = "\n".join(line for line in said.splitlines() if not line.startswith("$ "))
    assert not untraced(results, pool)


def test_every_number_of_the_first_notebook_is_in_a_file():
    said = "\n".join(text(cell) for cell in cells("start"))
    results = [line for line in said.splitlines() if not line.startswith("$ ")]
    assert not untraced("\n".join(results), known(RECORDS / "start"))


@pytest.mark.parametrize("name", [*PAPERS, "start"])
def test_prose_holds_no_measured_number(name):
    """Text stays when results change: what is measured stands in the outputs."""
    prose = "\n".join("".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "markdown")
    assert not re.findall(r"\d+\.\d+ ?dB", prose)


@pytest.mark.parametrize(("page", "first"), [("README.md", "## Restore a photo"), ("docs/measured.md", "# Measured")])
def test_every_measured_number_of_the_documentation_is_in_a_file(page, first):
    said = (HERE.parent / page).read_text(encoding="utf-8")
    assert not untraced(said[said.index(first) :], known(RECORDS, HERE.parent / "weights"))


def test_records_name_no_machine():
    files = [file for file in RECORDS.rglob("*") if file.suffix in (".json", ".csv", ".md")]
    assert files
    named = [file for file in files if MACHINE_PATH.search(file.read_text(encoding="utf-8"))]
    assert not named
