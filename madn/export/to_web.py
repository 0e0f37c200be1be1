"""The web page: static files that restore photos in a browser, by onnxruntime-web, and ask no other server.

index.html, page.js, page.css, worker.js     the page
viewer.js, viewer.css                        the slider of the report (madn.restoration.report)
model.onnx, facts.json                       the network, and what tiles go by
onnxruntime-web/                             of the npm package of that name, in the version below
"""

import hashlib
import io
import json
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from madn.errors import UserError

VERSION = "1.30.0"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
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
        runtime: a folder of the npm package onnxruntime-web; by default it is fetched, and its hash checked.
    Raises:
        UserError: onnxruntime-web cannot be fetched, is another one, or lacks files.
    """
    for file in PAGE.iterdir():
        shutil.copyfile(file, folder / file.name)
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
    way_out = f"unpack onnxruntime-web {VERSION} of npm, and name its folder with --onnxruntime-web"
    try:
        with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
            data = answer.read()
    except (urllib.error.URLError, OSError) as problem:
        raise UserError(f"{ADDRESS}: cannot be fetched ({problem}); {way_out}") from None
    if hashlib.sha512(data).hexdigest() != SHA512:
        raise UserError(f"{ADDRESS}: is not the file that it was (its SHA-512 differs); {way_out}")
    return data


def _unpack(data: bytes, place: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as package:
        for name in RUNTIME:
            (place / name).write_bytes(package.extractfile(f"package/dist/{name}").read())
