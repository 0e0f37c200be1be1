"""A hook of MkDocs: the pages that lie outside docs/, and links from one place of the repository to another.

In the repository every link of a Markdown file leads to a file. `make docs` turns it into one of the site: a link to a
page leads to that page's place there, and any other file that a page links to is taken along, under files/.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "weights/README.md": "weights.md",
    "notebooks/README.md": "notebooks.md",
    "scripts/gpu/README.md": "gpu-kit.md",
}
"""Place in the repository -> place on the site."""
LINK = re.compile(r"(\]\()([^)\s#]+)")


def on_files(files, config):
    """Add the pages of `PAGES`, and the files that any page links to."""
    for place, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / place)))
    linked = {target for page in files.documentation_pages() for target in _targets(page)}
    for place in sorted(target for target in linked if _on_site(target) == f"files/{target}"):
        files.append(File.generated(config, f"files/{place}", abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn the links of the repository into those of the site."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(link: re.Match) -> str:
        target = _target(page.file, link[2])
        return link[1] + (posixpath.relpath(_on_site(target), here or ".") if target else link[2])

    return LINK.sub(turned, markdown)


def _targets(file: File) -> set[str]:
    """The places in the repository that a page links to."""
    targets = {_target(file, link[2]) for link in LINK.finditer(file.content_string)}
    return {target for target in targets if target}


def _target(file: File, link: str) -> str | None:
    """The place in the repository that a page's link means; None for one that leads elsewhere, or nowhere."""
    place = {page: place for place, page in PAGES.items()}.get(file.src_uri, f"docs/{file.src_uri}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    return target if "://" not in link and (ROOT / target).is_file() else None


def _on_site(target: str) -> str:
    """The place on the site of a file of the repository."""
    if target in PAGES:
        return PAGES[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else f"files/{target}"
