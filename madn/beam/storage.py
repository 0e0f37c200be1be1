"""Files on any file system that Apache Beam knows, written whole or not at all."""

import contextlib
import errno
import os
import re
import shutil
import uuid
from pathlib import Path

import psutil
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from madn.errors import UserError
from madn.restoration.deblurring import OF_ONE_FILE
from madn.restoration.places import escaped, is_remote
from madn.system.writing import HOST

RAW = {"compression_type": CompressionTypes.UNCOMPRESSED}  # Files are taken as they are, whatever their suffix.


class Stop(Exception):
    """A fault that every file would have: the pipeline ends with this line."""


def new_parts(output: str) -> str:
    """A new name for a run's folder of files that are not whole yet; the folders of runs that have died are removed."""
    if not is_remote(output):
        for folder in Path(output).glob(f".madn.{HOST}-*.parts"):
            match = re.fullmatch(rf"\.madn\.{HOST}-(\d{{1,9}})\.\w+\.parts", folder.name)
            if match and not psutil.pid_exists(int(match[1])):
                remove_parts(str(folder))
    return f"{output}/.madn.{HOST}-{os.getpid()}.{uuid.uuid4().hex[:8]}.parts"


def put(target: str, content: bytes, parts: str, folders: set[str]) -> None:
    """Write a file whole, below `parts` first; what is at `target` is replaced.

    `folders` are those that are known to exist; the target's is added. Raises `UserError` for a fault of this file's
    name, `Stop` for one that the next file would have, too.
    """
    part = FileSystems.join(parts, uuid.uuid4().hex)
    try:
        with FileSystems.create(part, **RAW) as file:
            file.write(content)
        folder = FileSystems.split(target)[0]
        if folder not in folders:
            _make_folder(folder)
            folders.add(folder)
        try:
            FileSystems.rename([part], [target])
        except OSError:  # Some file systems, HDFS and Windows among them, replace nothing.
            if not _is_file(target):
                raise
            FileSystems.delete([target])
            FileSystems.rename([part], [target])
    except OSError as fault:
        number, text = _fault(fault)
        if number in OF_ONE_FILE:
            raise UserError(f"{target}: cannot be written ({text}); choose another name or place") from None
        raise Stop(f"{target}: cannot be written ({text}); what is done stays, and the same command goes on") from None


def remove_parts(parts: str) -> None:
    """Remove a run's folder of parts, in which nothing is of use; what cannot be removed stays."""
    if is_remote(parts):
        with contextlib.suppress(OSError):
            FileSystems.delete([f"{parts}/"])
    else:
        shutil.rmtree(parts, ignore_errors=True)


def content_of(name: str) -> bytes:
    """A whole file. Raises `UserError` where it cannot be read."""
    try:
        with FileSystems.open(name, **RAW) as file:
            return file.read()
    except OSError as fault:
        raise UserError(f"{name}: cannot be read ({_fault(fault)[1]})") from None


def is_there(target: str) -> bool:
    """Whether a result is there."""
    return FileSystems.exists(target) if is_remote(target) else os.path.isfile(target)


def check_known(name: str) -> None:
    """Raise `UserError` where nothing installed here knows the file system of a name."""
    try:
        FileSystems.get_filesystem(name)
    except ValueError:
        raise UserError(
            f"{name}: no file system for it is installed here; see the extras of apache-beam (gcp, aws, azure, hadoop)"
        ) from None


def _is_file(name: str) -> bool:
    """Whether a name is that of a file. A folder must not be deleted, for all that is in it would go."""
    return is_there(name) and not (is_remote(name) and FileSystems.match([f"{escaped(name)}/**"])[0].metadata_list)


def _make_folder(folder: str) -> None:
    try:
        if not FileSystems.exists(folder):
            FileSystems.mkdirs(folder)
    except OSError:
        if not FileSystems.exists(folder):  # No other worker has made the folder in the meantime.
            raise


def _fault(fault: OSError) -> tuple[int | None, str]:
    """Number and text of the system's own error, which Beam's file systems wrap."""
    while fault.errno is None:
        inside = [*(getattr(fault, "exception_details", None) or {}).values(), *fault.args]
        wrapped = next((each for each in inside if isinstance(each, OSError)), None)
        if wrapped is None:
            return None, " ".join(str(inside[0] if inside else fault).split())
        fault = wrapped
    return fault.errno, fault.strerror or errno.errorcode.get(fault.errno, "")
