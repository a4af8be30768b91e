"""MCP over HTTP: an application for one path, which stands behind the guard as all others do.

The protocol's library is loaded when the first client comes, so that a server which nobody connects to starts at once.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from prong.harness.mcp.clients import MOST, SESSION, Clients, HttpClient
from prong.harness.mcp.session import ABANDONED_S, PATIENCE_S, Session
from prong.state import Invalid

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from prong.harness.mcp.reading import Place

PATH = "/mcp"
"""Where clients find it."""

BODY_BYTES = 1_000_000
"""The longest request, in bytes."""

LOOKS_S = 1.0
"""How often it is looked for clients that have died, in seconds."""

_CLIENT = "prong-client"

OK, NOT_FOUND = HTTPStatus.OK, HTTPStatus.NOT_FOUND

PlaceOf = Callable[[str], Path]
"""The shared state that a client joins, from the query string of the address that it was given."""


class Endpoint:
    """The application.  `place_of` is called once for each client, in a thread; what it raises the client reads."""

    def __init__(
        self, place_of: PlaceOf, *, patience_s: float = PATIENCE_S, abandoned_s: float = ABANDONED_S,
        rights: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._place_of = place_of
        self._read: dict[Path, Place] = {}
        self._rights = rights
        self._clients = Clients(
            lambda name, query, process: Session(
                place_of(query), name, patience_s=patience_s, abandoned_s=abandoned_s, rights=rights, process=process
            )
        )
        self._starting: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._ending = asyncio.Event()
        self._manager: StreamableHTTPSessionManager | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if self._ending.is_set():
            await PlainTextResponse("This server is ending.\n", 503)(scope, receive, send)
            return
        manager = await self._running()
        headers = Headers(scope=scope)
        if SESSION not in headers and headers.get("mcp-protocol-version") is None and scope["method"] == "POST":
            await manager.handle_request(scope, receive, send)  # opens a session, whose first call makes it a client
            return
        try:
            client = await self._clients.of(scope)
        except Invalid as error:
            await PlainTextResponse(f"{error}\n", 400)(scope, receive, send)
            return
        stream = scope["method"] == "GET" or headers.get("mcp-method") == "subscriptions/listen"
        with self._clients.asking(client, stream=stream):
            status = await _status(manager, {**scope, _CLIENT: client}, receive, send)
        if client.mcp_session and (status == NOT_FOUND or (scope["method"] == "DELETE" and status == OK)):
            await self._clients.end(client, "it has ended its connection")

    async def close(self) -> None:
        """End all connections and give back what their clients hold."""
        self._ending.set()
        if self._starting is not None:
            await self._starting

    async def _running(self) -> StreamableHTTPSessionManager:
        if self._manager is not None:
            return self._manager
        if self._starting is None:
            self._starting = asyncio.create_task(self._run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([ready, self._starting], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._manager is None:
            await self._starting  # raises why the protocol's library could not be loaded
        assert self._manager is not None, "it runs until the server ends"
        return self._manager

    async def _run(self) -> None:
        await asyncio.to_thread(importlib.import_module, "prong.harness.mcp.server")
        from mcp.server.streamable_http_manager import (  # noqa: PLC0415  loaded in a thread just before
            StreamableHTTPSessionManager,
        )

        from prong.harness.mcp.reading import Follower, Place  # noqa: PLC0415  as above
        from prong.harness.mcp.server import Tools, client_name  # noqa: PLC0415  as above

        logging.getLogger("mcp.server.streamable_http").addFilter(_is_news)

        async def session_of(context: Any) -> Session:
            scope = context.request.scope
            query = scope["query_string"].decode("latin-1")
            return await self._clients.session(scope[_CLIENT], client_name(context), query)

        async def follower_of(context: Any) -> Follower:
            scope = context.request.scope
            client: HttpClient = scope[_CLIENT]
            if client.follower is None:
                query = scope["query_string"].decode("latin-1")
                place = await asyncio.to_thread(self._place_of, query)
                client.follower = Follower(self._read.setdefault(place, Place(place)))
            return client.follower

        server = Tools(session_of, follower_of, self._rights).server()
        manager = StreamableHTTPSessionManager(
            server, session_idle_timeout=None, max_request_body_size=BODY_BYTES, max_sessions=MOST
        )
        async with manager.run():
            self._manager = manager
            self._ready.set()
            while not self._ending.is_set():
                for client in self._clients.gone():
                    await self._bury(client)
                ended = asyncio.create_task(self._ending.wait())
                await asyncio.wait([ended], timeout=LOOKS_S)
                ended.cancel()
            await self._clients.end_all()
            for read in self._read.values():
                read.close()

    async def _bury(self, client: HttpClient) -> None:
        """Give back what a dead client held, and let the library forget its session as if it had said goodbye."""
        reason = "its process has died" if client.process is not None else "it was silent too long"
        await self._clients.end(client, reason)
        if client.mcp_session is not None and self._manager is not None:
            headers = [(SESSION.encode(), client.mcp_session.encode("latin-1"))]
            goodbye = {"type": "http", "method": "DELETE", "path": PATH, "query_string": b"", "headers": headers}
            await self._manager.handle_request(goodbye, _nothing, _nowhere)


def _is_news(record: logging.LogRecord) -> bool:
    """That a client went away in the middle of a request is no error of the server's, and needs no traceback."""
    return record.exc_info is None or not isinstance(record.exc_info[1], ClientDisconnect)


async def _status(manager: StreamableHTTPSessionManager, scope: Scope, receive: Receive, send: Send) -> int:
    """Serve a request, and the status that it was answered with; 0 where it was not."""
    status = 0

    async def sending(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    await manager.handle_request(scope, receive, sending)
    return status


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(_message: Message) -> None:
    """Nobody reads it."""
