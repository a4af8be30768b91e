"""One task, and what stands below it; the agents, each with its conversation."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from prong.harness.inspector.snapshot import records
from prong.harness.why.explain import explain
from prong.state import Invalid, Store

TEXT_CHARACTERS = 20_000
"""How much of one text is shown, in characters; the whole is a page of its own."""

TURNS = 100
"""How many messages of a conversation one page has."""

_TASK = """
select task.*, parent.title as parent_title, merge.state as merge_state, merge.detail as merge_detail
  from task left join task parent on parent.id = task.parent left join merge on merge.task = task.id where task.id = ?
"""

_BELOW = """
with recursive below (id) as (select ? union all select task.id from task join below on task.parent = below.id)
select task.id, task.state, task.agent from task join below using (id)
"""

_ATTEMPTS = """
select agent.id, agent.name, agent.pid, agent.state, agent.started_at, agent.ended_at, agent.reason,
       count(model_call.id) as calls, coalesce(sum(input_tokens + cache_read_tokens + cache_write_tokens), 0) as input,
       coalesce(sum(cache_read_tokens), 0) as cache_read, coalesce(sum(output_tokens), 0) as output, sum(usd) as usd
  from agent left join model_call on model_call.agent = agent.id and model_call.task = agent.task where agent.task = ?
 group by agent.id order by agent.id
"""

_FORK = """
select task.head, task.fork_point, origin.task as parent, parent.head as parent_head
  from task left join message origin on origin.id = task.fork_point left join task parent on parent.id = origin.task
 where task.id = ?
"""

_TIMES = ("created_at", "ready_at", "started_at", "ended_at", "not_before")


def task(store: Store, connection: sqlite3.Connection, number: int, shift_s: float) -> dict[str, Any]:
    """All about a task: its row, why it is where it is, its attempts, who needs it and whom it needs."""
    rows = records(connection, _TASK, number)
    if not rows:
        raise Invalid(f"task {number}", "the number of a task of this swarm")
    row = rows[0]
    for name in _TIMES:
        row[name] = None if row[name] is None else row[name] + shift_s
    for name in ("prompt", "result", "error"):
        row[name] = cut(row[name])
    why = explain(store, number)
    return {
        "task": row,
        "why": why.as_json(),
        "agents": moved(records(connection, _ATTEMPTS, number), shift_s),
        "needs": _others(connection, "need", "task", number),
        "needed_by": _others(connection, "task", "need", number),
        "children": records(connection, "select id, title, state from task where parent = ? order by id", number),
    }


def below(connection: sqlite3.Connection, number: int) -> dict[str, Any]:
    """What a cancel of the task would hit: the open tasks of its subtree, and their agents that live."""
    rows = records(connection, _BELOW, number)
    if not rows:
        raise Invalid(f"task {number}", "the number of a task of this swarm")
    still = [row for row in rows if row["state"] not in ("done", "failed", "cancelled")]
    agents = [row["agent"] for row in still if row["agent"] is not None and row["state"] in ("running", "parked")]
    return {"open": [row["id"] for row in still], "agents": agents, "all": len(rows)}


def conversation(connection: sqlite3.Connection, number: int, *, before: int | None) -> dict[str, Any]:
    """The messages of a task's conversation, the last `TURNS` before a place, each with what its call cost.

    `inherited` says how many of all stand before the task's own: those it shares with whom it was forked from.
    """
    rows = records(connection, "select head, fork_point, title from task where id = ?", number)
    if not rows:
        raise Invalid(f"task {number}", "the number of a task of this swarm")
    line = _line(connection, rows[0]["head"])
    inherited = next((n + 1 for n, one in enumerate(line) if one == rows[0]["fork_point"]), 0)
    end = len(line) if before is None else max(0, min(before, len(line)))
    start = max(0, end - TURNS)
    messages = _messages(connection, line[start:end])
    return {
        "total": len(line),
        "inherited": inherited,
        "from": start,
        "messages": [{"place": start + n, **one} for n, one in enumerate(messages)],
        "task": number,
        "title": rows[0]["title"],
    }


def fork(connection: sqlite3.Connection, number: int) -> dict[str, Any]:
    """What a task and the one it was forked from have each done since: two ends of one conversation.

    `shared` counts the messages before; each side has at most `TURNS` of its own, and `in_all` how many there are.
    """
    rows = records(connection, _FORK, number)
    if not rows:
        raise Invalid(f"task {number}", "the number of a task of this swarm")
    row = rows[0]
    point = row["fork_point"]
    sides = []
    for task_, head in ((row["parent"], row["parent_head"]), (number, row["head"])):
        line = _line(connection, head)
        after = line[line.index(point) + 1 :] if point in line else []
        messages = [
            {"place": len(line) - len(after) + n, **one} for n, one in enumerate(_messages(connection, after[:TURNS]))
        ]
        sides.append({"task": task_, "in_all": len(after), "messages": messages})
    shared = len(_line(connection, point)) if point is not None else 0
    return {"fork_point": point, "shared": shared, "parent": sides[0], "child": sides[1]}


def message(connection: sqlite3.Connection, number: int) -> dict[str, Any]:
    """One message in full, as it goes over the wire."""
    rows = records(connection, "select id, role, content, task from message where id = ?", number)
    if not rows:
        raise Invalid(f"message {number}", "the number of a message of this swarm")
    return {**rows[0], "content": json.loads(rows[0]["content"])}


def _line(connection: sqlite3.Connection, head: int | None) -> list[int]:
    """The numbers of a conversation's messages, oldest first."""
    query = """
    with recursive line (id, parent) as (
        select id, parent from message where id = ?
         union all select message.id, message.parent from message join line on message.id = line.parent)
    select id from line order by id
    """
    return [row[0] for row in connection.execute(query, (head,))]


