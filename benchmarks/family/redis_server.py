"""A redis server of our own on a unix socket, without persistence, for as long as the block lasts."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 10.0


def lacks() -> str:
    """What must be installed before redis can take part; empty where nothing is missing."""
    needed = []
    if importlib.util.find_spec("redis") is None:
        needed.append("pip install redis")
    if shutil.which("redis-server") is None:
        needed.append("apt-get install redis-server")
    return " and ".join(needed)


@contextmanager
def server() -> Iterator[str | None]:
    """The path of the server's socket, or None where redis is not installed."""
    if lacks():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="prong-redis-") as folder:
        path = str(Path(folder, "redis.sock"))
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as process:
            try:
                _wait_for(path)
                yield path
            finally:
                process.terminate()


def client(path: str) -> Any:
    """A connection of the calling process's own."""
    import redis  # noqa: PLC0415  the peer may be missing

    return redis.Redis(unix_socket_path=path)


def _wait_for(path: str) -> None:
    import redis  # noqa: PLC0415  the peer may be missing

    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with client(path) as connection:
                connection.ping()
                return
        except redis.ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
