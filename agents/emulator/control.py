"""What the emulator answers about itself: journal, health, and the clock that tests move.

GET /emulator/journal?bodies=1&after=N   one line of JSON a request, the oldest first
GET /emulator/health                     totals since the start
POST /emulator/clock {"advance_s": 301}  moves the emulator's clock forward: caches expire, rate limits refill
"""

from __future__ import annotations

import os
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prong.agents.emulator.connection import parse
from prong.agents.emulator.emulator import Emulator
from prong.agents.emulator.errors import ApiError, bad_request


def control_routes(emulator: Emulator) -> list[Route]:
    """The routes under /emulator, which are not the API's and need no key."""

    async def journal(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdigit():
            return _refusal(bad_request("after: give the number of an entry"))
        wants_bodies = request.query_params.get("bodies", "0") not in ("", "0")
        if wants_bodies and not emulator.options.keep_bodies:
            return _refusal(bad_request("bodies: this emulator keeps none; start it with --keep-bodies"))
        lines = "".join(emulator.journal.lines(after=int(after), bodies=wants_bodies))
        return PlainTextResponse(lines, media_type="application/x-ndjson")

    async def health(_: Request) -> Response:
        return JSONResponse(_health(emulator))

    async def clock(request: Request) -> Response:
        try:
            _advance(emulator, await request.body())
        except ApiError as error:
            return _refusal(error)
        return JSONResponse({"now": emulator.clock.now(), "advanced_s": emulator.clock.advanced_s})

    return [
        Route("/emulator/journal", journal, methods=["GET"]),
        Route("/emulator/health", health, methods=["GET"]),
        Route("/emulator/clock", clock, methods=["POST"]),
    ]


def _health(emulator: Emulator) -> dict[str, Any]:
    return {
        "status": "ok",
        "pid": os.getpid(),
        "now": emulator.clock.now(),
        "scripts": [script.name for script in emulator.options.scripts],
        **emulator.journal.totals(),
    }


def _advance(emulator: Emulator, data: bytes) -> None:
    seconds = parse(data).get("advance_s")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        raise bad_request("advance_s: give seconds, 0 or more; the clock does not go back")
    emulator.clock.advance(seconds)


def _refusal(error: ApiError) -> Response:
    return JSONResponse(error.wire(""), status_code=error.status)
