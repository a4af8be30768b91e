"""Why a task is where it is: what stands in its way, or what it does, or how it ended, in plain sentences.

    blocked  its needs            ready    its place in line, and what keeps the first from starting
    running  what its agent does  parked   what that waits for, and who has it
    failed   of what, and what failed with it          done   what came of it

Everything is read in one snapshot, and nothing is ever written.  One task costs a few queries by index, however many
others are open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.harness.status import shown_state
from prong.harness.why import ended, parked, running, waiting
from prong.harness.why.moment import Moment, Reason
from prong.primitives.errors import UnknownTask
from prong.state import Row, Store


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task is in its state: the reasons, the one that tells most first."""

    task: int
    title: str
    state: str
    reasons: Sequence[Reason]

    @property
    def short(self) -> str:
        """All of it in one sentence."""
        return self.reasons[0].detail

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        reasons = [reason.as_json() for reason in self.reasons]
        return {"task": self.task, "title": self.title, "state": self.state, "reasons": reasons}


def explain(store: Store, task: int) -> Explanation:
    """Explain one task; raises `UnknownTask`."""
    with store.snapshot() as source:
        moment = Moment.read(source)
        row = moment.task(task)
        if row is None:
            raise UnknownTask(task)
        return Explanation(task, row["title"], _state(moment, row), _reasons(moment, row))


def explain_open(store: Store) -> list[Explanation]:
    """Explain every open task in one sentence each: first those that have begun, then the line, then the rest."""
    with store.snapshot() as source:
        return list(_open(Moment.read(source)))


def _open(moment: Moment) -> Iterator[Explanation]:
    begun = moment.source.rows(
        "select * from task where state not in ('done', 'failed', 'cancelled') and state in ('running', 'parked')"
        " order by id"
    )
    for row in begun:
        yield _one(row, _short(moment, row), _state(moment, row))
    before = 0
    for row in moment.source.rows("select * from task where state = 'ready' order by level desc, path_s desc, id"):
        yield _one(row, [*parked.asks(moment, row), *waiting.ready(moment, row, before=before)][0])
        before += row["paused"] == 0 and (row["not_before"] or 0) <= moment.now
    needs = waiting.needs_of_all(moment)
    for row in moment.source.rows(
        "select * from task where state not in ('done', 'failed', 'cancelled') and state = 'blocked' order by id"
    ):
        yield _one(row, waiting.needing(needs[row["id"]]))


def _one(row: Row, reason: Reason, state: str | None = None) -> Explanation:
    return Explanation(row["id"], row["title"], state or row["state"], [reason])


def _state(moment: Moment, task: Row) -> str:
    return shown_state(task, interrupted=moment.interrupted)


def _reasons(moment: Moment, task: Row) -> list[Reason]:
    found = _OF_STATE[task["state"]](moment, task)
    return [*parked.asks(moment, task), *found] if task["state"] == "ready" else found


def _blocked(moment: Moment, task: Row) -> list[Reason]:
    return waiting.blocked(moment, task, _short)


def _parked(moment: Moment, task: Row) -> list[Reason]:
    if task["held"] == "budget":
        return [*parked.held_for_budget(moment, task), *moment.paused(task)]
    if task["held"] == "cache":
        return [*parked.held_for_cache(moment, task), *moment.paused(task)]
    found = running.running(moment, task)
    return [*found, parked.asleep(task)] if task["held"] == "asleep" else found


def _short(moment: Moment, task: Row) -> Reason:
    """The reason that tells most; that of a blocked task needs no look at what it needs."""
    if task["state"] == "blocked":
        return waiting.blocked_in_short(moment, task)
    return _reasons(moment, task)[0]


_OF_STATE: Mapping[str, Callable[[Moment, Row], list[Reason]]] = {
    "blocked": _blocked, "ready": waiting.ready, "running": running.running, "parked": _parked,
    "done": ended.done, "failed": ended.failed, "cancelled": ended.cancelled,
}  # fmt: skip
