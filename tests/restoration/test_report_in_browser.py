"""The report in a headless Chromium: real pointers, keys and wheels, and the pixels that come of them."""

import io
import json

import browser
import numpy as np
import pytest
from PIL import Image

from madn.restoration.report import Report

pytestmark = [pytest.mark.slow, pytest.mark.process]
HEIGHT, WIDTH = 300, 400
EVIL = "<script>alert(1)</script>.png"


def pictures():
    """A pattern of blocks that never repeats: before in red, after in blue."""
    pattern = np.kron(np.random.default_rng(0).integers(0, 2, (30, 40)), np.ones((10, 10))).astype(bool)
    before, after = np.full((2, HEIGHT, WIDTH, 3), 20, np.uint8)
    before[pattern, 0] = after[pattern, 2] = 220
    return before, after


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with Report(folder / "report.html", {"model": "none"}) as report:
        report.add(EVIL, *pictures(), 1.0, "whole")
        large = [np.kron(image, np.ones((8, 8, 1), np.uint8)) for image in pictures()]
        report.add("large.jpg", *large, 1.0, "whole")
        report.fail("broken.png", "cannot be read")
    driver = browser.start(folder)
    driver.address = (folder / "report.html").as_uri()
    yield driver
    driver.quit()


@pytest.fixture
def viewer(driver):
    return opened(driver)


def opened(driver, index=0):
    driver.get(driver.address)
    return Viewer(driver, driver.find_elements("css selector", ".viewer")[index])


class Viewer:
    """A viewer on the page; places are pixels of its stage."""

    def __init__(self, driver, figure):
        self.driver, self.figure = driver, figure
        self.stage, self.range = (figure.find_element("css selector", s) for s in (".stage", "input"))
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.stage)
        driver.execute_async_script(
            "const done = arguments[1]; Promise.all([...arguments[0].querySelectorAll('img')]"
            ".map((image) => image.decode())).then(() => done())",
            self.stage,
        )
        self.width, self.height = (round(self.stage.rect[each]) for each in ("width", "height"))

    def pixels(self, of=None):
        """What the stage shows: uint8 (H, W, 3)."""
        return np.asarray(Image.open(io.BytesIO((of or self.stage).screenshot_as_png)).convert("RGB"))

    def colours(self, inset=24):
        """For each column beside the line "before", "after" or "none", by its mean red and blue, below the labels."""
        red, _, blue = self.pixels()[60:].astype(float).mean(axis=0).T
        names = np.where(red > blue + 20, "before", np.where(blue > red + 20, "after", "none"))
        at = round(self.at * self.width)
        return names[: max(0, at - inset)], names[at + inset :]

    @property
    def at(self):
        return (
            float(
                self.driver.execute_script("return parseFloat(arguments[0].style.getPropertyValue('--at'))", self.stage)
            )
            / 100
        )

    @property
    def zoom(self):
        return self.figure.find_element("css selector", ".zoom").text

    def button(self, kind):
        return self.figure.find_element("css selector", f"[data-zoom={kind}]")

    def drag(self, start, end, kind="mouse"):
        actions, pointer = self.pointer(kind)
        self.go(pointer, *start)
        pointer.pointer_down()
        for share in (0.25, 0.5, 0.75, 1):
            self.go(pointer, *(a + share * (b - a) for a, b in zip(start, end, strict=True)))
        pointer.pointer_up()
        actions.perform()

    def pointer(self, kind="mouse"):
        from selenium.webdriver.common.action_chains import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        actions = ActionBuilder(self.driver, mouse=PointerInput(kind, kind), duration=20)
        return actions, actions.pointer_action

    def go(self, pointer, x, y):
        pointer.move_to(self.stage, round(x - self.width / 2), round(y - self.height / 2))  # from its middle

    def press(self, *keys):
        self.range.send_keys(*keys)


def test_the_line_is_dragged_from_left_to_right(viewer):
    for start, end in ((0.5, 0.1), (0.1, 0.8), (0.8, 0.3)):
        left, right = viewer.colours()
        assert abs(viewer.at - start) < 0.01 and set(left) == {"before"} and set(right) == {"after"}
        viewer.drag((start * viewer.width, 200), (end * viewer.width, 210))
    assert abs(viewer.at - 0.3) < 0.01
    viewer.drag((0.3 * viewer.width, 150), (viewer.width - 1, 150))
    assert set(viewer.colours()[0]) == {"before"} and viewer.at > 0.99


def test_a_drag_beside_the_line_brings_it_and_a_click_does_not(viewer):
    viewer.drag((50, 200), (100, 200))
    assert abs(viewer.at - 100 / viewer.width) < 0.01
    viewer.drag((300, 200), (300, 200))
    assert abs(viewer.at - 100 / viewer.width) < 0.01


def test_touch_drags_the_line_and_scrolls_past_it(viewer):
    viewer.drag((200, 150), (320, 150), "touch")
    assert abs(viewer.at - 0.8) < 0.02
    viewer.drag((100, 200), (102, 100), "touch")
    assert abs(viewer.at - 0.8) < 0.02


def test_keys_move_the_line_and_labels_show_one_picture(viewer):
    from selenium.webdriver import Keys

    viewer.press(*[Keys.ARROW_RIGHT] * 5)
    assert abs(viewer.at - 0.55) < 1e-6
    assert viewer.range.get_attribute("aria-valuetext") == "55% before, 45% after"
    assert EVIL in viewer.range.get_attribute("aria-label")
    viewer.press(Keys.HOME)
    assert viewer.at == 0 and set(viewer.colours()[1]) == {"after"}
    viewer.figure.find_element("css selector", ".left").click()
    assert viewer.at == 1 and set(viewer.colours()[0]) == {"before"}
    viewer.figure.find_element("css selector", ".right").click()
    assert viewer.at == 0


