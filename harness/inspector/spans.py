"""What agents did and waited for, as spans of time, folded from the log.

    task     from the claim of a task to its end or its loss
    model    one call of the model
    tool     one call of a tool
    wait     parked: the agent waits and holds no slot
    merge    parked until finished work is merged

The same fold makes the timeline, the traces and the times by kind; it can go on from where it stopped.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("task", "model", "tool", "wait", "merge")
"""What a span's `kind` counts: its place here."""

_TASK, _MODEL, _TOOL, _WAIT, _MERGE = range(len(KINDS))
_ENDS = ("done", "failed", "cancelled", "returned", "backs_off")

READ = """
select seq, at, agent, task, kind, object, data from event
 where seq > :after and seq <= :until and kind in (
    'task.claimed', 'task.done', 'task.failed', 'task.cancelled', 'task.returned', 'task.backs_off', 'task.parked',
    'task.unparked', 'model.answered', 'tool.began', 'tool.ended', 'agent.dead', 'agent.ended', 'swarm.stopped')
 order by seq
"""
"""The events that the fold reads: those behind `after`, up to `until`."""


@dataclass(slots=True)
class Span:
    """One stretch of time on an agent's lane, in seconds of the wall clock; `ended_at` is None while it lasts."""

    agent: int
    task: int | None
    kind: int
    name: str
    began_at: float
    ended_at: float | None = None
    outcome: str = ""
    seq: int = 0


@dataclass(slots=True)
class Spans:
    """The fold: `take` events in order, then read `all`."""

    all: list[Span] = field(default_factory=list)
    seq: int = 0
    _open: dict[tuple[Any, ...], Span] = field(default_factory=dict)

    def read(self, connection: sqlite3.Connection, until: int) -> None:
        """Take what the log has up to `until` and was not taken before."""
        for row in connection.execute(READ, {"after": self.seq, "until": until}):
            self.take(row)
        self.seq = max(self.seq, until)

    def take(self, event: Sequence[Any]) -> None:
        """One event: (seq, at, agent, task, kind, object, data as JSON)."""
        seq, at, agent, task, kind, about, data = event
        self.seq = seq
        told: Mapping[str, Any] = json.loads(data)
        family, _, what = kind.partition(".")
        if family == "task":
            self._task(event, int(about), what, told)
        elif kind == "model.answered" and agent is not None:
            name = f"{about} {told.get('stop_reason', '')}".strip()
            self.all.append(Span(agent, task, _MODEL, name, at - told["seconds"], at, seq=seq))
        elif kind == "tool.began" and agent is not None:
            self._begin((_TOOL, agent, told["call"]), Span(agent, task, _TOOL, about or "", at, seq=seq))
        elif kind == "tool.ended" and agent is not None:
            self._end((_TOOL, agent, told["call"]), at, "failed" if told.get("is_error") else "")
        elif family == "agent":
            self._end_all(at, what, of=int(about))
        elif kind == "swarm.stopped":
            self._end_all(at, what, of=None)

    def _task(self, event: Sequence[Any], task: int, what: str, told: Mapping[str, Any]) -> None:
        seq, at, agent, *_ = event
        if what == "claimed":
            holder = told["holder"]
            self._end((_TASK, task), at, "returned")
            self._begin((_TASK, task), Span(holder, task, _TASK, f"attempt {told['attempt']}", at, seq=seq))
        elif what == "parked" and agent is not None:
            kind = _MERGE if told["waits_for"] == "merge" else _WAIT
            name = f"{told['waits_for']} {told['which']}"
            self._begin((_WAIT, task), Span(agent, task, kind, name, at, seq=seq))
        elif what == "unparked":
            self._end((_WAIT, task), at, "")
        elif what in _ENDS:
            self._end((_WAIT, task), at, "")
            self._end((_TASK, task), at, "failed" if what == "backs_off" else what)

    def _begin(self, key: tuple[Any, ...], span: Span) -> None:
        self._end(key, span.began_at, "")
        self._open[key] = span
        self.all.append(span)

    def _end(self, key: tuple[Any, ...], at: float, outcome: str) -> None:
        span = self._open.pop(key, None)
        if span is not None:
            span.ended_at, span.outcome = at, outcome

    def _end_all(self, at: float, outcome: str, *, of: int | None) -> None:
        for key in [key for key, span in self._open.items() if of is None or span.agent == of]:
            self._end(key, at, outcome)


def columns(spans: Iterable[Span]) -> dict[str, list[Any]]:
    """Spans by column, times rounded to a millisecond; what many share is named once in `names`."""
    names: dict[str, int] = {}
    found = list(spans)
    return {
        "agent": [one.agent for one in found],
        "task": [one.task for one in found],
        "kind": [one.kind for one in found],
        "began_at": [round(one.began_at, 3) for one in found],
        "ended_at": [None if one.ended_at is None else round(one.ended_at, 3) for one in found],
        "outcome": [one.outcome for one in found],
        "name": [names.setdefault(one.name, len(names)) for one in found],
        "names": list(names),
    }
