"""The MCP server of one connection: lists the tools, runs their calls, and answers before a client loses patience."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.stdio import stdio_server

from prong.harness.mcp.offered import INSTRUCTIONS, Offer, offers
from prong.harness.mcp.reading import Follower, FollowerOf, Place, Reading
from prong.harness.mcp.session import Call, Outcome, Session
from prong.state import ProngError

PROGRESS_S = 3.0
"""How often a call that waits says so, in seconds."""

Context = ServerRequestContext[Any]


SessionOf = Callable[[Context], Awaitable[Session]]
"""Which session a request belongs to."""


class _Server(Server[Any]):
    """A server that says, also in the older protocol, that it tells when there are more or fewer resources."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *more: Any, **options: Any
    ) -> InitializationOptions:
        """What it says of itself when a connection begins."""
        said = notification_options or NotificationOptions(resources_changed=True)
        return super().create_initialization_options(said, *more, **options)


class Tools:
    """The tools, as the protocol speaks of them, of those `offered`.

    `session_of` knows whose call it is, `follower_of` who reads.
    """

    def __init__(
        self, session_of: SessionOf, follower_of: FollowerOf, *, offered: Callable[[], Sequence[Offer]] = offers
    ) -> None:
        self._session_of = session_of
        self._reading = Reading(follower_of)
        self._offered = offered

    def server(self) -> Server[Any]:
        """A server whose every call goes to a session."""
        return _Server(
            "prong",
            version=version("prong"),
            title="Prong",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_list_resources=self._reading.listed,
            on_list_resource_templates=self._reading.templates,
            on_read_resource=self._reading.read,
            on_subscribe_resource=self._reading.subscribe,
            on_unsubscribe_resource=self._reading.unsubscribe,
            on_subscriptions_listen=self._reading.listen,
        )

    async def _list(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:  # fmt: skip
        return types.ListToolsResult(tools=[_tool(offer) for offer in self._offered()])

    async def _call(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        given = params.arguments or {}
        try:
            session = await self._session_of(context)
        except ProngError as error:
            return _result(Outcome(str(error), is_error=True))
        if params.name == "resume_wait":
            call = session.resume(given)
        else:
            call = session.call(params.name, given, _call_id(params))
        return _result(await _outcome(context, session, call, params.name))


async def _outcome(context: Context, session: Session, call: Call, name: str) -> Outcome:
    """What the call came to, or a ticket where it takes longer than a client is patient."""
    waited = 0.0
    done = asyncio.wrap_future(call.outcome)
    try:
        while waited < session.patience_s:
            pause = min(PROGRESS_S, session.patience_s - waited)
            ended, _ = await asyncio.wait([done], timeout=pause)
            if ended:
                return done.result()
            waited += pause
            await _progress(context, waited, session.patience_s, f"{name} waits")
    except asyncio.CancelledError:  # the client has cancelled it, or has gone: nobody would read what it is granted
        await asyncio.shield(asyncio.to_thread(session.give_up, call))
        raise
    return session.ticket(call)


async def serve_stdio(place: Path, join: Callable[[str], Session]) -> None:
    """Serve one client of the shared state at `place` on standard input and output until it closes them.

    `join` makes its session, under the name that it takes.
    """
    joining = asyncio.Lock()
    joined: list[Session] = []
    read = Place(place)
    follower = Follower(read)

    async def session_of(context: Context) -> Session:
        async with joining:
            if not joined:
                joined.append(await asyncio.to_thread(join, f"{client_name(context)}-{os.getpid()}"))
        return joined[0]

    async def follower_of(_context: Context) -> Follower:
        return follower

    server = Tools(session_of, follower_of).server()
    try:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
    finally:
        follower.close()
        read.close()
        for session in joined:
            session.close()


def client_name(context: Context) -> str:
    """What the client's program calls itself, as a part of a name; `client` where it does not say."""
    known = context.session.client_params
    words = re.findall(r"[a-z0-9]+", known.client_info.name.lower()) if known is not None else []
    return "-".join(words)[:40] or "client"


def _result(outcome: Outcome) -> types.CallToolResult:
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=_text(outcome))]
    return types.CallToolResult(content=content, structured_content=outcome.data, is_error=outcome.is_error)


def _tool(offer: Offer) -> types.Tool:
    hints = offer.annotations
    output = offer.output_schema
    return types.Tool(
        name=offer.name,
        title=offer.title,
        description=offer.description,
        input_schema=dict(offer.input_schema),
        output_schema=_or_ticket(output) if output is not None else None,
        annotations=types.ToolAnnotations(
            title=offer.title,
            read_only_hint=hints.read_only,
            idempotent_hint=hints.idempotent,
            destructive_hint=hints.destructive,
            open_world_hint=hints.open_world,
        ),
    )


_TICKET = {
    "type": "object",
    "properties": {"still_waiting": {"const": True}, "ticket": {"type": "string"}},
    "required": ["still_waiting", "ticket"],
}


def _or_ticket(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a call answers, or that it waits still; the protocol wants an object at the top."""
    shapes = schema.get("anyOf") or [schema]
    return {"type": "object", "anyOf": [*shapes, _TICKET]}


def _call_id(params: types.CallToolRequestParams) -> str | None:
    """The client's own name for the call, so that a repeated one is known.

    The request's number is none: it begins anew with each connection, and no client repeats it.
    """
    meta: Mapping[str, Any] = params.meta if isinstance(params.meta, Mapping) else {}
    for name in ("claudecode/toolUseId", "callId"):
        if isinstance(meta.get(name), str) and meta[name]:
            return f"{name} {meta[name]}"
    return None


def _text(outcome: Outcome) -> str:
    """Words for the model, with the data for clients that read no structured content."""
    if outcome.data is None:
        return outcome.text
    return f"{outcome.text}\n{json.dumps(outcome.data, ensure_ascii=False)}"


async def _progress(context: Context, waited: float, most: float, message: str) -> None:
    meta: Mapping[str, Any] = context.meta if isinstance(context.meta, Mapping) else {}
    token = meta.get("progress_token", meta.get("progressToken"))
    if token is not None:
        await context.session.send_progress_notification(token, waited, most, message)
