"""What a swarm's agents share now, read for a person: every primitive by kind and name.

Nothing here changes anything: it reads, beside writers, what each primitive's own `statistics()` tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from prong.primitives import (
    Atomic,
    Barrier,
    Event,
    Future,
    Lock,
    MessageQueue,
    Semaphore,
    SharedList,
    SharedMap,
)
from prong.state import Invalid, Member, Membership, Store

SHOWN = 50
"""How many entries, messages, waiters or events of one primitive are shown; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits for it, since and until when (seconds since 1970; None: for ever)."""

    who: str
    kind: str
    since_at: float
    until_at: float | None


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of the log that is about it."""

    seq: int
    at: float
    who: str | None
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Primitive:
    """One primitive: its kind and name, its statistics, what it holds, who waits for it, what happened last."""

    kind: str
    name: str
    statistics: dict[str, Any]
    contents: list[Any] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    last: list[Happening] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where the primitives of a kind stand, how one is read, and under which names waiters and the log know it."""

    names: str
    make: Callable[[Membership, str], Any]
    waits: tuple[str, ...]
    contents: Callable[[Any], Iterable[Any]] = lambda _: ()


def _entries(shared: SharedMap) -> Iterator[Any]:
    return ({"key": entry.key, "version": entry.version, "value": entry.value} for entry in shared.entries())


def _messages(queue: MessageQueue) -> Iterator[Any]:
    for message in queue.peek(count=SHOWN):
        yield asdict(message)
    for letter in queue.dead_letters(count=SHOWN):
        yield {"dead letter": asdict(letter)}


_KINDS = {
    "lock": _Kind("select name from lock", Lock, ("lock", "condition")),
    "semaphore": _Kind("select name from semaphore", Semaphore, ("semaphore",)),
    "barrier": _Kind("select name from barrier", lambda member, name: Barrier(member, name, 1), ("barrier",)),
    "event": _Kind("select name from flag", Event, ("event",)),
    "atomic": _Kind("select name from atomic", Atomic, (), lambda number: [number.get()]),
    "map": _Kind("select name from map", SharedMap, ("map",), _entries),
    "list": _Kind("select name from list", SharedList, ("list",), iter),
    "queue": _Kind("select name from queue", MessageQueue, ("queue", "room", "joined"), _messages),
    "future": _Kind("select name from future", Future, ("future",)),
}


def everything(store: Store, *kinds: str) -> list[Primitive]:
    """All primitives of these kinds, or of every kind, with their statistics, by kind and name."""
    found: list[Primitive] = []
    with store.snapshot():
        for kind in kinds or _KINDS:
            found += [
                Primitive(kind, row["name"], _statistics(store, kind, row["name"]))
                for row in store.rows(f"{_KINDS[kind].names} order by name")
            ]
    return found


def named(store: Store, name: str) -> list[Primitive]:
    """Each primitive of this name (`name`, or `kind:name` for one kind) with all that is known of it."""
    kind, _, rest = name.partition(":")
    wanted = {kind: rest} if rest and kind in _KINDS else dict.fromkeys(_KINDS, name)
    with store.snapshot():
        found = [
            _whole(store, kind, wanted[kind])
            for kind in wanted
            if store.rows(f"{_KINDS[kind].names} where name = :name", name=wanted[kind])
        ]
    found += _only_awaited(store, wanted, {one.kind for one in found})
    if not found:
        names = sorted({one.name for one in everything(store)})
        known = ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
        if not names:
            later = "a name that prong locks, maps or queues tells, once there is one"
            raise Invalid(f"nothing is named {name!r} here, where nothing is shared yet", later)
        raise Invalid(f"nothing is named {name!r} here", f"one of: {known}")
    return found


def _only_awaited(store: Store, wanted: dict[str, str], known: Collection[str]) -> list[Primitive]:
    """What somebody waits for, although nobody has written it yet: that is when one asks why a program hangs."""
    return [
        Primitive(kind, name, {}, waiting=waiting)
        for kind, name in wanted.items()
        if kind not in known and (waiting := _waiting(store, kind, name))
    ]


def _statistics(store: Store, kind: str, name: str) -> dict[str, Any]:
    nobody = Membership(store, Member(0, 0))  # reading asks for no member
    told: dict[str, Any] = asdict(_KINDS[kind].make(nobody, name).statistics())
    del told["name"]
    return told


def _whole(store: Store, kind: str, name: str) -> Primitive:
    nobody = Membership(store, Member(0, 0))
    contents = []
    for number, one in enumerate(_KINDS[kind].contents(_KINDS[kind].make(nobody, name))):
        if number == SHOWN:
            break
        contents.append(one)
    return Primitive(
        kind, name, _statistics(store, kind, name), contents, _waiting(store, kind, name), _last(store, kind, name)
    )


def _waiting(store: Store, kind: str, name: str) -> list[Waiting]:
    rows = store.rows(
        "select coalesce('task ' || waiter.task, agent.name) as who, kind, since_at, until_at"
        " from waiter join agent on agent.id = waiter.agent where waiter.state = 'waiting' and object = :name"
        " and kind in (select value from json_each(:kinds)) order by waiter.id limit :shown",
        name=name,
        kinds=json.dumps(_KINDS[kind].waits),
        shown=SHOWN,
    )
    return [Waiting(*row) for row in rows]


def _last(store: Store, kind: str, name: str) -> list[Happening]:
    rows = store.rows(
        "select seq, at, coalesce('task ' || event.task, agent.name) as who, kind, data from event"
        " left join agent on agent.id = event.agent where object = :name and kind like :kind || '.%'"
        " order by seq desc limit :shown",
        name=name,
        kind=kind,
        shown=SHOWN // 5,
    )
    return [Happening(row["seq"], row["at"], row["who"], row["kind"], json.loads(row["data"])) for row in rows]
