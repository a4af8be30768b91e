"""A `for_each` becomes a task for each of its items, some at a time, so that nobody waits long for the database.

    gate --the items are written down--> made: AT_ONCE more in each round --the last of them--> expanded
           +--fewer than that: all at once----------------------------------------------------->

What is made may start at once.  How far it got is what stands in the table: whoever comes after a crash makes the rest.
Whether the swarm's limits hold all of them is asked before the first; where one cannot be made all the same, the step
fails, and what was made of it is cancelled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.harness.plans.forks import Source, begin_fork
from prong.harness.plans.plan import Step
from prong.harness.plans.words import filled, title
from prong.primitives import Plan, TooManyTasks, create_tasks
from prong.primitives.artifacts import stored
from prong.primitives.budget import SWARM, OutOfBudget, rooms
from prong.primitives.budget_sums import NANO
from prong.primitives.errors import Limit
from prong.primitives.task import cancel, finish
from prong.primitives.task_creating import tell_needs
from prong.primitives.task_line import offer
from prong.state import Row, Store, Transaction

AT_ONCE = 50
"""So many tasks are made in one transaction: it takes some 30 ms."""


@dataclass(frozen=True, slots=True)
class Each:
    """What the tasks for the items of a step are made of: the items, what is known of its needs, and whom they fork."""

    name: str
    step: Step
    items: Sequence[Any]
    known: Mapping[str, Any]
    source: Source | None


def begin(tx: Transaction, store: Store, row: Row, each: Each) -> None:
    """Write down the items, so that they are the same in each round; refuses what the limits of the swarm do not hold.

    Raises `TooManyTasks` and `OutOfBudget`.
    """
    if len(each.items) > AT_ONCE:
        _refuse_too_many(tx, len(each.items))
        _refuse_too_dear(tx, each)
        kept = stored(store, "the items of a for_each", list(each.items))
        tx.execute("update plan_step set items = :items where task = :task", items=kept, task=row["id"])
        tx.event("plan.expanding", object=each.name, task=row["id"], items=len(each.items))
    # Its own tasks decide from now on, and an early one that fails must not be the end of the others.
    tx.execute("update task set on_failed_need = 'continue' where id = :task", task=row["id"])


def make_some(tx: Transaction, row: Row, each: Each, plan: Callable[..., Plan]) -> bool:
    """Make the next tasks, below the step's own, which now needs them and not what the step needs; whether all are.

    `plan` makes the plan of one of them of its place, title and prompt.
    """
    first = tx.value("select coalesce(max(place) + 1, 0) from plan_step where step = :step", step=each.name)
    places = range(first, min(first + AT_ONCE, len(each.items)))
    told = {place: {**each.known, "item": each.items[place], "index": place + 1} for place in places}
    plans = [
        plan(place, title(each.name, each.step, told[place]), filled(each.step.prompt, told[place]))
        for place in places
    ]  # fmt: skip
    made = [task for task, _ in create_tasks(tx, plans)]
    hedged = tx.value("select hedge from task where id = :id", id=row["id"])
    for place, task in zip(places, made, strict=True):
        tx.execute(
            "insert into plan_step (task, step, place, item) values (:task, :step, :place, :item)",
            task=task.id, step=each.name, place=place, item=json.dumps(each.items[place], ensure_ascii=False),
        )  # fmt: skip
        tx.execute("insert into task_need (task, need) values (:task, :need)", task=row["id"], need=task.id)
        if each.source is not None:
            begin_fork(tx, task.id, each.source, plans[place - first].prompt)
        if hedged:
            tx.execute("update task set hedge = 1 where id = :task", task=task.id)
    tell_needs(tx, [task.id for task in made], path_s=row["path_s"], priority=row["priority"])
    whole: bool = first + len(made) == len(each.items)
    if whole:
        _end(tx, row, each)
    offer(tx)
    return whole


def undo(tx: Transaction, row: Row, why: str) -> None:
    """Fail a step of which not all tasks could be made; those that were are cancelled."""
    below = tx.rows("select id from task where parent = :task", task=row["id"])
    finish(tx, row["id"], "failed", error=why, failure="request")
    for one in below:
        cancel(tx, one["id"], reason=f"task {row['id']}, for which it was made, has failed: {why}")


def _end(tx: Transaction, row: Row, each: Each) -> None:
    tx.execute("update plan_step set outcome = 'expanded', items = null where task = :task", task=row["id"])
    tx.event("plan.expanded", object=each.name, task=row["id"], items=len(each.items))
    if not each.items:
        finish(tx, row["id"], "done", result="there was no item")
        tx.execute("update task set result_value = '[]' where id = :task", task=row["id"])


def _refuse_too_many(tx: Transaction, number: int) -> None:
    counts = tx.row("select open, total, most_open, most_total from task_count")
    assert counts is not None, "the schema makes it"
    most: dict[Limit, int] = {"open": counts["most_open"], "tasks": counts["most_total"]}
    left: dict[Limit, int] = {"open": most["open"] - counts["open"], "tasks": most["tasks"] - counts["total"]}
    reached = next((limit for limit, rest in left.items() if rest < number), None)
    if reached is not None:
        raise TooManyTasks(reached, most[reached], {limit: max(0, rest) for limit, rest in left.items()})


def _refuse_too_dear(tx: Transaction, each: Each) -> None:
    given = each.step.budget
    if given is None or tx.row("select 1 from account where task = 0") is None:
        return
    for room in rooms(tx, SWARM):
        one = 1 if room.unit == "tokens" else NANO
        asked = len(each.items) * ((given.tokens if room.unit == "tokens" else given.usd) or 0)
        if asked * one > room.open:
            raise OutOfBudget(
                "account", SWARM, "tokens" if room.unit == "tokens" else "usd", asked=asked, open=room.open / one,
                bound=room.bound / one, settled=room.settled / one, reserved=room.reserved / one,
            )  # fmt: skip
