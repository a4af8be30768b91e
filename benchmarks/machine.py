"""How busy the machine was, and with whom."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Load:
    """Counts, from when it is made, the CPU that others used."""

    def __init__(self) -> None:
        self._began, self._ours, self._everybody = time.monotonic(), _ours_s(), _everybody_s()

    def of_others_percent(self) -> int:
        """The share of the whole machine that programs used which are neither this one nor its ended children."""
        machine_s = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        others_s = (_everybody_s() - self._everybody) - (_ours_s() - self._ours)
        return round(max(others_s, 0.0) / machine_s * 100)


def _ours_s() -> float:
    """Seconds of CPU that this process used, and its children that have ended."""
    return sum(os.times()[:4])


def _everybody_s() -> float:
    """Seconds of CPU that the whole machine used since it was started."""
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")
