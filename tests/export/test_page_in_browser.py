"""The web page in a headless Chromium: a photo goes in, and what comes out is what Keras makes of it."""

import functools
import hashlib
import io
import json
import os
import re
import tarfile
import threading
import time
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import browser
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
    if not (PACKAGE / "dist").is_dir():
        pytest.skip("set MADN_TEST_ONNXRUNTIME_WEB to the unpacked npm package onnxruntime-web")
    folder, model = tmp_path_factory.mktemp("page") / "site", network()
    driver = browser.start(folder.parent)
    driver.set_script_timeout(60)
    export(
        model,
        folder,
        ["onnx"],
        multiple=4,
        finish=lambda fresh: to_web.write_page(fresh, {"multiple": 4, "reach": 16}, PACKAGE),
    )
    about = json.loads((folder / "facts.json").read_text())
    (folder / "facts.json").write_text(json.dumps({**about, "tile": 128, "whole": 20_000}))
    driver.server = served(folder)
    driver.address, driver.reference = f"http://127.0.0.1:{driver.server.server_port}/", keras_reference(model, 4)
    driver.get(driver.address)
    yield driver
    driver.quit()
    stop(driver.server)


def served(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=folder))
    server.folder = folder
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


def picture(file: Path, height: int, width: int) -> Path:
    Image.fromarray(np.rint(photographs((1, height, width)) * 255).astype(np.uint8)[0]).save(file)
    return file


def wait(driver, script: str, seconds: int = 60):
    """What a script returns, as soon as it is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds).until(lambda _: driver.execute_script(f"return {script}"))


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
    (tmp_path / "empty.jpg").touch()
    Image.new("1", (70_000, 10), 1).save(tmp_path / "long.png")
    assert "this browser cannot read it as an image" in restored(page, tmp_path / "text.png")[1]
    assert "HEIC is not read by this browser" in restored(page, tmp_path / "phone.heic")[1]
    assert "the file is empty" in restored(page, tmp_path / "empty.jpg")[1]
    # A canvas of this size swallows what is drawn on it, and the photo would come back black.
    assert "70000 × 10 pixels are more than this browser can take" in restored(page, tmp_path / "long.png")[1]


@pytest.mark.slow
@pytest.mark.process
def test_nothing_is_asked_of_another_server(page):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert page.address in asked
    assert [url for url in asked if not url.startswith((page.address, "blob:", "data:", "chrome:"))] == []


@pytest.mark.slow
@pytest.mark.process
def test_the_page_restores_when_its_server_is_gone(page, tmp_path):
    photo = picture(tmp_path / "photo.png", 90, 120)
    expected = restored(page, photo)[0]
    page.execute_async_script("caches.delete('madn').then(arguments[0])")
    page.get(page.address)
    wait(page, "document.getElementById('state').textContent.startsWith('Ready')")  # No photo was needed for it.
    folder, port = page.server.folder, page.server.server_port
    stop(page.server)
    try:
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(page.address)
        page.get(page.address)
        np.testing.assert_array_equal(restored(page, photo)[0], expected)
    finally:
        page.server = served(folder, port)


@pytest.mark.slow
@pytest.mark.process
def test_everything_is_reached_by_keys_and_shows_the_focus(page, tmp_path):
    from selenium.webdriver import ActionChains, Keys

    page.get(page.address)
    result = restored(page, picture(tmp_path / "photo.png", 100, 140))[0]
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    outlined = """const here = document.activeElement;
        const shows = here.id === "files" ? here.parentElement
            : here.type === "range" ? here.parentElement.querySelector("svg") : here;
        return [here.id || here.type || here.textContent, getComputedStyle(shows).outlineStyle,
                parseFloat(getComputedStyle(shows).outlineWidth), here.textContent]"""
    names = []
    for _ in range(9):
        ActionChains(page).send_keys(Keys.TAB).perform()
        name, style, width, text = page.execute_script(outlined)
        if name in names and name != "button":
            break
        names.append(text.strip() if name == "button" else name)
        assert style != "none" and width >= 2, names
        if name == "range":
            ActionChains(page).send_keys(Keys.ARROW_LEFT * 3).perform()
            assert page.execute_script("return document.activeElement.value") == "47"
        if text == "Save as PNG":
            ActionChains(page).send_keys(Keys.ENTER).perform()
    assert names[:6] == ["files", "range", "Before", "After", "Save as PNG", "Save as JPEG"] and "+" in names
    saved, end = tmp_path / "photo-sharp.png", time.monotonic() + 20
    while not saved.exists() and time.monotonic() < end:
        time.sleep(0.05)
    np.testing.assert_array_equal(np.asarray(Image.open(saved).convert("RGB")), result)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_or_too_small_to_touch(page, tmp_path, scheme):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        page.get(page.address)
        restored(page, picture(tmp_path / "photo.png", 100, 140))
        (tmp_path / "text.png").write_text("no image")
        restored(page, tmp_path / "text.png")
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        # "Before" and "After" take touches around them, too.
        sides = """return [...document.querySelectorAll("#drop, .save a, .toolbar button")].map(
            (each) => Math.min(each.getBoundingClientRect().width, each.getBoundingClientRect().height))"""
        sides = [side for side in page.execute_script(sides) if side]
        assert len(sides) == 7 and min(sides) >= 44
        colours = """return ["body", ".failed .note", ".photo:not(.failed) .note", ".photo:not(.failed) .save a"].map(
            (each) => getComputedStyle(document.querySelector(each)).color)"""
        paper = luminance(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
        assert (paper < 0.1) == (scheme == "dark")
        for colour in page.execute_script(colours):
            light, dark = sorted((paper, luminance(colour)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, colour  # WCAG's level AA
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(colour: str) -> float:
    """WCAG's relative luminance of rgb(...)."""
    values = np.array(re.findall(r"[0-9.]+", colour)[:3], float) / 255
    return float(
        np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


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
