"""Tasks: work that survives its agent.

    blocked --needs done--> ready --claim--> running --complete--> done
       |                      ^                 |  +----fail-----> failed
       |                      +--its agent died-+  +---cancel----> cancelled
       +--a need failed--> failed             running <--park, unpark--> parked

A claim gives the task's next fence; whatever is written for the task is refused under an older one.  The needs of a
task are named when it is created and must exist then, so no circle of needs can ever be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prong.primitives import barrier, delivery, lock, permits
from prong.primitives.errors import UnknownTask
from prong.primitives.place import Place
from prong.primitives.values import checked_name, checked_number, checked_timeout
from prong.state import Invalid, Membership, Row, TaskLost, Transaction, waiter

TITLE_CHARACTERS = 200
PROMPT_BYTES = 256 * 1024
RESULT_BYTES = 256 * 1024
NEEDS = 1_000
"""The most needs that one task can have, and the most tasks that one call can wait for."""

STALLED = 5
"""How many agents in a row a task may lose without one new message before it fails."""

ATTEMPTS = 100
"""How many agents a task may wear out although it gets further, before it fails."""

FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is at one moment; `result` is its agent's last words, `error` why it failed."""

    id: int
    parent: int | None
    title: str
    state: str
    priority: int
    attempt: int
    agent: int | None
    result: str | None
    error: str | None

    @property
    def final(self) -> bool:
        """Whether it will never change again."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Plan:
    """What a task is made of.

    `fork_point` is the assistant message from which it continues; `base_commit` is what its workspace starts from
    (None: the integration branch as it is then).
    """

    title: str
    prompt: str
    context: Literal["fork", "fresh"] = "fresh"
    needs: Sequence[int] = ()
    priority: int = 0
    key: str | None = None
    fork_point: int | None = None
    base_commit: str | None = None


def create_task(tx: Transaction, plan: Plan) -> tuple[Task, bool]:
    """Create a task as a child of the acting member's; the same key a second time returns the first task, and False.

    Raises `UnknownTask` where it needs one that is not there, and `Invalid` where the plan is out of bounds.

    >>> with swarm.transaction() as tx:
    ...     task, new = create_task(tx, Plan("Count", "Count the files.", key="count"))
    ...     again, _ = create_task(tx, Plan("Count", "Count the files.", key="count"))
    >>> task.state, new, again == task
    ('ready', True, True)
    """
    _check(plan)
    _refuse_orphan(tx)
    if plan.key is not None:
        row = tx.row("select * from task where key = :key", key=plan.key)
        if row is not None:
            return _task(row), False
    needs = [find(tx, need) for need in dict.fromkeys(plan.needs)]
    failed = next((need for need in needs if need.state in ("failed", "cancelled")), None)
    ready = all(need.state == "done" for need in needs)
    row = _insert(tx, plan, "ready" if ready else "blocked")
    for need in needs:
        tx.execute("insert into task_need (task, need) values (:task, :need)", task=row["id"], need=need.id)
    tx.event(
        "task.created", object=str(row["id"]), title=plan.title, state=row["state"], priority=plan.priority,
        context=plan.context, needs=[need.id for need in needs], parent=row["parent"], fork_point=plan.fork_point,
    )  # fmt: skip
    if failed is not None:
        finish(tx, row["id"], "failed", error=f"it needs task {failed.id}, which {_past(failed.state)}")
    tx.ring_scheduler()
    return find(tx, row["id"]), True


def find(tx: Transaction, task: int) -> Task:
    """The task by number; raises `UnknownTask`."""
    row = tx.row("select * from task where id = :task", task=task)
    if row is None:
        raise UnknownTask(task)
    return _task(row)


def claim(tx: Transaction, task: int, agent: int) -> int | None:
    """Give a ready task to an agent and return the fence; None where it is not ready any more."""
    row = tx.row(
        "update task set state = 'running', agent = :agent, attempt = attempt + 1, fence = fence + 1,"
        " started_at = coalesce(started_at, :now) where id = :task and state = 'ready' returning fence, attempt",
        task=task,
        agent=agent,
        now=tx.now,
    )
    if row is None:
        return None
    tx.event("task.claimed", object=str(task), task=task, holder=agent, attempt=row["attempt"], fence=row["fence"])
    fence: int = row["fence"]
    return fence


def hold(tx: Transaction, task: int, fence: int) -> None:
    """Refuse to go on unless the task is still running under this fence."""
    row = tx.row("select state, fence from task where id = :task", task=task)
    if row is None:
        raise UnknownTask(task)
    if row["fence"] != fence or row["state"] not in ("running", "parked"):
        raise TaskLost(task, fence, row["state"], row["fence"])


def give_back(tx: Transaction, task: int, *, agent: int, reason: str, blame: bool = True) -> None:
    """Return the task of an agent that is gone to the ready ones, with its conversation.

    A task whose agents died `STALLED` times in a row without adding one message kills its agents: it fails.  An agent
    that was ended on purpose is no such death (`blame` false).
    """
    row = tx.row(
        "update task set state = 'ready', agent = null, fence = fence + 1, stalled = stalled + :blame"
        " where id = :task and agent = :agent and state in ('running', 'parked') returning stalled, attempt",
        task=task,
        agent=agent,
        blame=int(blame),
    )
    if row is None:
        return
    tx.event("task.returned", object=str(task), task=task, reason=reason, stalled=row["stalled"])
    if row["stalled"] >= STALLED:
        finish(tx, task, "failed", error=f"its agent died {row['stalled']} times without getting any further: {reason}")
    elif blame and row["attempt"] >= ATTEMPTS:
        finish(tx, task, "failed", error=f"its agents died {row['attempt']} times: {reason}")
    tx.ring_scheduler()


def finish(
    tx: Transaction, task: int, state: Literal["done", "failed", "cancelled"], *, result: str | None = None,
    error: str | None = None,
) -> None:  # fmt: skip
    """Bring a task to its final state and tell everybody whom that concerns; nothing where it is final already."""
    _finish_all(tx, [task], state, result=result, error=error)


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
    _finish_all(tx, numbers, "cancelled", error=reason)
    return numbers


def wait_tasks(
    member: Membership, tasks: Sequence[int], *, mode: Literal["all", "any"] = "all", timeout: float | None = None
) -> list[Task]:
    """Wait until all (or any) of the tasks are final, at most `timeout` seconds; returns all as they are then.

    Raises `UnknownTask`, and `Invalid` where the waiting task would be waiting for itself.

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
            found = [find(tx, number) for number in numbers]
            _refuse_own_line(tx, numbers)
            _refuse_circle(tx, numbers, any if mode == "all" else all)
            satisfied = (all if mode == "all" else any)(task.final for task in found)
            if satisfied or timeout == 0:
                return found
            which = ", ".join(map(str, numbers[:10]))
            ticket = place.enrol(tx, "tasks", which, timeout=timeout, wants={"mode": mode, "tasks": numbers})
            for number in numbers:
                tx.execute(
                    "insert into waiter_task (waiter, task) values (:waiter, :task)", waiter=ticket.waiter, task=number
                )
        place.wait()
    with member.transaction() as tx:
        return [find(tx, number) for number in numbers]


