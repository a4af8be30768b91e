"""Attempts: what becomes of a task whose agent dies or fails, and how a task is tried again, held or paused.

    running --its agent died------> ready         at once the first time, later and later after that; poisoned at last
       |----its attempt failed----> ready, later  while the failure may pass and attempts are left
       |                      +---> failed
       +----its budget is spent---> parked, held until the budget is raised

Pauses grow as powers of two with jitter, so that those that failed together do not come back together.
"""

from __future__ import annotations

import random
from typing import Literal

from prong.primitives import budget, task_line
from prong.primitives.errors import TooManyTasks, WrongTaskState
from prong.primitives.task_creating import open_needs, tell_needs
from prong.primitives.task_ending import cut, finish, is_doomed, is_ready
from prong.primitives.task_record import FINAL, Failure, Task, find
from prong.primitives.values import checked_number
from prong.state import Row, Transaction

STALLED = 5
"""How many agents in a row a task may lose without one new message before it is poisoned: it has failed."""

WORN_OUT = 100
"""How many agents a task may wear out although it gets further, before it fails."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
"""The pause before the second attempt, which doubles with each failure up to the longest, in seconds."""

PASSING: frozenset[Failure] = frozenset({"provider", "tool", "crash"})
"""The kinds of failure after which another attempt may go better."""


_TREE = """
with recursive tree (id) as (
    select id from task where id = :task union all select task.id from task join tree on task.parent = tree.id)
"""

_PAUSE = f"""
{_TREE}
update task set paused = :paused, pays = case when :paused = 0 and held = 'cache' then 1 else pays end,
       error = case when :paused = 0 and held in ('budget', 'cache') then null else error end,
       state = case when :paused = 0 and held in ('budget', 'cache') then 'ready' else state end,
       held = case when :paused = 0 and held in ('budget', 'cache') then null else held end
 where id in tree and (paused <> :paused or :paused = 0 and held in ('budget', 'cache'))
   and state not in ('done', 'failed', 'cancelled') returning id
"""  # noqa: S608  put together from constants of this file

_HELD_BY_ITS_OWN = f"""
{_TREE}
select id from task join tree using (id) where held = 'budget' and held_by = 'agent' and state = 'parked'
"""  # noqa: S608  as above


def give_back(tx: Transaction, task: int, *, agent: int, reason: str, blame: bool = True, pause_s: float = 0.0) -> None:
    """Return the task of an agent that is gone to the ready ones, with its conversation.

    A task whose agents died `STALLED` times in a row without adding one message kills its agents: it is poisoned.  An
    agent that was ended on purpose is no such death (`blame` false), nor is one that died while it only waited: who
    waits for long adds no message, and does nothing that it could die of.
    """
    row = tx.row(
        "update task set state = 'ready', held = null, agent = null, fence = fence + 1,"
        " stalled = stalled + (:blame and state = 'running'), worn = worn + :blame"
        " where id = :task and agent = :agent and state in ('running', 'parked') returning stalled, worn",
        task=task,
        agent=agent,
        blame=int(blame),
    )
    if row is None:
        return
    if blame and row["stalled"] > 1:
        pause_s = max(pause_s, _pause(row["stalled"] - 1))
    task_line.stand_in_line(tx, task, pause_s)
    tx.event("task.returned", object=str(task), task=task, reason=reason, stalled=row["stalled"], pause_s=pause_s)
    if blame and row["stalled"] >= STALLED:
        error = f"it is poisoned: its agent died {row['stalled']} times without getting any further: {reason}"
        finish(tx, task, "failed", error=error, failure="crash")
    elif blame and row["worn"] >= WORN_OUT:
        finish(tx, task, "failed", error=f"its agents died {row['worn']} times: {reason}", failure="crash")
    task_line.offer(tx)


def fail(tx: Transaction, task: int, fence: int, *, error: str, failure: Failure) -> bool:
    """End an attempt badly; whether the task will be tried again.  Raises `TaskLost` where it is another's by now."""
    task_line.hold(tx, task, fence)
    row = tx.row(
        "update task set failures = failures + 1, failure = :failure, error = :error where id = :task"
        " returning failures, attempts",
        failure=failure,
        error=cut(error),
        task=task,
    )
    assert row is not None, "hold has found it"
    if failure not in PASSING or row["failures"] >= row["attempts"]:
        times = f" (attempt {row['failures']} of {row['attempts']})" if failure in PASSING else ""
        finish(tx, task, "failed", error=f"{error}{times}", failure=failure)
        return False
    pause_s = _pause(row["failures"])
    tx.execute(
        "update task set state = 'ready', held = null, agent = null, fence = fence + 1 where id = :task", task=task
    )
    task_line.stand_in_line(tx, task, pause_s)
    tx.event(
        "task.backs_off", object=str(task), task=task, error=cut(error), failure=failure, failures=row["failures"],
        attempts=row["attempts"], pause_s=pause_s,
    )  # fmt: skip
    task_line.offer(tx)
    return True


