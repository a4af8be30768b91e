"""The emulator as a web application, and the loop that serves it until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prong.agents.emulator import listing, messages
from prong.agents.emulator.control import control_routes
from prong.agents.emulator.emulator import Emulator
from prong.agents.emulator.endpoint import Answer, Endpoint
from prong.agents.emulator.errors import ApiError
from prong.agents.emulator.options import EmulatorOptions

SHUTDOWN_GRACE_S = 1
# Longer than any pause of a test: a client that reuses a connection never finds it closed.
KEEP_ALIVE_S = 3600
EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
END_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def build_app(options: EmulatorOptions) -> Starlette:
    """The emulator as an ASGI application with a state of its own."""
    return _app(Emulator(options))


def serve(options: EmulatorOptions, ready: Callable[[str], None], *, exit_with_stdin: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; `ready` gets the url as soon as connections are accepted.

    `exit_with_stdin` ends it also when its standard input reaches its end, so that it cannot outlive who started it.
    Raises OSError where the port is taken.
    """
    with contextlib.closing(_listen(options)) as listener:
        asyncio.run(_serve(options, listener, ready, exit_with_stdin=exit_with_stdin))


async def _serve(
    options: EmulatorOptions, listener: socket.socket, ready: Callable[[str], None], *, exit_with_stdin: bool
) -> None:
    config = uvicorn.Config(
        _app(Emulator(options)),
        log_config=None,
        # Every answer that is broken off on purpose would be an error to it; what really fails is printed by us.
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        ws="none",
    )
    server = _Server(config, lambda: ready(_url(listener)))
    with _end_on(server, exit_with_stdin=exit_with_stdin):
        await server.serve([listener])


class _Server(uvicorn.Server):
    """A uvicorn server that says when it accepts connections and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn would raise the signal again after its shutdown; an emulator that was told to end has ended well.
        yield


@contextlib.contextmanager
def _end_on(server: uvicorn.Server, *, exit_with_stdin: bool) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.should_exit = True

    def read_input() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            end()

    for number in END_SIGNALS:
        loop.add_signal_handler(number, end)
    if exit_with_stdin:
        try:
            loop.add_reader(0, read_input)
        except PermissionError:
            # A file cannot be watched; it is at its end already.
            end()
    try:
        yield
    finally:
        for number in END_SIGNALS:
            loop.remove_signal_handler(number)
        if exit_with_stdin:
            loop.remove_reader(0)


def _app(emulator: Emulator) -> Starlette:
    def route(path: str, answer: Answer, *methods: str) -> Route:
        return Route(path, Endpoint(emulator, methods, answer))

    return Starlette(
        routes=[
            route("/v1/messages", messages.create, "POST"),
            *([] if emulator.options.without_models else _free_of_charge(route)),
            *control_routes(emulator),
            route("/", listing.show_root, "GET", "HEAD"),
            route("/{path:path}", listing.refuse_route, *EVERY_METHOD),
        ],
        lifespan=lambda _: _warm(emulator),
        exception_handlers={Exception: _print},
    )


async def _print(_: Request, error: Exception) -> Response:
    """Say on standard error what failed in a route of our own; those of the API do so themselves."""
    traceback.print_exception(error)
    return JSONResponse(ApiError(500, f"the emulator itself failed: {error!r}").wire(""), status_code=500)


def _free_of_charge(route: Callable[..., Route]) -> list[Route]:
    return [
        route("/v1/messages/count_tokens", messages.count_tokens, "POST"),
        route("/v1/models", listing.list_models, "GET"),
        route("/v1/models/{id}", listing.show_model, "GET"),
    ]


@contextlib.asynccontextmanager
async def _warm(emulator: Emulator) -> AsyncIterator[None]:
    """Build the schema beside the first requests, and spare the garbage collector its ten thousand objects."""

    async def build() -> None:
        await emulator.schema()
        gc.collect()
        gc.freeze()
        gc.enable()

    task = asyncio.create_task(build())
    try:
        yield
    finally:
        task.cancel()


def _listen(options: EmulatorOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; without it every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
