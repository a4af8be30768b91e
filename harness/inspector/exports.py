"""What can be taken away: tables as CSV or NDJSON, and a trace that ui.perfetto.dev and other viewers open.

Everything is made piece by piece, so a log of a million events needs no more memory than one of ten.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prong.harness.inspector.feed import COLUMNS
from prong.harness.inspector.otel import as_otlp, trace
from prong.harness.inspector.snapshot import AGENTS, TASKS, agents, shift_s, tasks
from prong.harness.inspector.spans import KINDS, Spans
from prong.state import Invalid
from prong.state.secrets import masked

FORMATS = ("csv", "ndjson")
TABLES = ("events", "tasks", "agents")
TRACE = "perfetto.json"
OTLP = "otlp.json"

CHUNK_CHARACTERS = 64_000
"""How much of an export is sent at once, in characters."""

_MICROSECONDS = 1e6
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def names() -> Sequence[str]:
    """What there is to take away, as file names."""
    return (*(f"{table}.{kind}" for table in TABLES for kind in FORMATS), TRACE, OTLP)


def in_chunks(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of about `CHUNK_CHARACTERS`: each is handed from one thread to another."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_CHARACTERS:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)


def export(connection: sqlite3.Connection, name: str) -> Iterator[str]:
    """The pieces of an export by its file name, keys masked; raises `Invalid` where there is none of that name."""
    return map(masked, _pieces(connection, name))


def _pieces(connection: sqlite3.Connection, name: str) -> Iterator[str]:
    if name == TRACE:
        return perfetto(connection)
    if name == OTLP:
        return as_otlp(trace(connection, whole=True))
    table, _, kind = name.rpartition(".")
    if table not in TABLES or kind not in FORMATS:
        raise Invalid(f"an export {name[:60]!r}", f"one of {', '.join(names())}")
    columns, rows = _table(connection, table)
    return _csv(columns, rows) if kind == "csv" else _ndjson(columns, rows)


def _table(connection: sqlite3.Connection, table: str) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    if table == "events":
        return COLUMNS, connection.execute(f"select {', '.join(COLUMNS)} from event order by seq")  # noqa: S608  constants
    if table == "tasks":
        return TASKS, tasks(connection, shift_s(connection))
    return AGENTS, agents(connection, shift_s(connection))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield _line(columns)
    for row in rows:
        yield _line([_tame(value) for value in row])


def _line(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()


def _tame(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets a mark that shows it as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _ndjson(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    for row in rows:
        told = dict(zip(columns, row, strict=True))
        if "data" in told:
            told["data"] = json.loads(told["data"])
        yield json.dumps(told, ensure_ascii=False) + "\n"


def perfetto(connection: sqlite3.Connection) -> Iterator[str]:
    """A trace in Chrome's format: a track per agent, tasks with calls and waits, arrows from a need to its task."""
    last = connection.execute("select coalesce(max(seq), 0), coalesce(max(at), 0) from event").fetchone()
    spans = Spans()
    spans.read(connection, last[0])
    yield '{"displayTimeUnit":"ms","traceEvents":[\n'
    yield json.dumps({"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "prong"}})
    events = (_tracks(connection), _bars(spans, last[1]), _arrows(connection, spans), _counters(connection))
    for event in itertools.chain.from_iterable(events):
        yield ",\n" + json.dumps(event, ensure_ascii=False)
    yield "\n]}\n"


def _tracks(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    query = "select agent.id, coalesce(task.title, agent.name) from agent left join task on task.id = agent.task"
    for number, name in connection.execute(query):
        yield {"ph": "M", "pid": 1, "tid": number, "name": "thread_name", "args": {"name": f"agent {number}: {name}"}}


def _bars(spans: Spans, end: float) -> Iterator[dict[str, Any]]:
    for one in spans.all:
        length = (end if one.ended_at is None else one.ended_at) - one.began_at
        args = {"task": one.task, "outcome": one.outcome, "event": one.seq}
        yield {
            "ph": "X", "pid": 1, "tid": one.agent, "ts": one.began_at * _MICROSECONDS, "dur": length * _MICROSECONDS,
            "name": f"task {one.task}" if KINDS[one.kind] == "task" else one.name, "cat": KINDS[one.kind], "args": args,
        }  # fmt: skip


def _arrows(connection: sqlite3.Connection, spans: Spans) -> Iterator[dict[str, Any]]:
    of_task = {one.task: one for one in spans.all if KINDS[one.kind] == "task"}
    for need, task in connection.execute("select need, task from task_need"):
        before, after = of_task.get(need), of_task.get(task)
        if before is None or after is None or before.ended_at is None:
            continue
        common = {"pid": 1, "cat": "need", "name": "need", "id": f"{need}-{task}"}
        yield {**common, "ph": "s", "tid": before.agent, "ts": before.ended_at * _MICROSECONDS}
        yield {**common, "ph": "f", "bp": "e", "tid": after.agent, "ts": after.began_at * _MICROSECONDS}


def _counters(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """What was read, written and paid so far, after each call of the model."""
    shift = shift_s(connection)
    read = written = 0
    usd = 0.0
    for at, cached, fresh, price in connection.execute(
        "select ended_at, cache_read_tokens, input_tokens + cache_write_tokens, usd from model_call order by ended_at"
    ):
        read, written, usd = read + cached, written + fresh, usd + (price or 0.0)
        common = {"ph": "C", "pid": 1, "ts": (at + shift) * _MICROSECONDS}
        yield {**common, "name": "input tokens", "args": {"from the cache": read, "not": written}}
        yield {**common, "name": "dollars", "args": {"spent": round(usd, 6)}}
