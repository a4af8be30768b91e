"""Deadlocks in the database: read who waits for what, let `deadlock` judge, and tell the victims.

Whoever keeps the watch looks twice a second.  A look costs one small query where nobody waits for ever or nothing has
changed since the last one; else it reads without holding up a writer, and only where that finds a deadlock does it read
again and judge inside a transaction, so that the verdict is about what is so when it is carried out.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from prong.primitives import deadlock
from prong.primitives.deadlock import Hold, Knot, Member, Snapshot, Task, Wait
from prong.primitives.deadlock_story import tell
from prong.state import Row, Store, Transaction, waiter

# A new waiter, one that is gone or one that has parked, and whatever else could close a circle, shows here.
_MARK = """
select count(*) as waiting, max(id) as newest, sum(running) as running, sum(until_at is null) as endless,
       (select max(seq) from event) as event
  from waiter where state = 'waiting'
"""

_MEMBERS = """
select id, name, nullif(process, '-') as process, task, state in ('parked', 'asleep') as parked from agent
 where ended_at is null
"""

# Who was notified waits for the lock in a row of its own, so that what was decided of the first wakes nobody.
_WAITS = """
select id, agent, kind, object, running, state <> 'waiting' or until_at is not null as ends,
       iif(kind in ('lock', 'semaphore', 'condition', 'tasks'), wants, '{}') as wants
  from waiter
 where not (kind = 'condition' and state = 'granted' and exists (
           select 1 from waiter as moved where moved.id = json_extract(waiter.outcome, '$.waiter')
              and moved.state = 'waiting'))
"""

_LOCKS = """
with wanted (name) as (
    select object from waiter where kind = 'lock' and state = 'waiting'
    union select json_extract(wants, '$.lock') from waiter where kind = 'condition' and state = 'waiting')
select 'lock' as kind, name as object, holder, task, 0 as shared from lock
 where name in wanted and (holder is not null or kept = 1) and (expires_at is null or expires_at > :now)
 union all
select 'lock', lock, holder, task, 1 from lock_share
 where lock in wanted and (expires_at is null or expires_at > :now)
"""

_PERMITS = """
select 'semaphore' as kind, semaphore as object, holder, task, 0 as shared from permit
 where semaphore in (select object from waiter where kind = 'semaphore' and state = 'waiting')
   and expired = 0 and (expires_at is null or expires_at > :now)
"""

_DELIVERIES = """
select 'queue' as kind, queue as object, holder, holder_task as task, 0 as shared from queue_message
 where queue in (select object from waiter where kind = 'joined' and state = 'waiting')
   and holder is not null and dead_at is null
"""

_SEMAPHORES = """
select name, initial, value from semaphore
 where name in (select object from waiter where kind = 'semaphore' and state = 'waiting')
"""

_QUEUED = """
select distinct object from waiter where kind = 'joined' and state = 'waiting' and exists (
    select 1 from queue_message where queue = object and holder is null and dead_at is null)
"""

_MISSING = """
select barrier.name, task.id as task from barrier
  left join task on task.fork_point = barrier.siblings and task.state not in ('done', 'failed', 'cancelled')
       and not exists (select 1 from barrier_arrival a
                        where a.barrier = barrier.name and a.round = barrier.round and a.task = task.id)
 where barrier.siblings is not null
   and barrier.name in (select object from waiter where kind = 'barrier' and state = 'waiting')
"""

# Before it runs, anybody may cancel it.
_OWNERS = """
select name, owner from future where state = 'running' and owner is not null
   and name in (select object from waiter where kind = 'future' and state = 'waiting')
"""

_TASKS = """
with recursive reach (id) as (
    select value from json_each(:seeds)
    union select need from reach join task using (id) join task_need on task = id where state = 'blocked')
select id, state, agent, priority from reach join task using (id) where state not in ('done', 'failed', 'cancelled')
 union select id, state, agent, priority from (select * from task
        where state not in ('done', 'failed', 'cancelled') and state = 'ready' limit 1)
"""

_NEEDS = "select task, need from task_need where task in (select value from json_each(:tasks)) order by need"

_SPENT = """
select task, sum(output_tokens) as spent from model_call
 where task in (select value from json_each(:tasks)) group by task
"""

_CLOSED = """
select exists (select 1 from swarm where state = 'running' and supervisor_pid is not null)
   and not exists (select 1 from agent where ended_at is null and task is null) as closed
"""


class Source(Protocol):
    """What a snapshot is read from: a transaction, or a store that holds still."""

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """All rows of a query."""
        ...


class Search:
    """The looks of one keeper of the watch; it remembers what it saw last."""

    def __init__(self) -> None:
        self._mark: tuple[Any, ...] = ()

    def look(self, store: Store) -> list[Knot]:
        """Find deadlocks and tell the victims; returns what was found, mostly nothing."""
        (row,) = store.rows(_MARK)
        mark = tuple(row)
        if not row["endless"] or mark == self._mark:
            return []
        with store.snapshot() as source:
            snapshot = read(source, now=store.clock.now())
        self._mark = mark
        if not deadlock.deadlocked(snapshot):
            return []
        with store.transaction(None) as tx:
            return find(tx)


def find(tx: Transaction) -> list[Knot]:
    """Find all deadlocks, refuse each victim's wait with the whole story, and log it as `deadlock.found`."""
    snapshot = _with_costs(tx, read(tx, now=tx.now))
    knots = deadlock.find(snapshot)
    tasks = {member.id: member.task for member in snapshot.members}
    for knot in knots:
        victim, story = knot.victim, tell(snapshot, knot)
        waiter.refuse(tx, victim.id, deadlock=story)
        tx.event(
            "deadlock.found", object=victim.object, task=tasks[victim.member], victim=victim.member, waiter=victim.id,
            waiting_for=victim.kind, waits=[_logged(wait, tasks) for wait in knot.waits], **story,
        )  # fmt: skip
    return knots


