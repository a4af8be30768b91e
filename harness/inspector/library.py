"""The swarms that one server shows, opened when somebody looks: found by id, read by connections that cannot write."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs

from prong.harness.inspector import spans_kept
from prong.harness.inspector.feed import Feed, connect
from prong.harness.inspector.past import Past
from prong.harness.inspector.recent import Recent
from prong.harness.inspector.spans import Spans
from prong.harness.status import is_supervised
from prong.harness.swarms import Swarm
from prong.state import ProngError, Store

Read = TypeVar("Read")


class UnknownSwarm(ProngError):
    """No swarm that is shown here has that id."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"no swarm {self.name!r} is shown here; there are: {', '.join(self.known) or 'none'}"


@dataclass
class Shown:
    """One swarm that is looked at: its store, its feed, and what was folded from its log so far."""

    swarm: Swarm
    store: Store
    feed: Feed
    spans: Spans | None = None
    past: Past = field(default_factory=Past)
    recent: Recent = field(default_factory=Recent)
    folding: threading.Lock = field(default_factory=threading.Lock)
    _kept: int = 0

    @property
    def alive(self) -> bool:
        """Whether somebody runs it now."""
        return is_supervised(self.store)

    @contextlib.contextmanager
    def reading(self, *, moves: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection for one answer, which one thread after another may use where it `moves`; rows are tuples."""
        with contextlib.closing(connect(self.store.path, moves=moves)) as connection:
            yield connection

    def spans_until(self, connection: sqlite3.Connection, seq: int) -> Spans:
        """The spans of the log up to `seq`, and of what was folded beyond it already."""
        with self.folding:
            if self.spans is None:
                self.spans = spans_kept.recall(self.swarm.directory, connection)
                self._kept = self.spans.seq
            if self.spans.seq < seq:
                self.spans.read(connection, seq)
            if seq - self._kept >= spans_kept.WORTH_EVENTS:
                self._kept = seq
                spans_kept.keep(self.swarm.directory, connection, self.spans)
            return self.spans


class Library:
    """All swarms of a server.  `find` gives those that there are now, newest last, by id."""

    def __init__(self, find: Callable[[], Sequence[Swarm]]) -> None:
        self._find = find
        self._shown: dict[str, Shown] = {}
        self._lock = threading.Lock()

    def all(self) -> Sequence[Swarm]:
        """The swarms that there are now, newest last."""
        return self._find()

    def open(self, name: str) -> Shown:
        """The swarm of that id, or the newest where it is `newest`; raises `UnknownSwarm`."""
        with self._lock:
            if name in self._shown and Path(self._shown[name].store.path).exists():
                return self._shown[name]
        found = self._find()
        swarm = found[-1] if name == "newest" and found else next((one for one in found if one.id == name), None)
        if swarm is None:
            raise UnknownSwarm(name, [one.id for one in found])
        with self._lock:
            if swarm.id not in self._shown:
                store = swarm.store()
                self._shown[swarm.id] = Shown(swarm, store, Feed(store.path))
            return self._shown[swarm.id]

    def place_of(self, query: str) -> Path:
        """Where an MCP client takes part: in the swarm that its address names with `?swarm=`, else in the newest.

        Of all that there are the newest that runs comes first.  Raises `UnknownSwarm`.
        """
        found = self._find()
        named = parse_qs(query).get("swarm")
        if named:
            found = [one for one in found if one.id == named[0]]
        running = [one for one in found if is_supervised(one.store())]
        if not found:
            raise UnknownSwarm(named[0] if named else "newest", [one.id for one in self._find()])
        return (running or found)[-1].directory

    def close(self) -> None:
        """Stop all feeds."""
        for shown in self._shown.values():
            shown.feed.close()
            shown.store.close()
