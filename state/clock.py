"""The only place that reads the time.

Leases compare points in time that several processes wrote, so they need a clock that never jumps, not even when
somebody sets the wall clock back an hour.  `now()` is therefore the kernel's monotonic clock, shifted once per boot to
look like seconds since 1970; the shift stands in the database, so that all processes of a swarm share it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Protocol

_DOUBLE = struct.Struct("<d")


class Clock(Protocol):
    """What tells the time: `now` for leases and durations, `wall` for people."""

    def now(self) -> float:
        """Seconds since 1970 that never jump."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 as the wall clock shows them."""
        ...


class SystemClock:
    """The real clock; `offset_s` is what makes the monotonic clock of this boot read as seconds since 1970."""

    def __init__(self, offset_s: float) -> None:
        self.offset_s = offset_s

    def now(self) -> float:
        """Seconds since 1970 that never jump."""
        return time.monotonic() + self.offset_s

    def wall(self) -> float:
        """Seconds since 1970 as the wall clock shows them."""
        return time.time()


class FileClock:
    """A clock that stands still until it is advanced, shared by every process that opens the same file.

    It lets a test hold several real processes at one moment in time.
    """

    def __init__(self, path: Path) -> None:
        created = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, _DOUBLE.size)
            self._memory = mmap.mmap(file, _DOUBLE.size)
        finally:
            os.close(file)
        if created:
            self._memory[:] = _DOUBLE.pack(1_000_000_000.0)

    def now(self) -> float:
        """Seconds since 1970, as last set."""
        value: float = _DOUBLE.unpack(self._memory[:])[0]
        return value

    wall = now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass for every process that shares the file."""
        self._memory[:] = _DOUBLE.pack(self.now() + seconds)


def boot_id() -> str:
    """A name for this run of the kernel; monotonic clocks of two boots cannot be compared."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def wall_minus_monotonic() -> float:
    """The offset, in seconds, that a new boot starts with."""
    return time.time() - time.monotonic()
