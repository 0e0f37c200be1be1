"""The web page in a headless Chromium: a photo goes in, and what comes out is what Keras makes of it."""

import functools
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from madn.errors import UserError

pytest.importorskip("tf2onnx")
pytest.importorskip("onnxruntime")
if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
from madn.export import to_web
from madn.export.exporting import export, keras_reference, photographs

PACKAGE = Path(os.environ.get("MADN_TEST_ONNXRUNTIME_WEB", "not set"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")

# What npm may do where a page is written, and what is said of it.
NPM = {
    "echo another > onnxruntime-web.tgz": r"its SHA-512 differs\)",
    "printf 'npm error code E404\\nnpm error 404 Not Found\\n' >&2; exit 1": r"failed \(npm error code E404\)",
    "true": r"npm pack onnxruntime-web@[0-9.]+ failed \(without a word\)",
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def network() -> keras.Model:
    """Sharpens; a change of a pixel shows 12 pixels away."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 5, 2, padding="same", activation="relu")(image)
    x = keras.layers.Conv2DTranspose(3, 4, 2, padding="same")(x)
    return keras.Model(image, keras.layers.Add()([image, keras.layers.Rescaling(0.3)(x)]))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("Chromium and its driver are not here: install the packages chromium and chromium-driver")
    if not (PACKAGE / "dist").is_dir():
        pytest.skip("set MADN_TEST_ONNXRUNTIME_WEB to the unpacked npm package onnxruntime-web")
    webdriver = pytest.importorskip("selenium.webdriver")
    folder, model = tmp_path_factory.mktemp("page") / "site", network()
    export(
        model,
        folder,
        ["onnx"],
        multiple=4,
        finish=lambda fresh: to_web.write_page(fresh, {"multiple": 4, "reach": 16}, PACKAGE),
    )
    about = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**about, "tile": 128, "whole": 20_000}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=900,900"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder.parent / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(CHROMEDRIVER))
    driver.set_script_timeout(60)
    driver.address, driver.reference = f"http://127.0.0.1:{server.server_port}/", keras_reference(model, 4)
    driver.get(driver.address)
    yield driver
    driver.quit()
    server.shutdown()
    server.server_close()


def restored(driver, file: Path) -> tuple[np.ndarray | None, str]:
    """The PNG that the page offers for a photo, and what it says of it."""
    from selenium.webdriver.support.ui import WebDriverWait

    ready = "return self.crossOriginIsolated && document.readyState === 'complete'"
    WebDriverWait(driver, 30).until(lambda _: driver.execute_script(ready))
    before = len(driver.find_elements("css selector", ".photo"))
    driver.find_element("id", "files").send_keys(str(file))
    WebDriverWait(driver, 20).until(lambda _: len(driver.find_elements("css selector", ".photo")) > before)
    section = driver.find_elements("css selector", ".photo")[0]
    WebDriverWait(driver, 100).until(lambda _: not section.find_elements("css selector", "progress"))
    said = section.find_element("css selector", ".note").text
    link = section.find_element("css selector", ".png").get_attribute("href")
    if not link.startswith("blob:"):
        return None, said
    data = driver.execute_async_script(
        "const done = arguments[1]; fetch(arguments[0]).then((r) => r.arrayBuffer())"
        ".then((b) => done([...new Uint8Array(b)]))",
        link,
    )
    return np.asarray(Image.open(io.BytesIO(bytes(data))).convert("RGB")), said


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(("height", "width", "tiles"), [(100, 140, 1), (233, 307, 9), (61, 400, 5)])
def test_pixels_are_those_of_keras_also_across_tiles(page, tmp_path, height, width, tiles):
    pixels = np.rint(photographs((1, height, width)) * 255).astype(np.uint8)[0]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    result, said = restored(page, tmp_path / "photo.png")
    assert f"{width} × {height} pixels" in said and ("tiles" in said) == (tiles > 1)
    expected = page.reference(np.float32(pixels)[None] / 255)[0] * 255
    assert result.shape == pixels.shape and np.abs(result - expected).max() <= 1
    assert np.abs(result.astype(int) - pixels).max() > 5
    np.testing.assert_array_equal(restored(page, tmp_path / "photo.png")[0], result)


@pytest.mark.slow
@pytest.mark.process
def test_a_turned_jpeg_is_upright_and_what_is_no_image_is_said(page, tmp_path):
    picture = Image.fromarray(np.rint(photographs((1, 60, 90)) * 255).astype(np.uint8)[0])
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert restored(page, tmp_path / "turned.jpg")[0].shape == (90, 60, 3)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "phone.heic").write_bytes(b"no image")
    assert "this browser cannot read it as an image" in restored(page, tmp_path / "text.png")[1]
    assert "HEIC is not read by this browser" in restored(page, tmp_path / "phone.heic")[1]


@pytest.mark.slow
@pytest.mark.process
def test_nothing_is_asked_of_another_server(page):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert page.address in asked
    assert [url for url in asked if not url.startswith((page.address, "blob:", "data:", "chrome:"))] == []
    page.set_window_size(500, 800)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.process
def test_a_runtime_that_lacks_files_or_is_another_one_is_refused(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "a").mkdir()
    facts = {"multiple": 4, "reach": 16}
    with pytest.raises(UserError, match=r"package: lacks ort\.wasm\.min\.mjs; .* onnxruntime-web [0-9.]+"):
        to_web.write_page(tmp_path / "a", facts, tmp_path / "package")
    program, way_out = tmp_path / "npm", r"; .*unpack onnxruntime-web@[0-9.]+ .*--onnxruntime-web$"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for i, (script, said) in enumerate(NPM.items()):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        (tmp_path / f"b{i}").mkdir()
        with pytest.raises(UserError, match=said + way_out) as problem:
            to_web.write_page(tmp_path / f"b{i}", facts)
        assert "\n" not in str(problem.value)
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "b"))
    with pytest.raises(UserError, match="npm, .* is not installed" + way_out):
        to_web.write_page(tmp_path / "b", facts)
    for name in to_web.RUNTIME:
        (tmp_path / "package" / name).write_bytes(b"x")
    (tmp_path / "c").mkdir()
    to_web.write_page(tmp_path / "c", facts, tmp_path / "package")
    there = {path.relative_to(tmp_path / "c").as_posix() for path in (tmp_path / "c").rglob("*") if path.is_file()}
    own = {"index.html", "page.js", "page.css", "worker.js", "sw.js", "viewer.js", "viewer.css", "facts.json"}
    assert there == own | {f"onnxruntime-web/{name}" for name in to_web.RUNTIME}
    assert json.loads((tmp_path / "c/facts.json").read_text()) == {**facts, "tile": 896, "whole": 1_000_000}


@pytest.mark.process
def test_npm_is_asked_for_the_package_in_its_version(tmp_path, monkeypatch):
    (tmp_path / "package/dist").mkdir(parents=True)
    for name in to_web.RUNTIME:
        (tmp_path / "package/dist" / name).write_text(name)
    with tarfile.open(tmp_path / "packed", "w:gz") as packed:
        packed.add(tmp_path / "package", "package")
    (tmp_path / "npm").write_text(f'#!/bin/sh\necho "$1 $2" > {tmp_path}/asked; cp {tmp_path}/packed "$5/any-1.tgz"\n')
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(to_web, "SHA512", hashlib.sha512((tmp_path / "packed").read_bytes()).hexdigest())
    (tmp_path / "page").mkdir()
    to_web.write_page(tmp_path / "page", {"multiple": 4, "reach": 16})
    assert (tmp_path / "asked").read_text() == f"pack onnxruntime-web@{to_web.VERSION}\n"
    assert {path.name: path.read_text() for path in (tmp_path / "page/onnxruntime-web").iterdir()} == {
        name: name for name in to_web.RUNTIME
    }
