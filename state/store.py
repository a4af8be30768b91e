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
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fcntl import LOCK_UN, flock
from pathlib import Path
from types import TracebackType
from typing import Any

from prong.state.bell import MERGER_SLOT, SCHEDULER_SLOT, Bells, open_bells
from prong.state.clock import Clock, SystemClock, boot_id, wall_minus_monotonic
from prong.state.door import Door, open_door
from prong.state.errors import Deposed, StoreError
from prong.state.failure import meaning
from prong.state.schema import bring_up_to_date
from prong.state.watch import Watch

WAL_PAGES = 8_000
"""How long the write-ahead log grows, in pages, before it is written back, which waits for the disk."""

PATIENCE_S = 30.0
"""How long a call waits for a foreign program that holds the database, in seconds."""

Row = sqlite3.Row

_APPEND = "insert into event (at, agent, task, kind, object, data) values (:at, :agent, :task, :kind, :object, :data)"


def compact(value: Any) -> str:
    """JSON as the log holds it."""
    return "".join(_encode(value, 0))


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """What `json` makes anew for each value that it encodes, which takes longer than encoding a small one."""
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    made = getattr(json.encoder, "c_make_encoder", None)
    if made is None:  # an interpreter without the accelerator
        return lambda value, _: encoder.iterencode(value)
    keep: Callable[[Any, int], Iterable[str]] = made(
        None,
        encoder.default,
        json.encoder.encode_basestring,
        None,
        ":",
        ",",
        False,
        False,
        True,
    )
    return keep


_encode = _encoder()

_SURROGATE = re.compile("[\ud800-\udfff]")


Entry = tuple[str, str, "int | None", dict[str, Any]]
"""An entry of the log: its kind, what it is about, the task (None: the acting member's), and its data."""


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

    __slots__ = ("_door", "_slots_to_ring", "_store", "_swept", "member", "now", "undone")

    def __init__(self, store: Store, door: Door, member: Member | None) -> None:
        self._door = door
        self._slots_to_ring: list[int] = []
        self._store = store
        self._swept: list[int] = []
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

    def event(self, kind: str, /, *, object: str | None = None, task: int | None = None, **data: Any) -> int:
        """Append to the log and return the entry's number; the acting member and its task are filled in."""
        member = self.member
        agent, own = (None, None) if member is None else (member.agent, member.task)
        text = compact(data) if data else "{}"
        values = (self._store.clock.wall(), agent, own if task is None else task, kind, object, text)
        number = self._run(_APPEND, values).lastrowid
        assert number is not None
        return number

    def ring(self, slot: int) -> None:
        """Ring a bell once the transaction is committed."""
        self._slots_to_ring.append(slot)

    def ring_scheduler(self) -> None:
        """Wake the scheduler once the transaction is committed."""
        self._slots_to_ring.append(SCHEDULER_SLOT)

    def ring_merger(self) -> None:
        """Wake the merger once the transaction is committed."""
        self._slots_to_ring.append(MERGER_SLOT)

    def buried(self) -> None:
        """Somebody is declared dead in this transaction: every member has to look whether it is he."""
        self._door.gate.bury()

    def _run(self, sql: str, values: Mapping[str, Any] | tuple[Any, ...]) -> sqlite3.Cursor:
        door = self._door
        if door.inherited:
            raise self._store.forked_inside()
        try:
            return door.connection.execute(sql, values)
        except UnicodeEncodeError:
            # A file name that is no UTF-8, say: the log must be able to tell of it all the same.
            if isinstance(values, tuple):
                return door.connection.execute(sql, tuple(map(_storable, values)))
            return door.connection.execute(sql, {name: _storable(value) for name, value in values.items()})

    def events(self, *entries: Entry) -> None:
        """Append several entries at once, each a kind, an object, a task and data."""
        member, at = self.member, self._store.clock.wall()
        agent, own = (None, None) if member is None else (member.agent, member.task)
        values: list[Any] = []
        for kind, object_, task, data in entries:
            values += (at, agent, own if task is None else task, kind, object_, compact(data))
        self._run(_APPEND + ", (?, ?, ?, ?, ?, ?)" * (len(entries) - 1), tuple(values))

    def sweep_locks(self) -> None:
        """Remove the rows of waits for locks that are over."""
        if self._store.read_locks:
            self._sweep(self._store.read_locks)

    def _sweep(self, read: deque[int]) -> None:
        """Remove the rows of waits that are over, which cost a transaction of their own otherwise."""
        while read:
            self._swept.append(read.popleft())
            self._run("delete from waiter where id = :waiter", {"waiter": self._swept[-1]})

    def _roll_back(self) -> None:
        """Undo what was not committed."""
        self.undone = True
        self._store.read_waits.extend(self._swept)
        try:
            self._door.connection.execute("rollback")
        except sqlite3.Error:
            self._store.forget_door()

    def _ring_all(self) -> None:
        for slot in self._slots_to_ring:
            self._store.bells.ring(slot)
        if self._slots_to_ring:
            os.sched_yield()


