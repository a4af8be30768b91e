"""Pages of the log, by number, filtered: each page costs the same wherever in a million rows it stands."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from prong.harness.inspector.feed import COLUMNS, shortened
from prong.state import Invalid

MOST_ROWS = 1_000
"""The most rows of one page."""

LOOKED_AT = 200_000
"""How many rows a filter that no index helps looks at for one page; where it stopped is told."""

# Asked for both in one, SQLite would walk through the whole log.
_ENDS = "select coalesce((select min(seq) from event), 0), coalesce((select max(seq) from event), 0)"

_SHOWN = ", ".join(COLUMNS)


def page(connection: sqlite3.Connection, asked: Mapping[str, str]) -> dict[str, Any]:
    """Events from `from` on, or the last before `before`, at most `limit`; of an `agent`, `task`, `kind` or `object`.

    `kind` may end in `.*`.  `first` and `last` are the numbers of the whole log's ends, `next` is where to ask on (null
    at the end), and `rows` are in order.  Raises `Invalid`.
    """
    backwards = "before" in asked
    most = max(1, min(_number(asked, "limit", 200), MOST_ROWS))
    first, last = connection.execute(_ENDS).fetchone()
    start = _number(asked, "before", last + 1) if backwards else _number(asked, "from", first)
    where, values = _filter(asked)
    bound = max(first, start - LOOKED_AT) if backwards else min(last, start + LOOKED_AT)
    window = "seq < :start and seq >= :bound" if backwards else "seq >= :start and seq <= :bound"
    if not where or "task" in values:  # then the index is walked only as far as there are rows to show
        window, bound = ("seq < :start" if backwards else "seq >= :start"), (first if backwards else last)
    rows = connection.execute(
        f"select {_SHOWN} from event where {' and '.join([window, *where])}"  # noqa: S608  names of ours, values bound
        f" order by seq {'desc' if backwards else 'asc'} limit :most",
        {**values, "start": start, "bound": bound, "most": most},
    ).fetchall()
    following = _next(rows, most, bound, backwards=backwards, end=first if backwards else last)
    shown = [[*row[:-1], json.loads(shortened(row[-1]))] for row in (reversed(rows) if backwards else rows)]
    return {"columns": COLUMNS, "rows": shown, "first": first, "last": last, "next": following}


def one(connection: sqlite3.Connection, seq: int) -> dict[str, Any] | None:
    """One event with all that it tells; None where there is none."""
    row = connection.execute(f"select {', '.join(COLUMNS)} from event where seq = ?", (seq,)).fetchone()  # noqa: S608  constants
    return None if row is None else {**dict(zip(COLUMNS, row, strict=True)), "data": json.loads(row[-1])}


def _filter(asked: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    where: list[str] = []
    values: dict[str, Any] = {}
    for name in ("agent", "task"):
        if asked.get(name):
            where.append(f"{name} = :{name}")
            values[name] = _number(asked, name, 0)
    if asked.get("object"):
        where.append("object = :object")
        values["object"] = asked["object"]
    kind = asked.get("kind", "")
    if kind.endswith(".*"):
        where.append("substr(kind, 1, length(:kind)) = :kind")
        values["kind"] = kind[:-1]
    elif kind:
        where.append("kind = :kind")
        values["kind"] = kind
    return where, values


def _next(rows: list[Any], most: int, bound: int, *, backwards: bool, end: int) -> int | None:
    if len(rows) == most:
        return int(rows[-1][0]) if backwards else int(rows[-1][0]) + 1
    if bound == end:
        return None
    return bound if backwards else bound + 1


def _number(asked: Mapping[str, str], name: str, default: int) -> int:
    given = asked.get(name, "")
    if not given:
        return default
    if not given.isdecimal() or len(given) > 18:  # noqa: PLR2004  what SQLite's integers hold
        raise Invalid(f"{name} {given[:40]!r}", "a whole number")
    return int(given)
