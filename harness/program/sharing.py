"""What agents share, as a program sees it: each object is only a name, and each method one call."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prong.harness.program.door import call

_own: defaultdict[str, Any] = defaultdict(threading.RLock)
"""Locks among the threads of this program, which for the other agents are one holder."""


class SharedMap:
    """Keys and JSON values that all agents see; every key has a version."""

    def __init__(self, name: str) -> None:
        self.name = name

    def entry(self, key: str) -> dict[str, Any]:
        """`{key, value, version, present}`."""
        found: dict[str, Any] = self._call("get", key=key)
        return found

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default where there is none."""
        found = self.entry(key)
        return found["value"] if found["present"] else default

    def put(self, key: str, value: Any, *, if_version: int | None = None, once: str | None = None) -> int:
        """Write a value, only over this version where one is named; returns the new version.

        `once` names the write, so that it is made once however often the program is run.
        """
        written: int = self._call("put", once=once, key=key, value=value, if_version=if_version)["version"]
        return written

    def add(self, key: str, number: float, *, once: str | None = None) -> float:
        """Add to a number, and return what it is then."""
        total: float = self._call("add", once=once, key=key, value=number)["value"]
        return total

    def delete(self, key: str, *, if_version: int | None = None, once: str | None = None) -> bool:
        """Remove a key; whether it was there."""
        gone: bool = self._call("delete", once=once, key=key, if_version=if_version)["deleted"]
        return gone

    def keys(self, prefix: str | None = None) -> list[str]:
        """The keys, as many as one answer holds."""
        found: list[str] = self._call("keys", prefix=prefix)["keys"]
        return found

    def items(self, prefix: str | None = None) -> dict[str, Any]:
        """Keys and values, as many as one answer holds."""
        found: dict[str, Any] = self._call("items", prefix=prefix)["items"]
        return found

    def watch(
        self, *, since: int | None = None, prefix: str | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Wait for a change: `{entries, version}`; the version is the next `since`."""
        found: dict[str, Any] = self._call("watch", since=since, prefix=prefix, timeout=timeout)
        return found

    def __getitem__(self, key: str) -> Any:
        found = self.entry(key)
        if not found["present"]:
            raise KeyError(key)
        return found["value"]

    def __setitem__(self, key: str, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        return bool(self.entry(key)["present"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        count: int = self._call("keys")["count"]
        return count

    def _call(self, op: str, **given: Any) -> Any:
        return call("shared_map", op=op, map=self.name, **given)


class SharedList:
    """A list of JSON values that all agents see."""

    def __init__(self, name: str) -> None:
        self.name = name

    def append(self, value: Any, *, once: str | None = None) -> int:
        """Add at the end; returns the index."""
        index: int = call("shared_list", once=once, op="append", list=self.name, value=value)["index"]
        return index

    def read(self, index: int = 0, *, count: int | None = None, timeout: float | None = None) -> list[Any]:
        """Items from an index on; with a timeout waits for one."""
        found = call("shared_list", op="read", list=self.name, index=index, count=count, timeout=timeout)
        items: list[Any] = found["items"]
        return items

    def __len__(self) -> int:
        length: int = call("shared_list", op="length", list=self.name)["length"]
        return length


class MessageQueue:
    """Messages, each read once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def put(self, message: Any, *, priority: int = 0, timeout: float | None = None, once: str | None = None) -> None:
        """Put a message in."""
        given = {"message": message, "priority": priority, "timeout": timeout}
        call("message_queue", once=once, op="put", queue=self.name, **given)

    def get(self, timeout: float | None = None) -> Any:
        """The next message; raises `queue.Empty` where none comes in time."""
        found = self.take(1, timeout)
        if not found:
            raise queue.Empty
        return found[0]

    def take(self, count: int, timeout: float | None = None) -> list[Any]:
        """Up to so many messages at once; waits for the first."""
        found = call("message_queue", op="get", queue=self.name, count=count, timeout=timeout)["messages"]
        return [one["message"] for one in found]

    def __len__(self) -> int:
        queued: int = call("message_queue", op="size", queue=self.name)["queued"]
        return queued


class Atomic:
    """One value that many change without losing a change."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get(self) -> Any:
        """The value now."""
        return call("atomic", op="get", name=self.name)["value"]

    def add(self, number: float, *, once: str | None = None) -> Any:
        """Add, and return what it is then."""
        return call("atomic", once=once, op="add", name=self.name, value=number)["new"]

    def set(self, value: Any, *, once: str | None = None) -> Any:
        """Write, and return what was there."""
        return call("atomic", once=once, op="set", name=self.name, value=value)["old"]

    def compare_and_set(self, expected: Any, value: Any, *, once: str | None = None) -> bool:
        """Write only where this is the value; whether it was."""
        given = {"name": self.name, "expected": expected, "value": value}
        changed: bool = call("atomic", once=once, op="compare_and_set", **given)["changed"]
        return changed


class Event:
    """A flag that agents wait for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def set(self) -> None:
        """It is so; whoever waits goes on."""
        call("event", op="set", name=self.name)

    def clear(self) -> None:
        """It is not so any more."""
        call("event", op="clear", name=self.name)

    def is_set(self) -> bool:
        """Whether it is so."""
        found: bool = call("event", op="status", name=self.name)["is_set"]
        return found

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is so; whether it is."""
        found: bool = call("event", op="wait", name=self.name, timeout=timeout)["is_set"]
        return found


class Future:
    """One value that will come, set once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def set(self, value: Any) -> None:
        """Set it."""
        call("future", op="set", name=self.name, value=value)

    def fail(self, reason: str) -> None:
        """Say why there will be no value."""
        call("future", op="fail", name=self.name, reason=reason)

    def get(self, timeout: float | None = None) -> Any:
        """Wait for it; raises `Refused` where it failed or does not come in time."""
        return call("future", op="get", name=self.name, timeout=timeout)["value"]


@contextmanager
def lock(name: str, *, timeout: float | None = None, shared: bool = False) -> Iterator[int]:
    """Hold a lock while a block runs, and give it its fence; the threads of a program exclude each other, too."""
    with _own[name]:
        grant = call("lock", op="acquire", name=name, timeout=timeout, shared=shared)
        try:
            yield grant["fence"]
        finally:
            call("lock", op="release", name=name)


@contextmanager
def semaphore(name: str, permits: int | None = None, *, timeout: float | None = None) -> Iterator[None]:
    """Hold one of so many permits."""
    call("semaphore", op="acquire", name=name, permits=permits, timeout=timeout)
    try:
        yield
    finally:
        call("semaphore", op="release", name=name)


def barrier(name: str, parties: int, *, timeout: float | None = None) -> dict[str, Any]:
    """Wait until so many have come: `{round, index, parties}`."""
    passage: dict[str, Any] = call("barrier", op="wait", name=name, parties=parties, timeout=timeout)
    return passage


shared_map = SharedMap
shared_list = SharedList
message_queue = MessageQueue
atomic = Atomic
event = Event
future = Future
