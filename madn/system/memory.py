"""Memory that this process may take, within the limits of the machine, of a container and of a batch system."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from madn.errors import UserError

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# A control group has files for its limit, for what it uses, and for how much of that the system can free at any time.
VERSION_2 = "memory.max", "memory.current", "inactive_file"
VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


# Backends' classes by name, for none is imported here; and what those say whose class tells nothing.
SHORTAGES = {"ResourceExhaustedError", "OutOfMemoryError"}
SAID = re.compile(
    r"out of memory|RESOURCE_EXHAUSTED|OOM when allocating|bad_alloc|can't allocate memory|failed to allocate"
    r"|could not create a memory object|exception: ?Status: 1, message",  # The last two are oneDNN's, by AbortedError.
    re.I,
)


def ran_out(fault: BaseException) -> bool:
    """Whether an exception of Python's or of a backend's says that there was not enough memory."""
    if isinstance(fault, MemoryError) or type(fault).__name__ in SHORTAGES:
        return True
    return isinstance(fault, Exception) and not isinstance(fault, UserError) and bool(SAID.search(str(fault)))


@contextlib.contextmanager
def shortage(said: str) -> Iterator[None]:
    """A block in which a lack of memory becomes a `UserError` that says `said`."""
    try:
        yield
    except Exception as fault:
        if not ran_out(fault):
            raise
        raise UserError(said) from None


def used() -> int:
    """Bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


def available() -> int:
    """Bytes that this process can still take, without swapping or leaving the limit of a control group it is in."""
    return max(min([psutil.virtual_memory().available, *_left()]), 0)


def _left() -> Iterator[int]:
    """Bytes left in each control group of this process that has a limit, and in those around it."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:  # This is no Linux.
        return
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        top, (limit, usage, forgettable) = (GROUPS / kinds, VERSION_1 if kinds else VERSION_2)
        # In a container it may not exist, for there the container's own group is the top.
        inner = top / place.strip("/")
        for group in (inner, *inner.parents):
            try:
                statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                yield (
                    int((group / limit).read_text())
                    - int((group / usage).read_text())
                    + int(statistics.get(forgettable, 0))
                )
            except (OSError, ValueError):  # There is no such group, or its limit is "max".
                pass
            if group == top:
                break