def read(source: Source, *, now: float) -> Snapshot:
    """All that bears on who can go on, in a few queries by index: nothing is read that no waiter is about."""
    waits = [_wait(row) for row in source.rows(_WAITS)]
    kinds = {wait.kind for wait in waits}
    members = [
        Member(id_, name, process, task, bool(parked)) for id_, name, process, task, parked in source.rows(_MEMBERS)
    ]
    holds = _holds(source, kinds, now)
    missing: defaultdict[str, list[int]] = defaultdict(list)
    for row in source.rows(_MISSING) if "barrier" in kinds else ():
        missing[row["name"]] += () if row["task"] is None else (row["task"],)
    semaphores = source.rows(_SEMAPHORES) if "semaphore" in kinds else ()
    lent = Counter(hold.object for hold in holds if hold.kind == "semaphore")
    return Snapshot(
        members=members,
        waits=waits,
        holds=holds,
        tasks=_tasks(source, _seeds(members, waits, holds, missing)),
        missing=missing,
        owners={row["name"]: row["owner"] for row in source.rows(_OWNERS)} if "future" in kinds else {},
        free={row["name"] for row in semaphores if row["value"] > 0},
        lent={row["name"] for row in semaphores if 0 < row["initial"] == lent[row["name"]]},
        queued={row["object"] for row in source.rows(_QUEUED)} if "joined" in kinds else (),
        closed=bool(source.rows(_CLOSED)[0]["closed"]),
    )


def tasks_waited_for(source: Source, *, now: float) -> dict[int, set[int]]:
    """For each task whose agent waits, the tasks that can end its wait: those that it names, or whose agents hold."""
    snapshot = read(source, now=now)
    tasks = {member.id: member.task for member in snapshot.members}
    holders: defaultdict[tuple[str, str], set[int | None]] = defaultdict(set)
    for hold in snapshot.holds:
        kind = "joined" if hold.kind == "queue" else hold.kind
        holders[kind, hold.object].add(hold.task if hold.task is not None else tasks.get(hold.member or 0))
    found: defaultdict[int, set[int]] = defaultdict(set)
    for wait in snapshot.waits:
        task = tasks.get(wait.member)
        if task is None:
            continue
        wanted: set[int | None] = holders[wait.kind, wait.object] | set(wait.wants.get("tasks", ()))
        if wait.kind == "barrier":
            wanted.update((snapshot.missing or {}).get(wait.object, ()))
        if wait.kind == "future":
            wanted.add(tasks.get((snapshot.owners or {}).get(wait.object, 0)))
        found[task] |= {one for one in wanted if one is not None and one != task}
    return {task: wanted for task, wanted in found.items() if wanted}


def _wait(row: Row) -> Wait:
    id_, agent, kind, object_, running, ends, wants = row
    return Wait(id_, agent, kind, object_, running, bool(ends), {} if wants == "{}" else json.loads(wants))


def _holds(source: Source, kinds: Collection[str], now: float) -> list[Hold]:
    rows: list[Row] = []
    if "lock" in kinds or "condition" in kinds:
        rows += source.rows(_LOCKS, now=now)
    if "semaphore" in kinds:
        rows += source.rows(_PERMITS, now=now)
    if "joined" in kinds:
        rows += source.rows(_DELIVERIES)
    return [Hold(kind, object_, holder, task, bool(shared)) for kind, object_, holder, task, shared in rows]


def _seeds(
    members: Iterable[Member], waits: Iterable[Wait], holds: Iterable[Hold], missing: Mapping[str, Sequence[int]]
) -> set[int]:
    """The tasks that somebody waits for, and those of the agents that wait."""
    waiting = {wait.member for wait in waits}
    seeds = {member.task for member in members if member.id in waiting} | {hold.task for hold in holds}
    seeds.update(*missing.values(), *(wait.wants["tasks"] for wait in waits if wait.kind == "tasks"))
    return {task for task in seeds if task is not None}


def _tasks(source: Source, seeds: Collection[int]) -> list[Task]:
    """These tasks, those that they need, and one that is ready, as far as they are not final."""
    rows = source.rows(_TASKS, seeds=json.dumps(sorted(seeds)))
    needs: defaultdict[int, list[int]] = defaultdict(list)
    blocked = [row["id"] for row in rows if row["state"] == "blocked"]
    for row in source.rows(_NEEDS, tasks=json.dumps(blocked)) if blocked else ():
        needs[row["task"]].append(row["need"])
    return [Task(row["id"], row["state"], row["agent"], needs[row["id"]], row["priority"]) for row in rows]


def _with_costs(tx: Transaction, snapshot: Snapshot) -> Snapshot:
    """The snapshot with what the tasks have cost, which only the choice of a victim asks for."""
    tasks = json.dumps([task.id for task in snapshot.tasks])
    spent = {row["task"]: row["spent"] for row in tx.rows(_SPENT, tasks=tasks)}
    return replace(snapshot, tasks=[task._replace(spent=spent.get(task.id, 0)) for task in snapshot.tasks])


def _logged(wait: Wait, tasks: Mapping[int, int | None]) -> dict[str, Any]:
    return {
        "waiter": wait.id, "agent": wait.member, "task": tasks[wait.member], "kind": wait.kind, "object": wait.object
    }  # fmt: skip
