"""The one door to the database.

Everything that changes is one transaction, which

1. takes its place in the writers' queue and begins,
2. checks that the acting agent is alive and of the same incarnation,
3. decides in SQL, and appends an event for every transition,
4. commits, and only then
5. rings the bells of those whom it granted something.

    with store.transaction(member) as tx:
        row = tx.row("update … returning fence", …)
        tx.event("lock.acquired", object=name, fence=row["fence"])

Reading needs no transaction and waits for nobody.
"""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prong.state.bell import MERGER_SLOT, SCHEDULER_SLOT, Bells
from prong.state.clock import Clock, SystemClock, boot_id, wall_minus_monotonic
from prong.state.errors import Deposed, StoreBusy, StoreError
from prong.state.gate import Gate
from prong.state.schema import bring_up_to_date

PATIENCE_S = 30.0
"""How long a call waits for a foreign program that holds the database, in seconds."""

Row = sqlite3.Row


@dataclass(frozen=True, slots=True)
class Member:
    """Who acts: an agent of the swarm in one of its lives."""

    agent: int
    incarnation: int
    task: int | None = None


class Transaction:
    """What may be done between begin and commit; `now` is one point in time for all of it."""

    def __init__(self, store: Store, connection: sqlite3.Connection, member: Member | None) -> None:
        self._connection = connection
        self._slots_to_ring: list[int] = []
        self._store = store
        self.member = member
        self.now = store.clock.now()

    def execute(self, sql: str, /, **values: Any) -> int:
        """Run a statement and return the number of rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Run a statement and return all its rows."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, /, **values: Any) -> Row | None:
        """Run a statement and return its first row, or None."""
        rows = self._connection.execute(sql, values).fetchall()
        return rows[0] if rows else None

    def value(self, sql: str, /, **values: Any) -> Any:
        """Run a statement and return the first column of its first row, which must exist."""
        return self._connection.execute(sql, values).fetchall()[0][0]

    def event(self, kind: str, /, *, object: str | None = None, task: int | None = None, **data: Any) -> None:
        """Append to the log; the acting member and its task are filled in."""
        member = self.member
        self._connection.execute(
            "insert into event (at, agent, task, kind, object, data) values (?, ?, ?, ?, ?, ?)",
            (
                self._store.clock.wall(),
                member.agent if member else None,
                task if task is not None else (member.task if member else None),
                kind,
                object,
                json.dumps(data, ensure_ascii=False, separators=(",", ":")) if data else "{}",
            ),
        )

    def ring(self, waiter: int) -> None:
        """Wake a waiter once the transaction is committed."""
        self._slots_to_ring.append(self._store.bells.slot(waiter))

    def ring_scheduler(self) -> None:
        """Wake the scheduler once the transaction is committed."""
        self._slots_to_ring.append(SCHEDULER_SLOT)

    def ring_merger(self) -> None:
        """Wake the merger once the transaction is committed."""
        self._slots_to_ring.append(MERGER_SLOT)

    def _ring_all(self) -> None:
        for slot in self._slots_to_ring:
            self._store.bells.ring(slot)


class Store:
    """The shared state of one swarm, in the directory that holds `state.db`.

    A store may be used from any thread and in forked children: each process and thread gets a connection of its own.
    Raises `StoreError` where the database cannot be used, `StoreBusy` where a foreign program holds it too long.
    """

    def __init__(self, directory: Path, *, clock: Clock | None = None) -> None:
        self.directory = Path(directory)
        self.path = self.directory / "state.db"
        self._own = threading.local()
        bring_up_to_date(self.path)
        self.bells = Bells(self.directory / "bells")
        self.clock = clock or SystemClock(self._offset_of_this_boot())

    @contextmanager
    def transaction(self, member: Member | None) -> Iterator[Transaction]:
        """One atomic change on behalf of `member`; None is the harness itself.

        Raises `Deposed` where the member was declared dead; nothing is written then.
        """
        gate, connection = self._doors()
        gate.enter()
        try:
            self._begin(connection)
            try:
                tx = Transaction(self, connection, member)
                if member is not None:
                    _check_alive(tx, member)
                yield tx
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
        finally:
            gate.leave()
        tx._ring_all()  # noqa: SLF001  the two classes are one door

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Read outside of any transaction."""
        return self._doors()[1].execute(sql, values).fetchall()

    def row(self, sql: str, /, **values: Any) -> Row | None:
        """Read one row, or None."""
        rows = self.rows(sql, **values)
        return rows[0] if rows else None

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        """Several reads that all see the same moment."""
        connection = self._doors()[1]
        connection.execute("begin")
        try:
            yield self
        finally:
            connection.execute("rollback")

    def close(self) -> None:
        """Close this thread's connection."""
        doors = getattr(self._own, "doors", None)
        if doors is not None and self._own.pid == os.getpid():
            doors[1].close()
            doors[0].close()
        self._own.doors = None

    def _doors(self) -> tuple[Gate, sqlite3.Connection]:
        doors: tuple[Gate, sqlite3.Connection] | None = getattr(self._own, "doors", None)
        if doors is not None and self._own.pid == os.getpid():
            return doors
        if doors is not None:
            # SQLite forbids using a connection across fork(), and even closing it: the child inherits the handle but
            # not the file locks it believes it holds.  So the parent's connection is kept, unused, while we live.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(doors[1]))
        self._own.pid = os.getpid()
        self._own.doors = (Gate(self.directory / "gate"), self._connect())
        made: tuple[Gate, sqlite3.Connection] = self._own.doors
        return made

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=PATIENCE_S, cached_statements=512)
        connection.row_factory = sqlite3.Row
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma foreign_keys = on")
        return connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        began = time.monotonic()
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                advice = "Free the disk or mend the file; nothing was written."
                raise StoreError(str(self.path), str(error), advice) from error
            raise StoreBusy(str(self.path), round(time.monotonic() - began, 1), _lock_holders(self.path)) from error

    def _offset_of_this_boot(self) -> float:
        boot = boot_id()
        row = self.row("select offset_s from boot where id = :boot", boot=boot)
        if row is None:
            # The harness itself writes here, before there is a clock to put into a transaction.
            self.clock = SystemClock(wall_minus_monotonic())
            with self.transaction(None) as tx:
                tx.execute(
                    "insert into boot (id, offset_s) values (:boot, :offset) on conflict (id) do nothing",
                    boot=boot,
                    offset=max(wall_minus_monotonic(), _latest(tx) - time.monotonic()),
                )
            row = self.row("select offset_s from boot where id = :boot", boot=boot)
            assert row is not None
        return float(row["offset_s"])


def _check_alive(tx: Transaction, member: Member) -> None:
    row = tx.row("select incarnation, ended_at, reason from agent where id = :agent", agent=member.agent)
    if row is None or row["ended_at"] is not None or row["incarnation"] != member.incarnation:
        reason = (row["reason"] if row is not None else None) or "it is not a member of this swarm"
        raise Deposed(member.agent, member.incarnation, reason)


def _latest(tx: Transaction) -> float:
    """The latest point in time that an earlier boot can have written, so that time never goes back."""
    return float(tx.value("select coalesce(max(beat_at), 0) from agent"))


def _lock_holders(path: Path) -> tuple[int, ...]:
    """The processes that hold a file lock on the database, as the kernel lists them."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return ()
    holders = {int(parts[-4]) for parts in map(str.split, lines) if parts[-3].rsplit(":", 1)[-1] == str(inode)}
    return tuple(sorted(holders - {os.getpid()}))
