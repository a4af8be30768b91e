"""The feed: one tailer of a swarm's log for all who look, each batch made into bytes once.

    log --data_version changed--> rows behind the last --> one message --> the queue of every client
                                                                  full --> resync: the client reads a snapshot anew

A client that is slow costs a bounded queue and never the others.  Reading is a connection of its own that can write
nothing, and waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from prong.state.secrets import masked

POLL_S = 0.08
"""How often it is looked whether somebody has written, in seconds: an event stands on the page after half of it."""

BATCH_EVENTS = 2_000
"""The most events of one message."""

QUEUED_MESSAGES = 64
"""How many messages may wait for a client before it is told to begin anew."""

PING_S = 15.0
"""How often a client is sent a sign of life where nothing happens, in seconds."""

DATA_CHARACTERS = 4_000
"""From how many characters on what an event tells is shortened in the feed; the whole is read by its number."""

FIELD_CHARACTERS = 500
"""How much of one of its fields is left then: of a text its beginning, of anything else all or nothing."""

NUMBERS = 20_000
"""So many numbers in one field are left then, since they are tasks: whom one needs cannot be half told."""

COLUMNS = ("seq", "at", "agent", "task", "kind", "object", "data")
"""What stands in an event's row, in order."""

RESYNC = b"event: resync\ndata: {}\n\n"

_NEXT = f"""
select seq, at, agent, task, kind, object, data from event where seq > ? order by seq limit {BATCH_EVENTS}
"""  # noqa: S608  constants

Event = tuple[int, float, int | None, int | None, str, str | None, str]


def connect(path: Path, *, moves: bool = False) -> sqlite3.Connection:
    """A connection that can only read; it belongs to the thread that makes it, or where it `moves` to one at a time."""
    name = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=not moves)


def row_as_json(event: Event) -> str:
    """One event as an array; its data is JSON already, and shortened where it is long."""
    *plain, data = event
    return f"{json.dumps(plain, separators=(',', ':'))[:-1]},{shortened(data)}]"


def shortened(data: str) -> str:
    """What an event tells, with its long fields shortened where it is long; `_cut` is how long it is then.

    Whoever follows needs the small fields and the numbers: a task's title, and the tasks that it needs.

    >>> shortened('{"title": "Join", "needs": [1, 2], "prompt": "' + "x" * 5_000 + '"}')[:48]
    '{"title": "Join", "needs": [1, 2], "prompt": "xx'
    """
    if len(data) <= DATA_CHARACTERS:
        return data
    told, left = json.loads(data), DATA_CHARACTERS
    kept: dict[str, Any] = {}
    for name, value in told.items() if isinstance(told, dict) else ():
        short = f"{value[:FIELD_CHARACTERS]}…" if isinstance(value, str) and len(value) > FIELD_CHARACTERS else value
        size = 0 if _is_numbers(short) else len(name) + len(json.dumps(short))
        if size <= min(left, 2 * FIELD_CHARACTERS):
            kept[name], left = short, left - size
    return json.dumps({**kept, "_cut": len(data)})


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= NUMBERS and all(isinstance(one, int) for one in value)


class Feed:
    """The tailer of one swarm, for the event loop that runs it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clients: set[asyncio.Queue[bytes]] = set()
        self._running: asyncio.Task[None] | None = None
        self.seq = 0
        self.sent = 0

    def close(self) -> None:
        """Stop; who still listens hears nothing any more."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    @property
    def clients(self) -> int:
        """How many listen."""
        return len(self._clients)

    async def listen(self, after: int) -> AsyncIterator[bytes]:
        """Messages as server-sent events, first what happened behind `after`; never ends by itself."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUED_MESSAGES)
        if self._running is None or self._running.done():
            self.seq = max(self.seq, after)
            self._running = asyncio.create_task(self._tail())
        self._clients.add(queue)  # before the first read, so that nothing falls in between; doubles are told by number
        try:
            yield b"retry: 1000\n\n"
            async for message in self._missed(after):
                yield message
            while True:
                try:
                    yield await asyncio.wait_for(queue.get(), PING_S)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._clients.discard(queue)
            if not self._clients:
                self.close()

    async def _missed(self, after: int) -> AsyncIterator[bytes]:
        with contextlib.closing(connect(self._path)) as connection:
            while rows := connection.execute(_NEXT, (after,)).fetchall():
                after = rows[-1][0]
                yield _message(rows)
                if len(rows) < BATCH_EVENTS:
                    return
                await asyncio.sleep(0)

    async def _tail(self) -> None:
        # The writers are other processes and tell nobody, so this looks; nothing here could set an event.
        with contextlib.closing(connect(self._path)) as connection:
            seen = None
            last = connection.execute("select coalesce(max(seq), 0) from event").fetchone()[0]
            self.seq = min(self.seq, last)  # who asked may have said any number
            while True:
                version = connection.execute("pragma data_version").fetchone()[0]
                if version != seen:
                    seen = version
                    while self._pass_on(connection.execute(_NEXT, (self.seq,)).fetchall()):  # noqa: ASYNC110  see above
                        await asyncio.sleep(0)
                await asyncio.sleep(POLL_S)

    def _pass_on(self, rows: list[Event]) -> bool:
        """Give the rows to everybody; whether there may be more."""
        if not rows:
            return False
        self.seq = rows[-1][0]
        self.sent += len(rows)
        message = _message(rows)
        for queue in self._clients:
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(RESYNC)
        return len(rows) == BATCH_EVENTS


def _message(rows: list[Event]) -> bytes:
    body = masked(",".join(map(row_as_json, rows)))
    return f"id: {rows[-1][0]}\nevent: events\ndata: [{body}]\n\n".encode()
