"""How much memory there is, and how much this process has held: read from Linux, guessed elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import resource

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_LIMITS = {  # of a container, by how much of it is used
    Path("/sys/fs/cgroup/memory.max"): Path("/sys/fs/cgroup/memory.current"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"): Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
}
_GUESS = 8 * 2**30  # where the system does not say


def free_bytes() -> int:
    """Bytes that this process could take now without others being pushed out: of the machine, or of its container."""
    free = [_field(Path("/proc/meminfo"), "MemAvailable")]
    for limit, used in _LIMITS.items():
        try:
            free.append(int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    known = [n for n in free if n is not None]
    return max(0, min(known)) if known else _system_free()


_highest = 0  # before the last `reset_peak`


def reset_peak() -> None:
    """Begins to measure `peak_bytes` anew, where the system lets it."""
    global _highest
    _highest = highest_bytes()
    try:
        _RESET.write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most that this process has had in memory since `reset_peak`; elsewhere than on Linux, since it began."""
    peak = _field(_STATUS, "VmHWM")
    if peak is not None:
        return peak
    if sys.platform == "win32":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def highest_bytes() -> int:
    """The most that this process has had in memory since it began."""
    return max(_highest, peak_bytes())


def _field(path: Path, name: str) -> int | None:
    """A line such as `VmHWM:   1234 kB`, in bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else None


def _system_free() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _GUESS
