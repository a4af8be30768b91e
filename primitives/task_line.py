"""The line of ready tasks, and the claim by which one of them becomes somebody's.

Whoever works off tasks without a supervisor takes the head of the line, or waits until there is one; whatever makes a
task ready gives it to the first who waits, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prong.primitives import ranking
from prong.primitives.errors import UnknownTask
from prong.primitives.place import Place
from prong.primitives.values import checked_timeout
from prong.state import Membership, Row, TaskLost, Transaction, waiter
from prong.state.waiter import Outcome

_CLAIM = """
update task set state = 'running', held = null, agent = :agent, attempt = attempt + 1, fence = fence + 1,
                not_before = null, started_at = coalesce(started_at, :now)
"""

_CLAIMED = "returning id, fence, attempt"

_TAKE_HEAD = f"""
{_CLAIM} where id = (
    select id from task where state = 'ready' and paused = 0 and (not_before is null or not_before <= :now)
       and not exists (select 1 from swarm where paused = 1)
     order by level desc, path_s desc, id limit 1)
{_CLAIMED}
"""  # noqa: S608  put together from constants of this file; no row: nothing is ready


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that is ours to work on, and the fence under which we may write for it."""

    task: int
    fence: int


def claim(tx: Transaction, task: int, agent: int) -> int | None:
    """Give a ready task to an agent and return the fence; None where it is not ready any more."""
    row = tx.row(f"{_CLAIM} where id = :task and state = 'ready' and paused = 0 {_CLAIMED}", task=task, agent=agent,
                 now=tx.now)  # fmt: skip
    if row is None:
        return None
    _tell_claim(tx, task, agent, row)
    fence: int = row["fence"]
    return fence


def take_next(tx: Transaction) -> Claim | None:
    """Claim the head of the line for the acting member; None where nothing is ready.

    >>> from prong.primitives import Plan, create_task
    >>> with swarm.transaction() as tx:
    ...     _ = create_task(tx, Plan("Count", "Count the files."))
    ...     claimed = take_next(tx)
    >>> claimed
    Claim(task=1, fence=1)
    """
    assert tx.member is not None, "only a member can claim"
    return _take(tx, tx.member.agent)


def wait_next(member: Membership, timeout: float | None = None) -> Claim | None:
    """Claim the head of the line, or wait for it at most `timeout` seconds; None where nothing became ready.

    Those who wait are served in order.  What was claimed for somebody who was interrupted goes back into the line.

    >>> wait_next(swarm, timeout=0)
    """
    timeout = checked_timeout(timeout)
    with Place(member, withdraw=_put_back) as place:
        with member.transaction() as tx:
            claimed = take_next(tx)
            if claimed is not None:
                place.granted(tx, task=claimed.task, fence=claimed.fence)
                return claimed
            if timeout == 0:
                return None
            place.enrol(tx, "work", "", timeout=timeout)
        outcome = place.wait()
    return Claim(**outcome.data) if outcome.state == "granted" else None


def offer(tx: Transaction, *, last: int | None = None) -> None:
    """Something may have become ready: give it to those who wait for work, and tell the scheduler.

    `last` is the only task that has, if it is one: when it is given away nothing is left.
    """
    while (row := waiter.first(tx, "work", "")) is not None:
        claimed = _take(tx, row["agent"])
        if claimed is None:
            break
        waiter.grant(tx, row["id"], task=claimed.task, fence=claimed.fence)
        if claimed.task == last:
            break
    tx.ring_scheduler()


def hold(tx: Transaction, task: int, fence: int) -> None:
    """Refuse to go on unless the task is still running under this fence; raises `TaskLost` or `UnknownTask`."""
    row = tx.row("select state, fence from task where id = :task", task=task)
    if row is None:
        raise UnknownTask(task)
    if row["fence"] != fence or row["state"] not in ("running", "parked"):
        raise TaskLost(task, fence, row["state"], row["fence"])


def free_held(tx: Transaction, accounts: Sequence[int]) -> list[int]:
    """Let those go on that were held for these accounts, which were raised; returns their numbers."""
    freed = [
        row["id"]
        for account in accounts
        for row in tx.rows(
            "update task set state = 'ready', held = null, error = null where held = 'budget' and state = 'parked'"
            " and account = :account and held_by = 'account' returning id",
            account=account,
        )
    ]
    for task in freed:
        stand_in_line(tx, task, 0.0)
        tx.event("task.ready", object=str(task), task=task)
    offer(tx)
    return freed


def place(tx: Transaction, task: int) -> None:
    """Put a task where its priority, its age and who waits for it say it stands in the line."""
    row = tx.row("select priority, raised, ready_at from task where id = :task", task=task)
    assert row is not None, "the caller has found it"
    ageing_s = tx.value("select ageing_s from task_count")
    level = ranking.level(row["priority"], row["raised"], row["ready_at"] or tx.now, ageing_s)
    tx.execute("update task set level = :level where id = :task", level=level, task=task)


def stand_in_line(tx: Transaction, task: int, pause_s: float) -> None:
    """A ready task keeps the age that it has; one that was never ready begins now."""
    tx.execute(
        "update task set ready_at = coalesce(ready_at, :now), not_before = :at where id = :task",
        now=tx.now,
        at=tx.now + pause_s if pause_s else None,
        task=task,
    )
    place(tx, task)


def window(tx: Transaction) -> int:
    """By how many levels a task that becomes ready now stands behind one that was ready from the beginning."""
    return -ranking.level(0, None, tx.now, tx.value("select ageing_s from task_count"))


def _take(tx: Transaction, agent: int) -> Claim | None:
    row = tx.row(_TAKE_HEAD, now=tx.now, agent=agent)
    if row is None:
        return None
    _tell_claim(tx, row["id"], agent, row)
    return Claim(row["id"], row["fence"])


def _tell_claim(tx: Transaction, task: int, agent: int, row: Row) -> None:
    told = f'{{"holder":{agent},"attempt":{row["attempt"]},"fence":{row["fence"]}}}'
    tx.logged("task.claimed", str(task), told, task)


def _put_back(tx: Transaction, left: Outcome) -> None:
    """Nobody will work on what was granted to a wait that an exception ended."""
    if left.state != "granted":
        return
    tx.execute(
        "update task set state = 'ready', agent = null, fence = fence + 1 where id = :task and fence = :fence"
        " and state = 'running'",
        task=left.data["task"],
        fence=left.data["fence"],
    )
    tx.event("task.returned", object=str(left.data["task"]), task=left.data["task"], reason="its taker was interrupted")
    offer(tx)
