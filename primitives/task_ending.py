"""How a task ends, and what that means for those that need it, wait for it, or stand below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prong.primitives import barrier, budget, delivery, lock, permits, task_line
from prong.primitives.task_record import FINAL, RESULT_BYTES, Failure, find, past
from prong.state import Invalid, Row, Transaction, waiter

LEARNT_OVER = 20
"""Over how many of the last tasks of a role the time that one takes is averaged."""

# A task that goes on with what failed waits for every need to end; the others wait for every need to be done, or any.
_FREED = """
update task set state = 'ready', ready_at = :now,
       level = (case when raised > priority then raised else priority end) - :window
 where state = 'blocked' and gated = 0 and id in (select task from task_need where need = :need)
   and (on_failed_need = 'continue' or :done)
   and (on_failed_need = 'any' or not exists (
        select 1 from task_need join task need on need.id = task_need.need
         where task_need.task = task.id and need.state <> 'done'
           and (task.on_failed_need = 'fail' or need.state not in ('failed', 'cancelled'))))
returning id
"""

_DOOMED = """
select task.id from task_need join task on task.id = task_need.task
 where task_need.need = :need and task.state = 'blocked'
   and (on_failed_need = 'fail' or on_failed_need = 'any' and not exists (
        select 1 from task_need other join task need on need.id = other.need
         where other.task = task.id and need.state not in ('failed', 'cancelled')))
 order by task.id
"""

# Most ends concern nobody, and one question finds that out.
_CONCERNS = """
select exists (select 1 from task_need where need = :task) as needed,
       exists (select 1 from waiter_task where task = :task) as awaited,
       exists (select 1 from queue_message where holder_task = :task) as delivered,
       exists (select 1 from barrier) as barriers,
       exists (select 1 from task where hedge_of = :task)
         or exists (select 1 from task where id = :task and hedge_of is not null) as hedged,
       exists (select 1 from lock where task = :task and kept = 1)
         or exists (select 1 from lock_share where task = :task and kept = 1)
         or exists (select 1 from permit where task = :task and kept = 1) as kept
"""

_LEARN = """
insert into role (name, estimate_s, finished) values (:role, :took_s, 1)
    on conflict (name) do update set finished = finished + 1,
       estimate_s = case when finished = 0 or estimate_s is null then :took_s
       else estimate_s + (:took_s - estimate_s) / (case when finished < :over then finished + 1 else :over end) end
