"""`madn COMMAND ...`, and what `import madn` gives."""

import subprocess
import sys

import pytest

import madn
from madn import recipes
from madn.__main__ import COMMANDS, main
from madn.errors import UserError


@pytest.mark.parametrize("argv", [["--help"], ["-h"], []])
def test_help_lists_the_commands(argv, capsys):
    main(argv)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: madn COMMAND ..."
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(COMMANDS)


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"madn {madn.__version__}\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("evalaute", "evalaute: no such command; did you mean evaluate?"),
        ("xyz", "xyz: no such command; there are deblur, train, "),
    ],
)
def test_an_unknown_command_is_answered_with_a_hint(name, said):
    with pytest.raises(UserError) as problem:
        main([name])
    assert str(problem.value).startswith(said) and "\n" not in str(problem.value)


@pytest.mark.process
@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        (["train", "--list"], 0, "madn ", ""),
        (["train", "--recipe", "madm"], 2, "", "madn: error: unknown recipe 'madm': did you mean madn"),
        (["trian"], 2, "", "madn: error: trian: no such command; did you mean train?\n"),
    ],
)
def test_a_command_runs_and_keeps_its_exit_code(argv, code, out, err):
    done = subprocess.run([sys.executable, "-m", "madn", *argv], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(out) and done.stderr.startswith(err)
    assert len(done.stdout.splitlines()) == (len(recipes.named()) if out else 0)
    assert len(done.stderr.splitlines()) == (1 if err else 0)


def test_a_commands_own_name_stands_in_its_words(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "madn.weights.__main__", raising=False)  # other tests may have imported it
    with pytest.raises(SystemExit) as stop:
        main(["weights", "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_the_public_names():
    assert dir(madn) == [
        "__version__",
        "data",
        "deblur",
        "evaluation",
        "load",
        "nn",
        "recipes",
        "training",
    ]
    assert all(getattr(madn, name) is not None for name in dir(madn))
    assert madn.recipes is recipes
    with pytest.raises(AttributeError, match="module 'madn' has no attribute 'restore'"):
        _ = madn.restore