def _check(plan: Plan) -> None:
    if not plan.title.strip() or len(plan.title) > TITLE_CHARACTERS:
        raise Invalid(f"a title of {len(plan.title)} characters", f"1 to {TITLE_CHARACTERS}")
    if not plan.prompt.strip() or len(plan.prompt.encode(errors="replace")) > PROMPT_BYTES:
        raise Invalid("a prompt that is empty or too long", f"1 to {PROMPT_BYTES} bytes")
    if len(plan.needs) > NEEDS:
        raise Invalid(f"{len(plan.needs)} needs", f"at most {NEEDS}")
    checked_number("priority", plan.priority)
    if plan.key is not None:
        checked_name("key of a task", plan.key)


def _refuse_orphan(tx: Transaction) -> None:
    """A task that was cancelled or taken away must not make new ones before its agent hears of it."""
    member = tx.member
    if member is None or member.task is None:
        return
    row = tx.row(
        "select state, fence from task where id = :task and state in ('done', 'failed', 'cancelled')", task=member.task
    )
    if row is not None:
        raise TaskLost(member.task, row["fence"] - 1, row["state"], row["fence"])


def _insert(tx: Transaction, plan: Plan, state: str) -> Row:
    row = tx.row(
        "insert into task (parent, title, prompt, context, state, priority, fork_point, base_commit, key,"
        " created_at, ready_at) values (:parent, :title, :prompt, :context, :state, :priority, :fork_point,"
        " :base_commit, :key, :now, case when :state = 'ready' then :now end) returning *",
        parent=tx.member.task if tx.member else None,
        title=plan.title,
        prompt=plan.prompt,
        context=plan.context,
        state=state,
        priority=plan.priority,
        fork_point=plan.fork_point,
        base_commit=plan.base_commit,
        key=plan.key,
        now=tx.now,
    )
    assert row is not None
    return row


