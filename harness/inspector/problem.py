"""One thing that is wrong in a swarm, and the moment at which it is looked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prong.harness.inspector.recent import Happened, Recent

RECENT_S = 600.0
"""How long ago something may have happened that is over, to be a problem still, in seconds."""

REMEDIES = 3
"""The most remedies of one kind that a problem has."""

Severity = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command that would help, as its button says it."""

    label: str
    op: str
    target: dict[str, Any]
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.  `since_at` is the wall clock's; `page` is where its evidence stands."""

    kind: str
    severity: Severity
    title: str
    detail: str
    since_at: float | None
    page: tuple[Any, ...]
    tasks: tuple[int, ...] = ()
    agents: tuple[int, ...] = ()
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """What the readers read: rows by name, the swarm's clock now, and how far the wall clock is from it, in seconds."""

    connection: sqlite3.Connection
    now: float
    shift_s: float
    alive: bool
    recent: Recent = field(default_factory=Recent)

    def happened(self, kind: str) -> list[Happened]:
        """The events of a seldom kind of the last minutes, oldest first."""
        after = self.now + self.shift_s - RECENT_S
        return [one for one in self.recent.read(self.connection) if one.kind == kind and one.at >= after]

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query, each by name."""
        cursor = self.connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def wall(self, at: float | None) -> float | None:
        """A point of the swarm's clock on the wall clock."""
        return None if at is None else at + self.shift_s


def many(tasks: Sequence[object], one: str, more: str) -> str:
    """So many tasks, and what they do.

    >>> many([7], "stands", "stand"), many([7, 8], "stands", "stand")
    ('1 task stands', '2 tasks stand')
    """
    return f"1 task {one}" if len(tasks) == 1 else f"{len(tasks)} tasks {more}"
