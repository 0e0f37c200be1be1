"""One finder for photos, data sets and evaluation: what is taken, once, and what is left out, counted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from madn.data.index import find_pairs, pair_folders
from madn.data.synthetic import find_photos
from madn.errors import UserError
from madn.imaging import formats
from madn.imaging.finding import below, image_files
from madn.restoration.targets import find_jobs

HIDDEN = (
    "@eaDir/b.jpg/SYNOPHOTO_THUMB_XL.jpg",
    ".thumbnails/a.png",
    "trip/.ipynb_checkpoints/b-checkpoint.png",
    "__MACOSX/trip/._b.png",
    "trip/._b.png",
    "Thumbs.db",
    "trip/.DS_Store",
    "#recycle/old.jpg",
    "desktop.ini",
)


def picture(*names):
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(name, "PNG")


def linked(name, target):
    try:
        Path(name).symlink_to(Path(target).resolve(), target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_photos_data_sets_and_restoring_find_the_same():
    picture(
        "in/a.png",
        "in/trip/b.jpe",
        "in/c.JFIF",
        "in/notes.txt",
        "in/trip/more.txt",
        "in/raw.nrw",
        "in/README",
        "in/clip.mp4",
        *(f"in/{name}" for name in HIDDEN),
    )
    photos = [Path("in/a.png"), Path("in/c.JFIF"), Path("in/trip/b.jpe")]
    found = below("in")
    assert found.photos == photos and found.files == [photos[0], photos[1], Path("in/clip.mp4"), photos[2]]
    said = "1 file without a suffix, 1 .nrw file, 2 .txt files, 9 hidden or housekeeping files"
    assert found.remark() == said and image_files("in") == photos
    assert find_photos("in") == (photos, (f"in: left out: {said}",))
    jobs, problems, left_out = find_jobs(["in"], Path("out"))
    assert [job.source for job in jobs] == found.files
    assert problems == [(str(Path("in/raw.nrw")), "raw photos (.nrw) are not read; convert it to JPEG, PNG or TIFF")]
    every = [path for path in Path("in").rglob("*") if path.is_file()]
    assert len(jobs) + sum(left_out.values()) == len(every) == 17


def test_each_real_folder_is_taken_once():
    picture("in/z/1.png", "elsewhere/2.png", "elsewhere/deep/3.png")
    linked("in/a", "in/z")  # named before it
    linked("in/b", "elsewhere")
    linked("in/c", "elsewhere/deep")
    linked("elsewhere/back", "in/z")
    linked("elsewhere/deep/loop", "elsewhere")
    linked("in/up", ".")
    Path("in/circle").symlink_to("circle")
    found = below("in")
    assert image_files("in") == [Path("in/b/2.png"), Path("in/b/deep/3.png"), Path("in/z/1.png")]
    assert found.remark() == "1 file without a suffix, 1 looping link"
    assert below("in", "elsewhere").photos == [Path("in/z/1.png"), Path("in/c/3.png")]


def test_pairs_of_linked_folders_are_pairs():
    for side in ("blurred", "sharp"):
        picture(f"set/{side}/A/0.png", f"set/{side}/A/.thumbnails/0.png", f"far/{side}/0.png", f"far/{side}/1.png")
        linked(f"set/{side}/B", f"far/{side}")
    Path("set/sharp/list.csv").touch()
    index = pair_folders("set/blurred", "set/sharp")
    assert [pair.name for pair in index.pairs] == ["A/0", "B/0", "B/1"]
    assert index.notes == (
        f"{Path('set/blurred')}: left out: 1 hidden or housekeeping file",
        f"{Path('set/sharp')}: left out: 1 .csv file, 1 hidden or housekeeping file",
    )


def test_hidden_scenes_are_none():
    for scene in ("s1", ".Trash", "@eaDir"):
        picture(f"train/{scene}/blur/1.png", f"train/{scene}/sharp/1.png")
    assert [pair.name for pair in find_pairs(".").pairs] == ["s1/1"]
    picture("only/.a.png", "only/@eaDir/b.png")
    with pytest.raises(UserError, match=r"no photographs found; there: 2 hidden or housekeeping files"):
        find_photos("only")


def test_kinds_that_need_an_extra_say_so(monkeypatch):
    monkeypatch.setattr(formats, "missing", lambda kind: 'pillow-heif (pip install "madn[heif]")' * (kind == "HEIF"))
    picture("in/a.png", "in/IMG_1.HEIC", "in/IMG_2.heic")
    jobs, problems, _ = find_jobs(["in"], Path("out"))
    assert [job.source.name for job in jobs] == ["a.png"] and problems == [
        (
            str(Path("in/IMG_1.HEIC")),
            'one of 2 .heic files: .HEIC photos need pillow-heif (pip install "madn[heif]"), '
            "or convert them to JPEG, PNG or TIFF",
        )
    ]
    with pytest.raises(UserError, match=r"IMG_1.HEIC: .HEIC photos need pillow-heif \(pip install .madn\[heif\].\)"):
        find_jobs(["in/IMG_1.HEIC"], Path("out.png"))
    with pytest.raises(UserError, match=r"out.heic: '.heic' is not an image suffix that is written here: it needs"):
        find_jobs(["in/a.png"], Path("out.heic"))


def test_videos_without_pyav_are_named_and_the_photos_restored(monkeypatch):
    monkeypatch.setattr(formats, "missing", lambda kind: 'PyAV (pip install "madn[video]")' * (kind == "video"))
    picture("in/a.png")
    for name in ("a.mp4", "b.mp4", "c.MOV"):
        Path("in", name).touch()
    jobs, problems, left_out = find_jobs(["in"], Path("out"))
    assert [job.source.name for job in jobs] == ["a.png"] and left_out == {".mp4": 2, ".mov": 1}
    assert problems == [
        (str(Path("in/c.MOV")), '.MOV videos need PyAV (pip install "madn[video]")'),
        (str(Path("in/a.mp4")), 'one of 2 .mp4 files: .mp4 videos need PyAV (pip install "madn[video]")'),
    ]
    with pytest.raises(UserError, match=r"a.mp4: .mp4 videos need PyAV \(pip install .madn\[video\].\)"):
        find_jobs(["in/a.mp4"], Path("out"))
