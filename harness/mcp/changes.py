"""What has changed, for the clients that asked to be told: one tailer of the log for all who listen at one place.

    log --data_version changed--> rows behind the last --> addresses --> every listener
    nobody listens: nothing is read

The writers are other processes, which tell nobody; so this looks, as the inspector's feed does, and tells what it found
once for each look, however often it was written meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from prong.harness.inspector.feed import BATCH_EVENTS, POLL_S, connect
from prong.harness.mcp.resources import address

AGAIN_S = 1.0
"""How long it is waited before a database that could not be read is tried again, in seconds."""

_NEXT = """
select seq, kind, object, coalesce(task, case when kind like 'task.%' then cast(object as integer) end),
       case when kind in ('map.put', 'map.deleted') then json_extract(data, '$.key') end
  from event where seq > ? and seq <= ? order by seq limit ?
"""


@dataclass(frozen=True, slots=True)
class News:
    """What one look has found: the addresses whose content is another, and whether there are more or fewer of them."""

    uris: tuple[str, ...]
    listed: bool


Listener = Callable[[News], None]
"""Hears of news, in the event loop; it must not raise."""


@dataclass
class _Seen:
    """Up to where the log was read, and what was there by then."""

    seq: int
    maps: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)


class Changes:
    """The tailer of the database at `path`, for the event loop that runs it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listeners: dict[object, Listener] = {}
        self._tailing: asyncio.Task[None] | None = None

    @property
    def is_tailing(self) -> bool:
        """Whether the log is being read."""
        return self._tailing is not None and not self._tailing.done()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell it all that happens from now on; what is returned ends that, and may be called again."""
        mark = object()
        self._listeners[mark] = listener
        if not self.is_tailing:
            seen = self._seen_now()  # at once, so that what the listener does next is news
            self._tailing = asyncio.get_running_loop().create_task(self._tail(seen))

        def unsubscribe() -> None:
            self._listeners.pop(mark, None)
            if not self._listeners:
                self.close()

        return unsubscribe

    def close(self) -> None:
        """Read no more."""
        if self._tailing is not None:
            self._tailing.cancel()
            self._tailing = None

    def _seen_now(self) -> _Seen:
        with contextlib.closing(connect(self._path)) as connection:
            connection.execute("begin")
            last = connection.execute("select coalesce(max(seq), 0) from event").fetchone()[0]
            maps, queues = (
                {name for (name,) in connection.execute(f"select name from {table}")}  # noqa: S608  one of two words
                for table in ("map", "queue")
            )
            return _Seen(last, maps, queues)

    async def _tail(self, seen: _Seen) -> None:
        while True:
            try:
                with contextlib.closing(connect(self._path)) as connection:
                    await self._follow(connection, seen)
            except sqlite3.Error as error:  # as where a file is copied over it; the log is read on from where it was
                structlog.get_logger().warning("mcp.changes.unread", error=str(error))
                await asyncio.sleep(AGAIN_S)

    async def _follow(self, connection: sqlite3.Connection, seen: _Seen) -> None:
        version = None
        while True:
            now = connection.execute("pragma data_version").fetchone()[0]
            if now != version:
                version = now
                for news in _news(connection, seen):
                    for listener in list(self._listeners.values()):
                        listener(news)
                    await asyncio.sleep(0)
            await asyncio.sleep(POLL_S)


def _news(connection: sqlite3.Connection, seen: _Seen) -> Iterator[News]:
    last = connection.execute("select coalesce(max(seq), 0) from event").fetchone()[0]
    while seen.seq < last:
        rows = connection.execute(_NEXT, (seen.seq, last, BATCH_EVENTS)).fetchall()
        uris: dict[str, None] = {}
        lists = False
        for event in rows:
            seen.seq = event[0]
            found, new = _addresses(seen, event)
            uris |= dict.fromkeys(found)
            lists |= new
        if uris:
            yield News(tuple(uris), lists)


def _addresses(seen: _Seen, event: tuple[Any, ...]) -> tuple[list[str], bool]:
    """What an event has changed, and whether something is there that was not."""
    _, kind, name, task, key = event
    what, _, happened = kind.partition(".")
    if what == "task":
        own = [address("tasks", task)] if task else []
        return [*own, address("tasks")], happened == "created"
    if name is None or what not in ("map", "queue"):
        return [], False
    known = seen.maps if what == "map" else seen.queues
    new = name not in known
    known.add(name)
    keyed = [address("maps", name, key)] if key is not None else []
    return [address(f"{what}s", name), *keyed, address(f"{what}s")], new
