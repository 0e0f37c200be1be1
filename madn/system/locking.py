"""One process at a time in a folder, by a lock of the operating system: it falls with the process, however that ends.

On NFS, Linux passes such locks on to the server, so that they hold between machines; the server gives up those of a
machine that crashed when its lease is over, after about 90 seconds. A mount without locks (`nolock`, `local_lock`)
keeps processes of one machine apart alone. Where a file system refuses locks, that is said, and the work goes on.
"""

import contextlib
import errno
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from madn.errors import UserError, one_line

LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def held(folder: Path, what: str, way_out: str) -> Iterator[None]:
    """Hold `folder`, which is made if need be, while the block runs.

    `what` this process does there is told to others, with its host, number and start. Folders that were made and are
    empty at the end go again. Raises `UserError` with the holder and `way_out` where another process, or another block
    of this one, holds the folder, and where it cannot be written.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    file = folder / LOCK
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    holder = f"{what}, process {os.getpid()} on {platform.node() or 'this machine'}, since {since}"

    def tell(handle: int) -> None:
        os.ftruncate(handle, 0)
        os.write(handle, holder.encode(errors="replace"))

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, blocking=False, fallback_to_soft=False, on_acquired=tell)
        lock.acquire()
    except Timeout:
        raise UserError(f"{folder}: in use by {_holder(file)}; {way_out}") from None
    except OSError as problem:
        if problem.errno not in NO_LOCKS:
            raise UserError(f"{folder}: cannot be written ({problem.strerror}); choose another folder") from None
        print(
            f"note: {folder}: this file system knows no locks; see that no other process writes there", file=sys.stderr
        )
        lock = None
    try:
        yield
    finally:
        if lock:
            with contextlib.suppress(OSError):  # Windows removes no open file; there `release` does.
                file.unlink()
            lock.release()
        for each in missing:
            with contextlib.suppress(OSError):  # It holds something.
                each.rmdir()


def _holder(file: Path) -> str:
    try:
        return one_line(file.read_bytes()[:500].decode(errors="replace")) or "another process"
    except OSError:  # It has just ended, or this is Windows.
        return "another process"
