"""All commands by one name: `madn COMMAND ...`, which is `python -m madn.COMMAND ...`."""

import difflib
import runpy
import sys
import textwrap

from madn.errors import UserError, run_command, start_command
from madn.system.tables import text_table
from madn.version import __version__

COMMANDS = {
    "deblur": "restore photos and videos",
    "train": "train a recipe",
    "evaluate": "measure a network on pairs, or print the papers' tables",
    "report": "draw the curves of a training into one HTML page",
    "export": "write a network as SavedModel, ONNX or LiteRT",
    "weights": "the published weights, and how others join them",
    "compare": "train several recipes for the same time and measure them",
    "bench": "what training and restoring cost",
    "batch": "restore photos by the million, with Apache Beam",
}


def main(argv: list[str]) -> None:
    """Run the command that `argv` begins with. Raises `UserError` where there is none of that name."""
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name == "--version":
        print(f"madn {__version__}")
    elif name in ("-h", "--help"):
        commands = textwrap.indent(text_table((), COMMANDS.items()), "  ")
        print(f"usage: madn COMMAND ...\n\n{commands}\n\nmadn COMMAND --help shows a command's options.")
    elif name in COMMANDS:
        sys.argv = [f"madn {name}", *rest]
        runpy.run_module(f"madn.{name}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        raise UserError(
            f"{name}: no such command; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}")
        )


def console() -> None:
    """The console script."""
    start_command()
    run_command(main)


if __name__ == "__main__":
    console()
