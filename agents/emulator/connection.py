"""One HTTP request and its response, over ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from prong.agents.emulator.errors import ApiError, bad_request

MAX_BODY_BYTES = 32 * 1024 * 1024
# A client that sends too much reads the refusal only after it has sent all, so some more is read and thrown away.
MAX_DRAINED_BYTES = 4 * MAX_BODY_BYTES
LARGEST_PIECE_BYTES = 64 * 1024


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class Connection:
    """Reads one request and writes one response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone: asyncio.Task[None] | None = None
        self.started = False
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.path_params: Mapping[str, Any] = scope.get("path_params", {})
        self.query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        self.headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}

    async def read(self) -> bytes:
        """The body of the request.

        Raises the API's 413 where it is too large, after the client has sent it.
        """
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            more = event.get("more_body", False) and size < MAX_DRAINED_BYTES
            size += len(event.get("body", b""))
            if size <= MAX_BODY_BYTES:
                pieces.append(event.get("body", b""))
        if size > MAX_BODY_BYTES:
            message = f"Request exceeds the maximum size of {MAX_BODY_BYTES} bytes"
            raise ApiError(413, message)
        return b"".join(pieces)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and the headers: the first byte of the response."""
        self.started = True
        lines = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def write(self, data: bytes) -> None:
        """Send a piece of the response's body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece of the response's body.  A response that is never finished is cut off."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Send a whole response of JSON."""
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        await self.answer_bytes(status, data, {"content-type": "application/json", **headers})

    async def answer_bytes(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        await self.start(status, {**headers, "content-length": str(len(data))})
        await self.finish(data)

    async def wait(self, seconds: float) -> None:
        """Let time pass; raises ClientGone as soon as nobody listens any more."""
        if seconds <= 0:
            return
        if self._gone is None:
            self._gone = asyncio.create_task(self._watch())
        done, _ = await asyncio.wait({self._gone}, timeout=seconds)
        if done:
            raise ClientGone

    def close(self) -> None:
        """Stop watching the client."""
        if self._gone is not None:
            self._gone.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def parse(data: bytes) -> dict[str, Any]:
    """The JSON object of a request's body, or the API's 400."""
    try:
        body = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        message = f"The request body is not valid JSON: {error}"
        raise bad_request(message) from None
    if not isinstance(body, dict):
        raise bad_request("body: Input should be an object")
    return body


def _refuse_constant(name: str) -> None:
    message = f"{name} is no JSON number"
    raise ValueError(message)
