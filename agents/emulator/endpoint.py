"""What all routes of the API share: the journal, the request id, authentication, and errors in the API's shape."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from prong.agents.emulator.connection import ClientGone, Connection
from prong.agents.emulator.emulator import Emulator
from prong.agents.emulator.errors import ApiError, bad_request
from prong.agents.emulator.journal import Entry, fingerprint
from prong.agents.emulator.reply import new_id
from prong.agents.emulator.stream import Cut

VERSION = re.compile(r"20\d\d-\d\d-\d\d")
ORGANIZATION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to the API while it is answered."""

    connection: Connection
    emulator: Emulator
    entry: Entry

    @property
    def headers(self) -> dict[str, str]:
        """The headers that every response of the API has."""
        return {"request-id": self.entry.request_id, "anthropic-organization-id": ORGANIZATION}

    def authenticate(self) -> str:
        """The fingerprint of the caller's key; any key will do, but there must be one, and a version.

        Raises the API's 401 and 400.
        """
        headers = self.connection.headers
        bearer = re.fullmatch(r"[Bb]earer +(\S+)", headers.get("authorization", ""))
        key = headers.get("x-api-key") or (bearer and bearer[1])
        if not key:
            raise ApiError(401, "x-api-key header is required")
        self.entry.api_key = fingerprint(key)
        options = self.emulator.options
        if key in options.spent:
            raise ApiError(402, "Your credit balance is too low to access the API (a key that has none on purpose)")
        if options.keys and key not in options.keys:
            raise ApiError(401, "invalid x-api-key")
        version = headers.get("anthropic-version")
        if version is None:
            raise bad_request("anthropic-version: header is required")
        if not VERSION.fullmatch(version):
            message = f'anthropic-version: "{version}" is not a valid version'
            raise bad_request(message)
        return self.entry.api_key

    def mark_first_byte(self) -> None:
        """Note that the response begins now."""
        self.entry.first_byte = self.emulator.clock.now()
        self.entry.status = 200


Answer = Callable[[Exchange], Awaitable[None]]


class Endpoint:
    """An ASGI application that answers one route and turns whatever goes wrong into the API's errors."""

    def __init__(self, emulator: Emulator, methods: tuple[str, ...], answer: Answer) -> None:
        self._emulator = emulator
        self._methods = methods
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is and whatever becomes of it."""
        connection = Connection(scope, receive, send)
        emulator = self._emulator
        entry = emulator.journal.open(connection.method, connection.path, emulator.clock.now())
        entry.request_id = new_id("req")
        entry.user_agent = connection.headers.get("user-agent")
        entry.retry_count = connection.headers.get("x-stainless-retry-count")
        exchange = Exchange(connection, emulator, entry)
        try:
            await self._guarded(exchange)
        finally:
            connection.close()
            emulator.journal.close(entry, emulator.clock.now())

    async def _guarded(self, exchange: Exchange) -> None:
        connection, entry = exchange.connection, exchange.entry
        try:
            if connection.method not in self._methods:
                raise ApiError(405, f"Method Not Allowed: {connection.method} {connection.path}")  # noqa: TRY301 - answered like all errors
            await self._answer(exchange)
        except ApiError as error:
            await _answer_error(exchange, error)
        except ClientGone:
            entry.client_gone = True
        except Cut:
            pass
        except Exception as error:  # noqa: BLE001 - a server answers and lives on; the traceback goes to standard error
            traceback.print_exc(file=sys.stderr)
            await _answer_error(exchange, ApiError(500, f"the emulator itself failed: {error!r}"))


async def _answer_error(exchange: Exchange, error: ApiError) -> None:
    entry = exchange.entry
    entry.error = str(error)
    if exchange.connection.started:
        return
    entry.first_byte = exchange.emulator.clock.now()
    entry.status = error.status
    headers = {**exchange.headers, **error.headers}
    if error.retry_after_s is not None:
        headers["retry-after"] = f"{error.retry_after_s:g}"
    await exchange.connection.answer(error.status, error.wire(entry.request_id), headers)
