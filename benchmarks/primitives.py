"""The primitives beside a bare `sqlite3` loop and beside what else can be installed, all in one run.

    python benchmarks/primitives.py [--quick] [--json] [--only writes|map|lock|queue|barrier|idle|growth]

Contestants take turns in every round, figures are medians of the rounds, and processes are forked before the clock
starts.  The peers are diskcache, huey, litequeue, persist-queue and redis-py, which come with the extra `bench`, and
`redis-server` of the Debian package of that name; claims of a peer that is missing say so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from claims import Measure, Measured, main_of_parts
from family import barriers, contest, growth, idle, locks, maps, queues, writes

PARTS = {
    "writes": writes.measure,
    "map": maps.measure,
    "lock": locks.measure,
    "queue": queues.measure,
    "barrier": barriers.measure,
    "idle": idle.measure,
    "growth": growth.measure,
}


def _at_scale(name: str, part: Callable[[contest.Scale], Measured]) -> Measure:
    """The part, and a row that tells how busy others kept the machine meanwhile."""

    def measure(quick: bool) -> Measured:  # noqa: FBT001  the command line's flag
        began, ours, everybody = time.monotonic(), _ours_s(), _everybody_s()
        claims, rows = part(contest.QUICK if quick else contest.FULL)
        ours, everybody = _ours_s() - ours, _everybody_s() - everybody
        machine_s = (time.monotonic() - began) * (os.cpu_count() or 1)
        rows.append(
            {"part": name, "percent of the machine that others used": round((everybody - ours) / machine_s * 100)}
        )
        return claims, rows

    return measure


def _ours_s() -> float:
    """Seconds of CPU that this process used, and its children that have ended."""
    return sum(os.times()[:4])


def _everybody_s() -> float:
    """Seconds of CPU that the whole machine used since it was started."""
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main_of_parts("primitives", {name: _at_scale(name, part) for name, part in PARTS.items()})
