"""Waiting for tasks to end, and refusing what could never end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from prong.primitives.place import Place
from prong.primitives.task_record import NEEDS, Task, find
from prong.primitives.values import checked_number, checked_timeout
from prong.state import Invalid, Membership, Transaction


def wait_tasks(
    member: Membership, tasks: Sequence[int], *, mode: Literal["all", "any"] = "all", timeout: float | None = None
) -> list[Task]:
    """Wait until all (or any) of the tasks are final, at most `timeout` seconds; returns all as they are then.

    Raises `UnknownTask`, and `Invalid` where the waiting task would be waiting for itself.

    >>> from prong.primitives import Plan, create_task
    >>> with swarm.transaction() as tx:
    ...     task, _ = create_task(tx, Plan("Count", "Count the files."))
    >>> [found.state for found in wait_tasks(swarm, [task.id], timeout=0)]
    ['ready']
    """
    numbers = list(dict.fromkeys(tasks))
    checked_number("a number of tasks to wait for of", len(numbers), least=1, most=NEEDS)
    timeout = checked_timeout(timeout)
    with Place(member) as place:
        with member.transaction() as tx:
            which = ", ".join(map(str, numbers[:10]))
            if place.take_up(tx, "tasks", which) is None:
                found = [find(tx, number) for number in numbers]
                _refuse_own_line(tx, numbers)
                _refuse_circle(tx, numbers, any if mode == "all" else all)
                satisfied = (all if mode == "all" else any)(task.final for task in found)
                if satisfied or timeout == 0:
                    return found
                ticket = place.enrol(tx, "tasks", which, timeout=timeout, wants={"mode": mode, "tasks": numbers})
                for number in numbers:
                    tx.execute(
                        "insert into waiter_task (waiter, task) values (:w, :task)", w=ticket.waiter, task=number
                    )
        place.wait()
    with member.transaction() as tx:
        return [find(tx, number) for number in numbers]


def _refuse_own_line(tx: Transaction, numbers: Sequence[int]) -> None:
    """A task that waits for itself or for what it is a part of would wait for ever."""
    line = tx.rows(
        "with recursive line (id, parent) as (select id, parent from task where id = :task"
        " union all select task.id, task.parent from task join line on task.id = line.parent) select id from line",
        task=tx.member.task if tx.member else None,
    )
    own = {row["id"] for row in line} & set(numbers)
    if own:
        raise Invalid(f"waiting for task {min(own)}, which you are or are part of", "tasks that you created")


def _refuse_circle(tx: Transaction, numbers: Sequence[int], enough: Callable[[Iterable[bool]], bool]) -> None:
    """Tasks that need or wait for this one would wait for ever, and it for them."""
    me = tx.member.task if tx.member else None
    if me is not None and enough(_waits_for(tx, number, me) for number in numbers):
        raise Invalid(
            f"waiting for tasks of which one needs or waits for task {me}, which is you",
            "tasks that can end before you",
        )


def _waits_for(tx: Transaction, task: int, other: int) -> bool:
    """Whether a task that has not ended cannot end before another one, by its needs and by what all it waits for."""
    row = tx.row(
        "with recursive reach (id) as (select id from task where id = :task and state not in"
        " ('done', 'failed', 'cancelled') union select edge.target from reach join ("
        "   select task as source, need as target from task_need union all"
        "   select waiter.task, waiter_task.task from waiter join waiter_task on waiter_task.waiter = waiter.id"
        """    where waiter.state = 'waiting' and json_extract(waiter.wants, '$.mode') = 'all'"""
        " ) edge on edge.source = reach.id) select 1 from reach where id = :other",
        task=task,
        other=other,
    )
    return row is not None
