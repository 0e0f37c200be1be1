"""Files that were removed, added or changed since a run began are named, and copies are the same."""

import hashlib
import os

import pytest

from madn.data import fingerprint
from madn.data.fingerprint import changes, fingerprints
from madn.errors import UserError


def test_a_fingerprint_is_of_the_content(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"content")
    expected = {file.as_posix(): hashlib.sha256(b"content").hexdigest()[:32]}
    assert fingerprints([file, file]) == expected
    os.utime(file, (0, 0))  # A copy has another time.
    assert fingerprints([file]) == expected
    with pytest.raises(UserError, match="b.png: cannot be read"):
        fingerprints([tmp_path / "b.png"])


def test_the_samples_have_the_same_names_in_any_cache(tmp_path, monkeypatch):
    for name in ("one", "two"):
        monkeypatch.setattr(fingerprint, "cache_folder", lambda name=name: tmp_path / name)
        (tmp_path / name / "samples").mkdir(parents=True)
        (tmp_path / name / "samples" / "a.png").write_bytes(b"")
        assert list(fingerprints([tmp_path / name / "samples" / "a.png"])) == ["samples/a.png"]


def test_changes_are_named_by_kind_and_counted():
    before = {"a": "1", "b": "2", "c": "3"}
    assert changes(before, before) == ""
    assert changes(before, {"a": "1", "b": "4", "d": "5"}) == "removed: c; added: d; changed: b"
    assert changes({str(i): "" for i in range(10)}, {}) == "removed: 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
