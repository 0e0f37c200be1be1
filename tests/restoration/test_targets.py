"""Which files are found, where their results go, and what is refused before anything is written."""

import os
import sys
from pathlib import Path

import pytest

from madn.errors import UserError
from madn.imaging.finding import counted
from madn.restoration.targets import Job, find_jobs


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(inputs, output):
    """source -> target, as text; no problems."""
    jobs, problems, _ = find_jobs(inputs, Path(output))
    assert not problems
    return {job.source.as_posix(): job.target.as_posix() for job in jobs}


@pytest.mark.parametrize(
    "output, target",
    [
        ("out.jpg", "out.jpg"),
        ("new/out.TIFF", "new/out.TIFF"),
        ("new", "new/in.png"),
        ("v1.2", "v1.2/in.png"),
        ("..", "../in.png"),
    ],
)
def test_one_file_goes_to_a_file_or_into_a_folder(output, target):
    touch("in.png")
    Path("v1.2").mkdir()
    assert found(["in.png"], output) == found(["in.png"] * 2, output) == {"in.png": target}


def test_a_folder_keeps_its_structure_and_its_earlier_results_are_no_input():
    touch(
        "all/a.png",
        "all/trip/b.JPG",
        "all/trip/c.mp4",
        "all/restored/a.png",
        "all/.hidden/d.png",
        "all/.e.png",
        "all/notes.txt",
        "all/x.jpg/f.webp",
    )
    expected = {f"all/{name}": f"all/restored/{name}" for name in ("a.png", "trip/b.JPG", "trip/c.mp4", "x.jpg/f.webp")}
    assert found(["all"], "all/restored") == expected
    jobs = find_jobs(["all"], Path("all/restored")).jobs
    assert [job.is_video for job in jobs] == [False, False, True, False]
    assert [job.is_done for job in jobs] == [True, False, False, False]


def test_results_may_go_above_the_photos():
    touch("raw/2024/a.png")
    assert found(["raw/2024"], ".") == found(["raw/2024/*.png"], ".") == {"raw/2024/a.png": "a.png"}


def test_patterns():
    touch("raw/a.png", "raw/b.jpg", "raw/c.txt", "raw/.d.png", "raw/trip/e.png", "raw/out/a.png", "raw/f.png/g.png")
    assert found(["raw/*.png"], "raw/out") == {"raw/a.png": "raw/out/a.png"}
    assert found(["ra[vw]/?.*"], "new") == {"raw/a.png": "new/raw/a.png", "raw/b.jpg": "new/raw/b.jpg"}
    assert set(found(["raw/**"], "raw/out")) == {"raw/a.png", "raw/b.jpg", "raw/f.png/g.png", "raw/trip/e.png"}
    assert found([os.path.abspath("raw/t*/*.png")], "o") == {os.path.abspath("raw/trip/e.png"): "o/trip/e.png"}


def test_brackets_in_a_name_are_its_own():
    touch("trip [1]/a [2].png", "trip [1]/b.png")
    assert found(["trip [1]/a [2].png"], "new") == {"trip [1]/a [2].png": "new/a [2].png"}
    assert (
        set(found(["trip [1]"], "new")) == set(found(["trip [1]/*"], "new")) == {"trip [1]/a [2].png", "trip [1]/b.png"}
    )


def test_what_the_shells_star_names():
    """Files of every kind, folders with and without photos, the results of the last run: the photos are restored."""
    touch("a.png", "b.png", "notes.txt", "docs/text.md", "trip/c.png", "out/a.png")
    jobs, problems, left_out = find_jobs(["a.png", "b.png", "docs", "notes.txt", "out", "trip", "b.png"], Path("out"))
    assert jobs == [Job(Path(name), Path("out", Path(name).name)) for name in ("a.png", "b.png", "trip/c.png")]
    assert problems == [("notes.txt", "its suffix is neither a photo's nor a video's")]
    assert counted(left_out) == "1 .md file, 1 .txt file"


@pytest.mark.parametrize(
    "inputs, output, message",
    [
        (["none"], "out", "none: no such file or folder"),
        (["in.png", "none.png"], "out", "none.png: no such file or folder"),
        ([""], "out", "'': no such file or folder"),
        (["empty"], "out", "empty: no photos or videos there"),
        (["*.gif"], "out", r"\*\.gif: matches no photos or videos"),
        (["in.png"], "in.png", "in.png: the result would be written over an input"),
        (["in.png"], ".", "in.png: the result would be written over an input"),
        (["."], ".", "in.mp4: the result would be written over an input"),
        (["link.png"], "in.png", "in.png: the result would be written over an input"),
        (["in.png"], "out.gif", "'.gif' is not an image suffix"),
        (["in.png"], "out.mp4", "out.mp4: a video goes to a video's suffix"),
        (["in.mp4"], "out.png", "out.png: a video goes to a video's suffix"),
        (["in.cr2"], "new", r"in.cr2: raw photos \(.cr2\) are not read; convert it to JPEG, PNG or TIFF"),
        (["in.png", "trip/b/in.png"], "new", "new/in.png: both in.png and trip/b/in.png would go there"),
        (["."], "notes", "notes: notes is a file"),
        (["in.png"], "notes", "notes: notes is a file"),
        (["in.png"], "notes/new/out.png", "notes/new: notes is a file"),
        (["in.p*"], "out.png", "out.png: folders, patterns and several files are restored to a folder"),
        (["trip"], "out.mp4", "out.mp4: folders, patterns and several files are restored to a folder"),
    ],
)
def test_what_cannot_be_done_is_said(inputs, output, message):
    touch("in.png", "in.mp4", "in.cr2", "trip/b/in.png", "notes")
    Path("empty").mkdir()
    Path("link.png").symlink_to("in.png")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError, match=message):
        find_jobs(inputs, Path(output))
    assert sorted(Path().rglob("*")) == before


