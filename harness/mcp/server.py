"""The MCP server of one connection: lists the tools, runs their calls, and answers before a client loses patience."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.stdio import stdio_server

from prong.harness.mcp import forms, lines, steering
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

    `session_of` knows whose call it is, `follower_of` who reads (None: nobody can); `rights` are what clients may do to
    the swarm itself.
    """

    def __init__(
        self, session_of: SessionOf, follower_of: FollowerOf | None = None, rights: Sequence[str] = (), *,
        offered: Callable[[], Sequence[Offer]] = offers,
    ) -> None:  # fmt: skip
        self._session_of = session_of
        self._offers = (*offered(), *([steering.offer(rights)] if rights else []))
        self._listed = types.ListToolsResult(tools=[_tool(offer) for offer in self._offers])
        self._schemas = {tool.name: tool.input_schema for tool in self._listed.tools}
        self._reading = Reading(follower_of) if follower_of is not None else None

    def server(self) -> Server[Any]:
        """A server whose every call goes to a session."""
        reading = self._reading
        resources: dict[str, Any] = {} if reading is None else {
            "on_list_resources": reading.listed,
            "on_list_resource_templates": reading.templates,
            "on_read_resource": reading.read,
            "on_subscribe_resource": reading.subscribe,
            "on_unsubscribe_resource": reading.unsubscribe,
            "on_subscriptions_listen": reading.listen,
        }  # fmt: skip
        return (Server if reading is None else _Server)(
            "prong",
            version=version("prong"),
            title="Prong",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            get_tool_input_schema=self._schemas.get,  # else the library lists all tools again for each call over HTTP
            **resources,
        )

    async def _list(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:  # fmt: skip
        return self._listed

    async def _call(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        given = params.arguments or {}
        try:
            session = await self._session_of(context)
        except ProngError as error:
            return _result(Outcome(str(error), is_error=True))
        answered = session.ticketed(params.request_state) if params.request_state else None
        if answered is not None:
            call = answered
            await asyncio.to_thread(forms.take, call, (params.input_responses or {}).get(forms.KEY))
        elif params.name == "resume_wait":
            call = session.resume(given)
        else:
            call = session.call(params.name, given, _call_id(params), can_ask=forms.can_show(context))
        told = await _outcome(context, session, call, params.name)
        return told if isinstance(told, types.InputRequiredResult) else _result(told)


async def _outcome(
    context: Context, session: Session, call: Call, name: str
) -> Outcome | types.InputRequiredResult:  # fmt: skip
    """What the call came to, a form for the client's person, or a ticket where it takes longer than it is patient."""
    waited = 0.0
    call.looked_at += 1
    form = forms.Form(context, call)
    try:
        while waited < (forms.PATIENCE_S if form.is_open else session.patience_s):
            began = time.monotonic()
            ended = await form.wait(PROGRESS_S if form.is_open else min(PROGRESS_S, session.patience_s - waited))
            if ended is not None:
                return ended
            if form.is_due and forms.is_new(context):
                asked = form.as_result(str((session.ticket(call).data or {})["ticket"]))
                _watch(session, call)
                return asked
            waited += time.monotonic() - began
            await _progress(context, waited, session.patience_s, f"{name} waits")
    except asyncio.CancelledError:  # the client has cancelled it, or has gone: nobody would read what it is granted
        await asyncio.shield(asyncio.to_thread(session.give_up, call))
        raise
    finally:
        form.close()
    _watch(session, call)
    return session.ticket(call)


def _watch(session: Session, call: Call) -> None:
    """Take back what the call gets, where nobody asks for it in the time that its ticket says."""
    seen = call.looked_at

    def abandon() -> None:
        asyncio.get_running_loop().run_in_executor(None, session.abandon, call, seen)

    asyncio.get_running_loop().call_later(session.abandoned_s, abandon)


async def serve_stdio(place: Path, join: Callable[[str], Session], rights: Sequence[str] = ()) -> None:
    """Serve one client of the shared state at `place` on standard input and output until it closes them.

    `join` makes its session, under the name that it takes; `rights` are what it may do to the swarm itself.
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

    server = Tools(session_of, follower_of, rights).server()
    try:
        client: Any = lines.of_standard_streams()
        async with stdio_server(client, client) as (reading, writing):
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
