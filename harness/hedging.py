"""Stragglers: where a task takes much longer than its like, a second copy of it runs, and the first result wins.

    running longer than the p95 of its like --allowed, and it pays--> a second copy
    the copy is done first   --> the task is done with its result, and its own agent is ended
    the task has ended first --> the copy is cancelled
    the copy changed files   --> it is cancelled, and what it changed is dropped: only the task itself may

Its like are the tasks of its role, or of its `for_each`, that are done.  It pays where a slot is free that nobody wants
and no budget is nearly spent.  See `_settle_copies` in primitives/task_ending.py for the end of a pair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from prong.agents import conversation
from prong.primitives import Plan, TooManyTasks, create_task
from prong.primitives import task as tasks
from prong.primitives.budget import OutOfBudget
from prong.state import Membership, Row, Store, Transaction

LEAST_LIKE = 5
"""So many of its like must be done before a task is called a straggler."""

LEAST_S = 1.0
"""A task that takes less than this is never hedged, in seconds: there is nothing to win."""

LIKE = 1_000
"""Of so many of its like the durations are looked at, the last first."""

SHARE = 0.95
"""A straggler takes longer than this share of its like."""

_MAY = """
select exists (select 1 from task where hedge = 1 and state = 'running')
    or exists (select 1 from role where hedge = 1) as may
"""

_ROOM = """
select (select count(*) from task where state not in ('done', 'failed', 'cancelled') and state = 'running') as running,
       exists (select 1 from task where state = 'ready' and paused = 0)
         or exists (select 1 from waiter where kind = 'slot' and state = 'waiting')
         or exists (select 1 from swarm where paused = 1) as wanted
"""

_CANDIDATES = """
select task.*, agent.started_at as since from task join agent on agent.id = task.agent
 where task.state not in ('done', 'failed', 'cancelled') and task.state = 'running' and task.hedge_of is null
   and task.program is null and (task.hedge = 1 or task.role in (select name from role where hedge = 1))
   and agent.started_at <= :before
   and not exists (select 1 from task copy where copy.hedge_of = task.id)
   and not exists (select 1 from task child where child.parent = task.id)
   and not exists (select 1 from account where (account.task = 0 or account.task = task.account)
                      and warned_at is not null and closed_at is null)
 order by agent.started_at
"""

_LIKE = """
select ended_at - started_at as seconds from task
 where state = 'done' and hedge_of is null and started_at is not null and role = :role
   and (:role <> '' or parent is :parent) order by ended_at desc limit :most
"""


def p95(seconds: Sequence[float]) -> float | None:
    """What only one in twenty took longer than; None where there are too few to say.

    >>> p95(range(1, 101)), p95([1.0, 2.0])
    (95, None)
    """
    if len(seconds) < LEAST_LIKE:
        return None
    return sorted(seconds)[math.ceil(SHARE * len(seconds)) - 1]


def hedge(store: Store, *, slots: int) -> list[int]:
    """Make second copies of stragglers, as far as slots are free that nobody wants; the copies' numbers."""
    may, room = store.row(_MAY), store.row(_ROOM)
    assert may is not None
    assert room is not None
    if not may["may"] or room["wanted"] or room["running"] >= slots:
        return []
    free = slots - room["running"]
    made: list[int] = []
    for row in store.rows(_CANDIDATES, before=store.clock.now() - LEAST_S):
        bound = p95([one["seconds"] for one in store.rows(_LIKE, role=row["role"], parent=row["parent"], most=LIKE)])
        if bound is None or store.clock.now() - row["since"] <= max(bound, LEAST_S):
            continue
        with store.transaction(None) as tx:
            copy = _copy(tx, row, bound)
        made += [copy] if copy is not None else []
        if len(made) >= free:
            break
    return made


def may_write(member: Membership, task: int, fence: int) -> bool:
    """Whether what a task changed may be handed in; a copy that changed files is cancelled here.

    A task that hands in what it changed is the only one from then on: its copy is cancelled.
    """
    row = member.store.row(
        "select hedge_of, exists (select 1 from task copy where copy.hedge_of = task.id) as has_copy from task"
        " where id = :task",
        task=task,
    )
    if row is None or (row["hedge_of"] is None and not row["has_copy"]):
        return True
    with member.transaction() as tx:
        tasks.hold(tx, task, fence)
        if row["hedge_of"] is not None:
            reason = f"it changed files, which of the two only task {row['hedge_of']} may; what it changed is dropped"
            tasks.finish(tx, task, "cancelled", error=reason)
            return False
        for copy in tx.rows("select id from task where hedge_of = :task", task=task):
            tasks.finish(tx, copy["id"], "cancelled", error=f"task {task} hands in what it changed")
    return True


def _copy(tx: Transaction, row: Row, bound: float) -> int | None:
    """A second copy that begins as the first has begun; None where there is no room for it, or it is needless now."""
    if tx.value("select state from task where id = :task", task=row["id"]) != "running":
        return None
    needs = [need["need"] for need in tx.rows("select need from task_need where task = :task", task=row["id"])]
    plan = Plan(
        f"{row['title'][:180]} (second copy)", row["prompt"], row["context"], needs, row["priority"],
        fork_point=row["fork_point"], brief_of=row["brief_of"], base_commit=row["base_commit"], role=row["role"],
        on_failed_need="continue", attempts=1, result_schema=row["result_schema"], result_asks=row["result_asks"],
        parent=row["parent"],
    )  # fmt: skip
    try:
        made, _ = create_task(tx, plan)
    except (TooManyTasks, OutOfBudget):
        return None
    tx.execute(
        "update task set hedge_of = :task, account = :account where id = :copy", task=row["id"],
        account=row["account"], copy=made.id,
    )  # fmt: skip
    if row["fork_point"] is not None:
        _begin_as(tx, row, made.id)
    waited = round(tx.now - row["since"], 3)
    tx.event(
        "hedge.started", object=str(row["id"]), task=row["id"], copy=made.id, after_s=waited, p95_s=round(bound, 3)
    )
    return made.id


def _begin_as(tx: Transaction, row: Row, copy: int) -> None:
    """A fork's copy reads what the fork itself read first."""
    first = tx.row(
        "select content from message where parent = :point and task = :task order by id limit 1",
        point=row["fork_point"],
        task=row["id"],
    )
    assert first is not None, "a fork is made with its first message"
    content = json.loads(first["content"])
    head = conversation.insert(tx, parent=row["fork_point"], role="user", content=content, task=copy)
    tx.execute("update task set head = :head where id = :copy", head=head, copy=copy)
