"""Errors for users: a line for each problem, and nothing in a file's name that a terminal would obey."""

import pickle

import pytest

from madn.errors import UserError, WorkerLost, run_command

NAME = "a\nmadn: error: b\x1b]0;title\x07\u202e\udcff.png"
ESCAPED = r"a\nmadn: error: b\x1b]0;title\x07\u202e\udcff.png"


def test_what_does_not_print_is_escaped():
    problem = UserError(f"{NAME}: no such file", "another \tline")
    assert str(problem) == f"{ESCAPED}: no such file\n" + r"another \tline"
    assert str(UserError(problem)) == str(problem).replace("\n", r"\n")
    again = pickle.loads(pickle.dumps(WorkerLost(NAME)))
    assert (str(again), type(again)) == (ESCAPED, WorkerLost)


@pytest.mark.parametrize("problem", [UserError(NAME), FileNotFoundError(2, "No such file", NAME)])
def test_a_command_ends_with_one_line(problem, capsys):
    def command(argv):
        raise problem

    with pytest.raises(SystemExit) as stop:
        run_command(command, [])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"madn: error: {ESCAPED}") and said.count("\n") == 1
