"""The registry: what it finds, what it refuses, and that what is shipped is what it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from madn.errors import UserError
from madn.weights import __main__ as command
from madn.weights import registry

NAME = registry.DEFAULT
SHIPPED = Path(__file__).parents[2] / "weights"
MEANS = {"psnr": 24.0, "ssim": 0.7, "ssim_matlab": 0.8}
SCORE = {"data": "x", "protocol": "full", "pairs": 1, "blurred": MEANS, "restored": MEANS, "command": "c"}


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A copy of the shipped folder that a test may damage."""
    shutil.copytree(SHIPPED, tmp_path / "site")
    monkeypatch.setenv("MADN_WEIGHTS", str(tmp_path / "site"))
    return tmp_path / "site"


def change(site, name=NAME, **fields):
    lines = json.loads((site / "registry.json").read_text())
    lines[name] = {**lines[NAME], **fields}
    (site / "registry.json").write_text(json.dumps(lines))


def test_what_is_shipped_is_what_the_registry_says(capsys):
    assert command.main(["--check"]) == 0
    known = registry.entries()
    assert f"{2 * len(known)} of {2 * len(known)} files" in capsys.readouterr().out
    files = {path.name for suffix in ("h5", "onnx") for path in SHIPPED.glob(f"*.{suffix}")}
    assert {each.file for entry in known.values() for each in (entry, entry.onnx)} == files
    assert sum(entry.bytes for entry in known.values()) <= 40e6 and all(e.bytes <= 24e6 for e in known.values())
    for entry in known.values():
        assert entry.licence and entry.trained_on and entry.scores and registry.path(entry.name) == SHIPPED / entry.file
        assert f"python -m madn.evaluate {entry.name} " in entry.scores[0].command


def test_the_table_says_scores_and_commands(capsys):
    assert command.main([]) == 0
    said = capsys.readouterr().out
    assert "24.14 -> 25.26" in said and "24.14 -> 28.22" in said and "MIT" in said
    assert f"python -m madn.evaluate {NAME} --data GOPRO --split test" in said


def test_damaged_and_foreign_files_are_refused_with_both_hashes(site, capsys):
    file, expected = site / registry.find(NAME).file, registry.find(NAME).sha256
    content = bytearray(file.read_bytes())
    content[100_000] ^= 1  # a bit
    for changed in (content, content[:-1], b"version https://git-lfs.github.com/spec/v1\n", b""):
        file.write_bytes(changed)
        with pytest.raises(UserError, match="damaged, or not the weights") as problem:
            registry.path(NAME)
        for said in (str(file), expected, registry.sha256_of(file), f"({len(changed)} bytes)", "MADN_WEIGHTS"):
            assert said in str(problem.value)
        assert "\n" not in str(problem.value)
    change(site, "other", file="other.weights.h5")
    assert command.main(["--check"]) == 1
    said = capsys.readouterr()
    assert "madn-small.weights.h5: as the registry says" in said.out and "2 of 6 files" in said.out
    assert f"{registry.find(NAME).file}: damaged" in said.err and "other.weights.h5: cannot be read" in said.err


def test_an_unknown_name_gets_the_nearest_or_all(site):
    change(site, "other")
    with pytest.raises(UserError, match="no weights named 'madn-smal': did you mean madn-small?"):
        registry.path("madn-smal")
    with pytest.raises(UserError, match="there are madn-small, madn-srn, other"):
        registry.find("zzz")


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "not a registry"),
        ("{", "not a registry"),
        ("[]", "not a registry"),
        ("null", "not a registry"),
        ("[" * 100_000, "not a registry"),
        ('{"a": 3}', "not a registry"),
        ('{"version": 2, "a": {}}', "written by a newer madn .version 2 .*; install a newer madn$"),
        ('{"version": "1"}', "version"),
        ('{"a": {}}', "missing"),
        ('{"a": {"colour": 1}}', "colour"),
    ],
)
def test_a_registry_that_is_none_is_named(site, text, said):
    (site / "registry.json").write_text(text)
    with pytest.raises(UserError, match=said) as problem:
        registry.find(NAME)
    assert str(site / "registry.json") in str(problem.value) and "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"file": "../madn-small.weights.h5"}, "plain name"),
        ({"file": "/etc/passwd"}, "plain name"),
        ({"file": ".."}, "plain"),
        ({"onnx": {"file": "../a.onnx", "bytes": 1, "sha256": 64 * "0", "largest_difference": 0.0}}, "plain name"),
        ({"sha256": "123"}, "64"),
        ({"scores": [{"data": "x"}]}, "missing required field"),
        ({"scores": [{"data": "x"}, 3]}, "scores"),
        ({"scores": [{**SCORE, "blurred": {**MEANS, "psnr": "high"}}]}, "Expected `float`, got `str`"),
        (
            {"scores": [{**SCORE, "blurred": {"psnr": 24.0}}]},
            "blurred and restored need the same metrics; there is psnr",
        ),
        ({"bytes": "many"}, "Expected `int`, got `str`"),
        ({"colour": 1}, "unknown field `colour`"),
    ],
)
def test_a_line_that_leads_elsewhere_or_makes_no_sense_is_refused(site, fields, said):
    change(site, **fields)
    with pytest.raises(UserError, match=said):
        registry.find(NAME)


def test_a_pipe_is_no_weights_file(site):
    """Reading one would wait for ever, and so would a link to a device that has no end."""
    for name in (registry.find(NAME).file, "registry.json"):
        (site / name).unlink()
        (site / name).symlink_to("/dev/zero")
        with pytest.raises(UserError, match="not a regular file"):
            registry.path(NAME)
        (site / name).unlink()
        shutil.copy(SHIPPED / name, site / name)


def test_a_folder_without_a_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("MADN_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"registry\.json: no such file; MADN_WEIGHTS names"):
        registry.entries()


@pytest.mark.process
def test_the_table_needs_no_keras():
    code = "import sys; from madn.weights import __main__ as command; command.main([]); print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SHIPPED.parent)
    assert done.stdout.endswith("False\n")
