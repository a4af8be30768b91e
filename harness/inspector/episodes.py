"""Which locks were waited for in a stretch of time: how often, how long, and when."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from typing import Any

from prong.state import Invalid

LOOKED_AT = 200_000
"""The most events of a stretch that are looked at, the newest; `from_at` tells where that began."""

LOCKS = 100
"""The most locks that are told, those waited for longest."""

BARS = 40
"""Into how many parts the stretch is cut."""

_WAITED = """
select object, at, json_extract(data, '$.waited_s') as waited_s, task, seq from event
 where seq >= ? and seq <= ? and kind = 'lock.acquired' and json_extract(data, '$.waited_s') > 0
"""


def episodes(connection: sqlite3.Connection, asked: Mapping[str, str]) -> dict[str, Any]:
    """Waits for locks that ended between the wall clock's `t0` and `t1`, by lock, longest together first.

    Each has `waits`, `waited_s`, `longest_s` with the event `longest` that ended it, `last_at`, and `bars`: the seconds
    waited in each part of the stretch.
    """
    first, last = connection.execute("select (select min(seq) from event), (select max(seq) from event)").fetchone()
    if first is None:
        return {"from_at": 0.0, "until_at": 0.0, "locks": 0, "rows": []}
    began, ended = (
        connection.execute("select at from event where seq = ?", (seq,)).fetchone()[0] for seq in (first, last)
    )
    t0, t1 = _time(asked, "t0", began), _time(asked, "t1", ended)
    high = _seq_at(connection, first, last, t1)
    low = max(_seq_at(connection, first, last, t0), high - LOOKED_AT)
    from_at = max(t0, _at(connection, max(low, first)))
    step = max(1e-3, (t1 - from_at) / BARS)
    found: dict[str, dict[str, Any]] = {}
    for name, at, waited_s, _task, seq in connection.execute(_WAITED, (low, high)):
        one = found.setdefault(
            name, {"object": name, "waits": 0, "waited_s": 0.0, "longest_s": 0.0, "bars": [0.0] * BARS}
        )  # fmt: skip
        one["waits"] += 1
        one["waited_s"] += waited_s
        one["last_at"] = at
        if waited_s > one["longest_s"]:
            one["longest_s"], one["longest"] = waited_s, seq
        one["bars"][max(0, min(BARS - 1, int((at - from_at) / step)))] += waited_s
    rows = sorted(found.values(), key=lambda one: -one["waited_s"])
    return {"from_at": from_at, "until_at": t1, "locks": len(rows), "rows": rows[:LOCKS]}


def _time(asked: Mapping[str, str], name: str, default: float) -> float:
    given = asked.get(name, "")
    try:
        at = float(given) if given else default
    except ValueError:
        at = math.nan
    if not math.isfinite(at):
        raise Invalid(f"{name} {given[:40]!r}", "seconds since 1970")
    return at


def _at(connection: sqlite3.Connection, seq: int) -> float:
    """When an event happened, or the next one that there is."""
    row = connection.execute("select at from event where seq >= ? order by seq limit 1", (seq,)).fetchone()
    return float(row[0])


def _seq_at(connection: sqlite3.Connection, low: int, high: int, at: float) -> int:
    """The first event at a time or later; numbers grow with time but for what a clock was set back."""
    while low < high:
        middle = (low + high) // 2
        if _at(connection, middle) < at:
            low = middle + 1
        else:
            high = middle
    return low
