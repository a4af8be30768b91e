"""What agents share, for the pages of locks and of state: holders and waiters, circles, maps key by key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prong.harness import shared_state
from prong.harness.inspector.snapshot import records
from prong.harness.inspector.tasks import cut, moved
from prong.primitives import deadlock, wait_graph
from prong.primitives.deadlock_story import tell
from prong.state import Invalid, Store

KEYS = 500
"""How many keys of a map one page has."""

VALUE_CHARACTERS = 400
"""How much of a value its row shows, in characters."""

_HOLDERS = """
select 'lock' as kind, name, holder as agent, task, fence, acquired_at, expires_at, 0 as shared, null as number
  from lock where holder is not null or expires_at is not null or kept = 1
 union all select 'lock', lock, holder, task, fence, acquired_at, expires_at, 1, null from lock_share
 union all select 'semaphore', semaphore, holder, task, null, acquired_at, expires_at, 0, number
  from permit where expired = 0
 order by 1, 2
"""

_WAITERS = """
select waiter.id, waiter.agent, waiter.task, waiter.kind, waiter.object, waiter.since_at, waiter.until_at, agent.name,
       (select json_group_array(task) from waiter_task where waiter_task.waiter = waiter.id) as tasks
  from waiter join agent on agent.id = waiter.agent where waiter.state = 'waiting' order by waiter.since_at
"""


def locks(store: Store, connection: sqlite3.Connection, shift_s: float) -> dict[str, Any]:
    """Who holds what until when, who waits for what since when, circles just now, and which locks were waited for."""
    waiting = moved(records(connection, _WAITERS), shift_s)
    for one in waiting:
        one["tasks"] = json.loads(one["tasks"])
    with store.snapshot() as source:
        found = wait_graph.read(source, now=store.clock.now())
        circles = [
            {"story": str(tell(found, knot)["story"]), "waiters": [wait.id for wait in knot.waits]}
            for knot in deadlock.find(found)
        ]
    return {
        "held": moved(records(connection, _HOLDERS), shift_s),
        "waiting": waiting,
        "circles": circles,
    }


def objects(store: Store) -> dict[str, Any]:
    """Every primitive with its statistics."""
    return {"objects": [asdict(one) for one in shared_state.everything(store)]}


def named(store: Store, kind: str, name: str) -> dict[str, Any]:
    """One primitive with what it holds, who waits for it, and what happened to it last."""
    (found,) = shared_state.named(store, f"{kind}:{name}")
    return asdict(found)


def entries(connection: sqlite3.Connection, name: str, asked: Mapping[str, str], shift_s: float) -> dict[str, Any]:
    """Keys of a map in order, from behind `after`, that begin with `prefix`; `total` is how many there are of these."""
    prefix, after = asked.get("prefix", ""), asked.get("after", "")
    within = {"map": name, "prefix": prefix, "above": prefix + "\U0010ffff", "after": after}
    total = connection.execute(
        "select count(*) from map_entry where map = :map and key >= :prefix and key < :above and deleted = 0", within
    ).fetchone()[0]
    cursor = connection.execute(
        "select key, version, updated_by, updated_at, length(value), substr(value, 1, :most) from map_entry"
        " where map = :map and key >= :prefix and key < :above and key > :after and deleted = 0"
        " order by key limit :keys",
        {**within, "most": VALUE_CHARACTERS, "keys": KEYS},
    )
    names = ("key", "version", "updated_by", "updated_at", "characters", "value")
    rows = moved([dict(zip(names, row, strict=True)) for row in cursor], shift_s)
    return {"rows": rows, "total": total, "next": rows[-1]["key"] if len(rows) == KEYS else None}


def history(connection: sqlite3.Connection, name: str, key: str) -> dict[str, Any]:
    """The writes of one key, newest first, as the log has them, and its value in full."""
    row = connection.execute(
        "select value, version, event from map_entry where map = ? and key = ?", (name, key)
    ).fetchone()
    if row is None:
        raise Invalid(f"key {key[:60]!r} of map {name[:60]!r}", "a key that was written")
    writes: list[dict[str, Any]] = []
    event = row[2]
    while event is not None and len(writes) < KEYS:
        found = connection.execute(
            "select seq, at, agent, task, kind, data from event where seq = ?", (event,)
        ).fetchone()
        if found is None:
            break
        told = json.loads(found[5])
        writes.append({**dict(zip(("seq", "at", "agent", "task", "kind"), found, strict=False)), **told})
        event = told.get("previous")
    return {"key": key, "value": cut(row[0]), "version": row[1], "writes": writes}
