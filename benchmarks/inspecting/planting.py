"""Plants what goes wrong in swarms into the database of one that nobody runs, as its agents and harness would leave it.

Each function does it in one transaction and returns what the first page says of it, the label of a remedy, and what is
so once that remedy has worked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prong.primitives import Plan, create_task, wait_graph
from prong.primitives import task as tasks
from prong.state import Store, Transaction
from prong.state.member import enlist

_WANTS = '{"shared": false, "lease_s": 60, "thread": 1, "depth": 1, "key": null}'


@dataclass(frozen=True, slots=True)
class Planted:
    """A problem: words of its title, the page of its evidence, a remedy's label, a query that is 1 once it worked."""

    title: str
    page: str
    remedy: str
    worked: str


def _working(tx: Transaction, title: str, *, parked: bool = False) -> tuple[int, int]:
    """A task with an agent that has claimed it, and waits where it is parked."""
    one, _ = create_task(tx, Plan(title=title, prompt="p"))
    agent = enlist(tx, f"task {one.id}", pid=None, task=one.id, state="running", lease_s=600)
    tasks.claim(tx, one.id, agent)
    if parked:
        tx.execute("update task set state = 'parked' where id = :task", task=one.id)
        tx.execute("update agent set state = 'parked' where id = :agent", agent=agent)
    return one.id, agent


def _lock(tx: Transaction, name: str, holder: int, of_task: int) -> None:
    tx.execute(
        "insert into lock (name, holder, task, fence, lease_s, acquired_at, expires_at)"
        " values (:name, :holder, :task, 1, 600, :now, :now + 600)",
        name=name, holder=holder, task=of_task, now=tx.now,
    )  # fmt: skip


def _wait(tx: Transaction, of_task: int, agent: int, name: str, *, since_s: float = 0) -> None:
    tx.execute(
        "insert into waiter (agent, task, kind, object, wants, state, since_at)"
        " values (:agent, :task, 'lock', :name, :wants, 'waiting', :since)",
        agent=agent, task=of_task, name=name, wants=_WANTS, since=tx.now - since_s,
    )  # fmt: skip


def deadlock(store: Store) -> Planted:
    """Two agents hold a lock each and wait for the other's; the watch finds it."""
    with store.transaction(None) as tx:
        (a, ada), (b, bob) = _working(tx, "north", parked=True), _working(tx, "south", parked=True)
        _lock(tx, "left", ada, a)
        _lock(tx, "right", bob, b)
        _wait(tx, a, ada, "right")
        _wait(tx, b, bob, "left")
    with store.transaction(None) as tx:
        assert wait_graph.find(tx), "it is a circle"
    worked = f"select count(*) from said where task = {a}"
    return Planted("A circle of 2 waits was broken", "/events?from=", f"Tell task {a} to keep to one order", worked)


def starvation(store: Store) -> Planted:
    """A task is ready for long, and younger ones begin before it."""
    with store.transaction(None) as tx:
        old, _ = create_task(tx, Plan(title="the old one", prompt="p"))
        tx.execute("update task set ready_at = :at where id = :task", at=tx.now - 500, task=old.id)
        for n in range(3):
            young, _agent = _working(tx, f"young {n}")
            tx.execute("update task set started_at = :now where id = :task", now=tx.now, task=young)
    worked = f"select priority = 1000 from task where id = {old.id}"
    return Planted(f"Task {old.id} is overtaken again and again", f"/tasks/{old.id}", "Let it go first", worked)


def long_wait(store: Store) -> Planted:
    """An agent holds a lock for long, and another waits."""
    with store.transaction(None) as tx:
        (a, ada), (b, bob) = _working(tx, "holder"), _working(tx, "waiter", parked=True)
        _lock(tx, "harbour", ada, a)
        _wait(tx, b, bob, "harbour", since_s=100)
    worked = f"select holder is not {ada} from lock where name = 'harbour'"
    return Planted(f"Task {b} waits long for lock harbour", "/locks", "Release the lock", worked)


def crash_loop(store: Store) -> Planted:
    """The agents of a task die one after the other."""
    with store.transaction(None) as tx:
        one, agent = _working(tx, "it kills")
        tx.execute("update task set stalled = 3 where id = :task", task=one)
        tx.event("agent.dead", object=str(agent), reason="its process was killed by signal 9")
    worked = f"select paused from task where id = {one}"
    return Planted(f"Task {one} has lost 3 agents in a row", f"/tasks/{one}", "Pause it", worked)


def budget_overrun(store: Store) -> Planted:
    """The swarm's budget is spent, and a task stands still for it."""
    with store.transaction(None) as tx:
        one, agent = _working(tx, "dear", parked=True)
        tx.execute("update task set held = 'budget', account = 0, agent = null where id = :task", task=one)
        tx.execute("update agent set state = 'ended', ended_at = :now where id = :agent", now=tx.now, agent=agent)
        tx.execute("update account set tokens = 1000, settled_tokens = 990 where task = 0")
        tx.event("task.held", object=str(one), held="budget")
    worked = f"select held is null from task where id = {one}"
    return Planted("1 task stands still because a budget is spent", "/cost", "Raise it to 1,500 tokens", worked)


def merge_conflict(store: Store) -> Planted:
    """Finished work cannot be merged."""
    with store.transaction(None) as tx:
        one, _ = _working(tx, "both edit it")
        tasks.finish(tx, one, "failed", result=None, error="its work conflicts", failure="conflict")
        tx.execute(
            "insert into merge (task, base, commit_id, state, detail, queued_at, ended_at)"
            " values (:task, 'a', 'b', 'conflict', 'src/a.py', :now, :now)", task=one, now=tx.now,
        )  # fmt: skip
    worked = f"select state = 'ready' from task where id = {one}"
    return Planted(f"The work of task {one} is not merged", "/merge", "Try again", worked)


def lost_cache(store: Store) -> Planted:
    """Forks pay again for what their parent has read, and one is held for a person to say whether it shall."""
    with store.transaction(None) as tx:
        one, _ = create_task(tx, Plan(title="a fork", prompt="p"))
        tx.execute("update task set held = 'cache' where id = :task", task=one.id)
        for _n in range(2):
            tx.event("cache.lost", object="m", prefix_tokens=20_000, cache_read=0)
    worked = f"select held is null from task where id = {one.id}"
    return Planted(
        "2 forks did not read their parent's cache", "/cost", f"Let task {one.id} begin all the same", worked
    )


def foreseen(store: Store) -> Planted:
    """Two agents change the same lines."""
    with store.transaction(None) as tx:
        (a, _), (b, _) = _working(tx, "one"), _working(tx, "other")
        tx.event("conflict.foreseen", object="src/a.py", tasks=[a, b], path="src/a.py", lines="lines 3-9")
    worked = f"select paused from task where id = {b}"
    return Planted(f"Tasks {a} and {b} change the same lines of src/a.py", "/merge", f"Let task {b} wait", worked)


ALL: tuple[Callable[[Store], Planted], ...] = (
    deadlock, starvation, long_wait, crash_loop, budget_overrun, merge_conflict, lost_cache, foreseen,
)  # fmt: skip


def has_worked(store: Store, planted: Planted) -> bool:
    """Whether the remedy has done what it promises."""
    row: Any = store.row(planted.worked)
    return bool(row is not None and row[0])
