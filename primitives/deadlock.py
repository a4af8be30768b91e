"""Deadlock: which waits can never end, whatever those who can go on may do.  A pure function from records to records.

    wait    -- needs what its kind says, see below;  party (a process) -- can go on once any of its waits ends
    task    -- ready: the scheduler starts it;  blocked: ALL its needs;  running, parked: its agent's party

    lock            ALL who hold it; shared: who holds it alone, and ALL ahead in line who want it alone
    semaphore       ANY holder of a permit; and, unless it is bounded and all are lent, anybody
    barrier         of siblings: ALL the tasks that are missing;  of a number: anybody
    joined          ALL whose deliveries are unfinished, and anybody where messages are queued
    condition       anybody, and the lock, which the notifier needs first and the waiter afterwards
    future          its owner; anybody where it has none
    tasks           ALL or ANY of the tasks
    event, map, list, queue, room     anybody
    any other kind, a wait with a timeout, a wait that is decided: nothing, it ends by itself

*Anybody* is whoever can go on, and in an open world also a program that is still to be started, so that such a wait is
never deadlocked there.  Nobody is expected, though, to be started in order to release what others were lent: of a
semaphore whose permits are all lent only those count who are there.  In a closed world nobody comes but the ready
tasks; whoever can go on may create more, so that one of them is enough for a barrier of any number.

The verdict is exact for what the snapshot says, and where the snapshot cannot say it errs towards no alarm.  A party
whose waits stand side by side goes on when any of them ends, although the locks of an agent's turn are given back only
when all its calls have ended: a call may itself release what it acquired.  A deadlock behind that is found when the
other waits are over.  An RLock is its party's, not its thread's.  Leases do not count: the heartbeat of one who waits
renews them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from prong.primitives.reduction import Graph

WORK_NODES = 1_000_000
"""How many nodes of graphs one search makes before it leaves what is left to the next, about two seconds of work."""


class Member(NamedTuple):
    """A living member; those with the same `process` block as one.  An agent (`task`) is blocked while it is parked."""

    id: int
    name: str
    process: str | None = None
    task: int | None = None
    parked: bool = False


class Wait(NamedTuple):
    """A waiter's row: a higher `id` came later; its process had `running` other threads as it began.

    `ends` is true where it has a timeout or is decided already, `wants` is what the row says for its kind.
    """

    id: int
    member: int
    kind: str
    object: str
    running: int = 0
    ends: bool = False
    wants: Mapping[str, Any] = {}


class Hold(NamedTuple):
    """A lock, a semaphore's permit or a queue's delivery, held by a member or kept for a task."""

    kind: str
    object: str
    member: int | None
    task: int | None = None
    shared: bool = False


class Task(NamedTuple):
    """A task that is not final; `member` works on it, which has cost `spent` output tokens so far."""

    id: int
    state: str
    member: int | None = None
    needs: Sequence[int] = ()
    priority: int = 0
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that bears on who can go on at one moment.

    Whoever is named but not listed is gone or final, and stands in nobody's way.  `closed`: nobody else can come.
    """

    members: Sequence[Member]
    waits: Sequence[Wait]
    holds: Sequence[Hold] = ()
    tasks: Sequence[Task] = ()
    missing: Mapping[str, Sequence[int]] | None = None  # a siblings' barrier: the tasks that have not arrived
    owners: Mapping[str, int] | None = None  # a future: who has promised it
    free: Collection[str] = ()  # semaphores that have a free permit
    lent: Collection[str] = ()  # semaphores whose permits are all held, so that nobody uses them to send signals
    queued: Collection[str] = ()  # queues that hold messages
    closed: bool = False


class Knot(NamedTuple):
    """Waits that hold one another, in the order of the circle, and the first of them, which is to give way.

    `reason` says, to its process, why it is that one.
    """

    victim: Wait
    waits: Sequence[Wait]
    reason: str


def deadlocked(snapshot: Snapshot) -> list[Wait]:
    """The waits that can never end."""
    return _WaitGraph(snapshot, frozenset()).stuck()


def find(snapshot: Snapshot) -> list[Knot]:
    """The knots to untie, in an order in which nothing is deadlocked any more once all their victims gave way."""
    found: list[Knot] = []
    worth = _worth(snapshot)
    work = WORK_NODES
    while work > 0:
        graph = _WaitGraph(snapshot, {knot.victim.id for knot in found})
        work -= len(graph)
        knots = graph.knots()
        if not knots:
            break
        found += [_judged(knot, worth) for knot in knots]
    return found


