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

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from prong.state.bell import Bells, open_bells
from prong.state.clock import Clock, SystemClock, boot_id, wall_minus_monotonic
from prong.state.door import Door, open_door
from prong.state.errors import StoreError
from prong.state.failure import meaning
from prong.state.schema import bring_up_to_date
from prong.state.told import Told
from prong.state.transaction import Change, Member, Row, Transaction, check_alive
from prong.state.watch import Watch

WAL_PAGES = 8_000
"""How long the write-ahead log grows, in pages, before it is written back, which waits for the disk."""

PATIENCE_S = 30.0
"""How long a call waits for a foreign program that holds the database, in seconds."""


class _Own(threading.local):
    """What belongs to one thread."""

    door: Door | None = None
    outer: Transaction | None = None
    undoing: list[Callable[[], object]] | None = None


class Store:
    """The shared state of one swarm, or of any programs that agree on a file.

    `path` is a directory, made where it is missing, or a file whose name has a suffix (`work.db`), beside which the
    others then stand (`work.db-gate`, …).  A store may be used from any thread and in forked children: each process and
    thread gets a connection of its own.  A process must not fork inside a transaction of its own: its child is refused
    the database then.  Raises `StoreError` where the database cannot be used, `StoreBusy` where a foreign program
    holds it too long.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        clock: Clock | None = None,
        patience_s: float = PATIENCE_S,
        bells: Callable[[Path], Bells] = open_bells,
    ) -> None:
        self.place = Path(path)
        self.directory, self.path, beside = _layout(self.place)
        self.artifacts = self.directory / f"{beside}artifacts"
        self.read_waits: deque[int] = deque()
        self.read_locks: deque[int] = deque()
        self._gate = self.directory / f"{beside}gate"
        self._patience_s = patience_s
        self._own = _Own()
        bring_up_to_date(self.path, lock=self.directory / f"{beside}schema.lock", patience_s=patience_s)
        self.bells = bells(self.directory / f"{beside}bells")
        self.told = Told(self.directory / f"{beside}told")
        self.watch = Watch(self.directory / f"{beside}watch")
        self.clock = clock or SystemClock(self._offset_of_this_boot())

    def transaction(self, member: Member | None) -> AbstractContextManager[Transaction]:
        """One atomic change on behalf of `member`; None is the harness itself.

        Raises `Deposed` where the member was declared dead; nothing is written then.
        """
        outer = self._own.outer
        return Change(self, member) if outer is None else self._nested(outer, member)

    @contextmanager
    def atomic(self, member: Member | None) -> Iterator[Transaction]:
        """Make all transactions of this thread inside the block one: all of it happens, or nothing.

        Nothing in there can wait for others, who would have to wait for the block itself.
        """
        around, inside = self._own.undoing, list[Callable[[], object]]()
        try:
            with self.transaction(member) as tx:
                before, self._own.outer, self._own.undoing = self._own.outer, tx, inside
                try:
                    yield tx
                finally:
                    self._own.outer, self._own.undoing = before, around
        except BaseException:
            for undo in reversed(inside):
                undo()
            raise
        if around is not None:
            around += inside

    @property
    def inside_atomic(self) -> bool:
        """Whether the calling thread is inside a block of `atomic`."""
        return self._own.outer is not None

    def if_undone(self, undo: Callable[[], object]) -> None:
        """Call `undo`, which must neither raise nor call this, where the thread's block of `atomic` is undone.

        For what a process remembers of changes that are not committed; outside of any block nothing is.
        """
        if self._own.undoing is not None:
            self._own.undoing.append(undo)

    def rows(self, sql: str, /, **values: Any) -> list[Row]:
        """Read outside of any transaction."""
        door = self._own.door
        if door is None or not door.enter():
            door = self.enter()
        try:
            return door.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self.explain(error)
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
        if self.inside_atomic:
            yield self
            return
        door = self.enter()
        try:
            door.connection.execute("begin")
            yield self
        finally:
            if not door.inherited and door.connection.in_transaction:
                door.connection.execute("rollback")
            door.leave()

    def burials(self) -> int:
        """As a transaction says it, without one; -1 where this thread has no connection to ask."""
        door = self._own.door
        if door is None or not door.enter():
            return -1
        try:
            return door.gate.burials()
        finally:
            door.leave()

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        if self._own.door is not None:
            self._own.door.close()
        self.forget_door()

    def forget_door(self) -> None:
        """Let the next use open another connection; this one is closed with the last look at it."""
        self._own.door = None

    def forked_inside(self) -> StoreError:
        """What a process is told that was forked inside a transaction and goes on with it."""
        return StoreError(
            str(self.path),
            "this process was forked inside a transaction, which is its parent's alone",
            "Leave the transaction before you fork.",
        )

    def undone_inside(self) -> StoreError:
        """What a block is told that goes on although an error in it has undone all of it, as a full disk does."""
        return StoreError(
            str(self.path),
            "an earlier change of this block failed, and the whole block was undone with it",
            "Do all of it again; nothing was written.",
        )

    @contextmanager
    def _nested(self, outer: Transaction, member: Member | None) -> Iterator[Transaction]:
        """A part of an atomic block, undone alone where it fails."""
        tx = Transaction(self, outer._door, member)  # noqa: SLF001  the two classes are one
        tx.now = outer.now
        if not outer._door.inherited and not outer._door.connection.in_transaction:  # noqa: SLF001  as above
            raise self.undone_inside()
        if member is not None and member != outer.member:
            check_alive(tx, member)
        tx.execute("savepoint part")
        try:
            yield tx
        except BaseException:
            tx.undone = True
            self.read_locks.extend(tx._swept)  # noqa: SLF001  as above
            if not outer._door.inherited and outer._door.connection.in_transaction:  # noqa: SLF001  as above
                tx.execute("rollback to part")
                tx.execute("release part")
            raise
        tx.execute("release part")
        outer._slots_to_ring += tx._slots_to_ring  # noqa: SLF001  as above
        outer._to_tell.update(tx._to_tell)  # noqa: SLF001  as above
        outer._swept += tx._swept  # noqa: SLF001  as above

    def enter(self) -> Door:
        """This thread's door, which keeps forks out until the caller leaves it."""
        door = self._own.door
        while door is None or not door.enter():
            try:
                door = self._own.door = open_door(self.path, self._gate, self._connect)
            except sqlite3.Error as error:
                self.explain(error)
                raise
            except OSError as error:
                advice = "See whether the directory is there and can be written."
                raise StoreError(str(self.path), str(error), advice) from error
        return door

    def _connect(self) -> sqlite3.Connection:
        # Each thread has its own; only closing may fall to another, which drops a store that many have used.
        connection = sqlite3.connect(
            self.path, isolation_level=None, timeout=self._patience_s, cached_statements=512, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("pragma synchronous = normal")
        connection.execute(f"pragma wal_autocheckpoint = {WAL_PAGES}")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma recursive_triggers = on")  # or `replace` would slip past the event log's
        return connection

    def explain(self, error: sqlite3.Error) -> None:
        """Raise what an error of SQLite means, where it is none of ours."""
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


def _layout(place: Path) -> tuple[Path, Path, str]:
    """Where a store's files stand: the directory, the database, and how the names of the others begin."""
    real = Path(os.path.realpath(place))  # or a link would have a gate of its own
    if place.suffix and not real.is_dir():
        return real.parent, real, f"{real.name}-"
    return real, real / "state.db", ""


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
