"""Which photos Apache Beam is to restore, in buckets or local, and to where. Names decide: nothing is opened.

Names with a scheme (gs://, s3://, hdfs://) belong to the file systems that Beam knows; others are local.
`madn.restoration.targets` has the same rules for files that are found here.
"""

import json
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from madn.errors import UserError
from madn.imaging.finding import is_housekeeping, is_video
from madn.imaging.formats import FORMATS, NOT_READ, is_read, refusal
from madn.restoration.targets import NO_PHOTO, Failure, Job, check_place, nothing_there, pattern_folder

WILDCARDS = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Source:
    """What one input means."""

    pattern: str
    """A pattern of Beam's, in which `*` stays in a folder and `**` goes through all below it."""
    root: str
    """The folder that results are named relative to, with its separator."""
    results: str = ""
    """Where earlier results lie below it, with its separator; "" where they do not."""
    is_file: bool = False
    """Whether the input is one file by its name."""


def is_remote(name: str) -> bool:
    """Whether a name has a scheme."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name) is not None


def absolute(name: str) -> str:
    """The name for a worker in another folder; that of a folder ends without a separator."""
    return name.rstrip("/") if is_remote(name) else os.path.abspath(name)


def escaped(path: str) -> str:
    """A name as a pattern that matches it alone."""
    return WILDCARDS.sub(r"[\g<0>]", path)


def find_sources(inputs: Sequence[str], output: str) -> list[Source]:
    """What `inputs` mean: files, folders (all photos below them) or patterns.

    In a bucket nothing tells a folder from a file but its name: what ends with a suffix of a photo or a video is a
    file. `output` is `absolute`.

    Raises `UserError` for a local input that is not there, and for an output that is no folder, cannot be written to,
    or would mix results and inputs: it may lie below an input, but no input in it.
    """
    sources = [_source(name, output) for name in dict.fromkeys(inputs)]
    if not is_remote(output):
        check_place(Path(output))
    return sources


def look(path: str, source: Source, output: str) -> Job[str] | Failure | None:
    """What becomes of one file that `source` matches: a job, a failure that follows from its name, or nothing.

    Left out are hidden and housekeeping files (`finding.is_housekeeping`), those in such folders, earlier results, and
    in folders and patterns whatever is neither a photo nor a video.
    """
    name = path.removeprefix(source.root)
    if os.sep != "/" and not is_remote(path):
        name = name.replace(os.sep, "/")
    if not source.is_file and (
        any(map(is_housekeeping, name.split("/"))) or (source.results and path.startswith(source.results))
    ):
        return None
    if is_video(name):
        return Failure(path, "videos are not restored here; give it to python -m madn.deblur")
    if reason := refusal(name):
        return Failure(path, reason)
    if not is_read(name):
        return Failure(path, NO_PHOTO) if source.is_file else None
    try:
        path.encode()
    except UnicodeEncodeError:  # Engines hand names on as UTF-8.
        return Failure(os.fsencode(path).decode("utf-8", "backslashreplace"), "its name is not UTF-8; rename it")
    return Job(path, _joined(output, name))


def settle(target: str, sources: Iterable[str]) -> Job[str] | list[Failure]:
    """The one job of a target. Where several files would go there, none does, whichever was found first."""
    first, *others = sorted(set(sources))
    if not others:
        return Job(first, target)
    return [
        Failure(source, f"{target}: {len(others)} more would go there ({other}); restore them one by one")
        for source, other in zip((first, *others), (others[0], *[first] * len(others)), strict=True)
    ]


def failure_list(failures: Iterable[Failure]) -> bytes:
    """The failures as sorted lines of JSON, {"file": ..., "reason": ...}, each once."""
    lines = [
        json.dumps({"file": failure.source, "reason": failure.reason}, ensure_ascii=False) + "\n"
        for failure in sorted(set(failures))
    ]
    return "".join(lines).encode("utf-8", "backslashreplace")


def _source(name: str, output: str) -> Source:
    if is_remote(name):
        head = WILDCARDS.split(name)[0]
        if head != name:
            source = Source(name, head[: head.rfind("/") + 1])
        elif _is_read(name):
            source = Source(name, name[: name.rfind("/") + 1], is_file=True)
        else:
            source = Source(f"{name.rstrip('/')}/**", f"{name.rstrip('/')}/")
    else:
        source = _local(name)
    return _with_results(source, output)


def _local(name: str) -> Source:
    path = os.path.abspath(name)
    if os.path.isdir(name):
        root = os.path.join(path, "")
        return Source(f"{escaped(root)}**", root)
    if os.path.lexists(name):
        return Source(escaped(path), os.path.join(os.path.dirname(path), ""), is_file=True)
    if not WILDCARDS.search(name):
        raise nothing_there(name)
    root = os.path.join(pattern_folder(path), "")
    return Source(f"{escaped(root)}{path.removeprefix(root)}", root)


def _with_results(source: Source, output: str) -> Source:
    """Add the place of earlier results to a source."""
    if is_remote(source.root) != is_remote(output):
        return source
    root, place = (
        text if is_remote(text) else os.path.join(os.path.realpath(text), "") for text in (source.root, f"{output}/")
    )
    if root.startswith(place):
        raise UserError(f"{output}: results would lie among the inputs of {source.root}; give another folder")
    results = source.root + place.removeprefix(root) if place.startswith(root) else ""
    return replace(source, results=results)


def _is_read(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in {*FORMATS, *NOT_READ} or is_video(name)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if is_remote(folder) else os.path.join(folder, *name.split("/"))
