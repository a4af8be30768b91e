"""Whether to look again for a moment before one sleeps: falling asleep and being woken takes longer than most waits.

It pays where the one who is waited for runs at the same time, and is lost where it cannot run before we sleep.  Nobody
can tell which, so it is learnt: who has looked in vain does so the more seldom, down to once in hundreds of times.
"""

from __future__ import annotations

import os

MOST_MISSES = 4
"""Who has looked in vain so often tries at every 4 ** `MOST_MISSES`th time only."""


class Patience:
    """What one process has learnt of one kind of wait."""

    __slots__ = ("_misses", "_pause")

    def __init__(self) -> None:
        self._misses = 0
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._pause = 0 if processors > 1 else -1  # where there is one nobody runs at the same time

    def pays(self) -> bool:
        """Whether to look again this time; say then how it went."""
        if self._pause > 0:
            self._pause -= 1
            return False
        return self._pause == 0

    def hit(self) -> None:
        """It came while we looked."""
        self._misses = max(self._misses - 1, 0)

    def missed(self) -> None:
        """It did not."""
        self._misses = min(self._misses + 1, MOST_MISSES)
        self._pause = 4**self._misses - 1
