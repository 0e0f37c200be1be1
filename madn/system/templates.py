"""HTML pages out of templates, which lie beside the code that fills them."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader


@functools.cache
def templates(*folders: Path) -> Environment:
    """The templates in `folders`, by file name; they escape whatever is put into them."""
    return Environment(loader=FileSystemLoader(folders), autoescape=True, trim_blocks=True)
