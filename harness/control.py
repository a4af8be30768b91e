"""What a person does to a swarm: each act is one transaction, with an event that says who did it.

Pause, resume, priority and budget are written down, and whoever is concerned finds it.  Cancel and kill end processes,
and return when those are gone.  Retry opens what has failed, and says so in its conversation.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from prong.agents import conversation
from prong.harness.process_of_agent import AgentProcess
from prong.harness.status import is_supervised
from prong.harness.swarms import Swarm
from prong.primitives import budget
from prong.primitives import task as tasks
from prong.primitives.budget import SWARM, Budget, Statement
from prong.primitives.errors import UnknownTask, WrongTaskState
from prong.state import Invalid, ProngError, Row, Store, Transaction

CONFIRM_S = 5.0
"""How long a cancel or a kill waits to see processes gone, in seconds."""

PATIENCE_S = 3.0
"""After how many seconds a cancel ends the agents itself, whose supervisor has not."""

LOOK_S = 0.02
"""How often it is looked whether they are gone, in seconds."""


class StillThere(ProngError):
    """Processes that should have ended and have not."""

    def __init__(self, pids: Sequence[int], waited_s: float) -> None:
        self.pids = tuple(pids)
        self.waited_s = waited_s

    def __str__(self) -> str:
        which = ", ".join(map(str, self.pids))
        return (
            f"the tasks are cancelled, but after {self.waited_s:g} s these processes are still there: {which}. Nothing"
            " that they do counts any more; see what keeps them with: ps"
        )


@dataclass(frozen=True, slots=True)
class Killed:
    """The agent that was killed, and the task that another agent goes on with."""

    task: int
    agent: int
    pid: int


@dataclass(frozen=True, slots=True)
class Prioritised:
    """A task's priority before and now."""

    task: int
    before: int
    priority: int


@dataclass(frozen=True, slots=True)
class Raised:
    """The account as it is now, and the tasks that go on because its bound was raised."""

    statement: Statement
    freed: tuple[int, ...]


def supervised(swarm: Swarm) -> bool:
    """Whether anybody runs the swarm just now, so that what is said to it has an effect at once."""
    return is_supervised(swarm.store())


def standing(swarm: Swarm) -> tuple[str, bool, bool]:
    """The swarm's state as it is written down, whether it is paused, and whether anybody runs it."""
    store = swarm.store()
    row = store.row("select state, paused from swarm")
    assert row is not None, "a swarm's row is written when it is made"
    return row["state"], bool(row["paused"]), is_supervised(store)


def has_open_tasks(swarm: Swarm) -> bool:
    """Whether anything is left to do."""
    row = swarm.store().row("select 1 from task where state not in ('done', 'failed', 'cancelled') limit 1")
    return row is not None


def pause(swarm: Swarm, task: int | None) -> list[int]:
    """Keep a task and all below it (None: the whole swarm, told as 0) from starting or going on; those changed.

    An agent at work steps aside when its turn has ended.  Raises `UnknownTask`, and `WrongTaskState` where all of it
    has ended.
    """
    return _pause(swarm, task, "command.pause", paused=True)


def resume(swarm: Swarm, task: int | None) -> list[int]:
    """Let what was paused go on; as `pause`."""
    return _pause(swarm, task, "command.resume", paused=False)


def cancel_task(swarm: Swarm, task: int) -> list[int]:
    """Cancel a task and all below it, and wait until the processes of their agents are gone; the tasks' numbers.

    Raises `UnknownTask`, and `StillThere` where a process has not ended after `CONFIRM_S`.
    """
    store = swarm.store()
    with store.transaction(None) as tx:
        tx.event("command.cancel", object=str(task), task=task, **who())
        numbers = tasks.cancel(tx, task, reason="cancelled by command")
        agents = tx.rows(
            "select id, pid from agent where ended_at is null and task in (select value from json_each(:tasks))",
            tasks=json.dumps(numbers),
        )
    if is_supervised(store):
        _confirm_end(store, agents)
    return numbers


