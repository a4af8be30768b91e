"""Running the inspector: on a port of this machine, for whoever has the link."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from prong.harness.inspector.app import application
from prong.harness.inspector.guard import Guard, Keys
from prong.harness.inspector.library import Library
from prong.harness.mcp.endpoint import PATH as MCP
from prong.harness.swarms import Swarm
from prong.state import ProngError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""The names by which a server on this machine may be called."""

KEPT_S = 60
"""How long a connection stays open on which nobody asks anything, in seconds: MCP clients think for a while, and a new
connection costs finding out whose it is."""

STARTS_S = 10.0
"""How long a server may take to listen, in seconds."""


class NotServed(ProngError):
    """The inspector could not listen."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        self.host = host
        self.port = port
        self.problem = problem

    def __str__(self) -> str:
        return f"the inspector cannot listen on {self.host}:{self.port}: {self.problem}. Name another with --port."


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and its secrets."""

    host: str
    port: int
    keys: Keys

    @property
    def url(self) -> str:
        """What programs ask, with the token in their header."""
        return f"http://{self.host}:{self.port}"

    def for_agents(self) -> dict[str, Any]:
        """What an MCP client needs, and whose process serves it."""
        return {"url": f"{self.url}{MCP}", "token": self.keys.agents, "pid": os.getpid()}

    @property
    def link(self) -> str:
        """What opens a browser, once."""
        return f"{self.url}/?code={self.keys.code}"


@contextlib.contextmanager
def serving(
    library: Library, *, host: str = "127.0.0.1", port: int = 0, names: Collection[str] = (), read_only: bool = False
) -> Iterator[tuple[Address, uvicorn.Server]]:
    """Serve the inspector in a thread until the block ends; port 0 takes any that is free.  Raises `NotServed`."""
    with served(application(library, read_only=read_only), Keys(), host=host, port=port, names=names) as found:
        yield found


@contextlib.contextmanager
def served(
    app: ASGIApp, keys: Keys, *, host: str = "127.0.0.1", port: int = 0, names: Collection[str] = ()
) -> Iterator[tuple[Address, uvicorn.Server]]:
    """Serve an application behind the guard in a thread until the block ends.  Raises `NotServed`."""
    listening = _listen(host, port)
    address = Address(host, listening.getsockname()[1], keys)
    config = uvicorn.Config(
        Guard(app, keys, hosts={*LOOPBACK, *names}, port=address.port),
        log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="on",
        timeout_graceful_shutdown=1, timeout_keep_alive=KEPT_S, ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="inspector", daemon=True)
    thread.start()
    try:
        _await_start(server, thread, host, address.port)
        yield address, server
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listening.close()


@contextlib.contextmanager
def announced(swarms: Sequence[Swarm], address: Address, *, read_only: bool = False) -> Iterator[None]:
    """Write where the inspector is into each swarm's directory, for programs of the same user; removed afterwards.

    Beside it stands where MCP clients connect, with the token that opens nothing else.
    """
    told = {"inspector.json": {"url": address.url, "token": address.keys.token, "pid": os.getpid()}}
    if not read_only:
        told["mcp.json"] = address.for_agents()
    files = {swarm.directory / name: data for swarm in swarms for name, data in told.items()}
    for file, data in files.items():
        with contextlib.suppress(OSError):  # a swarm that can only be read is shown all the same
            write_secret(file, json.dumps(data))
    try:
        yield
    finally:
        for file in files:
            with contextlib.suppress(OSError, ValueError):
                if json.loads(file.read_text())["pid"] == os.getpid():
                    file.unlink()


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads, in the place of what stood there."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; without it every answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise NotServed(host, port, getattr(error, "strerror", None) or str(error)) from error
    return listening


def _await_start(server: uvicorn.Server, thread: threading.Thread, host: str, port: int) -> None:
    deadline = time.monotonic() + STARTS_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise NotServed(host, port, "the server did not start")
        time.sleep(0.01)
