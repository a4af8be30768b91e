"""The scheduler's hands: read what is so, let `scheduler.decide` say who goes, and write it down, in one transaction.

Only the head of the line is read, by index, so a round costs the same whether ten tasks are open or a hundred thousand.
What must be forked or ended is returned, for it happens after the commit: a supervisor that dies in between leaves an
agent that never beat its heart, and its task goes back.

    ready   --Start---> running     a new agent
    parked  --Unpark--> running     its process has waited for the slot
    parked  --sleep---> asleep      too many processes wait: this one is ended, its conversation stays
    asleep  --Wake----> running     what it waited for has come: a process goes on with the conversation
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prong.harness import scheduler, scopes, sleeping
from prong.harness.admission import Crew, Limits, Providers, Refusal
from prong.harness.hedging import hedge
from prong.harness.plans.gates import Gates
from prong.harness.pressure import Pressure
from prong.harness.scheduler import Candidate, Decision, Snapshot, Unpark
from prong.primitives import ranking, wait_graph
from prong.primitives import task as tasks
from prong.state import Row, Store, Transaction, member, waiter

PRESSURE_KEPT_S = 1.0
"""For how long one reading of the machine's pressure is used, in seconds."""

RAISE_SHARE = 0.1
"""The most of its time that a dispatcher spends on whose waiting makes others more urgent, where many wait."""

CROWD = 100
"""From how many waits on it does not look at them in every round."""

UNBORN_S = 60.0
"""How long an agent may take from its order to its first heartbeat, in seconds: a nursery warms up first."""

AHEAD = 128
"""So many tasks beyond those that could start are looked at where some might be kept back for what others write."""

# The states are named twice so that the index of the open tasks can be used.
_TAKEN = "select count(*) from task where state not in ('done', 'failed', 'cancelled') and state = 'running'"

_READY = """
select id, level, path_s, ready_at, role from task
 where state = 'ready' and paused = 0 and (not_before is null or not_before <= :now){of_roles}
   and not exists (select 1 from agent where agent.task = task.id and ended_at is null)
 order by level desc, path_s desc, id limit :most
"""

_WAKERS = """
select waiter.id, waiter.since_at, task.id as task, task.level, task.path_s, task.role
  from waiter join task on task.id = waiter.task
 where waiter.kind = 'slot' and waiter.state = 'waiting' and task.state = 'parked' and task.paused = 0{of_roles}
 order by task.level desc, task.path_s desc, waiter.id limit :most
"""

_SLEEPERS = """
select min(waiter.id) as id, min(waiter.since_at) as since_at, task.id as task, task.level, task.path_s, task.role
  from task join agent on agent.id = task.agent join waiter on waiter.agent = agent.id
 where task.state not in ('done', 'failed', 'cancelled') and task.state = 'parked' and task.held = 'asleep'
   and task.paused = 0 and (task.not_before is null or task.not_before <= :now)
   and agent.pid is null and (waiter.state <> 'waiting' or waiter.until_at <= :now){of_roles}
 group by task.id order by task.level desc, task.path_s desc, waiter.id limit :most
"""

# A line is read for each role that has a bound and has room, and once for all others: whoever stands behind the tasks
# of a full role is not kept back by them.
_OF_ROLES = " and task.role = :role"
_OF_OTHERS = " and task.role not in (select value from json_each(:bounded))"

# Those who have not said what they will write are kept back by nobody.
_UNSAID = _READY.replace("{of_roles}", " and writes is null{of_roles}")

_CREWS = """
select name, agents, (select count(*) from task where role = name and role <> ''
                         and state not in ('done', 'failed', 'cancelled') and state = 'running') as running
  from role where agents is not null
"""

# The tasks that wait or are waited for, those that were raised before, and as far as it bears on them who needs them.
_CONCERNED = """
with recursive named (id) as (
    select value from json_each(:tasks) union select id from task where raised is not null
    union select need from named join task on task.id = named.id and state = 'blocked'
                 join task_need on task_need.task = task.id),
above (id) as (select task_need.task from named join task_need on need = named.id
                 join task on task.id = task_need.task and state = 'blocked')
select task.id, priority, raised, 1 as concerned, priority as urgency from named join task using (id)
 where state not in ('done', 'failed', 'cancelled')
 union all
select task.id, priority, raised, 0, max(priority, coalesce(raised, priority)) from above join task using (id)
 where id not in (select id from named)
"""

# Another wait, and one that is over, show here, and the end of what made others urgent.
_WAITING = """
select count(*), coalesce(max(waiter.id), 0), coalesce(sum(priority), 0),
       coalesce((select open from task_count where exists (select 1 from task where raised is not null)), 0)
  from waiter left join task on task.id = waiter.task where waiter.state = 'waiting'
"""