def kill(swarm: Swarm, *, task: int | None = None, agent: int | None = None) -> Killed:
    """Kill the agent of a task, or the one of a number, at once; its task goes on with another agent, without blame.

    Returns when its process is gone.  Raises `UnknownTask`, `WrongTaskState` where nobody works on the task, and
    `Invalid` where there is no such agent, or its process is not one of ours.
    """
    store = swarm.store()
    row = _agent_of(store, task) if task is not None else _agent(store, agent)
    with AgentProcess.find(store, row["id"]) as process:
        with store.transaction(None) as tx:
            changed = tx.execute(
                "update agent set reason = 'killed by command' where id = :agent and pid = :pid and ended_at is null",
                agent=row["id"],
                pid=process.pid,
            )
            if not changed:
                raise Invalid(
                    f"agent {row['id']}, which has ended this moment", "one that is at work: see prong status"
                )
            tx.event("command.kill", object=str(row["id"]), task=row["task"], process=process.pid, **who())
        process.kill()
        if not process.wait(CONFIRM_S):
            raise StillThere([process.pid], CONFIRM_S)
    return Killed(row["task"], row["id"], process.pid)


def retry(swarm: Swarm, task: int, *, with_dependants: bool) -> list[int]:
    """Open a failed or cancelled task again, and those that failed because they needed it; their numbers.

    Raises `UnknownTask`, `WrongTaskState` where it has not failed or a need of it has, and `OutOfBudget`.
    """
    with swarm.store().transaction(None) as tx:
        before = {
            row["id"]: row for row in tx.rows("select id, head, error, failure from task where id = :id", id=task)
        }
        opened = tasks.retry(tx, task, with_dependants=with_dependants)
        for number in opened:
            _ask_again(tx, number, before.get(number))
        tx.event("command.retry", object=str(task), task=task, tasks=opened, **who())
    return opened


def set_priority(swarm: Swarm, task: int, priority: int) -> Prioritised:
    """Give a task another priority, higher going first; raises `UnknownTask`, `WrongTaskState` where it has ended."""
    with swarm.store().transaction(None) as tx:
        found = tasks.find(tx, task)
        tasks.set_priority(tx, task, priority)
        tx.event("command.priority", object=str(task), task=task, priority=priority, before=found.priority, **who())
    return Prioritised(task, found.priority, priority)


def accounts(swarm: Swarm, task: int | None = None) -> list[Statement]:
    """Every account, each before those cut out of it; of one task: its own and those below."""
    store = swarm.store()
    with store.snapshot() as source:
        found = budget.statement(source)
        if task is None:
            return list(found)
        own = _account_of(source, task)
        below = set(budget.below(source, own)) if own is not None else set()
    return [one for one in found if one.account in below]


def raise_budget(swarm: Swarm, task: int | None, bound: Budget) -> Raised:
    """Set another bound for the swarm or for a task that has one; tasks that were held for it go on.

    Raises `UnknownTask`, `OutOfBudget` where the lender has not so much left, and `Invalid` where there is no such
    budget or more is spent already.
    """
    with swarm.store().transaction(None) as tx:
        if task is not None:
            tasks.find(tx, task)
        account = SWARM if task is None else task
        if not any(one.account == account for one in budget.statement(tx)):
            raise _no_budget(tx, task)
        budget.raise_bound(tx, account, bound)
        freed = tasks.free_held(tx, budget.below(tx, account))
        tx.event(
            "command.budget", object=str(account), task=task, tokens=bound.tokens, usd=bound.usd, freed=freed, **who()
        )
        (now,) = (one for one in budget.statement(tx) if one.account == account)
    return Raised(now, tuple(freed))


def _pause(swarm: Swarm, task: int | None, command: str, *, paused: bool) -> list[int]:
    if task is None and paused and not has_open_tasks(swarm):
        raise Invalid(f"pausing swarm {swarm.id}, all of whose tasks have ended", "a swarm that has open tasks")
    with swarm.store().transaction(None) as tx:
        changed = tasks.pause(tx, task, paused=paused)
        if task is not None and not changed:
            found = tasks.find(tx, task)
            if found.final and not _has_open_below(tx, task):
                raise WrongTaskState(task, found.state, "still open")
        tx.event(command, object=str(task or "swarm"), task=task, tasks=changed, **who())
        tx.ring_scheduler()
    return changed


def _has_open_below(tx: Transaction, task: int) -> bool:
    row = tx.row(
        "with recursive tree (id) as (select id from task where id = :task"
        " union all select task.id from task join tree on task.parent = tree.id)"
        " select 1 from task join tree using (id) where state not in ('done', 'failed', 'cancelled') limit 1",
        task=task,
    )
    return row is not None


