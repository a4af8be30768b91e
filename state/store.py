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

import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_UN, flock
from pathlib import Path
from typing import Any

from prong.state.bell import MERGER_SLOT, SCHEDULER_SLOT, Bells
from prong.state.clock import Clock, SystemClock, boot_id, wall_minus_monotonic
from prong.state.door import Door, open_door
from prong.state.errors import Deposed, StoreError
from prong.state.failure import meaning
from prong.state.schema import bring_up_to_date

PATIENCE_S = 30.0
"""How long a call waits for a foreign program that holds the database, in seconds."""

Row = sqlite3.Row

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Member:
    """Who acts: an agent of the swarm in one of its lives."""

    agent: int
    incarnation: int
    task: int | None = None


class Transaction:
    """What may be done between begin and commit; `now` is one point in time for all of it.

    Afterwards `undone` says whether it was rolled back.
    """

    def __init__(self, store: Store, door: Door, member: Member | None) -> None:
        self._door = door
        self._slots_to_ring: list[int] = []
        self._store = store
        self.member = member
        self.now = store.clock.now()
        self.undone = False

    def execute(self, sql: str, /, **values: Any) -> int:
        """Run a statement and return the number of rows it changed."""
        return self._run(sql, values).rowcount

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Run a statement and return all its rows."""
        return self._run(sql, values).fetchall()

    def row(self, sql: str, /, **values: Any) -> Row | None:
        """Run a statement and return its first row, or None."""
        rows = self._run(sql, values).fetchall()
        return rows[0] if rows else None

    def value(self, sql: str, /, **values: Any) -> Any:
        """Run a statement and return the first column of its first row, which must exist."""
        return self._run(sql, values).fetchall()[0][0]

    def event(self, kind: str, /, *, object: str | None = None, task: int | None = None, **data: Any) -> None:
        """Append to the log; the acting member and its task are filled in."""
        member = self.member
        self._run(
            "insert into event (at, agent, task, kind, object, data)"
            " values (:at, :agent, :task, :kind, :object, :data)",
            {
                "at": self._store.clock.wall(),
                "agent": member.agent if member else None,
                "task": task if task is not None else (member.task if member else None),
                "kind": kind,
                "object": object,
                "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")) if data else "{}",
            },
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

    def _run(self, sql: str, values: Mapping[str, Any]) -> sqlite3.Cursor:
        if self._door.inherited:
            raise self._store.forked_inside()
        try:
            return self._door.connection.execute(sql, values)
        except UnicodeEncodeError:
            # A file name that is no UTF-8, say: the log must be able to tell of it all the same.
            return self._door.connection.execute(sql, {name: _storable(value) for name, value in values.items()})

    def _ring_all(self) -> None:
        for slot in self._slots_to_ring:
            self._store.bells.ring(slot)


class Store:
    """The shared state of one swarm, in the directory that holds `state.db`.

    A store may be used from any thread and in forked children: each process and thread gets a connection of its own.
    A process must not fork inside a transaction of its own: its child is refused the database then.
    Raises `StoreError` where the database cannot be used, `StoreBusy` where a foreign program holds it too long.
    """

    def __init__(self, directory: Path, *, clock: Clock | None = None, patience_s: float = PATIENCE_S) -> None:
        self.directory = Path(directory)
        self.path = self.directory / "state.db"
        self._patience_s = patience_s
        self._own = threading.local()
        bring_up_to_date(self.path, patience_s=patience_s)
        self.bells = Bells(self.directory / "bells")
        self.clock = clock or SystemClock(self._offset_of_this_boot())

    @contextmanager
    def transaction(self, member: Member | None) -> Iterator[Transaction]:
        """One atomic change on behalf of `member`; None is the harness itself.

        Raises `Deposed` where the member was declared dead; nothing is written then.
        """
        door = self._enter()
        if door.connection.in_transaction:
            door.leave()
            raise RuntimeError("a transaction was begun inside another one of the same thread")
        tx: Transaction | None = None
        try:
            # An interrupt may strike right behind `enter`, so that already stands where leaving is certain.
            door.gate.enter()
            door.connection.execute("begin immediate")
            tx = Transaction(self, door, member)
            if member is not None:
                _check_alive(tx, member)
            yield tx
            if door.inherited:
                raise self.forked_inside()
            door.connection.execute("commit")
        except sqlite3.Error as error:
            self._explain(error)
            raise
        finally:
            if not door.inherited:
                try:
                    if self._roll_back(door) and tx is not None:
                        tx.undone = True
                finally:
                    # No method of ours: entering one is where an interrupt strikes.
                    flock(door.gate.file, LOCK_UN)
                if tx is not None and not tx.undone:
                    tx._ring_all()  # noqa: SLF001  the two classes are one
            door.leave()

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Read outside of any transaction."""
        door = self._enter()
        try:
            return door.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._explain(error)
            raise
        finally:
            door.leave()

    def row(self, sql: str, /, **values: Any) -> Row | None:
        """Read one row, or None."""
        rows = self.rows(sql, **values)
        return rows[0] if rows else None

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        """Several reads that all see the same moment."""
        door = self._enter()
        try:
            door.connection.execute("begin")
            yield self
        finally:
            if not door.inherited:
                self._roll_back(door)
            door.leave()

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        door: Door | None = getattr(self._own, "door", None)
        if door is not None:
            door.close()
        self._own.door = None

    def forked_inside(self) -> StoreError:
        """What a process is told that was forked inside a transaction and goes on with it."""
        return StoreError(
            str(self.path),
            "this process was forked inside a transaction, which is its parent's alone",
            "Leave the transaction before you fork.",
        )

    def _enter(self) -> Door:
        """This thread's door, which keeps forks out until the caller leaves it."""
        door: Door | None = getattr(self._own, "door", None)
        while door is None or not door.enter():
            try:
                door = self._own.door = open_door(self.path, self._connect)
            except sqlite3.Error as error:
                self._explain(error)
                raise
            except OSError as error:
                raise StoreError(str(self.path), str(error), "See whether the swarm's directory is there.") from error
        return door

    def _connect(self) -> sqlite3.Connection:
        # Each thread has its own; only closing may fall to another, which drops a store that many have used.
        connection = sqlite3.connect(
            self.path, isolation_level=None, timeout=self._patience_s, cached_statements=512, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma recursive_triggers = on")  # or `replace` would slip past the event log's
        return connection

    def _roll_back(self, door: Door) -> bool:
        """Undo what was not committed; whether there was anything."""
        if not door.connection.in_transaction:
            return False
        try:
            door.connection.execute("rollback")
        except sqlite3.Error:
            self._own.door = None  # it is closed with the last look at it, and the next use opens another
        return True

    def _explain(self, error: sqlite3.Error) -> None:
        refusal = meaning(self.path, error, self._patience_s)
        if refusal is not None:
            raise refusal from error

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
    """The latest point in time that an earlier boot has written, so that time never goes back."""
    return float(
        tx.value(
            "select coalesce(max(at), 0) from ("
            " select max(beat_at) as at from agent union all select max(ended_at) from agent"
            " union all select max(created_at) from task union all select max(started_at) from task"
            " union all select max(ended_at) from task union all select max(acquired_at) from lock"
            " union all select max(updated_at) from map_entry union all select max(put_at) from queue_message"
            " union all select max(ended_at) from model_call)"
        )
    )


def _storable(value: Any) -> Any:
    """Text with the replacement character where a lone surrogate stood, which UTF-8 cannot hold."""
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
