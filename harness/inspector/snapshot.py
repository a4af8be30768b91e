"""All agents and tasks at one moment, by column, with the number of the log's last event: what follows is the feed's.

Times are the wall clock's: the swarm's own clock, which never jumps, is moved by as much as lay between the two when
the swarm was made.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prong.state.secrets import masked

_SWARM = """
select id, goal, branch, base_commit, model, slots, state, paused, started_at, ended_at, supervisor_pid from swarm
"""

AGENTS = ("id", "name", "task", "pid", "state", "started_at", "ended_at", "reason", "input", "cache_read",
          "cache_write", "output", "usd")  # fmt: skip
_AGENTS = """
with used as (select agent, sum(input_tokens) as input, sum(cache_read_tokens) as cache_read,
                     sum(cache_write_tokens) as cache_write, sum(output_tokens) as output, sum(usd) as usd
                from model_call group by agent)
select agent.id, agent.name, agent.task, agent.pid, agent.state, agent.started_at, agent.ended_at, agent.reason,
       coalesce(input, 0), coalesce(cache_read, 0), coalesce(cache_write, 0), coalesce(output, 0), usd
  from agent left join used on used.agent = agent.id order by agent.id
"""

TASKS = ("id", "parent", "title", "state", "held", "paused", "role", "depth", "priority", "raised", "path_s", "context",
         "agent", "attempt", "attempts", "failures", "created_at", "ready_at", "started_at", "ended_at", "error",
         "kept_branch", "merged", "input", "cache_read", "cache_write", "output", "usd")  # fmt: skip
_TASKS = """
with used as (select task, sum(input_tokens) as input, sum(cache_read_tokens) as cache_read,
                     sum(cache_write_tokens) as cache_write, sum(output_tokens) as output, sum(usd) as usd
                from model_call group by task)
select task.id, parent, title, state, held, paused, role, depth, priority, raised, path_s, context,
       task.agent, attempt, attempts, failures, created_at, ready_at, started_at, ended_at, substr(error, 1, 300),
       kept_branch, merged_commit is not null, coalesce(input, 0), coalesce(cache_read, 0), coalesce(cache_write, 0),
       coalesce(output, 0), usd
  from task left join used on used.task = task.id order by task.id
"""

_NEEDS = "select need, task from task_need order by task, need"

_TIMES = frozenset({"started_at", "ended_at", "created_at", "ready_at"})


def snapshot(connection: sqlite3.Connection, *, alive: bool) -> dict[str, Any]:
    """The swarm at one moment; `alive` is whether anybody runs it, as it looks from outside."""
    connection.execute("begin")
    try:
        shift = shift_s(connection)
        last = connection.execute("select seq, at from event order by seq desc limit 1").fetchone() or (0, 0.0)
        swarm = dict(records(connection, _SWARM)[0])
        for name in _TIMES & swarm.keys():
            swarm[name] = _moved(swarm[name], shift)
        swarm["state"] = "interrupted" if swarm["state"] == "running" and not alive else swarm["state"]
        return {
            "seq": last[0],
            "at": last[1],
            "now": time.time(),
            "shift_s": shift,
            "swarm": swarm,
            "agents": _columns(AGENTS, agents(connection, shift)),
            "tasks": _columns(TASKS, tasks(connection, shift)),
            "needs": [list(pair) for pair in connection.execute(_NEEDS)],
            "budget": budget(connection),
        }
    finally:
        connection.execute("rollback")


def shift_s(connection: sqlite3.Connection) -> float:
    """What makes a point of the swarm's own clock one of the wall clock, in seconds."""
    row = connection.execute("select event.at - swarm.started_at from swarm, event order by seq limit 1").fetchone()
    return 0.0 if row is None or row[0] is None else float(row[0])


def budget(connection: sqlite3.Connection) -> dict[str, Any]:
    """The bounds of the swarm's account, and what of them is spent and set aside; None where there is no bound."""
    row = connection.execute(
        "select tokens, nanousd / 1e9, settled_tokens, settled_nanousd / 1e9, reserved_tokens, reserved_nanousd / 1e9"
        " from account where task = 0"
    ).fetchone()
    names = ("tokens", "usd", "settled_tokens", "settled_usd", "reserved_tokens", "reserved_usd")
    return dict(zip(names, row, strict=True)) if row is not None else dict.fromkeys(names)


def agents(connection: sqlite3.Connection, shift: float) -> Iterator[Sequence[Any]]:
    """A row for each agent, with what stands in `AGENTS`."""
    return _rows(connection, _AGENTS, AGENTS, shift)


def tasks(connection: sqlite3.Connection, shift: float) -> Iterator[Sequence[Any]]:
    """A row for each task, with what stands in `TASKS`."""
    return _rows(connection, _TASKS, TASKS, shift)


def _rows(connection: sqlite3.Connection, sql: str, names: Sequence[str], shift: float) -> Iterator[Sequence[Any]]:
    times = [name in _TIMES for name in names]
    for row in connection.execute(sql):
        yield [_moved(value, shift) if is_time else value for value, is_time in zip(row, times, strict=True)]


def _columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, list[Any]]:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return dict(zip(names, columns, strict=True))


def _moved(value: float | None, shift: float) -> float | None:
    return None if value is None else round(value + shift, 3)


def records(connection: sqlite3.Connection, sql: str, *values: Any) -> list[dict[str, Any]]:
    """The rows of a query, each by name."""
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def as_json(value: Any) -> bytes:
    """JSON without spaces, in which what looks like a key is masked."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return masked(text).encode("utf-8", "replace")
