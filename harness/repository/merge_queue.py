"""The merge queue: finished work, merged, checked and put onto the integration branch, each task as ONE commit.

    submit --> waiting --> merged     the task is done
                |  ^-----> returned   its agent goes on, with the reason and the conflict before it
                +--------> resolving  after too many attempts a fresh agent delivers in its place
                +--------> kept       the task has failed, its work is kept as a branch, with a report
                +--------> dropped    the task was cancelled meanwhile; its work stays under refs/prong/

Whoever is more urgent goes first, and whoever waits grows more urgent, as in the line of tasks (`ranking.level`).  A
commit is checked before the branch is moved to it (`merge_rounds`).  The commit bears the task's number: killed at any
point, the next merger finds by it what is on the branch already, so nothing is merged twice and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from prong.harness.messages import check_heard
from prong.primitives import task as tasks
from prong.state import Membership, Row, Store, TaskLost, Transaction, waiter

_RANK = "(case when task.raised > task.priority then task.raised else task.priority end) - merge.queued_at / ageing_s"

AHEAD = f"""
with line (task, rank, queued_at) as (
    select merge.task, {_RANK}, merge.queued_at from merge join task on task.id = merge.task
      join task_count on task_count.id = 1 where merge.state = 'waiting')
select merge.state, merge.attempt, merge.resolver, merge.checking_at,
       (select count(*) from line mine join line other
            on other.rank > mine.rank or other.rank = mine.rank and (other.queued_at, other.task) <
               (mine.queued_at, mine.task) where mine.task = merge.task) as ahead
  from merge where merge.task = :task
"""  # noqa: S608  nothing but our own words
"""How a task's delivery stands, and how many of those who wait go before it."""

LINE = f"""
select merge.*, task.title, task.state as task_state, task.head,
       (select max(id) from agent where agent.task = merge.task) as agent
  from merge join task on task.id = merge.task join task_count on task_count.id = 1
 where merge.state = 'waiting'
 order by {_RANK} desc, merge.queued_at, merge.task
"""  # noqa: S608  as above
"""All who wait, the first of the line first."""


def trailers(swarm: str, task: int, agent: int, *, head: int | None = None) -> Mapping[str, str]:
    """What every commit of the swarm says of where it comes from; `head` is the last message of the conversation."""
    conversation = {} if head is None else {"Prong-Conversation": str(head)}
    return {"Prong-Swarm": swarm, "Prong-Task": str(task), "Prong-Agent": str(agent), **conversation}


def submit(member: Membership, task: int, fence: int, *, commit: str, result: str) -> bool:
    """Put a task's work into the line and wait until it is decided; the agent holds no slot meanwhile.

    False where the work came back: the reason is the conversation's last message, and the workspace is to be laid anew.
    Raises `Unheard` where a person has said something that its agent has not heard yet.
    """
    with member.transaction() as tx:
        check_heard(tx, task)
        enter(tx, task, fence, commit=commit, result=result)
        ticket = waiter.enrol(tx, "merge", str(task), timeout=None)
    with suppress(TaskLost):  # it may be decided, and the task final, before its agent has even parked
        return waiter.wait(member, ticket).data.get("state") != "returned"
    return True


def enter(tx: Transaction, task: int, fence: int, *, commit: str, result: str) -> None:
    """Put a task's work into the line; what came back keeps the age that it has.  Raises `TaskLost`."""
    tasks.hold(tx, task, fence)
    tx.execute(
        "update task set commit_id = :commit, result = :result where id = :task",
        commit=commit,
        result=result,
        task=task,
    )
    attempt = tx.value(
        "insert into merge (task, base, commit_id, state, queued_at)"
        " select id, base_commit, commit_id, 'waiting', :now from task where id = :task"
        " on conflict (task) do update set base = excluded.base, commit_id = excluded.commit_id, detail = null,"
        "    attempt = case when state in ('returned', 'waiting') then attempt + 1 else 1 end, state = 'waiting',"
        "    laid = 0, onto = null, resolver = null, checking_at = null, ended_at = null"
        " returning attempt",
        now=tx.now,
        task=task,
    )
    tx.event("merge.queued", object=str(task), task=task, commit=commit, attempt=attempt)
    tx.ring_merger()


def withdraw(tx: Transaction, task: int) -> None:
    """Work that came back was given up by its agent: nothing of it is left to merge."""
    gone = tx.execute(
        "update merge set state = 'dropped', detail = 'its agent gave the change up', ended_at = :now"
        " where task = :task and state = 'returned'",
        task=task,
        now=tx.now,
    )
    if gone:
        tx.event("merge.dropped", object=str(task), task=task, detail="its agent gave the change up")


def to_lay(store: Store, task: int) -> Row | None:
    """The delivery that came back and is not before its agent yet, if there is one."""
    return store.row("select * from merge where task = :task and state = 'returned' and laid = 0", task=task)


def laid(tx: Transaction, task: int, base: str) -> None:
    """What came back is before its agent now: the task's change begins at another commit."""
    tx.execute("update merge set laid = 1 where task = :task and state = 'returned'", task=task)
    tx.execute("update task set base_commit = :base where id = :task", base=base, task=task)


def is_queued(tx: Transaction, task: int) -> bool:
    """Whether the task's work is handed in, so that it needs no agent any more."""
    row = tx.row("select 1 from merge where task = :task and state in ('waiting', 'resolving')", task=task)
    return row is not None
