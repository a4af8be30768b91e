"""The application behind the guard: routes, and nothing that decides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from prong.harness.inspector import (
    cost,
    episodes,
    events,
    exports,
    merges,
    past,
    problems,
    shared,
    snapshot,
    spans,
    tasks,
)
from prong.harness.inspector.commands import Door, as_dict
from prong.harness.inspector.library import Library, Shown, UnknownSwarm
from prong.harness.inspector.problem import Moment
from prong.harness.mcp.endpoint import PATH as MCP
from prong.harness.mcp.endpoint import Endpoint
from prong.state import Invalid, ProngError

READERS = 4
"""How many answers are read at once; the others wait, so that looking never takes the machine from the swarm."""

BODY_BYTES = 1_000_000
"""The longest command, in bytes."""

Result = TypeVar("Result")

Page = Callable[[Shown, Any, Request], Any]
"""What a page reads: the swarm, a connection that cannot write, and what was asked for."""

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def application(library: Library, *, read_only: bool) -> Starlette:
    """The inspector of all swarms of a library; where it is `read_only` nothing can be steered, and nobody joins."""
    inspector = _Inspector(library, read_only=read_only)
    of_swarm = "/api/v1/swarms/{swarm}"
    return Starlette(
        lifespan=inspector.life,
        exception_handlers={ProngError: _refused, OverflowError: _too_large, HTTPException: _http_error},
        routes=[
            Route("/", _static),
            Route("/static/{file:path}", _static),
            Route("/api/v1/swarms", inspector.swarms),
            Route(f"{of_swarm}/stream", inspector.stream),
            Route(f"{of_swarm}/export/{{name}}", inspector.export),
            Route(f"{of_swarm}/commands", inspector.command, methods=["POST"]),
            Route(f"{of_swarm}/commands/{{number:int}}", inspector.commanded),
            *(Route(f"{of_swarm}/{path}", inspector.page(page)) for path, page in PAGES.items()),
            *([] if read_only else [Route(MCP, inspector.endpoint)]),
        ],
    )


class _Inspector:
    """What the routes share: the swarms, the threads that read, and the command door."""

    def __init__(self, library: Library, *, read_only: bool) -> None:
        self._library = library
        self._read_only = read_only
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._door = Door()
        self.endpoint = Endpoint(library.place_of)

    @contextlib.asynccontextmanager
    async def life(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.endpoint.close()
        self._library.close()
        self._door.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def page(self, read: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            def work() -> bytes:
                shown = self._library.open(request.path_params["swarm"])
                with shown.reading() as connection:
                    return snapshot.as_json(read(shown, connection, request))

            return _json(await self._in_thread(work))

        return answer

    async def swarms(self, _request: Request) -> Response:
        found = await self._in_thread(self._library.all)
        listed = [{"id": one.id, "goal": one.options.goal, "branch": one.branch} for one in found]
        return _json(snapshot.as_json({"swarms": listed, "read_only": self._read_only}))

    async def stream(self, request: Request) -> Response:
        shown = await self._shown(request)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 18:  # noqa: PLR2004  what SQLite's integers hold
            raise Invalid(f"after {after[:40]!r}", "the number of an event")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(shown.feed.listen(int(after)), media_type="text/event-stream", headers=headers)

    async def export(self, request: Request) -> Response:
        shown, name = await self._shown(request), request.path_params["name"]
        if name not in exports.names():
            raise HTTPException(404, f"There is no such export; there are: {', '.join(exports.names())}.")

        def pieces() -> Iterator[str]:
            with shown.reading(moves=True) as connection:  # each piece is made in whatever thread is free
                yield from exports.in_chunks(exports.export(connection, name))

        headers = {
            "content-disposition": f'attachment; filename="{shown.swarm.id}-{name}"', "cache-control": "no-store"
        }  # fmt: skip
        return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)

    async def command(self, request: Request) -> Response:
        if self._read_only:
            raise HTTPException(403, "This inspector only shows; start one without --read-only to steer.")
        asked = await _body(request)
        shown = await self._shown(request)
        return JSONResponse(as_dict(self._door.request(shown.swarm, asked)), 202)

    async def commanded(self, request: Request) -> Response:
        shown = await self._shown(request)
        found = self._door.find(request.path_params["number"])
        if found is None or found.swarm != shown.swarm.id:
            raise HTTPException(404, "There is no such command here; the log has what was done.")
        return _json(snapshot.as_json(as_dict(found)))

    async def _shown(self, request: Request) -> Shown:
        return await self._in_thread(lambda: self._library.open(request.path_params["swarm"]))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)


def _snapshot(shown: Shown, connection: Any, _request: Request) -> Any:
    return snapshot.snapshot(connection, alive=shown.alive)


def _spans(shown: Shown, connection: Any, _request: Request) -> Any:
    last = connection.execute("select coalesce(max(seq), 0) from event").fetchone()[0]
    found = shown.spans_until(connection, last)
    return {"kinds": spans.KINDS, "seq": found.seq, **found.columns()}


def _events(_shown: Shown, connection: Any, request: Request) -> Any:
    return events.page(connection, request.query_params)


def _event(_shown: Shown, connection: Any, request: Request) -> Any:
    found = events.one(connection, request.path_params["seq"])
    if found is None:
        raise HTTPException(404, "There is no such event.")
    return found


def _problems(shown: Shown, connection: Any, _request: Request) -> Any:
    shift = snapshot.shift_s(connection)
    moment = Moment(connection, shown.store.clock.wall() - shift, shift, shown.alive, shown.recent)
    return problems.problems(moment)


def _past(shown: Shown, connection: Any, request: Request) -> Any:
    """The swarm after event `seq`; with `since` also what has changed since that one."""
    seq, since = _number(request, "seq") or 0, _number(request, "since")
    moment = shown.past.at(connection, seq)
    changed = None if since is None else past.between(shown.past.at(connection, since), moment)
    return {**past.told(moment), "changed": changed}


def _number(request: Request, name: str) -> int | None:
    given = request.query_params.get(name, "")
    return int(given) if given.isdecimal() else None


PAGES: Mapping[str, Page] = {
    "snapshot": _snapshot,
    "spans": _spans,
    "problems": _problems,
    "tasks/{task:int}": lambda shown, connection, request: tasks.task(
        shown.store, connection, request.path_params["task"], snapshot.shift_s(connection)
    ),
    "tasks/{task:int}/below": lambda _shown, connection, request: tasks.below(connection, request.path_params["task"]),
    "tasks/{task:int}/conversation": lambda _shown, connection, request: tasks.conversation(
        connection, request.path_params["task"], before=_number(request, "before")
    ),
    "tasks/{task:int}/fork": lambda _shown, connection, request: tasks.fork(connection, request.path_params["task"]),
    "messages/{message:int}": lambda _shown, connection, request: tasks.message(
        connection, request.path_params["message"]
    ),
    "locks": lambda shown, connection, _request: shared.locks(shown.store, connection, snapshot.shift_s(connection)),
    "locks/episodes": lambda _shown, connection, request: episodes.episodes(connection, request.query_params),
    "objects": lambda shown, _connection, _request: shared.objects(shown.store),
    "objects/{kind}/{name:path}": lambda shown, _connection, request: shared.named(
        shown.store, request.path_params["kind"], request.path_params["name"]
    ),
    "maps/{name:path}/entries": lambda _shown, connection, request: shared.entries(
        connection, request.path_params["name"], request.query_params, snapshot.shift_s(connection)
    ),
    "maps/{name:path}/history": lambda _shown, connection, request: shared.history(
        connection, request.path_params["name"], request.query_params.get("key", "")
    ),
    "cost": lambda _shown, connection, _request: cost.cost(connection),
    "merges": lambda _shown, connection, _request: merges.merges(connection, snapshot.shift_s(connection)),
    "past": _past,
    "events": _events,
    "events/{seq:int}": _event,
}
"""What can be read of a swarm, by path behind `/api/v1/swarms/SWARM/`."""


async def _static(request: Request) -> Response:
    """A file of the page; names are looked up and never joined to a path, so nothing else can be had."""
    name = request.path_params.get("file") or "index.html"
    found = _files().get(name)
    kind = _TYPES.get("." + name.rpartition(".")[2])
    if found is None or kind is None:
        raise HTTPException(404, "There is no such file.")
    return Response(found.read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})


def _files() -> dict[str, Traversable]:
    """The files of the page by name, those in a folder as folder/name."""
    static = resources.files("prong.harness.inspector") / "static"
    top = {entry.name: entry for entry in static.iterdir()}
    inner = {f"{name}/{one.name}": one for name, entry in top.items() if entry.is_dir() for one in entry.iterdir()}
    return {name: entry for name, entry in {**top, **inner}.items() if entry.is_file()}


async def _body(request: Request) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise HTTPException(413, f"A command has at most {BODY_BYTES} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "That is not JSON.") from None


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


async def _refused(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404 if isinstance(error, UnknownSwarm) else 400)


async def _too_large(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "A number in this address is larger than any here."}, 404)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
