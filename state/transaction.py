"""One atomic change: what may be done between begin and commit, and how it begins and ends."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fcntl import LOCK_UN, flock
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from prong.state.bell import MERGER_SLOT, SCHEDULER_SLOT
from prong.state.door import Door
from prong.state.errors import Deposed

if TYPE_CHECKING:
    from prong.state.store import Store

Row = sqlite3.Row

_APPEND = "insert into event (at, agent, task, kind, object, data) values (?, ?, ?, ?, ?, ?)"


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


def expanded(text: str) -> Any:
    """What `compact` made this text of, which takes half of what `json.loads` does with a small one."""
    return _decode(text)[0]


_decode = json.JSONDecoder().raw_decode

_SURROGATE = re.compile("[\ud800-\udfff]")


Entry = tuple[str, str, str, "int | None"]
"""An entry of the log: its kind, what it is about, its data as JSON, and the task (None: the acting member's)."""


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

    __slots__ = ("_door", "_slots_to_ring", "_store", "_swept", "_to_tell", "member", "now", "undone")

    def __init__(self, store: Store, door: Door, member: Member | None) -> None:
        self._door = door
        self._slots_to_ring: list[int] = []
        self._store = store
        self._swept: list[int] = []
        self._to_tell: dict[int, tuple[int, str] | None] = {}
        self.member = member
        self.now = store.clock.now()
        self.undone = False

    def execute(self, sql: str, /, **values: Any) -> int:
        """Run a statement and return the number of rows it changed."""
        return self._run(sql, values).rowcount

    def insert(self, sql: str, /, **values: Any) -> int:
        """Run a statement that inserts one row and return its number, which takes less than `returning` it."""
        number = self._run(sql, values).lastrowid
        assert number is not None
        return number

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
        return self.logged(kind, object, compact(data) if data else "{}", task)

    def logged(self, kind: str, object: str | None, text: str, task: int | None = None) -> int:
        """Append as `event` does, with data that is a text of JSON already, a whole object."""
        member = self.member
        agent, own = (None, None) if member is None else (member.agent, member.task)
        values = (self._store.clock.wall(), agent, own if task is None else task, kind, object, text)
        number = self._run(_APPEND, values).lastrowid
        assert number is not None
        return number

    def ring(self, slot: int) -> None:
        """Ring a bell once the transaction is committed."""
        self._slots_to_ring.append(slot)

    def tell(self, waiter: int, slot: int, text: str | None) -> None:
        """Ring a waiter's bell as `ring` does, and leave it what was granted; None: its row has to tell, or is gone."""
        self._slots_to_ring.append(slot)
        self._to_tell[waiter] = None if text is None else (slot, text)

    def ring_scheduler(self) -> None:
        """Wake the scheduler once the transaction is committed."""
        self._slots_to_ring.append(SCHEDULER_SLOT)

    def ring_merger(self) -> None:
        """Wake the merger once the transaction is committed."""
        self._slots_to_ring.append(MERGER_SLOT)

    def burials(self) -> int:
        """How often somebody was declared dead, or has left."""
        return self._door.gate.burials()

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
        """Append several entries at once, each as `logged` takes it."""
        member, at = self.member, self._store.clock.wall()
        agent, own = (None, None) if member is None else (member.agent, member.task)
        values: list[Any] = []
        for kind, object_, text, task in entries:
            values += (at, agent, own if task is None else task, kind, object_, text)
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
        if not self._door.connection.in_transaction:
            return  # SQLite has undone it by itself, as it does where a file cannot be written
        try:
            self._door.connection.execute("rollback")
        except sqlite3.Error:
            self._store.forget_door()

    def _ring_all(self) -> None:
        bells, told = self._store.bells, self._store.told
        awake = {said[0] for waiter, said in self._to_tell.items() if said and told.tell(waiter, said[1])}
        woken = {slot: bells.ring(slot) for slot in dict.fromkeys(self._slots_to_ring)}
        if any(slot > MERGER_SLOT and not rang and slot not in awake for slot, rang in woken.items()):
            # Nobody sleeps on one of them: its agent may have no process now, and then it is the scheduler that hears.
            bells.ring(SCHEDULER_SLOT)
        if any(woken.values()):
            os.sched_yield()


class _Own(threading.local):
    """What belongs to one thread: the databases whose gate it is inside of, for it would wait for itself there."""

    def __init__(self) -> None:
        self.inside: list[Path] = []  # no set: hashing a path takes as long as a small statement


_own = _Own()


def inside(path: Path) -> bool:
    """Whether the calling thread is inside a transaction of this database, of whichever membership."""
    return path in _own.inside


class Change:
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
        if store.path in _own.inside:
            door.leave()
            raise RuntimeError(
                f"another membership of this thread is inside a transaction of {store.path}; use that one"
            )
        _own.inside.append(store.path)
        self._door = door
        try:
            # An interrupt may strike right behind each of these, so they already stand where leaving is certain.
            door.gate.enter()
            door.connection.execute("begin immediate")
            tx = self._tx = Transaction(store, door, member)
            if member is not None and door.known_alive != (member, door.gate.burials()):
                check_alive(tx, member)
                door.known_alive = member, door.gate.burials()
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
                if not door.connection.in_transaction:
                    raise self._store.undone_inside()
                door.connection.execute("commit")
            elif isinstance(error, sqlite3.Error):
                self._tx._roll_back()  # type: ignore[union-attr]  # noqa: SLF001  or a full disk has
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
        if self._store.path in _own.inside:
            _own.inside.remove(self._store.path)
        if not door.inherited:
            try:
                if door.connection.in_transaction:
                    (tx or Transaction(self._store, door, self._member))._roll_back()  # noqa: SLF001  as above
            finally:
                # No method of ours: entering one is where an interrupt strikes.
                flock(door.gate.file, LOCK_UN)
            if tx is not None and tx._slots_to_ring and not tx.undone:  # noqa: SLF001  as above
                tx._ring_all()  # noqa: SLF001  as above
        door.leave()

    def __del__(self) -> None:
        if self._door is not None:  # an interrupt struck as the block was left, before anything of ours ran
            self._leave()


def check_alive(tx: Transaction, member: Member) -> None:
    """Raise `Deposed` where the member was declared dead, or has left."""
    row = tx.row("select incarnation, ended_at, reason, name from agent where id = :agent", agent=member.agent)
    if row is None or row["ended_at"] is not None or row["incarnation"] != member.incarnation:
        reason = (row["reason"] if row is not None else None) or "it is not a member of this swarm"
        raise Deposed(member.agent, member.incarnation, reason, row["name"] if row is not None else None)


def _storable(value: Any) -> Any:
    """Text with the replacement character where a lone surrogate stood, which UTF-8 cannot hold."""
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