"""


def finish(
    tx: Transaction, task: int, state: Literal["done", "failed", "cancelled"], *, result: str | None = None,
    error: str | None = None, failure: Failure | None = None,
) -> None:  # fmt: skip
    """Bring a task to its final state and tell everybody whom that concerns; nothing where it is final already."""
    if state not in FINAL:
        raise Invalid(f"the end {state!r} of a task", ", ".join(FINAL))
    finish_all(tx, [task], state, result=result, error=error, failure=failure)


def complete(tx: Transaction, task: int, fence: int, *, result: str | None = None) -> None:
    """End an attempt well: the task is done.  Raises `TaskLost` where it is another's by now, or `UnknownTask`.

    >>> from prong.primitives import Plan, create_task, take_next
    >>> with swarm.transaction() as tx:
    ...     _ = create_task(tx, Plan("Count", "Count the files."))
    ...     claim = take_next(tx)
    ...     complete(tx, claim.task, claim.fence, result="12 files")
    ...     find(tx, claim.task).result
    '12 files'
    """
    task_line.hold(tx, task, fence)
    finish(tx, task, "done", result=result)


def cancel(tx: Transaction, task: int, *, reason: str) -> list[int]:
    """Cancel a task and everything below it that is not final yet; returns their numbers, parents first."""
    find(tx, task)
    rows = tx.rows(
        "with recursive tree (id) as (select id from task where id = :task"
        " union all select task.id from task join tree on task.parent = tree.id)"
        " select task.id from task join tree using (id) where state not in ('done', 'failed', 'cancelled')"
        " order by task.id",
        task=task,
    )
    numbers = [row["id"] for row in rows]
    finish_all(tx, numbers, "cancelled", error=reason)
    return numbers


def finish_all(
    tx: Transaction, tasks: Sequence[int], state: str, *, result: str | None = None, error: str | None = None,
    failure: str | None = None,
) -> None:  # fmt: skip
    """End tasks, and with them whatever can never start now; those given go first, so that none fails of another."""
    ended = [
        (task, state, error) for task in tasks if _end(tx, task, state, result=result, error=error, failure=failure)
    ]
    for task, how, why in ended:  # which grows while it is read
        done = how == "done"
        concerns = tx.row(_CONCERNS, task=task)
        assert concerns is not None
        if concerns["kept"]:
            lock.free_kept_for(tx, task)
            permits.free_kept_for(tx, task)
        if concerns["delivered"] and done:
            delivery.forget_held_by(tx, task=task)
        elif concerns["delivered"]:
            delivery.give_back_held_by(tx, task=task)
        if concerns["needed"]:
            unmet = f"it needs task {task}, which {past(how)}"
            doomed = [] if done else _doomed(tx, task)
            ended += [(one, "failed", unmet) for one in doomed if _end(tx, one, "failed", error=unmet, failure="need")]
            _make_ready(tx, task, done=done)
        if concerns["hedged"]:
            ended += _settle_copies(tx, task, done=done)
        if concerns["barriers"]:
            ending = "has ended without arriving" if done else past(how) + (f": {why}" if why else "")
            barrier.break_for(tx, agent=None, task=task, reason=f"task {task} {ending}")
        if concerns["awaited"]:
            _tell_waiters(tx, task)
    if ended:
        task_line.offer(tx)


def _settle_copies(tx: Transaction, task: int, *, done: bool) -> list[tuple[int, str, str | None]]:
    """Of a task and its second copy one is done: the other ends in the same transaction, so that no two ever are.

    A copy's result becomes the task's; a copy that ends badly leaves the task to go on.
    """
    error = f"task {task} has ended first"
    copies = tx.rows("select id from task where hedge_of = :task", task=task)
    ended: list[tuple[int, str, str | None]] = [
        (row["id"], "cancelled", error) for row in copies if _end(tx, row["id"], "cancelled", error=error)
    ]
    row = tx.row("select hedge_of, result, result_value, result_whole from task where id = :task", task=task)
    if row is None or row["hedge_of"] is None or not done:
        return ended
    first = row["hedge_of"]
    if _end(tx, first, "done", result=row["result"]):
        tx.execute(
            "update task set result_value = :value, result_whole = :whole where id = :task",
            value=row["result_value"], whole=row["result_whole"], task=first,
        )  # fmt: skip
        tx.event("hedge.won", object=str(first), task=first, copy=task)
        ended.append((first, "done", None))
    return ended


def is_ready(on_failed_need: str, states: Sequence[str]) -> bool:
    """Whether a task whose needs are in these states may start."""
    if on_failed_need == "any":
        return not states or "done" in states
    return all(
        state == "done" or (on_failed_need == "continue" and state in ("failed", "cancelled")) for state in states
    )


def is_doomed(on_failed_need: str, states: Sequence[str]) -> bool:
    """Whether it never can."""
    bad = [state in ("failed", "cancelled") for state in states]
    return {"fail": any(bad), "any": bool(bad) and all(bad)}.get(on_failed_need, False)


def _end(
    tx: Transaction, task: int, state: str, *, result: str | None = None, error: str | None = None,
    failure: str | None = None,
) -> bool:  # fmt: skip
    row = tx.row(
        "update task set state = :state, result = coalesce(:result, result), error = :error, failure = :failure,"
        " fence = fence + 1, agent = null, held = null, raised = null, not_before = null, ended_at = :now"
        " where id = :task and state not in ('done', 'failed', 'cancelled') returning role, started_at, account",
        state=state,
        result=cut(result),
        error=cut(error),
        failure=failure,
        task=task,
        now=tx.now,
    )
    if row is None:
        return False
    tx.execute("update task_count set open = open - 1")
    told = {} if failure is None else {"failure": failure}
    tx.event(f"task.{state}", object=str(task), task=task, error=cut(error), result=cut(result), **told)
    if state == "done" and row["started_at"] is not None:
        tx.execute(_LEARN, role=row["role"], took_s=tx.now - row["started_at"], over=LEARNT_OVER)
    if row["account"]:
        for account in budget.close_account(tx, row["account"]):
            task_line.free_held(tx, budget.below(tx, account))
    return True


def cut(text: str | None) -> str | None:
    """The text within its bound."""
    data = (text or "").encode(errors="replace")
    return text if len(data) <= RESULT_BYTES else data[: RESULT_BYTES - 3].decode(errors="ignore") + "…"


def _doomed(tx: Transaction, task: int) -> list[int]:
    return [row["id"] for row in tx.rows(_DOOMED, need=task)]


def _make_ready(tx: Transaction, task: int, *, done: bool) -> None:
    """Make ready what waited for nothing but this."""
    freed = tx.rows(_FREED, need=task, done=done, now=tx.now, window=task_line.window(tx))
    for row in freed:
        tx.event("task.ready", object=str(row["id"]), task=row["id"])


def _tell_waiters(tx: Transaction, task: int) -> None:
    """Wake those who wait for any of theirs, and those for whom this was the last of all."""
    rows: list[Row] = tx.rows(
        "select waiter.id from waiter join waiter_task mine on mine.waiter = waiter.id and mine.task = :task"
        " where waiter.state = 'waiting' and (json_extract(waiter.wants, '$.mode') = 'any' or not exists"
        "  (select 1 from waiter_task other join task on task.id = other.task where other.waiter = waiter.id"
        "      and task.state not in ('done', 'failed', 'cancelled'))) order by waiter.id",
        task=task,
    )
    for row in rows:
        waiter.grant(tx, row["id"])
