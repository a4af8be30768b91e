"""Prong's side of each operation that has a floor, and whether the floor still writes the same rows."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from family.floor import OPERATIONS, Floor
from family.ours import joined, swarm_directory

_NOT_OBSERVED = ("agent",)
"""Heartbeats come by the clock, whatever the operation."""


def prepared(swarm: Any, operation: str, name: str) -> Callable[[], Any]:
    """Prong's side of an operation, on an object of that name."""
    return _PREPARED[operation](swarm, name)


def _pair(first: Callable[[], Any], second: Callable[[], Any]) -> Callable[[], None]:
    def both() -> None:
        first()
        second()

    return both


def _counted(once: Callable[[int], Any]) -> Callable[[], None]:
    number = 0

    def next_one() -> None:
        nonlocal number
        number += 1
        once(number)

    return next_one


def _lock(swarm: Any, name: str) -> Callable[[], Any]:
    lock = swarm.Lock(name)
    return _pair(lock.acquire, lock.release)


def _semaphore(swarm: Any, name: str) -> Callable[[], Any]:
    semaphore = swarm.Semaphore(name)
    return _pair(semaphore.acquire, semaphore.release)


def _event(swarm: Any, name: str) -> Callable[[], Any]:
    event = swarm.Event(name)
    return _pair(event.set, event.clear)


def _barrier(swarm: Any, name: str) -> Callable[[], Any]:
    wait: Callable[[], Any] = swarm.Barrier(name, 1).wait
    return wait


def _atomic(swarm: Any, name: str) -> Callable[[], Any]:
    atomic = swarm.Atomic(name)
    return lambda: atomic.add(1)


def _put(swarm: Any, name: str) -> Callable[[], Any]:
    entries = swarm.SharedMap(name)
    return _counted(lambda number: entries.put("k", number))


def _put_delete(swarm: Any, name: str) -> Callable[[], Any]:
    entries = swarm.SharedMap(name)
    return _pair(_put(swarm, name), lambda: entries.delete("k"))


def _append_pop(swarm: Any, name: str) -> Callable[[], Any]:
    items = swarm.SharedList(name)
    return _pair(lambda: items.append(1), items.pop)


def _put_get_done(swarm: Any, name: str) -> Callable[[], Any]:
    messages = swarm.MessageQueue(name)
    return _pair(lambda: messages.put(1), _pair(messages.get, messages.task_done))


def _put_get(swarm: Any, name: str) -> Callable[[], Any]:
    messages = swarm.MessageQueue(name, acknowledge="at_get")
    return _pair(lambda: messages.put(1), messages.get)


def _set_future(swarm: Any, name: str) -> Callable[[], Any]:
    return _counted(lambda number: swarm.Future(f"{name} {number}").set_result(number))


_PREPARED: dict[str, Callable[[Any, str], Callable[[], Any]]] = {
    "lock acquire, release": _lock,
    "semaphore acquire, release": _semaphore,
    "event set, clear": _event,
    "barrier wait": _barrier,
    "atomic add": _atomic,
    "map put": _put,
    "map put, delete": _put_delete,
    "list append, pop": _append_pop,
    "queue put, get, task_done": _put_get_done,
    "queue put, get at once": _put_get,
    "future set": _set_future,
}


def differing_rows(operation: str) -> str:
    """What the floor writes otherwise than Prong does, so that their rates cannot be compared; empty where nothing."""
    try:
        with swarm_directory() as directory, joined(directory) as swarm:
            once = prepared(swarm, operation, "own 0")
            ours = written(directory, once)
    except (AttributeError, TypeError) as error:
        return f"not built yet: {error}"
    try:
        with swarm_directory() as directory, Floor(directory, 0) as floor:
            theirs = written(directory, lambda: OPERATIONS[operation](floor))
    except (NotImplementedError, sqlite3.OperationalError) as error:
        return f"no floor yet: {error}"
    return "" if ours == theirs else f"Prong writes {ours}, the floor {theirs}"


def written(directory: Path, once: Callable[[], Any]) -> dict[str, int]:
    """How many rows of each table an operation inserts, changes and deletes, once it has been done before.

    A row that is deleted and inserted again counts as changed, since `insert or replace` is one way to change it.
    """
    for _ in range(3):
        once()
    # Triggers see every write, also one that is taken back before anybody else could look.
    observer = sqlite3.connect(directory / "state.db", isolation_level=None)
    try:
        tables = observer.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
        names = [name for (name,) in tables if name not in _NOT_OBSERVED]
        observer.execute("create table observed (kind text not null, of text not null)")
        for name in names:
            for kind in ("insert", "update", "delete"):
                observer.execute(
                    f"create trigger observed_{name}_{kind} after {kind} on {name}"
                    f" begin insert into observed values ('{kind}', '{name}'); end"
                )
        once()
        seen = Counter(observer.execute("select kind, of from observed").fetchall())
    finally:
        observer.close()
    for name in names:
        replaced = min(seen["insert", name], seen["delete", name])
        seen["update", name] += replaced
        seen["insert", name] -= replaced
        seen["delete", name] -= replaced
    return {f"{kind} {name}": count for (kind, name), count in sorted(seen.items()) if count}
