"""The MCP server of one connection: lists the tools, runs their calls, and answers before a client loses patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import Future
from importlib.metadata import version
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from prong.harness.mcp.offered import INSTRUCTIONS, Offer, offers
from prong.harness.mcp.session import Outcome, Session

PROGRESS_S = 3.0
"""How often a call that waits says so, in seconds."""

Context = ServerRequestContext[Any]


class Connection:
    """The tools of a session, as the protocol speaks of them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def server(self) -> Server[Any]:
        """A server whose every call goes to the session."""
        return Server(
            "prong",
            version=version("prong"),
            title="Prong",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def _list(
        self, _context: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:  # fmt: skip
        return types.ListToolsResult(tools=[_tool(offer) for offer in offers()])

    async def _call(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        given = params.arguments or {}
        if params.name == "resume_wait":
            future = self._session.resume(given)
        else:
            future = self._session.call(params.name, given, _call_id(params, context))
        outcome = await self._outcome(context, future, params.name)
        content: list[types.ContentBlock] = [types.TextContent(type="text", text=_text(outcome))]
        return types.CallToolResult(content=content, structured_content=outcome.data, is_error=outcome.is_error)

    async def _outcome(self, context: Context, future: Future[Outcome], name: str) -> Outcome:
        """What the call came to, or a ticket where it takes longer than a client is patient."""
        waited = 0.0
        done = asyncio.wrap_future(future)
        while waited < self._session.patience_s:
            pause = min(PROGRESS_S, self._session.patience_s - waited)
            try:
                return await asyncio.wait_for(asyncio.shield(done), pause)
            except TimeoutError:
                waited += pause
                await _progress(context, waited, self._session.patience_s, f"{name} waits")
        return self._session.ticket(future)


async def serve_stdio(session: Session) -> None:
    """Serve one client on standard input and output until it closes them."""
    server = Connection(session).server()
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


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


def _call_id(params: types.CallToolRequestParams, context: Context) -> str | None:
    """The client's own name for the call, so that a repeated one is known; else the request's number."""
    meta: Mapping[str, Any] = params.meta if isinstance(params.meta, Mapping) else {}
    for name in ("claudecode/toolUseId", "callId"):
        if isinstance(meta.get(name), str) and meta[name]:
            return f"{name} {meta[name]}"
    return None if context.request_id is None else f"request {context.request_id}"


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
