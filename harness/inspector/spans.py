"""What agents did and waited for, as spans of time, folded from the log.

    task     from the claim of a task to its end or its loss
    model    one call of the model
    tool     one call of a tool
    wait     parked: the agent waits and holds no slot
    merge    parked until finished work is merged

The same fold makes the timeline, the traces and the times by kind; it can go on from where it stopped.  Spans are kept
by column, because a log of a million events has hundreds of thousands of them and objects would cost seconds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = ("task", "model", "tool", "wait", "merge")
"""What a span's `kind` counts: its place here."""

_TASK, _MODEL, _TOOL, _WAIT, _MERGE = range(len(KINDS))
_ENDS = ("done", "failed", "cancelled", "returned", "backs_off")
_TOLD = {
    "tool.began": ("call", None),
    "tool.ended": ("call", "is_error"),
    "model.answered": ("stop_reason", "seconds"),
    "task.claimed": ("holder", "attempt"),
    "task.parked": ("waits_for", "which"),
}
"""The two fields that are read of what an event of a kind tells."""
_LISTS = ("_agent", "_of_task", "_kind", "_began_at", "_ended_at", "_outcome", "_name", "_seq")


def _field(place: int) -> str:
    cases = [f"when '{kind}' then json_extract(data, '$.{told[place]}')" for kind, told in _TOLD.items() if told[place]]
    return f"case kind {' '.join(cases)} end"


# The database takes the two fields out of the JSON: that is several times faster than all of it in Python.
READ = f"""
select seq, at, agent, task, kind, object, {_field(0)}, {_field(1)} from event
 where seq > :after and seq <= :until and kind in (
    'task.claimed', 'task.done', 'task.failed', 'task.cancelled', 'task.returned', 'task.backs_off', 'task.parked',
    'task.unparked', 'model.answered', 'tool.began', 'tool.ended', 'agent.dead', 'agent.ended', 'swarm.stopped')
 order by seq
"""  # noqa: S608  constants
"""The events that the fold reads: those behind `after`, up to `until`."""


