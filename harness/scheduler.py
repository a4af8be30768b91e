"""Who runs next: a pure function from a snapshot to decisions.

Waiting costs no slot, so only two kinds of tasks want one: those that are ready to start, and those whose wait has
ended.  The higher level goes first (priority, age, and whoever waits for it: see primitives/ranking.py); among equals
a task that has begun goes before one that has not, since it holds things others wait for; then the one with the longest
line of work behind it; then the older.

A round needs only the head of each line, however long it is: whoever is handed in and does not go is told why, and
whoever stands behind them is told the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prong.harness.admission import EMPTY, Crew, Limits, Provider, Refusal, Room, admit
from prong.harness.pressure import Pressure


@dataclass(frozen=True, slots=True)
class Start:
    """Fork an agent for a ready task."""

    task: int


@dataclass(frozen=True, slots=True)
class Unpark:
    """Give a slot to a parked task whose wait has ended; `waiter` is its place in the line for slots."""

    task: int
    waiter: int


Decision = Start | Unpark


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that wants a slot since a point in time; `waiter` is None where it has not started.

    `path_s` is how many seconds remain on the longest line of tasks that begins with it; `provider` is whom its agent
    calls, None where that has no bounds; `role` is "" where it has none.
    """

    task: int
    level: int
    since: float
    waiter: int | None = None
    path_s: float = 0.0
    provider: str | None = None
    role: str = ""


Rank = tuple[int, bool, float, float, int]


def rank(one: Candidate) -> Rank:
    """The place of a candidate: the least goes first, and no two tasks have the same."""
    return -one.level, one.waiter is None, -one.path_s, one.since, one.task


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is so at one moment: how many slots there are, how many are taken, who wants one, and what stands against.

    `candidates` are the first `wanted` of those whose wait has ended, and of the ready ones of each provider, in any
    order, both for each of the `roles` that have a bound and for all others; more do no harm.  `pressure` is None where
    nobody looks at the machine.  `budget` and `paused` say in words what is spent and who stopped the swarm; None:
    nothing, nobody.  `unseen` is how many agents were started after the pressure was read, so that it does not show
    them.
    """

    slots: int
    taken: int
    candidates: Sequence[Candidate] = ()
    now: float = 0.0
    pressure: Pressure | None = None
    limits: Limits = field(default_factory=Limits)
    unseen: int = 0
    providers: Mapping[str, Provider] = field(default_factory=dict)
    roles: Mapping[str, Crew] = field(default_factory=dict)
    budget: str | None = None
    paused: str | None = None

    def room(self) -> Room:
        """How many more may run."""
        return admit(
            slots=self.slots,
            taken=self.taken,
            pressure=self.pressure,
            limits=self.limits,
            unseen=self.unseen,
            budget=self.budget,
            paused=self.paused,
        )


@dataclass(frozen=True, slots=True)
class Decisions:
    """Who goes, in order; why each of the others that were handed in stays; and why those behind them do.

    Iterating gives those who go.  `rest` has the reason `empty` where there is room for more than wanted it.
    """

    go: tuple[Decision, ...]
    stay: Mapping[int, Refusal]
    rest: Refusal

    def __iter__(self) -> Iterator[Decision]:
        return iter(self.go)

    def __len__(self) -> int:
        return len(self.go)


def wanted(snapshot: Snapshot) -> int:
    """How many candidates of one line a round could use at most; whoever `snapshot` holds does not count."""
    return snapshot.room().free


def decide(snapshot: Snapshot) -> Decisions:
    """Fill the free slots, as far as machine, providers, roles and budget bear it.

    >>> decide(Snapshot(slots=2, taken=1, candidates=[Candidate(1, 0, since=5), Candidate(2, 3, since=9)])).go
    (Start(task=2),)
    """
    room = snapshot.room()
    free, starts = room.free, room.starts
    calls = {name: provider.free(snapshot.now, snapshot.taken) for name, provider in snapshot.providers.items()}
    crews = {name: crew.free() for name, crew in snapshot.roles.items()}
    go: list[Decision] = []
    stay: dict[int, Refusal] = {}
    for one in sorted(snapshot.candidates, key=rank):
        left = None if one.provider is None else calls.get(one.provider)
        if free == 0:
            stay[one.task] = room.full
        elif starts <= 0 and one.waiter is None:
            stay[one.task] = room.tight
        elif one.provider is not None and left == 0:
            stay[one.task] = snapshot.providers[one.provider].refusal(one.provider, snapshot.now)
        elif crews.get(one.role) == 0:
            crew = snapshot.roles[one.role]
            stay[one.task] = replace(crew, running=max(crew.running, crew.most)).refusal(one.role)
        else:
            go.append(Start(one.task) if one.waiter is None else Unpark(one.task, one.waiter))
            free, starts = free - 1, starts - 1
            if one.provider is not None and left is not None:
                calls[one.provider] = left - 1
            if one.role in crews:
                crews[one.role] -= 1
    rest = room.full if free == 0 else room.tight if starts <= 0 else EMPTY
    return Decisions(tuple(go), stay, rest)
