"""The emulator's clock, the only place here that reads the time.

It stands outside the swarm's clock because it belongs to an imitated foreign service.  Tests move it forward over HTTP,
so that a cache entry of an hour expires without an hour's wait.  It runs on a clock that does not jump.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Seconds since the epoch, plus whatever it was advanced by."""

    def __init__(self) -> None:
        self._epoch_s = time.time() - time.monotonic()
        self.advanced_s = 0.0

    def now(self) -> float:
        """The emulated time, in seconds since the epoch."""
        return self._epoch_s + time.monotonic() + self.advanced_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward; what expires by time expires by this."""
        self.advanced_s += seconds


def rfc3339(seconds: float) -> str:
    """A point in time as the API's headers write it."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
