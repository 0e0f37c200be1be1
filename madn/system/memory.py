"""Memory that this process may take, within the limits of the machine, of a container and of a batch system."""

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# A control group has files for its limit, for what it uses, and for how much of that the system can free at any time.
VERSION_2 = "memory.max", "memory.current", "inactive_file"
VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


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
