"""How hard the machine works: read from the kernel, as far as it tells.

Linux tells how much of the time something waited for a core or for memory (pressure stall information).  A container
or another system may not: then the load for each core stands for the cores.  Memory counts as the machine has it or,
where that is less, as the control groups leave it to this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

_UNREADABLE = (OSError, ValueError, KeyError, IndexError)


@dataclass(frozen=True, slots=True)
class Pressure:
    """The machine at one moment; None: it does not tell.

    The percentages are shares of the last 10 s in which something (`some`) or everything (`full`) waited.  `load` is
    the number of processes that want to run for each of the `cores` that this process may use, over the last minute.
    """

    cpu_percent: float | None = None
    memory_some_percent: float | None = None
    memory_full_percent: float | None = None
    load: float | None = None
    cores: int = 1
    available_bytes: int | None = None
    total_bytes: int | None = None


def read(proc: Path = PROC, cgroups: Path = CGROUPS) -> Pressure:
    """The machine now.  Reads some ten small files, so do not ask more than about once a second; never raises.

    >>> now = read()
    >>> now.available_bytes is None or now.available_bytes > 0
    True
    """
    cpu, memory = _stalls(proc / "pressure" / "cpu"), _stalls(proc / "pressure" / "memory")
    available, total = _memory()
    for limit, used in _bounds(proc, cgroups):
        total = limit if total is None else min(total, limit)
        available = max(0, limit - used) if available is None else max(0, min(available, limit - used))
    return Pressure(
        cpu_percent=cpu.get("some"),
        memory_some_percent=memory.get("some"),
        memory_full_percent=memory.get("full"),
        load=_load(),
        cores=_cores(),
        available_bytes=available,
        total_bytes=total,
    )


def _stalls(file: Path) -> dict[str, float]:
    """{"some": percent of the last 10 s, "full": …} as far as the file says."""
    found = {}
    with suppress(*_UNREADABLE):
        for line in file.read_text().splitlines():
            kind, *figures = line.split()
            found[kind] = float(dict(figure.split("=", 1) for figure in figures)["avg10"])
    return found


def _load() -> float | None:
    with suppress(OSError):
        return os.getloadavg()[0] / _cores()
    return None


def _cores() -> int:
    with suppress(OSError, AttributeError):  # which not every system has
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _memory() -> tuple[int | None, int | None]:
    """(available, all) of the machine, in bytes."""
    with suppress(*_UNREADABLE, psutil.Error, AttributeError, RuntimeError):
        memory = psutil.virtual_memory()
        return int(memory.available), int(memory.total)
    return None, None


def _bounds(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of every control group that this process is in and that has a limit."""
    with suppress(*_UNREADABLE):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _group_bounds(cgroups, path, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _group_bounds(cgroups / "memory", path, *names)


def _group_bounds(root: Path, path: str, limit: str, usage: str, idle: str) -> Iterator[tuple[int, int]]:
    """Those of a group and of all above it; inside a container the path may be the host's, and only the root there."""
    group = root / path.lstrip("/")
    for one in (group, *group.parents):
        if not one.is_relative_to(root):
            break
        with suppress(*_UNREADABLE):  # "max": no limit
            yield int((one / limit).read_text()), int((one / usage).read_text()) - _cached(one / "memory.stat", idle)


def _cached(stat: Path, idle: str) -> int:
    """Bytes of files that the kernel may drop at once."""
    with suppress(*_UNREADABLE):
        for line in stat.read_text().splitlines():
            name, figure = line.split()
            if name == idle:
                return int(figure)
    return 0
