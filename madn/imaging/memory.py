"""How much memory there is, for the machine's limits and a container's."""

from pathlib import Path

import psutil

LIMITS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
          ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"))


def used() -> int:
    """Bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


def available() -> int:
    """Bytes that this process can still take, without swapping or leaving its container's limit."""
    found = [psutil.virtual_memory().available]
    for limit, usage in LIMITS:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(usage).read_text()))
        except (OSError, ValueError):  # no such control group, or "max"
            continue
    return max(min(found), 0)
