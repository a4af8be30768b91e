"""Asking the person at the client: a form that the client shows, in the way of its era of the protocol.

older:  the server asks while the call is open; its patience is longer meanwhile
newer:  the call is answered with the form, and made again with what was filled in
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from prong.harness.mcp.permitting import Question
from prong.harness.mcp.session import Call, Outcome

Context = ServerRequestContext[Any]

KEY: Final = "allow"
"""By what name the form goes."""

PATIENCE_S = 55.0
"""How long a call waits for a form that is shown, in seconds: less than a minute, which is the least that clients wait
until they give up a call."""

_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "allow": {"type": "boolean", "title": "Allow", "description": "Whether it may be done."},
        "reason": {"type": "string", "title": "Reason", "description": "If not: why, for whoever asked."},
    },
    "required": ["allow"],
}


def is_new(context: Context) -> bool:
    """Whether the client speaks the newer protocol."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def can_show(context: Context) -> bool:
    """Whether the client has said that it shows forms, and can be reached for it."""
    known = context.session.client_capabilities
    shows = known.elicitation if known is not None else None
    if shows is None or (shows.form is None and shows.url is not None):
        return False
    return is_new(context) or context.session.can_send_request


def take(call: Call, answer: Any) -> None:
    """Pass on what was filled in."""
    if not call.question.done():
        return
    question, call.can_ask = call.question.result(), False  # it is asked once, whatever comes of it
    if isinstance(answer, types.ElicitResult) and answer.action == "accept":
        content = answer.content or {}
        reason = content.get("reason", "")
        question.answer(content.get("allow") is True, reason if isinstance(reason, str) else "")
    elif isinstance(answer, types.ElicitResult) and answer.action == "decline":
        question.answer(False, "")
    elif question.approval is None:  # it was closed, and nobody else can be asked
        question.answer(False, "the form was closed without an answer")


class Form:
    """What is asked within one request, if anything is."""

    def __init__(self, context: Context, call: Call) -> None:
        self._context = context
        self._call = call
        self._done = asyncio.wrap_future(call.outcome)
        self._asked = asyncio.wrap_future(call.question)
        self._shown: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client is showing it now."""
        return self._shown is not None and not self._shown.done()

    @property
    def is_due(self) -> bool:
        """Whether the client should show it."""
        return self._asked.done() and self._call.can_ask and not self._done.done()

    async def wait(self, pause_s: float) -> Outcome | None:
        """Wait for the call at most so long; what it came to, or None where it goes on or a form is due."""
        waiting: set[asyncio.Future[Any]] = {self._done}
        if not self._asked.done() and self._call.can_ask:
            waiting.add(self._asked)
        if self.is_due and not is_new(self._context) and self._shown is None:
            self._shown = asyncio.create_task(self._show(self._asked.result()))
        await asyncio.wait(waiting, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        return self._done.result() if self._done.done() else None

    def as_result(self, ticket: str) -> types.InputRequiredResult:
        """The answer that asks: the client makes the call again with the ticket and what was filled in."""
        request = types.ElicitRequest(params=_params(self._asked.result()))
        return types.InputRequiredResult(input_requests={KEY: request}, request_state=ticket)

    def close(self) -> None:
        """Ask no more."""
        if self._shown is not None:
            self._shown.cancel()

    async def _show(self, question: Question) -> None:
        """Ask in the older way."""
        params = _params(question)
        with contextlib.suppress(MCPError, ValidationError):  # the client cannot after all: somebody else may answer
            answer = await self._context.session.elicit_form(
                params.message, params.requested_schema, self._context.request_id
            )  # fmt: skip
            await asyncio.to_thread(take, self._call, answer)
            return
        await asyncio.to_thread(take, self._call, None)


def _params(question: Question) -> types.ElicitRequestFormParams:
    return types.ElicitRequestFormParams(message=question.text, requested_schema=_SCHEMA)