def _messages(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
    query = """
    select message.id, role, content, message.task, model, stop_reason, input_tokens, cache_read_tokens,
           cache_write_tokens, output_tokens, usd, ended_at - model_call.started_at as seconds
      from message left join model_call on model_call.message = message.id and model_call.task = message.task
     where message.id in (select value from json_each(?)) order by message.id
    """
    found = records(connection, query, json.dumps(list(numbers)))
    return [{**one, "content": [_shown(block) for block in json.loads(one["content"])]} for one in found]


def _shown(block: dict[str, Any]) -> dict[str, Any]:
    """A block with its texts cut to what a page shows."""
    kind = block.get("type")
    if kind in ("text", "thinking"):
        return {"type": kind, "text": cut(block.get("text") or block.get("thinking") or "")}
    if kind == "tool_use":
        return {"type": kind, "id": block["id"], "name": block["name"], "input": cut(_pretty(block["input"]))}
    if kind == "tool_result":
        content = block.get("content")
        texts = (
            [part.get("text", f"({part.get('type')})") for part in content] if isinstance(content, list) else [content]
        )
        return {
            "type": kind, "id": block["tool_use_id"], "is_error": bool(block.get("is_error")),
            "text": cut("\n".join(str(text) for text in texts)),
        }  # fmt: skip
    return {"type": str(kind), "text": cut(_pretty(block))}


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _others(connection: sqlite3.Connection, wanted: str, of: str, number: int) -> list[dict[str, Any]]:
    query = (
        f"select task.id, title, state from task_need join task on task.id = task_need.{wanted}"  # noqa: S608  names of ours
        f" where task_need.{of} = ? order by task.id"
    )
    return records(connection, query, number)


def moved(rows: list[dict[str, Any]], shift_s: float) -> list[dict[str, Any]]:
    """Rows whose points in time are the wall clock's."""
    for row in rows:
        for name in row:
            if name.endswith("_at") and row[name] is not None:
                row[name] += shift_s
    return rows


def cut(text: str | None) -> str | None:
    """A text within its bound, which says how much is left out."""
    if text is None or len(text) <= TEXT_CHARACTERS:
        return text
    return f"{text[:TEXT_CHARACTERS]}\n… ({len(text) - TEXT_CHARACTERS:,} characters more)"