@dataclass(frozen=True, slots=True)
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
    """The fold: `read` the log or `take` events in order, then look at `columns` or at `all`."""

    seq: int = 0
    _agent: list[int] = field(default_factory=list)
    _of_task: list[int | None] = field(default_factory=list)
    _kind: list[int] = field(default_factory=list)
    _began_at: list[float] = field(default_factory=list)
    _ended_at: list[float | None] = field(default_factory=list)
    _outcome: list[str] = field(default_factory=list)
    _name: list[int] = field(default_factory=list)
    _seq: list[int] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    _open: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._agent)

    @property
    def all(self) -> list[Span]:
        """The spans in the order in which they were seen first."""
        names = list(self._names)
        columns = zip(
            self._agent, self._of_task, self._kind, self._name, self._began_at, self._ended_at, self._outcome,
            self._seq, strict=True,
        )  # fmt: skip
        return [Span(agent, task, kind, names[name], *rest) for agent, task, kind, name, *rest in columns]

    def columns(self) -> dict[str, Any]:
        """Spans by column; what many share is named once in `names`.

        `calls` has the place and the call of each tool that still runs, by which its end is found.  Times are
        milliseconds since `zero_at`: whole numbers are written and read several times as fast as fractions.
        """
        zero = self._began_at[0] if self._began_at else 0.0
        return {
            "agent": self._agent,
            "task": self._of_task,
            "kind": self._kind,
            "zero_at": zero,
            "began_ms": [int((at - zero) * 1_000) for at in self._began_at],
            "ended_ms": [None if at is None else int((at - zero) * 1_000) for at in self._ended_at],
            "outcome": self._outcome,
            "name": self._name,
            "names": list(self._names),
            "calls": [[place, key[2]] for key, place in self._open.items() if key[0] == _TOOL],
        }

    def as_json(self) -> dict[str, Any]:
        """All of the fold, for `from_json`."""
        lists = {name: getattr(self, name) for name in _LISTS}
        return {
            "seq": self.seq, **lists, "names": list(self._names), "open": [[*key, at] for key, at in self._open.items()]
        }  # fmt: skip

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Spans:
        """The fold that `as_json` told; raises `ValueError`, `KeyError` or `TypeError` where it is none."""
        lists = {name: told[name] for name in _LISTS}
        if len({len(one) for one in lists.values()}) != 1:
            raise ValueError("columns of different lengths")
        names = {name: place for place, name in enumerate(told["names"])}
        return cls(told["seq"], **lists, _names=names, _open={tuple(key): at for *key, at in told["open"]})

    def read(self, connection: sqlite3.Connection, until: int) -> None:
        """Take what the log has up to `until` and was not taken before."""
        for row in connection.execute(READ, {"after": self.seq, "until": until}):
            self._fold(*row)
        self.seq = max(self.seq, until)

    def take(self, event: Sequence[Any]) -> None:
        """One event: (seq, at, agent, task, kind, object, data as JSON)."""
        *plain, data = event
        told = json.loads(data)
        self._fold(*plain, *(told.get(name) for name in _TOLD.get(plain[4], (None, None))))
        self.seq = event[0]

    def _fold(  # noqa: PLR0917  called for each of a million rows, where names cost
        self, seq: int, at: float, agent: int | None, task: int | None, kind: str, about: str, one: Any, other: Any
    ) -> None:
        """Take one event, most frequent kinds first; `one` and `other` are the fields of `_TOLD`."""
        if kind == "tool.ended":
            self._end((_TOOL, agent, one), at, "failed" if other else "")
        elif kind == "tool.began":
            if agent is not None:
                self._begin((_TOOL, agent, one), agent, task, _TOOL, about or "", at, seq)
        elif kind == "model.answered":
            if agent is not None:
                self._add(agent, task, _MODEL, f"{about} {one or ''}".strip(), at - other, seq)
                self._ended_at[-1] = at
        elif kind.startswith("task."):
            self._task(seq, at, agent, int(about), kind[5:], one, other)
        elif kind.startswith("agent."):
            self._end_all(at, kind[6:], of=int(about))
        elif kind == "swarm.stopped":
            self._end_all(at, "stopped", of=None)

    def _task(  # noqa: PLR0917  as above
        self, seq: int, at: float, agent: int | None, task: int, what: str, one: Any, other: Any
    ) -> None:
        if what == "claimed":
            self._end((_TASK, task), at, "returned")
            self._begin((_TASK, task), one, task, _TASK, f"attempt {other}", at, seq)
        elif what == "parked":
            if agent is not None:
                kind = _MERGE if one == "merge" else _WAIT
                self._begin((_WAIT, task), agent, task, kind, f"{one} {other}", at, seq)
        elif what == "unparked":
            self._end((_WAIT, task), at, "")
        elif what in _ENDS:
            self._end((_WAIT, task), at, "")
            self._end((_TASK, task), at, "failed" if what == "backs_off" else what)

    def _begin(  # noqa: PLR0917  called for each of a million rows, where names cost
        self, key: tuple[Any, ...], agent: int, task: int | None, kind: int, name: str, at: float, seq: int
    ) -> None:
        self._end(key, at, "")
        self._open[key] = len(self._agent)
        self._add(agent, task, kind, name, at, seq)

    def _add(  # noqa: PLR0917  as above
        self, agent: int, task: int | None, kind: int, name: str, began_at: float, seq: int
    ) -> None:
        self._agent.append(agent)
        self._of_task.append(task)
        self._kind.append(kind)
        self._name.append(self._names.setdefault(name, len(self._names)))
        self._began_at.append(began_at)
        self._ended_at.append(None)
        self._outcome.append("")
        self._seq.append(seq)

    def _end(self, key: tuple[Any, ...], at: float, outcome: str) -> None:
        place = self._open.pop(key, None)
        if place is not None:
            self._ended_at[place], self._outcome[place] = at, outcome

    def _end_all(self, at: float, outcome: str, *, of: int | None) -> None:
        for key in [key for key, place in self._open.items() if of is None or self._agent[place] == of]:
            self._end(key, at, outcome)