class _Change:
    """A transaction from begin to commit, as a `with` block.

    A generator would read better and cost as much as a statement.
    """

    __slots__ = ("_door", "_member", "_store", "_tx")

    def __init__(self, store: Store, member: Member | None) -> None:
        self._door: Door | None = None
        self._member = member
        self._store = store
        self._tx: Transaction | None = None

    def __enter__(self) -> Transaction:
        store, member = self._store, self._member
        door = store.enter()
        if door.connection.in_transaction:
            door.leave()
            raise RuntimeError("a transaction was begun inside another one of the same thread")
        self._door = door
        try:
            # An interrupt may strike right behind each of these, so they already stand where leaving is certain.
            door.gate.enter()
            door.connection.execute("begin immediate")
            tx = self._tx = Transaction(store, door, member)
            if member is not None and door.known_alive.get(member) != door.gate.burials():
                _check_alive(tx, member)
                door.known_alive[member] = door.gate.burials()
            if store.read_waits:
                tx._sweep(store.read_waits)  # noqa: SLF001  the two classes are one
        except sqlite3.Error as error:
            self._leave()
            store.explain(error)
            raise
        except BaseException:
            self._leave()
            raise
        return tx

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        door = self._door
        assert door is not None
        try:
            if kind is None:
                if door.inherited:
                    raise self._store.forked_inside()
                door.connection.execute("commit")
            elif isinstance(error, sqlite3.Error):
                self._tx._roll_back()  # type: ignore[union-attr]  # noqa: SLF001  a full disk undoes it without our asking
                self._store.explain(error)
        except sqlite3.Error as refusal:
            self._tx._roll_back()  # type: ignore[union-attr]  # noqa: SLF001  as above
            self._store.explain(refusal)
            raise
        finally:
            self._leave()

    def _leave(self) -> None:
        """Undo what was not committed, let the next writer in, and ring for whom something was decided."""
        door, self._door = self._door, None
        if door is None:
            return
        tx = self._tx
        if not door.inherited:
            try:
                if door.connection.in_transaction:
                    (tx or Transaction(self._store, door, self._member))._roll_back()  # noqa: SLF001  as above
            finally:
                # No method of ours: entering one is where an interrupt strikes.
                flock(door.gate.file, LOCK_UN)
            if tx is not None and not tx.undone:
                tx._ring_all()  # noqa: SLF001  as above
        door.leave()

    def __del__(self) -> None:
        # An interrupt struck as the block was left, before anything of ours ran.
        self._leave()


class _Own(threading.local):
    """What belongs to one thread."""

    door: Door | None = None
    outer: Transaction | None = None


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
        self.watch = Watch(self.directory / f"{beside}watch")
        self.clock = clock or SystemClock(self._offset_of_this_boot())

    def transaction(self, member: Member | None) -> AbstractContextManager[Transaction]:
        """One atomic change on behalf of `member`; None is the harness itself.

        Raises `Deposed` where the member was declared dead; nothing is written then.
        """
        outer = self._own.outer
        return _Change(self, member) if outer is None else self._nested(outer, member)

    @contextmanager
    def atomic(self, member: Member | None) -> Iterator[Transaction]:
        """Make all transactions of this thread inside the block one: all of it happens, or nothing.

        Nothing in there can wait for others, who would have to wait for the block itself.
        """
        with self.transaction(member) as tx:
            before, self._own.outer = self._own.outer, tx
            try:
                yield tx
            finally:
                self._own.outer = before

    @property
    def inside_atomic(self) -> bool:
        """Whether the calling thread is inside a block of `atomic`."""
        return self._own.outer is not None

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

    @contextmanager
    def _nested(self, outer: Transaction, member: Member | None) -> Iterator[Transaction]:
        """A part of an atomic block, undone alone where it fails."""
        tx = Transaction(self, outer._door, member)  # noqa: SLF001  the two classes are one
        tx.now = outer.now
        if member is not None and member != outer.member:
            _check_alive(tx, member)
        tx.execute("savepoint part")
        try:
            yield tx
        except BaseException:
            tx.undone = True
            if not outer._door.inherited and outer._door.connection.in_transaction:  # noqa: SLF001  as above
                tx.execute("rollback to part")
                tx.execute("release part")
            raise
        tx.execute("release part")
        outer._slots_to_ring += tx._slots_to_ring  # noqa: SLF001  as above

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
                raise StoreError(str(self.path), str(error), "See whether the directory is there and can be written.") from error
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
    if place.suffix and not place.is_dir():
        return place.parent, place, f"{place.name}-"
    return place, place / "state.db", ""


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
