"""Each contestant's queue, with the same three operations."""

from __future__ import annotations

import importlib.util
import queue
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from family import redis_server
from family.bare_loops import BareQueue
from family.contest import BARE, OURS
from family.ours import joined, swarm_directory

OURS_AT_GET = f"{OURS}, at_get"
BARE_AT_GET = f"{BARE}, at_get"

PEERS = {"huey": "huey", "persist-queue": "persistqueue", "litequeue": "litequeue"}
"""The embedded queues, and the module that each is imported by."""

_POLL_S = 0.001
"""How long those that cannot wait sleep before they look again, in seconds."""


@dataclass(frozen=True, slots=True)
class End:
    """One process's hold of a queue: `get` waits for so many seconds and returns None where nothing came."""

    put: Callable[[str], Any]
    get: Callable[[float], str | None]
    done: Callable[[], Any]


Side = Callable[[], AbstractContextManager[End]]


def sides(stack: ExitStack) -> dict[str, Side]:
    """Those that are installed."""
    directory, bare = (stack.enter_context(swarm_directory()) for _ in range(2))
    found: dict[str, Side] = {
        OURS: lambda: of_prong(directory, "at_task_done"),
        OURS_AT_GET: lambda: of_prong(directory, "at_get"),
        BARE: lambda: of_bare(bare, "at_task_done"),
        BARE_AT_GET: lambda: of_bare(bare, "at_get"),
    }
    socket = stack.enter_context(redis_server.server())
    if socket is not None:
        found["redis-py"] = lambda: _of_redis(socket)
    for name, side in (
        ("huey", _of_huey),
        ("huey, fsync=False", lambda folder: _of_huey(folder, fsync=False)),
        ("persist-queue", _of_persist_queue),
        ("litequeue", _of_litequeue),
    ):
        if importlib.util.find_spec(PEERS[name.partition(",")[0]]) is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prong-peer-")))
            with side(folder) as end:
                end.put("the file is made before several open it at once")
                assert end.get(1.0) is not None
                end.done()
            found[name] = lambda side=side, folder=folder: side(folder)
    return found


@contextmanager
def of_prong(directory: Path, acknowledge: str) -> Iterator[End]:
    """An end of a queue of Prong's."""
    with joined(directory) as swarm:
        messages = swarm.MessageQueue(acknowledge, acknowledge=acknowledge)

        def get(timeout_s: float) -> str | None:
            try:
                text: str = messages.get(timeout=timeout_s)
            except queue.Empty:
                return None
            return text

        yield End(messages.put, get, messages.task_done if acknowledge == "at_task_done" else _nothing)


@contextmanager
def of_bare(directory: Path, acknowledge: str) -> Iterator[End]:
    """An end of the bare loop's queue."""
    with BareQueue(directory, acknowledge, for_good=acknowledge == "at_get") as messages:
        yield End(messages.put, messages.get, messages.done)


@contextmanager
def _of_redis(socket: str) -> Iterator[End]:
    with redis_server.client(socket) as client:

        def get(timeout_s: float) -> str | None:
            found = client.blpop("messages", timeout=timeout_s)
            return None if found is None else found[1].decode()

        yield End(lambda text: client.rpush("messages", text), get, _nothing)


@contextmanager
def _of_huey(folder: Path, *, fsync: bool | None = None) -> Iterator[End]:
    from huey.storage import SqliteStorage  # noqa: PLC0415  the peer may be missing

    # Its storage alone, without tasks and results around it.  As it comes it waits for the disk with each change.
    storage = SqliteStorage("messages", filename=str(folder / "huey.db"), fsync=fsync, timeout=30)

    def look() -> str | None:
        found = storage.dequeue()
        return None if found is None else bytes(found).decode()

    yield End(lambda text: storage.enqueue(text.encode()), _polling(look), _nothing)
    storage.close()


@contextmanager
def _of_persist_queue(folder: Path) -> Iterator[End]:
    from persistqueue import Empty, SQLiteQueue  # noqa: PLC0415  the peer may be missing

    messages = SQLiteQueue(str(folder), auto_commit=True, multithreading=True, timeout=30)

    def look() -> str | None:
        try:
            text: str = messages.get(block=False)
        except Empty:
            return None
        return text

    yield End(messages.put, _polling(look), _nothing)
    messages.close()


@contextmanager
def _of_litequeue(folder: Path) -> Iterator[End]:
    from litequeue import LiteQueue  # noqa: PLC0415  the peer may be missing

    messages = LiteQueue(folder / "litequeue.db", timeout=30)
    taken: list[str] = []

    def look() -> str | None:
        message = messages.pop()
        if message is None:
            return None
        taken.append(message.message_id)
        return message.data

    yield End(messages.put, _polling(look), lambda: messages.done(taken.pop()))
    messages.close()


def _polling(look: Callable[[], str | None]) -> Callable[[float], str | None]:
    def get(timeout_s: float) -> str | None:
        until = time.monotonic() + timeout_s
        while (found := look()) is None and time.monotonic() < until:
            time.sleep(_POLL_S)
        return found

    return get


def _nothing() -> None:
    """Nothing to say afterwards: whoever got it has it."""