def test_a_small_photo_is_shown_pixel_for_pixel(viewer):
    before, after = pictures()
    assert (viewer.zoom, viewer.width, viewer.height) == ("100%", WIDTH, HEIGHT)
    shown = viewer.pixels()
    np.testing.assert_array_equal(shown[60:, :170], before[60:, :170])
    np.testing.assert_array_equal(shown[60:, 230:], after[60:, 230:])


def both(viewer):
    """Where the pattern is seen in each of the two pictures: two bool arrays, away from line and labels."""
    from selenium.webdriver import Keys

    viewer.press(Keys.END)
    red = viewer.pixels()[60:, 30:-30, 0] > 120
    viewer.press(Keys.HOME)
    blue = viewer.pixels()[60:, 30:-30, 2] > 120
    return red, blue


def test_zoomed_and_moved_both_pictures_stay_together(viewer):
    from selenium.webdriver import Keys

    pattern = pictures()[0][:, :, 0] > 120
    assert not viewer.button("out").is_enabled()
    for label in ("150%", "200%", "300%", "400%"):
        viewer.button("in").click()
        assert viewer.zoom == label
    red, blue = both(viewer)
    np.testing.assert_array_equal(red, blue)
    enlarged = np.kron(pattern, np.ones((4, 4), bool))  # crisp: each pixel is a square of 4 x 4
    top, left = 2 * HEIGHT - HEIGHT // 2, 2 * WIDTH - WIDTH // 2
    np.testing.assert_array_equal(red, enlarged[top : top + HEIGHT, left : left + WIDTH][60:, 30:-30])

    viewer.drag((300, 200), (220, 170))  # the line is at the left: this moves the pictures
    red, blue = both(viewer)
    np.testing.assert_array_equal(red, blue)
    np.testing.assert_array_equal(
        red, enlarged[top + 30 : top + 30 + HEIGHT, left + 80 : left + 80 + WIDTH][60:, 30:-30]
    )
    viewer.press(Keys.SHIFT, Keys.ARROW_LEFT)
    np.testing.assert_array_equal(
        both(viewer)[0], enlarged[top + 30 : top + 30 + HEIGHT, left + 32 : left + 32 + WIDTH][60:, 30:-30]
    )
    viewer.press("-")
    assert viewer.zoom == "300%"
    viewer.button("fit").click()
    red, blue = both(viewer)
    np.testing.assert_array_equal(red, pattern[60:, 30:-30])
    np.testing.assert_array_equal(red, blue)


def test_double_click_and_wheel_zoom_around_the_pointer(viewer):
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    pattern = pictures()[0][:, :, 0] > 120
    x, y = 300, 225
    ActionChains(viewer.driver).move_to_element_with_offset(viewer.stage, x - 200, y - 150).double_click().perform()
    assert viewer.zoom == "200%"
    red, _ = both(viewer)
    enlarged = np.kron(pattern, np.ones((2, 2), bool))  # (x, y) stays where it is, to a pixel
    assert any((red == enlarged[top : top + HEIGHT, x : x + WIDTH][60:, 30:-30]).all() for top in (y - 1, y, y + 1))
    origin = ScrollOrigin.from_element(viewer.stage, x - 200, y - 150)
    ActionChains(viewer.driver).scroll_from_origin(origin, 0, -40).perform()
    assert viewer.zoom == "200%"  # the wheel alone scrolls the page
    origin = ScrollOrigin.from_element(viewer.stage, 0, 0)
    ActionChains(viewer.driver).key_down(Keys.CONTROL).scroll_from_origin(origin, 0, -80).key_up(Keys.CONTROL).perform()
    assert viewer.zoom == f"{200 * np.exp(0.4):.0f}%"
    red, blue = both(viewer)
    np.testing.assert_array_equal(red, blue)


def test_two_fingers_zoom(viewer):
    from selenium.webdriver.common.action_chains import ActionBuilder

    actions = ActionBuilder(viewer.driver, duration=20)
    actions.devices = []
    box = viewer.driver.execute_script("return arguments[0].getBoundingClientRect()", viewer.stage)
    for finger, side in (("one", -1), ("two", 1)):
        pointer = actions.add_pointer_input("touch", finger)
        for distance in (40, 60, 80):
            pointer.create_pointer_move(20, int(box["x"] + 200 + side * distance), int(box["y"] + 150))
            if distance == 40:
                pointer.create_pointer_down(button=0)
        pointer.create_pointer_up(0)
    actions.perform()
    assert viewer.zoom == "200%"


def test_a_large_photo_has_a_preview_and_a_detail_in_its_own_pixels(driver):
    preview = opened(driver, 1)
    percent = round(100 * preview.width / 2000)
    assert preview.zoom == f"preview at {percent}%" and preview.width <= 952
    preview.button("whole").click()
    assert preview.zoom == "preview at 100%"
    detail = opened(driver, 2)
    assert (detail.zoom, detail.width, detail.height) == ("100%", 512, 512)
    assert set(detail.colours()[0]) == {"before"}


def test_a_narrow_screen_has_no_sideways_scrolling(driver):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 340, "height": 700, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        viewer = opened(driver)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 340
        assert viewer.width == 340
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(driver):
    driver.get_log("performance"), driver.get_log("browser")
    opened(driver, 2)
    heading = driver.find_element("css selector", "#photo-1 h2")
    assert heading.text == EVIL and not heading.find_elements("css selector", "script")
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert driver.address in asked
    assert [url[:40] for url in asked if url != driver.address and not url.startswith("data:")] == []
    assert driver.get_log("browser") == []

    blocked = driver.execute_async_script("""
        const done = arguments[0];
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/x.png"}));""")
    assert blocked == "img-src"
