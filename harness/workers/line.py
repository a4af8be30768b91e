"""The MCP server of one worker: a socket in its temporary directory, on which our agent answers in its own name.

    claude --starts--> bridge ==socket== our agent --> the tools of the task: locks, maps, queues, tasks …

What a worker takes is its task's: it waits without a slot, its locks go back when its command ends, and the tasks that
it creates stand below its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.mcp.offered import OWN, Offer, offer_of, offers
from prong.harness.mcp.session import PATIENCE_S, Session
from prong.harness.tools import catalogue
from prong.harness.workers.files import remove
from prong.state import Membership
from prong.state.ticket import Ticket

if TYPE_CHECKING:
    from prong.primitives import Swarm

SOCKET = "mcp.sock"
"""The socket's name, in the task's temporary directory."""

CLOSES_S = 5.0
"""How long the server may take to end, in seconds; it is left behind then."""

_TASKS = ("create_task", "wait_tasks", "list_tasks", "cancel_task", "read_result")


class WorkerSession(Session):
    """What a worker calls, as calls of the agent whose task it works on."""

    def __init__(
        self, member: Membership, tools: Mapping[str, Tool], *, create_task: Callable[[ToolCall], Answer],
        name: str, standing: Callable[[Ticket], AbstractContextManager[None]], patience_s: float = PATIENCE_S,
    ) -> None:  # fmt: skip
        """`tools` are the agent's own, each of which asks for its permission; `create_task` knows of forks.

        `standing` is entered while a call waits.
        """
        self._standing = standing
        self._of_agent = tools
        self._create_task = create_task
        self._park = member.parking
        super().__init__(
            member.store.directory, name, patience_s=patience_s, member=cast("Swarm", _AsClient(member, name))
        )

    def close(self, reason: str = "its command ended") -> None:
        """Let nobody wait any more; what is held goes back at the end of the turn, as for every agent."""
        with self._lock:
            waiting = [call for call in self._calls.values() if not call.outcome.done()]
        for call in waiting:
            self.give_up(call)
        super().close(reason)

    @contextlib.contextmanager
    def _waiting(self, place: Ticket) -> Iterator[None]:
        with self._park(place), self._standing(place), super()._waiting(place):
            yield

    def _refusal(self, call: ToolCall) -> str | None:  # noqa: ARG002  each of its tools asks for its own permission
        return None

    def _make_tools(self) -> Mapping[str, Callable[[ToolCall], str | Answer]]:
        own = self._of_agent
        return {offer.name: self._permitted(own[offer.name]) for offer in worker_offers() if offer.name in own}

    def _permitted(self, tool: Tool) -> Callable[[ToolCall], str | Answer]:
        run = self._create_task if tool.name == "create_task" else tool.run

        def permitted(call: ToolCall) -> str | Answer:
            refused = tool.permit(call)
            if refused is not None:
                raise ToolError(refused)
            # There are no turns that we see: what it takes it has until it gives it back, or its command ends.
            given = {name: value for name, value in call.input.items() if name != "keep"}
            return run(call if tool.name == "create_task" else replace(call, input=given))

        return permitted


class _AsClient(Membership):
    """An agent as a session sees its member.  Its life is the agent's, so it cannot leave."""

    def __init__(self, member: Membership, name: str) -> None:
        super().__init__(member.store, member.me, member.parking)
        self.name = name
        self.left = False

    def leave(self, _reason: str = "") -> None:
        self.left = True


def worker_offers() -> list[Offer]:
    """What a worker is offered: our agents' tools for tasks, what all clients have of the primitives, and tickets."""
    own = {offer.name for offer in OWN}
    resume = [offer for offer in OWN if offer.name == "resume_wait"]
    tasks = [offer_of(catalogue.record(name)) for name in _TASKS]
    rest = [offer for offer in offers() if offer.name not in own and offer.name not in _TASKS]
    return [*tasks, *rest, *resume]


@contextlib.contextmanager
def serving(session: WorkerSession, folder: Path, hide: Callable[[str], str] = str) -> Iterator[Path]:
    """Answer on a socket in a folder until the block ends; its path.  `hide` takes keys out of what is called with."""
    path = folder / SOCKET
    remove(path)
    # The name of a socket may have about a hundred bytes, and the folder may be anywhere.
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        path.chmod(0o600)
        listener.listen(8)
        loop = asyncio.new_event_loop()
        over = asyncio.Event()
        thread = threading.Thread(target=_serve, args=(loop, over, listener, session, hide), name="mcp", daemon=True)
        thread.start()
        try:
            yield path
        finally:
            session.close()
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                loop.call_soon_threadsafe(over.set)
            thread.join(CLOSES_S)
    finally:
        listener.close()
        os.close(directory)
        remove(path)


def _serve(
    loop: asyncio.AbstractEventLoop, over: asyncio.Event, listener: socket.socket, session: WorkerSession,
    hide: Callable[[str], str],
) -> None:  # fmt: skip
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_until(over, listener, session, hide))
    finally:
        loop.close()


async def _until(
    over: asyncio.Event, listener: socket.socket, session: WorkerSession, hide: Callable[[str], str]
) -> None:
    clients: set[asyncio.Task[None]] = set()

    def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_talk(session, _Lines(reader, writer, hide)))
        clients.add(task)
        task.add_done_callback(clients.discard)

    async with await asyncio.start_unix_server(met, sock=listener, limit=2**24):
        await over.wait()
    for client in list(clients):
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


async def _talk(session: WorkerSession, lines: Any) -> None:
    """One client, which is the worker or a part of it, until it hangs up."""
    from mcp.server.stdio import stdio_server  # noqa: PLC0415  the protocol's library is heavy, and most have no worker

    from prong.harness.mcp.lines import Messages  # noqa: PLC0415  as above
    from prong.harness.mcp.server import Tools  # noqa: PLC0415  as above

    async def session_of(_context: Any) -> Session:
        return session

    server = Tools(session_of, offered=worker_offers).server()
    try:
        client: Any = Messages(lines, lines.write)
        async with stdio_server(client, client) as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
    finally:
        lines.close()


class _Lines:
    """A connection as the library reads and writes standard input and output."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hide: Callable[[str], str]
    ) -> None:  # fmt: skip
        self._reader = reader
        self._writer = writer
        self._hide = hide

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    def __aiter__(self) -> _Lines:
        return self

    async def __anext__(self) -> str:
        try:
            line = await self._reader.readline()
        except (ValueError, OSError):  # a line without an end, or nobody there
            line = b""
        if not line:
            raise StopAsyncIteration
        return self._hide(line.decode(errors="replace"))

    async def write(self, text: str) -> None:
        self._writer.write(text.encode())
        with contextlib.suppress(OSError):  # it has gone; the reader sees that
            await self._writer.drain()
