"""Who runs next: a pure function from a snapshot to decisions.

Waiting costs no slot, so only two kinds of tasks want one: those that are ready to start, and those whose wait has
ended.  Higher priority goes first; among equals a task that has begun goes before one that has not, since it holds
things others wait for; then the older goes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """Fork an agent for a ready task."""

    task: int


@dataclass(frozen=True, slots=True)
class Unpark:
    """Give a slot to a parked task whose wait has ended; `waiter` is its place in the line for slots."""

    task: int
    waiter: int


Decision = Start | Unpark


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that wants a slot since a point in time; `waiter` is None where it has not started."""

    task: int
    priority: int
    since: float
    waiter: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is so at one moment: how many slots there are, how many are taken, and who wants one."""

    slots: int
    taken: int
    candidates: Sequence[Candidate]


def decide(snapshot: Snapshot) -> list[Decision]:
    """Fill the free slots."""
    free = max(0, snapshot.slots - snapshot.taken)
    ordered = sorted(snapshot.candidates, key=lambda one: (-one.priority, one.waiter is None, one.since, one.task))
    return [Start(one.task) if one.waiter is None else Unpark(one.task, one.waiter) for one in ordered[:free]]
