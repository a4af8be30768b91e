"""The primitives beside a bare `sqlite3` loop and beside what else can be installed, all in one run.

    python benchmarks/primitives.py [--quick] [--json] [--only writes|map|lock|queue|barrier|idle|growth]

Contestants take turns in every round, figures are medians of the rounds, and processes are forked before the clock
starts.  The peers are diskcache, huey, litequeue, persist-queue and redis-py, which come with the extra `bench`, and
`redis-server` of the Debian package of that name; claims of a peer that is missing say so.
"""

from __future__ import annotations

from collections.abc import Callable

from claims import Measure, Measured, main_of_parts
from family import barriers, contest, growth, idle, locks, maps, queues, writes
from machine import Load

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
        load = Load()
        claims, rows = part(contest.QUICK if quick else contest.FULL)
        rows.append({"part": name, "percent of the machine that others used": load.of_others_percent()})
        return claims, rows

    return measure


if __name__ == "__main__":
    main_of_parts("primitives", {name: _at_scale(name, part) for name, part in PARTS.items()})
