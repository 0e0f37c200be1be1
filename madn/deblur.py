"""Deblur photos and videos: `python -m madn.deblur IN... -o OUT`; `madn.restoration.command` is the command itself."""

from madn.errors import run_command
from madn.restoration.command import main

if __name__ == "__main__":
    run_command(main)
else:  # The imported module would take the place of the function.
    raise ImportError("madn.deblur is a function, madn.deblur(image); the command's code is madn.restoration.command")