def _finish_all(
    tx: Transaction, tasks: Sequence[int], state: str, *, result: str | None = None, error: str | None = None
) -> None:
    """End tasks, and with them whatever can never start now; those given go first, so that none fails of another."""
    ended = [(task, state, error) for task in tasks if _end(tx, task, state, result=result, error=error)]
    for task, how, why in ended:  # which grows while it is read
        if how == "done":
            delivery.forget_held_by(tx, task=task)
            _make_ready(tx, task)
        else:
            delivery.give_back_held_by(tx, task=task)
            unmet = f"it needs task {task}, which {_past(how)}"
            ended += [(one, "failed", unmet) for one in _needing(tx, task) if _end(tx, one, "failed", error=unmet)]
        ending = "has ended without arriving" if how == "done" else _past(how) + (f": {why}" if why else "")
        barrier.break_for(tx, agent=None, task=task, reason=f"task {task} {ending}")
        _tell_waiters(tx, task)
        tx.ring_scheduler()


def _end(tx: Transaction, task: int, state: str, *, result: str | None = None, error: str | None = None) -> bool:
    changed = tx.execute(
        "update task set state = :state, result = coalesce(:result, result), error = :error, fence = fence + 1,"
        " agent = null, ended_at = :now where id = :task and state not in ('done', 'failed', 'cancelled')",
        state=state,
        result=_cut(result),
        error=_cut(error),
        task=task,
        now=tx.now,
    )
    if changed:
        tx.event(f"task.{state}", object=str(task), task=task, error=_cut(error), result=_cut(result))
        lock.free_kept_for(tx, task)
        permits.free_kept_for(tx, task)
    return bool(changed)


def _cut(text: str | None) -> str | None:
    """The text within its bound."""
    data = (text or "").encode(errors="replace")
    return text if len(data) <= RESULT_BYTES else data[: RESULT_BYTES - 3].decode(errors="ignore") + "…"


def _needing(tx: Transaction, task: int) -> list[int]:
    return [row["task"] for row in tx.rows("select task from task_need where need = :task order by task", task=task)]


def _make_ready(tx: Transaction, task: int) -> None:
    """Make ready what needed only this."""
    freed = tx.rows(
        "update task set state = 'ready', ready_at = :now where state = 'blocked'"
        " and id in (select task from task_need where need = :task)"
        " and not exists (select 1 from task_need join task need on need.id = task_need.need"
        "                  where task_need.task = task.id and need.state <> 'done') returning id",
        task=task,
        now=tx.now,
    )
    for row in freed:
        tx.event("task.ready", object=str(row["id"]), task=row["id"])


def _tell_waiters(tx: Transaction, task: int) -> None:
    """Wake those who wait for any of theirs, and those for whom this was the last of all."""
    for row in tx.rows(
        "select waiter.id from waiter join waiter_task mine on mine.waiter = waiter.id and mine.task = :task"
        " where waiter.state = 'waiting' and (json_extract(waiter.wants, '$.mode') = 'any' or not exists"
        "  (select 1 from waiter_task other join task on task.id = other.task where other.waiter = waiter.id"
        "      and task.state not in ('done', 'failed', 'cancelled'))) order by waiter.id",
        task=task,
    ):
        waiter.grant(tx, row["id"])


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
        """    where waiter.state = 'waiting' and waiter.wants like '%"mode": "all"%'"""
        " ) edge on edge.source = reach.id) select 1 from reach where id = :other",
        task=task,
        other=other,
    )
    return row is not None


def _past(state: str) -> str:
    return "was cancelled" if state == "cancelled" else state


def _task(row: Row) -> Task:
    return Task(
        row["id"], row["parent"], row["title"], row["state"], row["priority"], row["attempt"], row["agent"],
        row["result"], row["error"],
    )  # fmt: skip
