"""What all explanations have in common: one moment of a swarm, and how figures are put into words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prong.harness.status import SELDOM, SupervisorStatus, is_interrupted, last_refusal, supervisor_of
from prong.state import Row, Store

NAMES = 6
"""How many tasks one sentence lists; the rest is counted."""

CHARACTERS = 200
"""How much of a text that somebody else wrote one sentence quotes."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is so: a word for programs, a sentence for people, and the figures that the sentence tells."""

    reason: str
    detail: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        return {"reason": self.reason, "detail": self.detail, **self.data}


@dataclass(frozen=True)
class Moment:
    """A swarm as it is now.  `source` must hold still (`Store.snapshot`); what is asked for often is read once."""

    source: Store
    now: float
    wall: float
    swarm: Row
    supervisor: SupervisorStatus

    @classmethod
    def read(cls, source: Store) -> Moment:
        """The moment of an open snapshot."""
        swarm = source.row("select * from swarm")
        assert swarm is not None, "a swarm's row is written when it is made"
        return cls(source, source.clock.now(), source.clock.wall(), swarm, supervisor_of(source))

    @property
    def supervised(self) -> bool:
        """Whether anybody runs the swarm, even if he stands still."""
        return self.supervisor.state in ("alive", "stopped")

    @property
    def interrupted(self) -> bool:
        """Whether somebody should run it, and nobody does."""
        return is_interrupted(self.swarm, supervised=self.supervised)

    @cached_property
    def running(self) -> Sequence[int]:
        """The tasks that have a slot, as many as there can be."""
        rows = self.source.rows(
            "select id from task where state not in ('done', 'failed', 'cancelled') and state = 'running' order by id"
        )
        return [row["id"] for row in rows]

    @cached_property
    def refusal(self) -> Reason | None:
        """Why the scheduler starts nobody, by its own last word; None where it has not refused."""
        row = last_refusal(self.source)
        if row is None:
            return None
        detail = data_of(row)["detail"]
        since = self.wall - row["at"]
        return Reason(
            row["object"], f"The scheduler starts nobody for {span(since)}: {detail}.", {"since_at": row["at"]}
        )

    @cached_property
    def ageing_s(self) -> float:
        """How many seconds of waiting count as much as one more of priority."""
        row = self.source.row("select ageing_s from task_count")
        assert row is not None, "the schema makes it"
        return float(row["ageing_s"])

    def standing_still(self) -> list[Reason]:
        """Why nothing at all goes on: nobody runs the swarm, or a person paused it."""
        found = []
        swarm = self.swarm["id"]
        if not self.supervised:
            detail = f"Nobody supervises the swarm, so nothing starts. Go on with: prong resume {swarm}"
            found.append(Reason("unsupervised", detail))
        if self.supervisor.advice is not None:
            found.append(Reason("supervisor_stopped", self.supervisor.advice, {"process": self.supervisor.pid}))
        if self.swarm["paused"]:
            who = self.who("command.pause", ["swarm"])
            detail = f"The swarm is paused{who.words}. Let it go on with: prong resume {swarm}"
            found.append(Reason("swarm_paused", detail, who.data))
        return found

    def paused(self, task: Row) -> list[Reason]:
        """That a person paused the task."""
        if not task["paused"]:
            return []
        who = self.who("command.pause", self.line_of(task["id"]))
        detail = f"It is paused{who.words}. Let it go on with: prong resume --task {task['id']}"
        return [Reason("paused", detail, who.data)]

    def who(self, kind: str, objects: Sequence[str]) -> Who:
        """Who gave the last command of a kind that was about one of these."""
        rows = self.source.rows(
            f"select object, at, data from event where {SELDOM} and kind = :kind order by seq desc limit 1000",  # noqa: S608  as above
            kind=kind,
        )
        found = next((row for row in rows if row["object"] in objects), None)
        if found is None:
            return Who("", {})
        told = data_of(found)
        words = f" by {told.get('user')} since {clock(found['at'])}"
        return Who(words, {"user": told.get("user"), "pid": told.get("pid"), "since_at": found["at"]})

    def line_of(self, task: int) -> list[str]:
        """The task and those that it stands below, as the log names them."""
        rows = self.source.rows(
            "with recursive line (id, parent) as (select id, parent from task where id = :task"
            " union all select task.id, task.parent from task join line on task.id = line.parent) select id from line",
            task=task,
        )
        return [str(row["id"]) for row in rows]

    def full_role(self, task: Row) -> Reason | None:
        """That as many tasks of its role run as may at once; None where that does not keep it back."""
        role = self.source.row("select agents from role where name = :role and name <> ''", role=task["role"])
        if role is None or role["agents"] is None:
            return None
        rows = self.source.rows(
            "select id from task where role = :role and role <> ''"
            " and state not in ('done', 'failed', 'cancelled') and state = 'running' order by id",
            role=task["role"],
        )
        if len(rows) < role["agents"]:
            return None
        most, running = role["agents"], [row["id"] for row in rows]
        what = "one task of its role runs" if most == 1 else f"{most} tasks of its role run"
        do = "does" if len(running) == 1 else "do"
        detail = f"Only {what} at once ({quoted(task['role'])}), and now {named(running)} {do}."
        return Reason("role", detail, {"role": task["role"], "agents": most, "taken_by": running})

    def task(self, number: int) -> Row | None:
        """A task's row."""
        return self.source.row("select * from task where id = :task", task=number)

    def at_wall(self, at: float) -> float:
        """A point in time of the swarm's clock as people's clocks show it."""
        return self.wall + at - self.now