_AWAKE = """
select count(*) as awake from agent where state = 'parked' and ended_at is null and task is not null
"""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a round decided that happens outside the database: orders for new processes, and agents to be ended."""

    forks: tuple[Mapping[str, Any], ...] = ()
    sleeps: tuple[int, ...] = ()


class Dispatcher:
    """The rounds of one supervisor."""

    def __init__(
        self, store: Store, *, slots: int, parked: int, limits: Limits | None = None,
        pressure: Callable[[], Pressure] | None = None, provider: Callable[[float], Providers] | None = None,
    ) -> None:  # fmt: skip
        """At most `slots` agents run at once, and about `parked` processes wait; without `pressure` nobody looks at it.

        All of them may be changed while it runs.
        """
        self.slots = slots
        self.parked = parked
        self.limits = limits or Limits()
        self._store = store
        self._gates = Gates(store)
        self._read_pressure = pressure
        self._provider = provider
        self._pressure: tuple[float, Pressure] | None = None
        self._unseen = 0
        self._raise_again_at = 0.0
        self._renew_at = 0.0
        self._mark: tuple[int, ...] = ()
        self._told = ""

    def round(self) -> Orders:
        """Fill the free slots, in one transaction; what is to be done after it."""
        self._gates.open()
        hedge(self._store, slots=self.slots)
        self._renew()
        if not self._is_due():
            return Orders()
        provider = self._provider(self._store.clock.now()) if self._provider else None
        pressure = self._now_pressure()
        with self._store.transaction(None) as tx:
            self._raise(tx)
            snapshot = self._snapshot(tx, pressure, provider)
            decided = scheduler.decide(snapshot)
            forks = []
            for decision in decided:
                order = self._carry_out(tx, decision)
                forks += [order] if order else []
            self._tell(tx, decided.rest if snapshot.candidates else None)
            sleeps = self._sleep(tx)
        self._unseen += len(forks)
        return Orders(tuple(forks), sleeps)

    def pause_s(self, longest: float) -> float:
        """How long nothing becomes ready by time alone, in seconds, at most `longest`."""
        now = self._store.clock.now()
        later = ("select min(not_before) as at from task where not_before > :now", sleeping.NEXT)
        rows = [row for query in later if (row := self._store.row(query, now=now)) is not None]
        return min([longest, *(max(0.0, float(row["at"]) - now) for row in rows if row["at"] is not None)])

    def _is_due(self) -> bool:
        """Whether anybody wants a slot, or too many wait: reading that takes no place among the writers."""
        wants = self._store.row(
            "select exists (select 1 from task where state = 'ready' and paused = 0)"
            " or exists (select 1 from waiter where kind = 'slot' and state = 'waiting') as wants"
        )
        asleep = self._store.row(sleeping.DUE, now=self._store.clock.now())
        awake = self._store.row(_AWAKE)
        assert wants is not None
        assert asleep is not None
        assert awake is not None
        return bool(wants["wants"] or asleep["due"]) or awake["awake"] > self.parked

    def _renew(self) -> None:
        """Keep what agents asleep hold, every few seconds."""
        now = time.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + sleeping.RENEW_S
            sleeping.renew(self._store)

    def _snapshot(self, tx: Transaction, pressure: Pressure | None, found: Providers | None) -> Snapshot:
        paused = tx.row("select paused from swarm")
        empty = Snapshot(
            slots=self.slots,
            taken=tx.value(_TAKEN),
            now=tx.now,
            pressure=pressure,
            limits=self.limits,
            unseen=self._unseen,
            providers={} if found is None else found.by_name,
            paused="a person paused the swarm" if paused is not None and paused["paused"] else None,
        )
        free = scheduler.wanted(empty)
        most = free or 1  # one at least, who is told why it stays
        roles = {row["name"]: Crew(row["agents"], row["running"]) for row in tx.rows(_CREWS)}
        # Who asks another provider has a line of its own, too, lest a closed one keep all others back.
        apart = {role: Crew(sys.maxsize) for role in (found.of_roles if found is not None else ())} | roles
        ready = {row["id"]: row for row in _heads(tx, _READY, apart, most)}
        clashes = scopes.read(tx, ready) if free else empty.clashes
        if clashes:  # some may stay, or let others go first
            ahead = [*_heads(tx, _READY, apart, most, ahead=AHEAD), *_heads(tx, _UNSAID, apart, most)]
            ready = {row["id"]: row for row in ahead}
            clashes = scopes.read(tx, ready)
        starts = [
            Candidate(
                row["id"],
                row["level"],
                row["ready_at"] or 0,
                path_s=row["path_s"],
                role=row["role"],
                provider=None if found is None else found.of(row["role"]),
            )
            for row in ready.values()
        ]
        back = [_back(row) for query in (_WAKERS, _SLEEPERS) for row in _heads(tx, query, roles, most)]
        hold_s = tx.value("select ageing_s from task_count")
        return replace(empty, candidates=[*starts, *back], roles=roles, clashes=clashes, hold_s=hold_s)

    def _carry_out(self, tx: Transaction, decision: Decision) -> Mapping[str, Any] | None:
        return self._unpark(tx, decision) if isinstance(decision, Unpark) else self._start(tx, decision.task)

    def _start(self, tx: Transaction, task: int) -> Mapping[str, Any]:
        agent = member.enlist(tx, f"task {task}", pid=None, task=task, state="starting", lease_s=UNBORN_S)
        fence = tasks.claim(tx, task, agent)
        assert fence is not None, "the snapshot was taken in this transaction"
        return {"agent": agent, "incarnation": 1, "task": task, "fence": fence}

    def _unpark(self, tx: Transaction, unpark: Unpark) -> Mapping[str, Any] | None:
        row = tx.row(
            "select agent, fence, incarnation, agent.state = 'asleep' and pid is null as asleep"
            "  from task join agent on agent.id = task.agent where task.id = :task",
            task=unpark.task,
        )
        if row is None:
            return None
        tx.execute(
            "update task set state = 'running', held = null, not_before = null where id = :task and state = 'parked'",
            task=unpark.task,
        )
        if row["asleep"]:
            return self._wake(tx, unpark.task, row)
        tx.execute("update agent set state = 'running' where id = :agent", agent=row["agent"])
        tx.event("task.unparked", object=str(unpark.task), task=unpark.task)
        waiter.grant(tx, unpark.waiter)
        return None

    def _wake(self, tx: Transaction, task: int, row: Row) -> Mapping[str, Any]:
        """What it waited for has come: its call is made again, by another process, and finds it."""
        sleeping.wake(tx, row["agent"], within_s=UNBORN_S)
        tx.event("task.unparked", object=str(task), task=task, woken=True)
        return {"agent": row["agent"], "incarnation": row["incarnation"], "task": task, "fence": row["fence"]}

    def _sleep(self, tx: Transaction) -> tuple[int, ...]:
        """End the processes that have waited longest, as far as there are too many."""
        excess = tx.value(_AWAKE) - self.parked
        return sleeping.put_to_sleep(tx, excess) if excess > 0 else ()

    def _raise(self, tx: Transaction) -> None:
        """Whoever holds or makes what somebody more urgent waits for becomes as urgent; so low never holds up high."""
        began = time.monotonic()
        mark = tuple(tx.row(_WAITING) or ())
        if mark == self._mark or (mark[0] > CROWD and began < self._raise_again_at):
            return
        self._mark = mark
        self._inherit(tx)
        self._raise_again_at = began + (time.monotonic() - began) / RAISE_SHARE

    def _inherit(self, tx: Transaction) -> None:
        waits = wait_graph.tasks_waited_for(tx, now=tx.now)
        named = json.dumps(sorted({*waits, *(task for wanted in waits.values() for task in wanted)}))
        rows = {row["id"]: row for row in tx.rows(_CONCERNED, tasks=named)}
        raised = ranking.raised({task: row["urgency"] for task, row in rows.items()}, _with_needs(tx, waits, rows))
        for task, row in rows.items():
            higher = raised.get(task)
            if row["concerned"] and higher != row["raised"]:
                tx.execute("update task set raised = :raised where id = :task", raised=higher, task=task)
                tasks.place(tx, task)

    def _tell(self, tx: Transaction, refusal: Refusal | None) -> None:
        """Say once why nobody starts; a full house and an empty line need no word."""
        reason = "" if refusal is None or refusal.reason in ("slots", "empty") else refusal.reason
        if reason != self._told:
            self._told = reason
            if refusal is not None and reason:
                tx.event("scheduler.refuses", object=reason, detail=refusal.detail)
            else:
                tx.event("scheduler.admits")

    def _now_pressure(self) -> Pressure | None:
        if self._read_pressure is None:
            return None
        now = time.monotonic()
        if self._pressure is None or now - self._pressure[0] > PRESSURE_KEPT_S:
            self._pressure = now, self._read_pressure()
            self._unseen = 0
        return self._pressure[1]


def _with_needs(
    tx: Transaction, waits: Mapping[int, set[int]], rows: Mapping[int, Row]
) -> Mapping[int, Collection[int]]:
    """Who waits for whom, the blocked ones for what they need."""
    graph = {task: set(wanted) for task, wanted in waits.items()}
    for row in tx.rows(
        "select task_need.task, need from task_need join task on task.id = task_need.task and state = 'blocked'"
        " where need in (select value from json_each(:tasks))",
        tasks=json.dumps(list(rows)),
    ):
        graph.setdefault(row["task"], set()).add(row["need"])
    return graph


def _heads(tx: Transaction, line: str, roles: Mapping[str, Crew], most: int, *, ahead: int = 0) -> Iterator[Row]:
    """The first of a line of each role that has a bound, as far as it has room, and of all others; and some `ahead`."""
    if not roles:
        yield from tx.rows(line.format(of_roles=""), now=tx.now, most=most + ahead)
        return
    bounded = json.dumps(list(roles))
    yield from tx.rows(line.format(of_roles=_OF_OTHERS), now=tx.now, most=most + ahead, bounded=bounded)
    for role, crew in roles.items():
        room = min(most, crew.free())
        if room:
            yield from tx.rows(line.format(of_roles=_OF_ROLES), now=tx.now, most=room + ahead, role=role)


def _back(row: Row) -> Candidate:
    """A task whose wait has ended: it is as old as ever."""
    return Candidate(row["task"], row["level"], row["since_at"], row["id"], row["path_s"], None, row["role"])
