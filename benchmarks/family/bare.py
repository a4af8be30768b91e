"""One process's bare `sqlite3` connection, at the same gate and with the same bells as Prong's.

Same file (Prong's store made it, so indexes and page size are equal), same gate (`flock` on a file beside it), same
durability (the log is written back as rarely), statements prepared by the connection's cache, and whoever waits sleeps
on the same futex.  It checks nothing: no name, no argument, no lease, nor whether the process was declared dead.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from typing import Any, Self

from prong.state.bell import open_bells, slot_of
from prong.state.store import WAL_PAGES

Statement = tuple[str, tuple[Any, ...]]

FOR_EVER_S = 3600.0

_ENLIST = "insert into agent (name, pid, state, beat_at, started_at) values ('bare', ?, 'running', ?, ?) returning id"

_EVENT = "insert into event (at, agent, task, kind, object, data) values (?, ?, null, ?, ?, ?)"

_TWO_EVENTS = _EVENT + ", (?, ?, null, ?, ?, ?)"

_WAIT = """
insert into waiter (agent, kind, object, wants, state, since_at, until_at) values (?, ?, ?, ?, 'waiting', ?, ?)
"""

_FIRST = "select id, agent from waiter where kind = ? and object = ? and state = 'waiting' order by id limit 1"

_GRANT = "update waiter set state = 'granted', outcome = ? where id = ?"

_LOOK = "select outcome from waiter where id = ? and state = 'granted'"

_LEAVE = "delete from waiter where id = ? returning outcome"


class Bare:
    """A connection, the gate and the bells, and an object's name."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._bells = open_bells(directory / "bells")
        self._connection = sqlite3.connect(directory / "state.db", isolation_level=None, timeout=30)
        self._connection.execute("pragma synchronous = normal")
        self._connection.execute(f"pragma wal_autocheckpoint = {WAL_PAGES}")
        self._gate = os.open(directory / "gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._over: int | None = None
        now = time.time()
        (self._agent,) = self._connection.execute(_ENLIST, (os.getpid(), now, now)).fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        os.close(self._gate)

    def _change(self, *statements: Statement) -> None:
        """One transaction."""
        execute = self._connection.execute
        flock(self._gate, LOCK_EX)
        execute("begin immediate")
        for sql, values in statements:
            execute(sql, values)
        execute("commit")
        flock(self._gate, LOCK_UN)

    def _open(self) -> None:
        flock(self._gate, LOCK_EX)
        self._connection.execute("begin immediate")

    def _run(self, statement: Statement) -> int:
        return self._connection.execute(*statement).lastrowid or 0

    def _row(self, sql: str, *values: Any) -> Any:
        rows = self._connection.execute(sql, values).fetchall()
        return rows[0] if rows else None

    def _close(self, slots: Iterable[int] = ()) -> None:
        """Commit, let the next one in, and ring for whom something was decided."""
        self._connection.execute("commit")
        flock(self._gate, LOCK_UN)
        for slot in slots:
            self._bells.ring(slot)
            os.sched_yield()

    def _event(self, kind: str, data: str) -> Statement:
        return _EVENT, (time.time(), self._agent, kind, self.name, data)

    def _two_events(self, kind: str, data: str, second_kind: str, second_data: str) -> Statement:
        who = time.time(), self._agent
        return _TWO_EVENTS, (*who, kind, self.name, data, *who, second_kind, self.name, second_data)

    def _enrol(self, kind: str, wants: str, timeout_s: float | None) -> int:
        """Take a place at the end of the line."""
        now = time.time()
        until = None if timeout_s is None else now + timeout_s
        return self._run((_WAIT, (self._agent, kind, self.name, wants, now, until)))

    def _first(self, kind: str) -> Any:
        """The number and the agent of the first in line, or None."""
        return self._row(_FIRST, kind, self.name)

    def _grant(self, waiter: int, outcome: dict[str, Any]) -> int:
        """Decide in favour of one who waits; the bell to ring afterwards."""
        self._run((_GRANT, (json.dumps(outcome, separators=(",", ":")), waiter)))
        return slot_of(waiter)

    def _sleep(self, waiter: int, slot: int, seen: int, timeout_s: float = FOR_EVER_S) -> Any:
        """What was decided; None where the time is up."""
        until = time.monotonic() + timeout_s
        while (remaining := until - time.monotonic()) > 0:
            self._bells.wait(slot, seen, remaining)
            seen = self._bells.read(slot)
            row = self._row(_LOOK, waiter)
            if row is not None:
                self._over = waiter  # the row is left to the next transaction, as Prong does
                return json.loads(row[0])
        return None

    def _leave(self, waiter: int) -> Any:
        """Take the row away as the time is up; what was decided just before, or None."""
        self._open()
        outcome = self._row(_LEAVE, waiter)[0]
        self._close()
        return None if outcome is None else json.loads(outcome)

    def _sweep(self) -> None:
        """Remove the row of a wait that is over."""
        if self._over is not None:
            self._run(("delete from waiter where id = ?", (self._over,)))
            self._over = None
