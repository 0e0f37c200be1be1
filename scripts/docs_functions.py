"""An extension of Griffe, which reads the sources for the API page: `madn.deblur` is the function.

The command `python -m madn.deblur` is a module of that name, which hides the function from readers that do not import.
"""

import griffe

FUNCTIONS = ("madn.deblur",)


class FunctionsFirst(griffe.Extension):
    """Keeps functions that a submodule of their name would take the place of."""

    def __init__(self):
        self.kept = {}

    def on_function_instance(self, *, func, **kwargs):
        """Remember a function of `FUNCTIONS`."""
        if func.path in FUNCTIONS:
            self.kept[func.path] = func

    def on_package(self, *, pkg, **kwargs):
        """Put it back in its place."""
        for path, func in self.kept.items():
            if path.startswith(f"{pkg.path}."):
                pkg.set_member(func.name, func)