def hold_for_budget(
    tx: Transaction, task: int, fence: int, *, reason: str, result: str | None,
    bound_of: Literal["account", "agent"] = "account",
) -> None:  # fmt: skip
    """Park a task whose budget is spent; it keeps its conversation, and what it has found so far as its result.

    One that is held by the bound of its one agent does not go on because an account has more again.
    """
    _park(tx, task, fence, "budget", reason=reason, result=result)
    tx.execute("update task set held_by = :bound_of where id = :task", bound_of=bound_of, task=task)


def hold_for_cache(tx: Transaction, task: int, fence: int, *, reason: str) -> None:
    """Park a fork that has not begun, because the prompt cache of its fork point is lost."""
    _park(tx, task, fence, "cache", reason=reason, result=None)


def free_from_cache(tx: Transaction) -> list[int]:
    """Let all go on that were held because of a lost prompt cache; returns their numbers."""
    freed = [
        row["id"]
        for row in tx.rows(
            "update task set state = 'ready', held = null, error = null where held = 'cache' and state = 'parked'"
            " returning id"
        )
    ]
    for task in freed:
        task_line.stand_in_line(tx, task, 0.0)
        tx.event("task.ready", object=str(task), task=task)
    task_line.offer(tx)
    return freed


def retry(tx: Transaction, task: int, *, with_dependants: bool = False) -> list[int]:
    """Open a failed or cancelled task again, and those that failed because they needed it; returns their numbers.

    It goes on with its conversation, in its workspace, with all its attempts.  Raises `UnknownTask`, and
    `WrongTaskState` where the task has not failed or a need of it has.
    """
    found = find(tx, task)
    if found.state not in ("failed", "cancelled"):
        raise WrongTaskState(task, found.state, "failed or cancelled")
    _refuse_doomed(tx, found)
    _refuse_merged(tx, found)
    opened = [task]
    _reopen(tx, task)
    for one in opened if with_dependants else ():  # which grows while it is read
        for row in tx.rows(
            "select task.id from task_need join task on task.id = task_need.task"
            " where task_need.need = :need and task.state = 'failed' and task.failure = 'need' order by task.id",
            need=one,
        ):
            if _is_doomed(tx, row["id"]):  # by another need, which has failed and stays so
                continue
            _reopen(tx, row["id"])
            opened.append(row["id"])
    _refuse_too_many(tx)
    task_line.offer(tx)
    return opened


def pause(tx: Transaction, task: int | None, *, paused: bool) -> list[int]:
    """Keep a task and all below it (None: the whole swarm) from starting or going on, or let them; those changed.

    Letting a task go on lets it try its luck again where it was held for a budget, its own agent's too, and pay for its
    beginning where it was held for a lost prompt cache.
    """
    if task is None:
        changed = tx.execute("update swarm set paused = :paused where paused <> :paused", paused=int(paused))
        numbers = [0] if changed else []
    else:
        find(tx, task)
        own = [] if paused else tx.rows(_HELD_BY_ITS_OWN, task=task)
        numbers = [
            row["id"]
            for row in tx.rows(
                _PAUSE,
                task=task,
                paused=int(paused),
            )
        ]
        for row in own:  # its agent may spend its own budget once more
            tx.event("task.ready", object=str(row["id"]), task=row["id"], anew=True)
    if numbers:
        tx.event("task.paused" if paused else "task.resumed", object=str(task or "swarm"), task=task, tasks=numbers)
        task_line.offer(tx)
    return numbers


