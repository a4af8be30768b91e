"""Who runs next: a pure function from a snapshot to decisions.

Waiting costs no slot, so only two kinds of tasks want one: those that are ready to start, and those whose wait has
ended.  The higher level goes first (priority, age, and whoever waits for it: see primitives/ranking.py); among equals
a task that has begun goes before one that has not, since it holds things others wait for; then the one with the longest
line of work behind it; then the older.

Whoever is to write the same files as somebody whose work is under way, both having said so, stays until that is merged,
and so does whoever stands behind it and is to write them too: so it waits for nobody who begins after it became first,
and never longer than a bound.  Where a conflict is only likely, others of the same level go first, and no slot stays
idle.  Who has begun is never kept back: what it waited for may be the very thing.

A round needs only the head of each line, however long it is: whoever is handed in and does not go is told why, and
whoever stands behind them is told the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from prong.harness.admission import EMPTY, Crew, Limits, Provider, Refusal, Room, admit
from prong.harness.pressure import Pressure
from prong.primitives.ranking import AGEING_S


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
class Clashes:
    """Who would conflict with whom: for each candidate those of the other candidates and of those `under_way`.

    `declared`: both have said that they will write the same files; `learnt`: they probably will.
    """

    under_way: frozenset[int] = frozenset()
    declared: Mapping[int, frozenset[int]] = field(default_factory=dict)
    learnt: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.declared or self.learnt)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is so at one moment: how many slots there are, how many are taken, who wants one, and what stands against.

    `candidates` are the first `wanted` of those whose wait has ended, and of the ready ones of each provider, in any
    order, both for each of the `roles` that have a bound and for all others; more do no harm.  `pressure` is None where
    nobody looks at the machine.  `budget` and `paused` say in words what is spent and who stopped the swarm; None:
    nothing, nobody.  `unseen` is how many agents were started after the pressure was read, so that it does not show
    them.  `clashes` are with whom the candidates would conflict: a declared one keeps a task back for at most `hold_s`
    since it was ready, a learnt one lets others of its level go first.
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
    clashes: Clashes = field(default_factory=Clashes)
    hold_s: float = AGEING_S

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
    """Fill the free slots, as far as machine, providers, roles, budget and what is under way bear it.

    >>> decide(Snapshot(slots=2, taken=1, candidates=[Candidate(1, 0, since=5), Candidate(2, 3, since=9)])).go
    (Start(task=2),)
    """
    filling = _Filling(snapshot)
    for _, level in groupby(sorted(snapshot.candidates, key=rank), key=lambda one: one.level):
        later = [one for one in level if not filling.take(one, unlikely=True)]
        for one in later:
            filling.take(one)
    return Decisions(tuple(filling.go), filling.stay, filling.rest())


class _Filling:
    """What is left while one candidate after the other is looked at."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._at = snapshot
        self._room = snapshot.room()
        self._free, self._starts = self._room.free, self._room.starts
        self._calls = {name: one.free(snapshot.now, snapshot.taken) for name, one in snapshot.providers.items()}
        self._crews = {name: crew.free() for name, crew in snapshot.roles.items()}
        self._busy = set(snapshot.clashes.under_way)
        self._kept: dict[int, Rank] = {}
        self.go: list[Decision] = []
        self.stay: dict[int, Refusal] = {}

    def take(self, one: Candidate, *, unlikely: bool = False) -> bool:
        """Let it go, or say why it stays; False where others go first because it probably conflicts (`unlikely`)."""
        refusal = self._refusal(one)
        likely = self._at.clashes.learnt.get(one.task, frozenset()) & self._busy
        if refusal is None and unlikely and one.waiter is None and likely:
            return False
        if refusal is not None:
            self.stay[one.task] = refusal
            return True
        self.go.append(Start(one.task) if one.waiter is None else Unpark(one.task, one.waiter))
        self._busy.add(one.task)
        self._free, self._starts = self._free - 1, self._starts - 1
        left = None if one.provider is None else self._calls.get(one.provider)
        if one.provider is not None and left is not None:
            self._calls[one.provider] = left - 1
        if one.role in self._crews:
            self._crews[one.role] -= 1
        return True

    def rest(self) -> Refusal:
        """What whoever was not handed in is told."""
        return self._room.full if self._free == 0 else self._room.tight if self._starts <= 0 else EMPTY

    def _refusal(self, one: Candidate) -> Refusal | None:
        at = self._at
        if self._free == 0:
            return self._room.full
        if self._starts <= 0 and one.waiter is None:
            return self._room.tight
        if one.provider is not None and self._calls.get(one.provider) == 0:
            return at.providers[one.provider].refusal(one.provider, at.now)
        if self._crews.get(one.role) == 0:
            crew = at.roles[one.role]
            return replace(crew, running=max(crew.running, crew.most)).refusal(one.role)
        return self._held_back(one)

    def _held_back(self, one: Candidate) -> Refusal | None:
        """Whom it would conflict with for sure; whoever stands behind it and would conflict with it waits as well."""
        until = one.since + self._at.hold_s
        if one.waiter is not None or self._at.now >= until:
            return None
        before = {task for task, place in self._kept.items() if place < rank(one)}
        met = self._at.clashes.declared.get(one.task, frozenset()) & (self._busy | before)
        if not met:
            return None
        self._kept[one.task] = rank(one)
        return Refusal("writes", f"it is to write files that task {min(met)} is to write", until)
