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

import uvicorn

from prong.harness.inspector.app import application
from prong.harness.inspector.guard import Guard, Keys
from prong.harness.inspector.library import Library
from prong.harness.swarms import Swarm
from prong.state import ProngError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""The names by which a server on this machine may be called."""

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

    @property
    def link(self) -> str:
        """What opens a browser, once."""
        return f"{self.url}/?code={self.keys.code}"


@contextlib.contextmanager
def serving(
    library: Library, *, host: str = "127.0.0.1", port: int = 0, names: Collection[str] = (), read_only: bool = False
) -> Iterator[tuple[Address, uvicorn.Server]]:
    """Serve in a thread until the block ends; port 0 takes any that is free.  Raises `NotServed`."""
    listening = _listen(host, port)
    address = Address(host, listening.getsockname()[1], Keys())
    app = Guard(application(library, read_only=read_only), address.keys, hosts={*LOOPBACK, *names}, port=address.port)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="on",
        timeout_graceful_shutdown=1, ws="none",
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
def announced(swarms: Sequence[Swarm], address: Address) -> Iterator[None]:
    """Write where the inspector is into each swarm's directory, for programs of the same user; removed afterwards."""
    told = json.dumps({"url": address.url, "token": address.keys.token, "pid": os.getpid()})
    files = [swarm.directory / "inspector.json" for swarm in swarms]
    for file in files:
        with contextlib.suppress(OSError):  # a swarm that can only be read is shown all the same
            _write_secret(file, told)
    try:
        yield
    finally:
        for file in files:
            with contextlib.suppress(OSError, ValueError):
                if json.loads(file.read_text())["pid"] == os.getpid():
                    file.unlink()


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
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