def who() -> dict[str, Any]:
    """Who gives a command, as its event tells."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        user = f"uid {os.getuid()}"
    return {"user": user, "pid": os.getpid()}


def _confirm_end(store: Store, agents: Sequence[Row]) -> None:
    """Wait until the supervisor has buried the agents and their processes are gone; help where it does not."""
    processes = _processes(store, agents)
    numbers = json.dumps([row["id"] for row in agents])
    began = time.monotonic()
    killed = False
    while True:
        others = _have_left(store, numbers)
        left = [process for agent, process in processes if agent not in others and _lives(process)]
        alive = store.row(
            "select 1 from agent where ended_at is null and id in (select value from json_each(:agents)) limit 1",
            agents=numbers,
        )
        if not left and (alive is None or not is_supervised(store)):
            return
        waited_s = time.monotonic() - began
        if waited_s >= CONFIRM_S and left:
            raise StillThere([process.pid for process in left], CONFIRM_S)
        if waited_s >= CONFIRM_S:  # a supervisor that does not listen finds them dead when it does
            return
        if waited_s >= PATIENCE_S and not killed:
            killed = True
            for row in agents:
                _kill_if_ours(store, row["id"])
        time.sleep(LOOK_S)


def _have_left(store: Store, agents: str) -> set[int]:
    """Who of these agents has left in good order: its process may be another agent by now."""
    rows = store.rows(
        "select id from agent where state = 'ended' and id in (select value from json_each(:agents))", agents=agents
    )
    return {row["id"] for row in rows}


def _processes(store: Store, agents: Sequence[Row]) -> list[tuple[int | None, psutil.Process]]:
    """The agents' processes, each with its agent's number, and all that they have started, without."""
    found: list[tuple[int | None, psutil.Process]] = []
    for row in agents:
        try:
            with AgentProcess.find(store, row["id"]) as process:
                own = psutil.Process(process.pid)
                found += [(row["id"], own), *((None, one) for one in own.children(recursive=True))]
        except (Invalid, psutil.Error):  # it is gone, or not begun
            continue
    return found


def _kill_if_ours(store: Store, agent: int) -> None:
    try:
        with AgentProcess.find(store, agent) as process:
            process.kill()
    except Invalid:
        pass


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _agent_of(store: Store, task: int) -> Row:
    with store.snapshot() as source:
        row = source.row("select state, agent from task where id = :task", task=task)
        if row is None:
            raise UnknownTask(task)
        if row["state"] not in ("running", "parked") or row["agent"] is None:
            raise WrongTaskState(task, row["state"], "running with an agent")
        return _agent(source, row["agent"])


def _agent(store: Store, agent: int | None) -> Row:
    row = store.row("select id, task, ended_at, reason from agent where id = :agent", agent=agent)
    if row is None or row["task"] is None:
        raise Invalid(f"agent {agent}", "the number of an agent that works on a task: see prong status")
    if row["ended_at"] is not None:
        raise Invalid(f"agent {agent}, which has ended ({row['reason']})", "one that is at work: see prong status")
    return row


def _ask_again(tx: Transaction, task: int, before: Row | None) -> None:
    """Let a conversation that has come to its end go on: whoever takes it up is told that it is another try."""
    row = tx.row(
        "select message.id as head, message.role, content from task join message on message.id = task.head"
        " where task.id = :task",
        task=task,
    )
    if row is None or any(block["type"] == "tool_use" for block in json.loads(row["content"])):
        return
    # What a model refused stands beside the conversation: asked with the very same words it would only refuse again.
    if row["role"] != "assistant" and (before is None or before["failure"] != "model"):
        return
    ended = f"The last attempt ended with: {before['error']}" if before is not None and before["error"] else ""
    text = f"You are asked to try again. {ended or 'What it needed is there now.'}"
    head = conversation.insert(
        tx, parent=row["head"], role="user", content=[{"type": "text", "text": text}], task=task
    )  # fmt: skip
    tx.execute("update task set head = :head where id = :task", head=head, task=task)


def _account_of(source: Store, task: int) -> int | None:
    row = source.row("select account from task where id = :task", task=task)
    if row is None:
        raise UnknownTask(task)
    account: int | None = row["account"]
    return account


def _no_budget(tx: Transaction, task: int | None) -> Invalid:
    if task is None:
        return Invalid("the swarm was started without a budget", "a swarm that was started with one: see PRONG.md")
    account = tx.value("select account from task where id = :task", task=task)
    spends = {None: "nobody's", SWARM: "the swarm's"}.get(account, f"that of task {account}")
    return Invalid(
        f"task {task} has no budget of its own, it spends {spends}", "a task that was given one: see prong budget"
    )