def _worth(snapshot: Snapshot) -> dict[int, tuple[int, int]]:
    """Priority and cost of each agent's task; a program has none and has cost nothing."""
    tasks = {task.id: task for task in snapshot.tasks}
    agents = {member.id: tasks[member.task] for member in snapshot.members if member.task in tasks}
    return {agent: (task.priority, task.spent) for agent, task in agents.items()}


def _judged(waits: Sequence[Wait], worth: Mapping[int, tuple[int, int]]) -> Knot:
    """Choose the victim: lowest priority, then least spent, then the youngest wait."""
    victim = min(waits, key=lambda wait: (*worth.get(wait.member, (0, 0)), -wait.id))
    priority, spent = worth.get(victim.member, (0, 0))
    others = [worth.get(wait.member, (0, 0)) for wait in waits if wait.id != victim.id]
    if not others:
        reason = "nobody else is part of it"
    elif priority < min(other for other, _ in others):
        reason = f"your priority ({priority}) is the lowest"
    elif spent < min(other for same, other in others if same == priority):
        reason = f"you have spent the least ({spent} output tokens)"
    else:
        reason = "your wait is the youngest"
    at = waits.index(victim)
    return Knot(victim, [*waits[at:], *waits[:at]], reason)


class _WaitGraph:
    """The graph of a snapshot; the waits that are `refused` are over, and their parties go on."""

    def __init__(self, snapshot: Snapshot, refused: Collection[int]) -> None:
        self._snapshot = snapshot
        self._graph = graph = Graph()
        self._nothing = graph.all_of()
        self._waits = [wait for wait in snapshot.waits if wait.id not in refused]
        self._parties: dict[int, int] = {}  # by member; members of one process have one
        self._place_parties(frozenset(wait.member for wait in snapshot.waits if wait.id in refused))
        self._tasks: dict[int, int] = {}
        self._place_tasks()
        self._present = self._place_present()
        self._anybody = self._present if snapshot.closed else self._nothing
        self._holds: dict[tuple[str, str], list[Hold]] = {}
        for hold in snapshot.holds:
            self._holds.setdefault((hold.kind, hold.object), []).append(hold)
        self._needs: dict[int, int] = {}
        self._alone: dict[str, int] = {}
        self._semaphores: dict[tuple[str, bool], int] = {}
        self._joins: dict[str, int] = {}
        self._barriers: dict[str, int] = {}
        self._place_locks()
        self._wait_of: dict[int, Wait] = {}
        needs = {
            "lock": self._lock,
            "condition": self._condition,
            "semaphore": self._semaphore,
            "joined": self._joined,
            "barrier": self._barrier,
            "future": self._future,
            "tasks": self._of_tasks,
            **dict.fromkeys(("event", "map", "list", "queue", "room"), self._somebody),
        }
        for wait in self._waits:
            need = self._nothing if wait.ends or wait.kind not in needs else needs[wait.kind](wait)
            self._place_wait(wait, need)
        graph.reduce()

    def __len__(self) -> int:
        return len(self._graph)

    def stuck(self) -> list[Wait]:
        """The waits that can never end."""
        return [self._wait_of[node] for node in self._stuck_nodes()]

    def knots(self) -> list[list[Wait]]:
        """The waits of each knot; those that one comes upon by following what they wait for stand side by side."""
        knots = self._graph.knots(self._stuck_nodes())
        found = [[self._wait_of[node] for node in reversed(knot) if node in self._wait_of] for knot in knots]
        return [waits for waits in found if waits]

    def _stuck_nodes(self) -> list[int]:
        """Those of waits; a process that can go on can also interrupt what a thread of its waits for."""
        stuck, waits = self._graph.stuck, self._wait_of.items()
        return [node for node, wait in waits if stuck(node) and stuck(self._parties[wait.member])]

    def _place_parties(self, going_on: Collection[int]) -> None:
        graph, homes = self._graph, {}
        members: dict[int, list[Member]] = {}
        for member in self._snapshot.members:
            home: str | int = member.id if member.process is None else member.process
            if home not in homes:
                homes[home] = graph.any_of()
            self._parties[member.id] = homes[home]
            members.setdefault(homes[home], []).append(member)
        newest: dict[int, Wait] = {}
        waiting: Counter[int] = Counter()
        for wait in self._snapshot.waits:
            party = self._parties.get(wait.member)
            if party is None:
                continue
            waiting[party] += 1
            if party not in newest or newest[party].id < wait.id:
                newest[party] = wait
        free = {self._parties[member] for member in going_on if member in self._parties}
        for party, those in members.items():
            if party in free or party not in newest or _can_run(those, newest[party], waiting[party]):
                graph.add(party, self._nothing)

    def _place_tasks(self) -> None:
        graph = self._graph
        for task in self._snapshot.tasks:
            if task.state == "blocked":
                self._tasks[task.id] = graph.all_of()
            elif task.state in ("running", "parked"):
                self._tasks[task.id] = self._party(task.member)
        for task in self._snapshot.tasks:
            if task.state == "blocked":
                for need in task.needs:
                    graph.add(self._tasks[task.id], self._task(need))

    def _place_present(self) -> int:
        if any(task.state == "ready" for task in self._snapshot.tasks):
            return self._nothing
        return self._graph.any_of(*dict.fromkeys(self._parties.values()))

    def _place_locks(self) -> None:
        """What each wait in a lock's line needs: node by node, so that a long line costs no more than its length.

        Those ahead of a wait that wants the lock alone need nothing that it does not need itself.
        """
        graph = self._graph
        lines: dict[str, list[Wait]] = {name: [] for kind, name in self._holds if kind == "lock"}
        for wait in sorted(self._waits):
            if wait.kind == "lock":
                lines.setdefault(wait.object, []).append(wait)
        for name, line in lines.items():
            holds = self._holds.get(("lock", name), ())
            everyone = [self._holder(hold) for hold in holds]
            alone = self._alone[name] = everyone[0] if len(everyone) == 1 else graph.all_of(*everyone)
            for_shared = self._nothing if holds and holds[0].shared else alone
            for wait in line:
                if wait.wants.get("shared", False):
                    self._needs[wait.id] = for_shared
                else:
                    self._needs[wait.id] = alone
                    for_shared = graph.all_of(for_shared, self._party(wait.member))

    def _place_wait(self, wait: Wait, need: int) -> None:
        party = self._parties.get(wait.member)
        if party is None:
            return
        node = self._graph.all_of(need)
        self._graph.add(party, node)
        self._wait_of[node] = wait

    def _lock(self, wait: Wait) -> int:
        return self._needs[wait.id]

    def _condition(self, wait: Wait) -> int:
        return self._graph.all_of(self._anybody, self._alone.get(wait.wants.get("lock", ""), self._nothing))

    def _semaphore(self, wait: Wait) -> int:
        if wait.object in self._snapshot.free:
            return self._nothing
        key = wait.object, bool(wait.wants.get("bounded", False))
        if key not in self._semaphores:
            holders = [self._holder(hold) for hold in self._holds.get(("semaphore", wait.object), ())]
            if not holders or wait.object not in self._snapshot.lent:
                holders.append(self._anybody)
            elif not key[1]:
                holders.append(self._present)
            self._semaphores[key] = self._graph.any_of(*holders)
        return self._semaphores[key]

    def _joined(self, wait: Wait) -> int:
        if wait.object not in self._joins:
            readers = (self._holder(hold) for hold in self._holds.get(("queue", wait.object), ()))
            more = (self._anybody,) if wait.object in self._snapshot.queued else ()
            self._joins[wait.object] = self._graph.all_of(*readers, *more)
        return self._joins[wait.object]

    def _barrier(self, wait: Wait) -> int:
        missing = (self._snapshot.missing or {}).get(wait.object)
        if missing is None:
            return self._anybody
        if wait.object not in self._barriers:
            self._barriers[wait.object] = self._graph.all_of(*map(self._task, missing))
        return self._barriers[wait.object]

    def _future(self, wait: Wait) -> int:
        owner = (self._snapshot.owners or {}).get(wait.object)
        return self._anybody if owner is None else self._party(owner)

    def _of_tasks(self, wait: Wait) -> int:
        nodes = map(self._task, wait.wants["tasks"])
        return self._graph.any_of(*nodes) if wait.wants["mode"] == "any" else self._graph.all_of(*nodes)

    def _somebody(self, _wait: Wait) -> int:
        return self._anybody

    def _party(self, member: int | None) -> int:
        return self._nothing if member is None else self._parties.get(member, self._nothing)

    def _task(self, task: int) -> int:
        return self._tasks.get(task, self._nothing)

    def _holder(self, hold: Hold) -> int:
        if hold.task is not None and hold.member not in self._parties:
            return self._task(hold.task)
        return self._party(hold.member)


def _can_run(members: Sequence[Member], newest: Wait, waiting: int) -> bool:
    """Whether a party goes on although it waits: an agent that is not parked, or a process with another thread."""
    if any(member.task is not None and not member.parked for member in members):
        return True
    return newest.running >= waiting and any(member.task is None for member in members)