def test_a_result_that_is_another_ones_input_is_refused():
    """It would be replaced before it is read."""
    touch("new/trip/in.png", "all/trip/in.png")
    with pytest.raises(UserError, match="all/trip/in.png: the result would be written over an input"):
        find_jobs(["new", "all/trip"], Path("all"))


def test_a_folder_that_cannot_be_read_is_a_problem(monkeypatch):
    touch("all/a.png", "all/locked/b.png")
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    problem = (str(Path("all/locked")), "cannot be read (Permission denied)")
    assert find_jobs(["all"], Path("out"))[:2] == ([Job(Path("all/a.png"), Path("out/a.png"))], [problem])
    assert find_jobs(["all/locked"], Path("out"))[:2] == ([], [problem])


def test_a_place_that_cannot_be_written_to_is_said(monkeypatch):
    touch("in.png")
    Path("locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")  # root may write anywhere
    for output in ("locked/new/results", "locked/out.png"):
        with pytest.raises(UserError, match="cannot be written to .permission denied for locked"):
            find_jobs(["in.png"], Path(output))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_pipes_and_broken_links_are_found_by_their_names_and_links_to_folders_are_not():
    touch("all/a.png", "more/b.png")
    os.mkfifo("all/pipe.mp4")
    Path("all/gone.png").symlink_to("nothing")
    Path("all/loop.png").symlink_to("loop.png")
    Path("all/up").symlink_to("..")
    assert [Path(name).name for name in found(["all"], "out")] == ["a.png", "gone.png", "loop.png", "pipe.mp4"]
    assert set(found(["all/*"], "out")) == set(found(["all"], "out"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
def test_names_that_are_no_text():
    name = os.fsdecode(b"\xff\xfe.png")
    touch(name)
    assert find_jobs(["."], Path("out"))[0] == [Job(Path(name), Path("out", name))]


def test_photos_of_kinds_that_are_not_read_are_named():
    touch("all/a.png", "all/trip/IMG_1.NRW", "all/trip/.x.nrw", "all/notes.txt", "all/b.dng", "all/trip/c.DNG")
    jobs, problems, left_out = find_jobs(["all"], Path("out"))
    assert [job.source.name for job in jobs] == ["a.png"]
    assert problems == [
        (
            str(Path("all/b.dng")),
            "one of 2 .dng files: raw photos (.dng) are not read; convert them to JPEG, PNG or TIFF",
        ),
        (str(Path("all/trip/IMG_1.NRW")), "raw photos (.NRW) are not read; convert it to JPEG, PNG or TIFF"),
    ]
    assert counted(left_out) == "2 .dng files, 1 .nrw file, 1 .txt file, 1 hidden or housekeeping file"
    with pytest.raises(UserError, match="no photos or videos there.*; there: 1 .md file"):
        touch("docs/text.md")
        find_jobs(["docs"], Path("out"))


def link(name, target):
    try:
        Path(name).symlink_to(Path(target).resolve(), target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")


def test_each_real_folder_is_taken_once_by_patterns_too():
    touch("all/m/x.png", "elsewhere/y.png", "elsewhere/deep/z.png")
    link("all/a", "all/m")  # of two names the real one, whichever comes first
    link("all/m/loop", "all/m")
    link("all/m/up", ".")
    link("all/one", "elsewhere")
    link("all/two", "elsewhere/deep")
    expected = {"all/m/x.png": "out/m/x.png", "all/one/y.png": "out/one/y.png"}
    assert found(["all"], "out") == expected | {"all/one/deep/z.png": "out/one/deep/z.png"}
    assert find_jobs(["all"], Path("out")).left_out == {"looping link": 1}
    assert found(["all/**/[xy].png"], "out") == found(["all/*/[xy].png"], "out") == expected
    assert found(["all"], "all/one") == {"all/m/x.png": "all/one/m/x.png", "all/two/z.png": "all/one/two/z.png"}


def test_names_that_the_file_system_takes_for_one(monkeypatch):
    touch("in/IMG_1.JPG", "in/img_1.jpg", "in/a/x.png", "in/A/y.png")
    assert len(found(["in"], "out")) == 4  # here they are two
    exists = os.path.exists

    def ignores_case(path):
        folder = Path(path).parent
        return exists(path) or exists(folder) and Path(path).name.lower() in [p.name.lower() for p in folder.iterdir()]

    monkeypatch.setattr(os.path, "exists", ignores_case)
    monkeypatch.setattr(os.path, "samefile", lambda *_: False)
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError, match="out/img_1.jpg: in/IMG_1.JPG and in/img_1.jpg would both go there, for"):
        find_jobs(["in"], Path("out"))
    assert sorted(Path().rglob("*")) == before
