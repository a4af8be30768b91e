"""Who blocks whom just now: each holder with those that wait for it, and those that wait for these in turn.

A lock is held up by its holders, a semaphore by those that have its permits, a wait for tasks by the agent of the one
task that is left.  What nobody holds up alone, such as a barrier or an empty queue, stands by itself.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.primitives import deadlock, wait_graph
from prong.primitives.deadlock_story import tell
from prong.state import Row, Store

DEEPEST = 100
"""So deep a tree is told; what hangs on its lowest branches begins another."""

_HOLDERS = """
select 'lock' as kind, name, holder from lock where holder is not null
 union all select 'lock', lock, holder from lock_share
 union all select 'semaphore', semaphore, holder from permit where expired = 0 and holder is not null
 order by 1, 2
"""

_WAITS = """
select waiter.id, waiter.agent, waiter.task, waiter.kind, waiter.object, waiter.since_at,
       (select json_group_array(open.id) from waiter_task join task open on open.id = waiter_task.task
         where waiter_task.waiter = waiter.id and open.state not in ('done', 'failed', 'cancelled')) as tasks
  from waiter where waiter.state = 'waiting' order by waiter.since_at, waiter.id
"""

_WHO = "select agent.id, agent.name, agent.task, task.title from agent left join task on task.id = agent.task"
_WORKS = "select id, agent from task where agent is not null and state in ('running', 'parked')"


@dataclass(frozen=True, slots=True)
class Who:
    """An agent as people name it."""

    agent: int
    name: str
    task: int | None
    title: str | None

    def __str__(self) -> str:
        return f"task {self.task} ({self.title})" if self.task is not None else self.name


@dataclass(frozen=True, slots=True)
class Wait:
    """One that waits: for what, for how many seconds, who holds it up, and who waits for whoever waits here."""

    who: Who
    kind: str
    object: str
    seconds: float
    held_by: tuple[int, ...]
    behind: tuple[Wait, ...] = ()

    @property
    def wanted(self) -> str:
        """What it waits for, in words."""
        return f"{self.kind} {self.object}"

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints of a wait; those behind it have lines of their own."""
        return {
            "kind": "wait", "agent": self.who.agent, "task": self.who.task, "waits_for": self.kind,
            "name": self.object, "seconds": round(self.seconds, 3), "held_by": list(self.held_by),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Blocker:
    """One that holds others up and does not wait itself; None is nobody alone."""

    who: Who | None
    waits: tuple[Wait, ...]


@dataclass(frozen=True, slots=True)
class Blocking:
    """Who blocks whom: those at the root of each tree, all waits, and the story of each circle."""

    blockers: tuple[Blocker, ...]
    waits: tuple[Wait, ...]
    circles: tuple[str, ...]


def read_blocking(store: Store) -> Blocking:
    """Read it in one snapshot."""
    with store.snapshot() as source:
        graph = wait_graph.read(source, now=store.clock.now())
        circles = tuple(str(tell(graph, knot)["story"]) for knot in deadlock.find(graph))
        now = store.clock.now()
        who = {row["id"]: Who(row["id"], row["name"], row["task"], row["title"]) for row in store.rows(_WHO)}
        works = {row["id"]: row["agent"] for row in store.rows(_WORKS)}
        held: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row in store.rows(_HOLDERS):
            held[row["kind"], row["name"]].append(row["holder"])
        waits = [
            Wait(
                who[row["agent"]], row["kind"], _object(row), now - row["since_at"],
                tuple(one for one in _held_by(row, held, works) if one != row["agent"] and one in who),
            )
            for row in store.rows(_WAITS)
        ]  # fmt: skip
    return Blocking(tuple(_trees(waits, who)), tuple(waits), circles)


def _object(row: Row) -> str:
    if row["kind"] != "tasks":
        return str(row["object"])
    left = json.loads(row["tasks"])
    return ", ".join(map(str, left[:10])) + (f" and {len(left) - 10} more" if len(left) > 10 else "")  # noqa: PLR2004  what a line bears


def _held_by(row: Row, held: Mapping[tuple[str, str], Sequence[int]], works: Mapping[int, int]) -> list[int]:
    if row["kind"] == "tasks":
        left = json.loads(row["tasks"])
        return [works[left[0]]] if len(left) == 1 and left[0] in works else []
    return list(dict.fromkeys(held.get((row["kind"], row["object"]), ())))


def _trees(waits: Sequence[Wait], who: Mapping[int, Who]) -> Iterator[Blocker]:
    behind: dict[int, list[Wait]] = defaultdict(list)
    for wait in waits:
        for agent in wait.held_by:
            behind[agent].append(wait)
    waiting = {wait.who.agent for wait in waits}
    told: set[int] = set()
    spread: set[int] = set()  # whose waits are told: once, although many may hold them up

    def grown(wait: Wait, deep: int) -> Wait:
        agent = wait.who.agent
        told.add(agent)
        below: tuple[Wait, ...] = ()
        if agent not in spread and deep < DEEPEST:
            spread.add(agent)
            below = tuple(grown(one, deep + 1) for one in behind.get(agent, ()))
        return Wait(wait.who, wait.kind, wait.object, wait.seconds, wait.held_by, below)

    # Whoever waits for nothing comes first.  Of a circle nobody is the root: it begins with whoever came first.
    for agent in sorted(behind, key=lambda one: (one in waiting, 0 if one in waiting else -len(behind[one]))):
        if agent not in waiting or agent not in spread:
            told |= {agent} & waiting
            spread.add(agent)
            yield Blocker(who[agent], tuple(grown(one, 1) for one in behind[agent]))
    loose = tuple(grown(one, 1) for one in waits if not one.held_by and one.who.agent not in told)
    if loose:
        yield Blocker(None, loose)


def lines(blocking: Blocking) -> Iterator[str]:
    """The trees as lines of text.

    task 3 (build) holds up 2
    ├─ task 4 (test) waits 12.0 s for lock db
    │  └─ task 6 (report) waits 3.1 s for tasks 4
    └─ task 5 (lint) waits 0.4 s for lock db
    """
    for story in blocking.circles:
        yield f"DEADLOCK: {story}"
    for one in blocking.blockers:
        many = len(one.waits)
        yield f"{one.who} holds up {many}" if one.who is not None else f"{many} wait for what nobody holds alone"
        yield from _branches(one.waits, "")


def _branches(waits: Sequence[Wait], before: str) -> Iterator[str]:
    for place, wait in enumerate(waits):
        last = place == len(waits) - 1
        yield f"{before}{'└─' if last else '├─'} {wait.who} waits {wait.seconds:.1f} s for {wait.wanted}"
        yield from _branches(wait.behind, before + ("   " if last else "│  "))
