"""Prong's side of each contest: a swarm in a temporary directory, and a member of it in each process."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from family.crew import PATIENCE_S, Stuck

from prong.primitives.joined import Swarm, join
from prong.state import Store


@contextmanager
def swarm_directory() -> Iterator[Path]:
    """A new swarm's directory, whose database is made already."""
    with tempfile.TemporaryDirectory(prefix="prong-benchmark-") as folder:
        Store(Path(folder)).close()
        yield Path(folder)


@contextmanager
def joined(directory: Path) -> Iterator[Swarm]:
    """A member of the swarm, in the calling process."""
    with join(directory, name="benchmark") as swarm:
        yield swarm


def until_waiting(directory: Path, waiters: int) -> None:
    """Return once so many processes wait for something; raises `Stuck`."""
    until = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(directory / "state.db")) as connection:
        while True:
            (waiting,) = connection.execute("select count(*) from waiter where state = 'waiting'").fetchone()
            if waiting == waiters:
                return
            if time.monotonic() > until:
                raise Stuck(f"only {waiting} of {waiters} wait")
            time.sleep(0.005)