def set_priority(tx: Transaction, task: int, priority: int) -> None:
    """Give a task another priority; raises `UnknownTask`, `WrongTaskState` where it has ended, `Invalid`."""
    checked_number("priority", priority)
    found = find(tx, task)
    if found.final:
        raise WrongTaskState(task, found.state, "still open")
    tx.execute("update task set priority = :priority where id = :task", priority=priority, task=task)
    task_line.place(tx, task)
    tell_needs(tx, open_needs(tx, task), path_s=0.0, priority=priority)
    tx.event("task.prioritised", object=str(task), task=task, priority=priority, before=found.priority)
    tx.ring_scheduler()


def _park(tx: Transaction, task: int, fence: int, held: str, *, reason: str, result: str | None) -> None:
    task_line.hold(tx, task, fence)
    tx.execute(
        "update task set state = 'parked', held = :held, agent = null, fence = fence + 1, error = :reason,"
        " result = coalesce(:result, result) where id = :task",
        held=held,
        reason=cut(reason),
        result=cut(result),
        task=task,
    )
    tx.event("task.held", object=str(task), task=task, reason=cut(reason))
    tx.ring_scheduler()


def _pause(failures: int) -> float:
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (failures - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  jitter, no secret


def _needs(tx: Transaction, task: int) -> list[Row]:
    return tx.rows(
        "select need.id, need.state from task_need join task need on need.id = task_need.need where task = :task",
        task=task,
    )


def _is_doomed(tx: Transaction, task: int) -> bool:
    policy = tx.value("select on_failed_need from task where id = :task", task=task)
    return is_doomed(policy, [need["state"] for need in _needs(tx, task)])


def _refuse_merged(tx: Transaction, task: Task) -> None:
    """What was cancelled while its work was merged would find that work on the branch and lose its new one."""
    if tx.value("select merged_commit from task where id = :task", task=task.id) is not None:
        raise WrongTaskState(task.id, f"{task.state}, but its work is merged", "failed or cancelled without that")


def _refuse_too_many(tx: Transaction) -> None:
    row = tx.row("select open, total, most_open, most_total from task_count")
    assert row is not None, "the schema makes it"
    if row["open"] > row["most_open"]:
        raise TooManyTasks("open", row["most_open"], {"open": 0, "tasks": max(0, row["most_total"] - row["total"])})


def _refuse_doomed(tx: Transaction, task: Task) -> None:
    needs = _needs(tx, task.id)
    if _is_doomed(tx, task.id):
        bad = next(need for need in needs if need["state"] in FINAL and need["state"] != "done")
        raise WrongTaskState(bad["id"], bad["state"], f"done, and task {task.id} needs it: retry that first")


def _reopen(tx: Transaction, task: int) -> None:
    states = [need["state"] for need in _needs(tx, task)]
    row = tx.row(
        "update task set state = 'blocked', held = null, error = null, failure = null, failures = 0, stalled = 0,"
        " worn = 0, result_asked = 0, paused = 0, fence = fence + 1, ended_at = null, ready_at = null,"
        " kept_branch = null where id = :task"
        " returning on_failed_need, account, gated",
        task=task,
    )
    assert row is not None, "the caller has found it"
    tx.execute("update task_count set open = open + 1")
    if row["account"]:
        budget.reopen_account(tx, row["account"])
    if is_ready(row["on_failed_need"], states) and not row["gated"]:
        tx.execute("update task set state = 'ready' where id = :task", task=task)
        task_line.stand_in_line(tx, task, 0.0)
    tx.event("task.retried", object=str(task), task=task)
