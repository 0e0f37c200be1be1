import os
import re
import tracemalloc

import numpy as np
import pytest

from madn.errors import UserError
from madn.restoration.report import Report, most_changed
from madn.restoration.targets import Scope

EVIL = "<script>alert(1)</script>.png"


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8, endpoint=True)


def page(tmp_path, *photos, settings=None, failures=()):
    """The text of a report of (name, before, after, seconds, tiles[, note]) photos."""
    with Report(tmp_path / "report.html", settings or {}) as report:
        for photo in photos:
            report.add(*photo)
        for failure in failures:
            report.fail(*failure)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def shown(text):
    """The page as it is read: without its style, script and pictures."""
    return re.sub(
        r"\s+", " ", re.sub(r"<style>.*?</style>|<script>.*?</script>|data:image[^\"]*|<[^>]*>", " ", text, flags=re.S)
    )


def test_numbers_settings_and_failures_are_on_the_page(tmp_path):
    text = shown(
        page(
            tmp_path,
            ("a.png", noise(100, 200), noise(100, 200), 3.0, "whole", "turned by 90 degrees"),
            ("b/c.jpg", noise(300, 400), noise(300, 400), 120.5, "2 × 3 tiles"),
            settings={"model": "runs/madn", "tile size": "512"},
            failures=[("d.png", "cannot be read as an image (truncated)")],
        )
    )
    for wanted in (
        "2 of 3 restored",
        "1 failed",
        "0.14 megapixels in 2 min 4 s",
        "882.14 s per megapixel",
        "model runs/madn",
        "tile size 512",
        "200 × 100 pixels 3.00 s 150.00 s per megapixel whole",
        "turned by 90 degrees",
        "400 × 300 pixels 120.50 s 1004.17 s per megapixel 2 × 3 tiles",
        "d.png cannot be read as an image (truncated)",
    ):
        assert wanted in text


def test_without_photos_the_page_says_so(tmp_path):
    text = shown(page(tmp_path, failures=[("a.png", "no such file")]))
    assert "0 of 1 restored" in text and "a.png no such file" in text and "megapixel" not in text.split("Drag")[0]


