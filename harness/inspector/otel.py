"""A swarm as spans of OpenTelemetry's conventions for generative AI: what traces of any tool can show beside others.

    invoke_workflow                 the swarm
      invoke_agent task title       an agent, below the agent that created its task; a link leads to the turn it was
        chat model                  forked from
        execute_tool name
        prong.wait                  parked: for a lock, for tasks, for the merge queue

Names are those of the semantic conventions for generative AI as of 2026, which are still under development; what they
have no word for begins with `prong.`.  No text of prompts, answers or tools is in it.  Every span has the same number
whenever it is made, so what is sent twice is one span.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prong.harness.inspector.snapshot import records, shift_s
from prong.harness.inspector.spans import KINDS, Spans
from prong.state.secrets import masked

SCOPE = "prong"
"""What made the spans, and how the names begin for which the conventions have no word."""

PROVIDER = "anthropic"

_NANOSECONDS = 1_000_000_000
_AGENTS = """
select agent.id, agent.name, agent.task, agent.state, agent.reason, agent.started_at, agent.ended_at, task.title,
       task.role, task.context, task.parent, task.error, task.failure, task.fork_point,
       (select min(id) from agent creator where creator.task = task.parent) as creator
  from agent join task on task.id = agent.task order by agent.id
"""
_CALLS = """
select id, task, agent, message, model, stop_reason, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens,
       usd, started_at, first_byte_at, ended_at from model_call order by id
"""
_TURNS = "select message, id from model_call where message is not null"
_TOOL_CALLS = "select seq, json_extract(data, '$.call') from event where kind = 'tool.began'"


@dataclass(frozen=True, slots=True)
class OtelSpan:
    """One span that has ended.  Numbers are hexadecimal, times nanoseconds since 1970; `links` are numbers of spans."""

    id: str
    parent: str | None
    name: str
    kind: Literal["internal", "client"]
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    links: Sequence[str] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans of a swarm; what lasts still is left out, or ends now where `whole`."""

    id: str
    swarm: str
    spans: list[OtelSpan] = field(default_factory=list)


def trace(connection: sqlite3.Connection, *, whole: bool) -> Trace:
    """The trace of a swarm, made from its log and its calls; its spans are in order of their kinds."""
    swarm = records(connection, "select id, goal, model, started_at, ended_at, state from swarm")[0]
    shift = shift_s(connection)
    last = connection.execute("select coalesce(max(seq), 0), coalesce(max(at), 0) from event").fetchone()
    made = _Maker(swarm["id"], shift, last[1] if whole else None)
    found = Trace(made.number("trace", 0, size=32), swarm["id"])
    rows = [_workflow(made, swarm), *(_agent(made, row) for row in _agents(connection, made))]
    rows += [_call(made, row) for row in records(connection, _CALLS)]
    rows += _others(connection, made, last[0])
    found.spans.extend(one for one in rows if one is not None)
    return found


@dataclass(frozen=True, slots=True)
class _Maker:
    swarm: str
    shift: float
    end: float | None
    turns: dict[int, int] = field(default_factory=dict)

    def number(self, what: str, which: int, *, size: int = 16) -> str:
        """The number of a span, the same whenever it is made."""
        return hashlib.sha256(f"{self.swarm} {what} {which}".encode()).hexdigest()[:size]

    def ns(self, at: float | None) -> int | None:
        """A point of the swarm's clock in nanoseconds of the wall clock; what lasts ends now, or has no end."""
        if at is None:
            return None if self.end is None else int(self.end * _NANOSECONDS)
        return int((at + self.shift) * _NANOSECONDS)


def _workflow(made: _Maker, swarm: dict[str, Any]) -> OtelSpan | None:
    start, end = made.ns(swarm["started_at"]), made.ns(swarm["ended_at"])
    if start is None or end is None:
        return None
    attributes = {
        "gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": swarm["id"],
        f"{SCOPE}.goal": swarm["goal"][:500], "gen_ai.request.model": swarm["model"], f"{SCOPE}.state": swarm["state"],
    }  # fmt: skip
    error = swarm["state"] if swarm["state"] == "failed" else None
    name = f"invoke_workflow {swarm['id']}"
    return OtelSpan(made.number("swarm", 0), None, name, "internal", start, end, attributes, error=error)


def _agents(connection: sqlite3.Connection, made: _Maker) -> list[dict[str, Any]]:
    made.turns.update(connection.execute(_TURNS))
    return records(connection, _AGENTS)


