"""One thing of a swarm by its number: a task, an agent, an event, a message, an approval, or a merge.

    12, task:12    agent:3    event:400    message:7    approval:2    merge:12

What is shared is found by its name, by `shared_state`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from prong.harness.inspector.feed import connect
from prong.harness.inspector.snapshot import records, shift_s
from prong.harness.inspector.tasks import moved, task
from prong.state import Invalid, Store


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing: its kind and number, what is known of it, and lists of what belongs to it, by title.

    Points in time are the wall clock's, in seconds since 1970; what is not known is left out.
    """

    kind: str
    id: int
    facts: dict[str, Any]
    lists: dict[str, list[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return {"kind": self.kind, "id": self.id, **self.facts, **self.lists}


def numbered(store: Store, name: str) -> Thing | None:
    """What is called so; None where the name is no number of a kind.  Raises `Invalid` where there is none of it."""
    kind, _, rest = name.rpartition(":")
    if not rest.isdecimal() or len(rest) > 18 or (kind or "task") not in _READERS:  # noqa: PLR2004  what SQLite's integers hold
        return None
    kind, number = kind or "task", int(rest)
    with closing(connect(store.path)) as connection:
        found = _READERS[kind](store, connection, number)
    if found is None:
        raise Invalid(f"{kind} {number}", "a number that there is in this swarm")
    return found


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value not in (None, "", [])}


def _named(ones: list[dict[str, Any]]) -> list[str]:
    return [f"{one['id']} {one['state']}: {one['title']}" for one in ones]


def _task(store: Store, connection: sqlite3.Connection, number: int) -> Thing | None:
    try:
        told = task(store, connection, number, shift_s(connection))
    except Invalid:
        return None
    agents = [f"{one['id']} {one['state']}{': ' + one['reason'] if one['reason'] else ''}" for one in told["agents"]]
    lists = {
        "why": [reason["detail"] for reason in told["why"]["reasons"]], "needs": _named(told["needs"]),
        "needed_by": _named(told["needed_by"]), "created": _named(told["children"]), "agents": agents,
    }  # fmt: skip
    return Thing("task", number, _known(told["task"]), {name: ones for name, ones in lists.items() if ones})


_ROWS = {
    "agent": """
    select agent.id, agent.name, agent.state, agent.pid, agent.task, task.title, agent.started_at, agent.ended_at,
           agent.reason, count(model_call.id) as calls, sum(input_tokens) as input,
           sum(cache_read_tokens) as cache_read,
           sum(cache_write_tokens) as cache_write, sum(output_tokens) as output, sum(usd) as usd
      from agent left join task on task.id = agent.task left join model_call on model_call.agent = agent.id
     where agent.id = ? group by agent.id""",
    "event": "select seq as id, at, agent, task, kind as what, object, data from event where seq = ?",
    "message": "select id, task, role, parent, content from message where id = ?",
    "approval": "select * from approval where id = ?",
    "merge": "select task as id, * from merge where task = ?",
}
_JSON = ("data", "content", "input", "parts")
_LAST = "select seq, at, kind, object from event where agent = ? and task = ? order by seq desc limit 10"


def _row(kind: str, connection: sqlite3.Connection, number: int) -> Thing | None:
    rows = records(connection, _ROWS[kind], number)
    if not rows:
        return None
    (row,) = moved(rows, shift_s(connection))
    for name in _JSON:
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    del row["id"]
    return Thing(kind, number, _known(row), _last(connection, number, row["task"]) if kind == "agent" else {})


def _last(connection: sqlite3.Connection, agent: int, of_task: int | None) -> dict[str, list[str]]:
    rows = records(connection, _LAST, agent, of_task)
    return {"last": [f"{one['seq']} {one['kind']} {one['object'] or ''}".rstrip() for one in rows]} if rows else {}


def _reader(kind: str) -> Callable[[Store, sqlite3.Connection, int], Thing | None]:
    return lambda _store, connection, number: _row(kind, connection, number)


_READERS: Mapping[str, Callable[[Store, sqlite3.Connection, int], Thing | None]] = {
    "task": _task,
    **{kind: _reader(kind) for kind in _ROWS},
}