def test_the_page_has_the_same_numbers_as_the_screen(tmp_path):
    scope = Scope(4, ("old/a.png", "old/b.png"), (("raw.nrw", "raw photos (.nrw) are not read"),), "1 .nrw file")
    with Report(tmp_path / "report.html", {}, scope) as report:
        report.add("c.png", noise(8, 8), noise(8, 8), 1.0, "whole")
        report.fail("d.png", "it is damaged")
    text = shown((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert scope.counts(1, 1) == [
        "1 of 4 restored",
        "1 failed",
        "2 skipped that were there (--overwrite restores them again)",
        "left out: 1 .nrw file",
    ]
    assert all(line in text for line in scope.counts(1, 1))
    assert "1 failed d.png it is damaged" in text and "1 not read raw.nrw raw photos (.nrw) are not read" in text
    assert "2 skipped that were there old/a.png old/b.png" in text


def test_what_people_write_is_shown_as_text(tmp_path):
    marked = '"><img src=x onerror=alert(2)> $photos $style & {{x}}'
    text = page(
        tmp_path,
        (EVIL, noise(8, 8), noise(8, 8), 1.0, marked, marked),
        settings={marked: marked},
        failures=[(EVIL, marked)],
    )
    for raw in (EVIL, marked, "<img src=x"):
        assert raw not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;.png") == 4  # heading, two pictures, failure
    assert text.count("$photos $style &amp; {{x}}") == 5


def test_a_file_name_that_is_no_text_is_shown(tmp_path):
    assert "caf?.jpg" in page(tmp_path, (os.fsdecode(b"caf\xe9.jpg"), noise(8, 8), noise(8, 8), 1.0, "whole"))


def test_the_page_is_self_contained(tmp_path):
    text = page(
        tmp_path,
        ("a.png", noise(60, 60), noise(60, 60), 1.0, "whole"),
        ("large.png", np.zeros((600, 2400, 3), np.uint8), np.ones((600, 2400, 3), np.uint8), 1.0, "whole"),
    )
    code = re.sub(r"data:image[^\"]*", "", text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link", code)
    assert set(re.findall(r'(?:src|href)="([^",]{0,16})', text)) == {
        "data:image/png;b",
        "data:image/jpeg;",
        "#photo-1",
        "#photo-2",
    }
    assert ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'") in text


def test_it_says_how_each_photo_is_shown(tmp_path):
    dark = np.zeros((1500, 4000, 3), np.uint8)
    light = dark.copy()
    light[700:900, 3000:3300] = 200
    small, medium, large = (
        page(tmp_path, (name, a, b, 1.0, "whole"))
        for name, a, b in (
            ("small", noise(90, 90), noise(90, 90)),
            ("medium", dark[:1200, :1200], light[:1200, :1200]),
            ("large", dark, light),
        )
    )
    assert "exact (PNG)" in small and small.count("data:image/png") == 2
    assert "its own pixels (JPEG, quality 95)" in medium and medium.count("data:image/jpeg") == 2
    assert "shown at 50%: a preview of 2000 × 750 pixels" in large and large.count("data:image/jpeg") == 4
    assert "The 512 × 512 pixels that changed most" in large
    y, x = map(int, re.search(r'<rect x="(\d+)" y="(\d+)" width="512" height="512"/>', large).group(2, 1))
    assert y <= 700 and y + 512 >= 900 and x <= 3000 and x + 512 >= 3300


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (300, 4001)])
def test_any_shape_has_its_page(tmp_path, size):
    text = page(tmp_path, ("thin", noise(*size), noise(*size, seed=1), 1.0, "whole"))
    assert text.count("<img") == (2 if max(size) <= 2000 else 4)


@pytest.mark.parametrize("size", [(96, 160), (100, 170), (40, 200), (20, 30)])
def test_most_changed_part_is_the_largest_sum_of_differences(size):
    before, after = noise(*size), noise(*size, seed=1)
    y, x, height, width = most_changed(before, after, side=64)
    assert (height, width) == tuple(min(64, n) for n in size) and y + height <= size[0] and x + width <= size[1]
    differences = np.abs(before.astype(int) - after).sum(axis=2)
    windows = {
        (top, left): differences[top : top + 64, left : left + 64].sum()
        for top in range(0, max(size[0] - 64, 0) + 1, 16)
        for left in range(0, max(size[1] - 64, 0) + 1, 16)
    }
    best = max(windows.values())
    assert differences[y : y + height, x : x + width].sum() >= 0.98 * best  # a last block cut short counts as it is


def test_photos_wait_on_disk_and_no_float_copy_is_made(tmp_path):
    small, large = noise(300, 300), np.zeros((3000, 4000, 3), np.uint8)
    with Report(tmp_path / "report.html", {}) as report:
        report.add("first", small, small, 1.0, "whole")
        tracemalloc.start()
        for i in range(12):
            report.add(str(i), small, small, 1.0, "whole")
        of_twelve = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        report.add("large", large, large, 1.0, "whole")
        of_large = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        report.close()
        of_closing = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "report.html").stat().st_size > 13 * 2 * small.nbytes
    assert of_twelve < 12 * small.nbytes  # a page of twelve is 32 times a photo
    assert of_large < large.nbytes
    assert of_closing < 6e6


def test_the_page_appears_whole_and_alone(tmp_path):
    (tmp_path / "report.html").write_text("an earlier one")
    with Report(tmp_path / "report.html", {}) as report:
        report.add("a.png", noise(8, 8), noise(8, 8), 1.0, "whole")
        assert (tmp_path / "report.html").read_text() == "an earlier one"
    report.close()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert "stopped before the end" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_stopped_run_leaves_what_it_has_done(tmp_path):
    with pytest.raises(KeyboardInterrupt), Report(tmp_path / "new/report.html", {}) as report:
        report.add("first.png", noise(8, 8), noise(8, 8), 1.0, "whole")
        report._body.write(b"<section>cut in the mid")  # Ctrl-C while the second is written
        raise KeyboardInterrupt
    text = (tmp_path / "new/report.html").read_text(encoding="utf-8")
    assert "1 of 1 restored" in shown(text) and "stopped before the end" in text and "cut in the mid" not in text


def test_places_that_cannot_be_written_are_named_at_once(tmp_path):
    with pytest.raises(UserError, match="is a folder; give the report a file name"):
        Report(tmp_path, {})
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.report\.html: the report cannot be written \("):
        Report(tmp_path / "file/report.html", {})


def test_pictures_that_do_not_match_are_refused(tmp_path):
    with Report(tmp_path / "report.html", {}) as report:
        for wrong in (noise(8, 9), noise(8, 8).astype(np.float32), noise(8, 8)[:, :, 0]):
            with pytest.raises(ValueError, match="one size"):
                report.add("a.png", noise(8, 8), wrong, 1.0, "whole")
    assert "0 of 0 restored" in (tmp_path / "report.html").read_text(encoding="utf-8")
