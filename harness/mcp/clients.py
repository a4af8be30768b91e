"""The clients of a server: who each request comes from, and for how long each of them is thought to live.

    (asks) --> known --calls a tool--> member --its process is gone, it says goodbye, or it is silent too long--> (none)

The newer protocol knows no connections: there a client is a name and a process.  In the older one it is its MCP
session, and the process tells when it has died.  A client that is on another machine lives while it keeps a stream open
or asks something now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
from starlette.datastructures import Headers
from starlette.types import Scope

from prong.harness.mcp.peer import Owner, lives, owner_of, socket_of
from prong.harness.mcp.session import Session
from prong.primitives.values import checked_name
from prong.state import Invalid

if TYPE_CHECKING:
    from prong.harness.mcp.reading import Follower

NAME = "x-prong-agent"
"""The header in which a client says by what name others shall read of it."""

SESSION = "mcp-session-id"
"""The header of the older protocol that names its session."""

IDLE_S = 900.0
"""How long a client whose process is not known may be silent, in seconds."""

GRACE_S = 10.0
"""How long such a client has to come back after its last open stream was cut, in seconds."""

MOST = 256
"""How many clients a server has at most."""

_SOCKETS = 1_024


@dataclass(eq=False)
class HttpClient:
    """One client.  `asking` counts open requests, `streams` is whether one was ever kept open."""

    key: tuple[str, str, str]
    name: str | None
    process: psutil.Process | None
    seen_at: float
    session: Session | None = None
    follower: Follower | None = None
    asking: int = 0
    streams: bool = False
    joining: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def mcp_session(self) -> str | None:
        """Its session in the older protocol."""
        return self.key[1] if self.key[0] == "session" else None

    def is_gone(self, now: float) -> bool:
        """Whether what it holds is to go back."""
        if self.process is not None:
            return not lives(self.process)
        return not self.asking and now - self.seen_at > (GRACE_S if self.streams else IDLE_S)


class Clients:
    """All clients of one server.

    `join` makes a session under a name, for the query string of the client's address and its process, if it is known.
    """

    def __init__(self, join: Callable[[str, str, psutil.Process | None], Session]) -> None:
        self._join = join
        self._known: dict[tuple[str, str, str], HttpClient] = {}
        self._owners: OrderedDict[int, Owner] = OrderedDict()

    async def of(self, scope: Scope) -> HttpClient:
        """Whom a request comes from.  Raises `Invalid` where the name it gives is none, or there are too many."""
        headers = Headers(scope=scope)
        given = headers.get(NAME, "").strip()
        name = checked_name(f"header {NAME}", given) if given else None
        process = await self._process(scope)
        session = headers.get(SESSION)
        key = ("session", session, "") if session else ("name", name or "", _mark(process) or _host(scope))
        client = self._known.get(key)
        if client is None:
            if len(self._known) >= MOST:
                raise Invalid("one client more", f"at most {MOST} clients at once on this server")
            client = self._known[key] = HttpClient(key, name, process, _now())
        return client

    @contextlib.contextmanager
    def asking(self, client: HttpClient, *, stream: bool) -> Iterator[None]:
        """For as long as a request of the client is open."""
        client.asking += 1
        client.streams = client.streams or stream
        try:
            yield
        finally:
            client.asking -= 1
            client.seen_at = _now()

    async def session(self, client: HttpClient, program: str, query: str) -> Session:
        """The client's session, made with its first call.  Raises `Invalid` where nothing tells who it is."""
        async with client.joining:
            if client.session is None:
                if client.key not in self._known:
                    raise Invalid("a call of a client that has ended", "a new connection")
                if client.name is None and client.process is None and client.mcp_session is None:
                    raise Invalid(
                        "a client that cannot be told from others", f"the header {NAME} with a name of its own"
                    )
                mark = str(client.process.pid) if client.process is not None else str(client.mcp_session)[:6]
                name = client.name or f"{program}-{mark}"
                client.session = await asyncio.to_thread(self._join, name, query, client.process)
            return client.session

    def gone(self) -> list[HttpClient]:
        """The clients that live no more."""
        now = _now()
        return [client for client in self._known.values() if client.is_gone(now)]

    async def end(self, client: HttpClient, reason: str) -> None:
        """Forget a client, and give back what it holds."""
        self._known.pop(client.key, None)
        if client.follower is not None:
            client.follower.close()
        async with client.joining:
            if client.session is not None:
                await asyncio.to_thread(client.session.close, reason)

    async def end_all(self) -> None:
        """The server ends."""
        for client in list(self._known.values()):
            await self.end(client, "the server it was connected to has ended")

    async def _process(self, scope: Scope) -> psutil.Process | None:
        """Whose connection it is.  It is found once; while that process has the socket open, the port is no other's."""
        peer, own = scope.get("client"), scope.get("server")
        if not peer or not own:
            return None
        owner = self._owners.get(peer[1])
        if owner is None or not owner.is_right:
            owner = await asyncio.to_thread(self._owner, peer[1], own[1])
            self._owners.pop(peer[1], None)
            if owner is not None:
                self._owners[peer[1]] = owner
            while len(self._owners) > _SOCKETS:
                self._owners.popitem(last=False)
        return owner.process if owner is not None else None

    def _owner(self, peer_port: int, own_port: int) -> Owner | None:
        inode = socket_of(peer_port, own_port)
        known = {client.process for client in list(self._known.values()) if client.process is not None}
        return owner_of(inode, known) if inode is not None else None


def _mark(process: psutil.Process | None) -> str:
    """A process as no other was or will be; psutil's own words for it would be read anew for each request."""
    return f"{process.pid} since {process.create_time()}" if process is not None else ""


def _host(scope: Scope) -> str:
    peer = scope.get("client")
    return str(peer[0]) if peer else ""


def _now() -> float:
    return asyncio.get_running_loop().time()