@dataclass(frozen=True, slots=True)
class Who:
    """Who did something, as the end of a sentence and as figures."""

    words: str
    data: Mapping[str, Any]


def data_of(row: Row) -> dict[str, Any]:
    """What an event says."""
    told: dict[str, Any] = json.loads(row["data"])
    return told


def span(seconds: float) -> str:
    """A duration in words, as exact as people want it.

    >>> [span(seconds) for seconds in (0.04, 9.96, 42.3, 130, 7500)]
    ['0.0 s', '10.0 s', '42 s', '2 min 10 s', '2 h 5 min']
    """
    seconds = max(0.0, seconds)
    if seconds < 10:  # noqa: PLR2004  tenths matter to nobody from here on
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004  a minute
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004  an hour
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(wall: float) -> str:
    """A point in time of the wall clock, for people of today."""
    return time.strftime("%H:%M:%S", time.localtime(wall))


def named(tasks: Iterable[int], *, most: int = NAMES) -> str:
    """Tasks by number, the first of them and how many more.

    >>> named([2]), named([2, 3]), named(range(1, 100), most=2)
    ('task 2', 'tasks 2 and 3', 'tasks 1, 2 and 97 more')
    """
    numbers = list(tasks)
    if not numbers:
        return "no task"
    words = [str(number) for number in numbers]
    if len(words) > most:
        words = [*words[:most], f"{len(words) - most} more"]
    listed = " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
    return f"task{'' if len(numbers) == 1 else 's'} {listed}"


def listed(texts: Sequence[str], *, most: int = NAMES) -> str:
    """Texts in one sentence.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=1)
    ('a, b and c', 'a and 2 more')
    """
    words = list(texts) if len(texts) <= most else [*texts[:most], f"{len(texts) - most} more"]
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1] if words else "") if part)


def many(number: int, one: str, more: str) -> str:
    """A number with its noun.

    >>> many(1, "task stands", "tasks stand"), many(2, "task stands", "tasks stand")
    ('1 task stands', '2 tasks stand')
    """
    return f"{number:,} {one if number == 1 else more}"


def quoted(text: str | None) -> str:
    """A text of somebody else's in one line, without the full stop that the sentence itself brings."""
    flat = " ".join((text or "").split()).rstrip(".")
    return flat if len(flat) <= CHARACTERS else flat[: CHARACTERS - 1] + "…"