def _agent(made: _Maker, row: dict[str, Any]) -> OtelSpan | None:
    start, end = made.ns(row["started_at"]), made.ns(row["ended_at"])
    if start is None or end is None:
        return None
    parent = made.number("swarm", 0) if row["creator"] is None else made.number("agent", row["creator"])
    attributes = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": str(row["id"]), "gen_ai.agent.name": row["name"],
        "gen_ai.agent.description": row["title"], "gen_ai.conversation.id": f"{made.swarm}/task/{row['task']}",
        "gen_ai.provider.name": PROVIDER, f"{SCOPE}.task.id": row["task"], f"{SCOPE}.task.role": row["role"],
        f"{SCOPE}.fork.context": row["context"],
    }  # fmt: skip
    turn = made.turns.get(row["fork_point"] or 0)
    if turn is not None:
        attributes[f"{SCOPE}.fork.parent"] = row["parent"]
    links = () if turn is None else (made.number("call", turn),)
    error = (row["failure"] or row["reason"] or "died") if row["state"] == "dead" or row["error"] else None
    name = f"invoke_agent {row['title']}"[:200]
    return OtelSpan(made.number("agent", row["id"]), parent, name, "internal", start, end, attributes, links, error)


def _call(made: _Maker, row: dict[str, Any]) -> OtelSpan | None:
    start, end = made.ns(row["started_at"]), made.ns(row["ended_at"])
    assert start is not None, "a call is written when it has ended"
    assert end is not None, "as above"
    read, written = row["cache_read_tokens"], row["cache_write_tokens"]
    attributes = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": PROVIDER, "gen_ai.request.model": row["model"],
        "gen_ai.response.model": row["model"], "gen_ai.response.finish_reasons": [row["stop_reason"]],
        "gen_ai.response.time_to_first_chunk": round(row["first_byte_at"] - row["started_at"], 6),
        "gen_ai.conversation.id": f"{made.swarm}/task/{row['task']}",
        "gen_ai.usage.input_tokens": row["input_tokens"] + read + written,
        "gen_ai.usage.output_tokens": row["output_tokens"], "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": written,
    }  # fmt: skip
    if row["usd"] is not None:
        attributes[f"{SCOPE}.usd"] = row["usd"]
    parent = made.number("agent", row["agent"])
    return OtelSpan(made.number("call", row["id"]), parent, f"chat {row['model']}", "client", start, end, attributes)


def _others(connection: sqlite3.Connection, made: _Maker, last: int) -> Iterator[OtelSpan]:
    """Calls of tools, and waits, whose times are the log's."""
    calls = dict(connection.execute(_TOOL_CALLS))
    folded = Spans()
    folded.read(connection, last)
    for one in folded.all:
        kind = KINDS[one.kind]
        end = one.ended_at if one.ended_at is not None else made.end
        if kind not in ("tool", "wait", "merge") or end is None:
            continue
        attributes: dict[str, Any] = {f"{SCOPE}.task.id": one.task}
        if kind == "tool":
            attributes |= {
                "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": one.name, "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": calls.get(one.seq, ""),
            }  # fmt: skip
        else:
            attributes |= {f"{SCOPE}.wait.for": one.name}
        name = f"execute_tool {one.name}" if kind == "tool" else f"{SCOPE}.wait {one.name}"[:200]
        yield OtelSpan(
            made.number(kind, one.seq), made.number("agent", one.agent), name, "internal",
            int(one.began_at * _NANOSECONDS), int(end * _NANOSECONDS), attributes,
            error="tool" if one.outcome == "failed" else None,
        )  # fmt: skip


def as_otlp(found: Trace) -> Iterator[str]:
    """The trace as one OTLP request in JSON, which a collector takes at `/v1/traces`; in pieces, keys masked."""
    resource = json.dumps({"attributes": _attributes({"service.name": "prong", "service.instance.id": found.swarm})})
    scope = json.dumps({"name": SCOPE})
    yield f'{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":[\n'
    for place, one in enumerate(found.spans):
        yield (",\n" if place else "") + masked(json.dumps(_as_json(found.id, one), ensure_ascii=False))
    yield "\n]}]}]}\n"


def _as_json(trace_id: str, one: OtelSpan) -> dict[str, Any]:
    told: dict[str, Any] = {
        "traceId": trace_id, "spanId": one.id, "name": one.name, "kind": 3 if one.kind == "client" else 1,
        "startTimeUnixNano": str(one.start_ns), "endTimeUnixNano": str(one.end_ns),
        "attributes": _attributes(_with_error(one)),
    }  # fmt: skip
    if one.parent is not None:
        told["parentSpanId"] = one.parent
    if one.links:
        told["links"] = [{"traceId": trace_id, "spanId": link} for link in one.links]
    if one.error is not None:
        told["status"] = {"code": 2, "message": one.error[:200]}
    return told


def _with_error(one: OtelSpan) -> Mapping[str, Any]:
    return one.attributes if one.error is None else {**one.attributes, "error.type": one.error[:200]}


def _attributes(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in told.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}
