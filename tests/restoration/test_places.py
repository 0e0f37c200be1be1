"""Photos anywhere: what inputs mean, what becomes of a name, and the list of failures."""

import json
import os
import sys
from pathlib import Path

import pytest

from madn.errors import UserError
from madn.restoration.places import Source, absolute, failure_list, find_sources, look, settle
from madn.restoration.targets import Failure, Job


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/trip [1]/b.jpg", "one.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return str(tmp_path)


def sources(*inputs, output="out"):
    return find_sources(inputs, absolute(output))


def test_local_inputs(here):
    assert sources("in", "one.jpg", "in/*.png", "in") == [
        Source(f"{here}/in/**", f"{here}/in/"),
        Source(f"{here}/one.jpg", f"{here}/", f"{here}/out/", True),
        Source(f"{here}/in/*.png", f"{here}/in/"),
    ]
    bracketed = f"{here}/in/trip [[]1]/"  # as Beam's patterns quote
    assert sources("in/trip [1]", "in/trip [1]/*.jpg") == [
        Source(f"{bracketed}**", f"{here}/in/trip [1]/"),
        Source(f"{bracketed}*.jpg", f"{here}/in/trip [1]/"),
    ]
    assert sources("in", output="in/sharp") == [Source(f"{here}/in/**", f"{here}/in/", f"{here}/in/sharp/")]


def test_remote_inputs():
    assert [
        (s.pattern, s.root, s.is_file)
        for s in sources("gs://b/in/", "s3://b/x/a.JPG", "hdfs://h/in/2*/**.png", output="gs://b/out/")
    ] == [
        ("gs://b/in/**", "gs://b/in/", False),
        ("s3://b/x/a.JPG", "s3://b/x/", True),
        ("hdfs://h/in/2*/**.png", "hdfs://h/in/", False),
    ]
    assert sources("gs://b/in", output="gs://b/in/sharp/")[0].results == "gs://b/in/sharp/"
    assert sources("gs://b/in", output="gs://b/in2")[0].results == ""


def test_refused(here):
    for inputs, output, message in (
        (["none"], "out", "none: no such file"),
        ([""], "out", "'': no such file"),
        (["in"], "in", "results would lie among the inputs"),
        (["in"], ".", "results would lie among"),
        (["one.jpg"], "one.jpg", "is a file"),
        (["gs://b/in/x"], "gs://b/in", "results would lie among"),
    ):
        with pytest.raises(UserError, match=message):
            sources(*inputs, output=output)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_an_output_that_is_the_input_by_another_name(here):
    Path("link").symlink_to("in")
    with pytest.raises(UserError, match="results would lie among the inputs"):
        sources("in", output="link")
    assert sources("link", output="in/sharp")[0].results == f"{here}/link/sharp/"


def test_names():
    folder = Source("gs://b/in/**", "gs://b/in/", "gs://b/in/sharp/")
    looked = {
        name: look(f"gs://b/in/{name}", folder, "gs://b/in/sharp")
        for name in (
            "a.png",
            "trip/B.JPEG",
            "notes.txt",
            ".a.png",
            ".trip/a.png",
            "trip/.parts/a.png",
            "sharp/a.png",
            "sharper/a.png",
            "c.cr2",
            "d.mp4",
            "@eaDir/a.png/SYNO.jpg",
            "__MACOSX/a.png",
            "trip/THUMBS.DB",
        )
    }
    assert looked.pop("c.cr2").reason == "raw photos (.cr2) are not read; convert it to JPEG, PNG or TIFF"
    assert looked.pop("d.mp4").reason.startswith("videos are not restored here")
    assert looked == {
        name: Job(f"gs://b/in/{name}", f"gs://b/in/sharp/{name}")
        if name in ("a.png", "trip/B.JPEG", "sharper/a.png")
        else None
        for name in looked
    }
    assert look("gs://b/x.txt", Source("gs://b/x.txt", "gs://b/", is_file=True), "out").reason == (
        "its suffix is neither a photo's nor a video's"
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
def test_a_name_that_is_no_text():
    path = os.fsdecode(b"/in/\xff.png")
    assert look(path, Source("/in/**", "/in/"), "/out") == Failure(r"/in/\xff.png", "its name is not UTF-8; rename it")


def test_one_photo_for_each_place():
    assert settle("o/a.png", ["in/a.png", "in/a.png"]) == Job("in/a.png", "o/a.png")
    clash = settle("o/a.png", iter(["z/a.png", "in/a.png", "y/a.png"]))
    assert [failure.source for failure in clash] == ["in/a.png", "y/a.png", "z/a.png"]
    assert [failure.reason for failure in clash] == [
        f"o/a.png: 2 more would go there ({other}); restore them one by one"
        for other in ("y/a.png", "in/a.png", "in/a.png")
    ]
    assert clash == settle("o/a.png", ["y/a.png", "z/a.png", "in/a.png"])


def test_the_list():
    failures = [Failure("b\n.png", "damaged"), Failure("ä.png", "empty"), Failure("b\n.png", "damaged")]
    content = failure_list(failures)
    assert content == failure_list(failures[::-1]) and content.count(b"\n") == 2
    assert [json.loads(line) for line in content.splitlines()] == [
        {"file": "b\n.png", "reason": "damaged"},
        {"file": "ä.png", "reason": "empty"},
    ]
    assert json.loads(failure_list([Failure("\udcff.png", "")]))["file"] == "\udcff.png" and failure_list([]) == b""
