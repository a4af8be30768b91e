"""One thread's way to the database: its place at the gate and its connection, and what a fork makes of them.

    open --next use after a fork--> open again
      +--fork, from another thread or between transactions--> closed
      +--fork, from inside its own transaction--> inherited by the child, which is refused the database

SQLite remembers for the whole process which files it has open and locked.  A forked child inherits that memory, but not
the locks: each connection that the child opens then trusts locks that nobody holds, and once the parent closes its own,
what the child commits is reported as written and gone.  So no connection is open when a process forks.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prong.state.errors import StoreError
from prong.state.gate import Gate

FORK_PATIENCE_S = 2.0
"""How long a fork waits for the transactions of other threads to end, in seconds."""


class _Process:
    """What concerns a process as a whole, because only as a whole it forks."""

    def __init__(self) -> None:
        self.doors: weakref.WeakSet[Door] = weakref.WeakSet()
        self.opening = threading.Lock()
        self.refused: set[tuple[int, int]] = set()
        self.halted = False


_process = _Process()


class Door:
    """A gate and a connection that belong together, closed with the thread that they were made for."""

    def __init__(self, path: Path, gate: Gate, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.gate = gate
        self.inherited = False
        self.known_alive: tuple[object, int] | None = None
        self._closed = False
        self._in_use = threading.RLock()
        self._made_in = os.getpid()
        self._path = path
        _process.doors.add(self)

    def enter(self) -> bool:
        """Keep forks out until `leave`; False where the door is closed for ever."""
        self._in_use.acquire()
        if self._closed or self.inherited:
            self._in_use.release()
            return False
        return True

    def leave(self) -> None:
        """Let forks happen again."""
        self._in_use.release()

    def close(self) -> None:
        """Close both, once."""
        if not self._closed and not self.inherited:
            self._closed = True
            self.connection.close()
            self.gate.close()

    def close_for_fork(self, patience_s: float) -> None:
        """Close, unless the thread that forks is itself inside a transaction, or another one does not leave its."""
        if self._in_use.acquire(timeout=max(patience_s, 0)):
            try:
                if not self._closed and not self.connection.in_transaction:
                    self.close()
            finally:
                self._in_use.release()

    def disown(self) -> tuple[int, int] | None:
        """In a child that was forked too early: leave the parent's connection alone; which file it is of."""
        if self._closed:
            return None
        if not self.inherited:
            self.inherited = True
            self.gate.close()
            # SQLite forbids even closing it here, so that it may never be freed.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))
        return _identity(self._path)

    def __del__(self) -> None:
        if self._made_in == os.getpid():
            self.close()
        else:
            self.disown()


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Around opening connections to a database, so that no fork comes between; refused where one came too early."""
    _watch_forks()
    with _process.opening:
        if _identity(path) in _process.refused:
            raise StoreError(
                str(path),
                "this process was forked inside a transaction, so that SQLite cannot be trusted with the file here",
                "Fork when no transaction is open, or start the process anew instead of forking it.",
            )
        yield


def open_door(path: Path, gate: Path, connect: Callable[[], sqlite3.Connection]) -> Door:
    """A door for the calling thread."""
    with opening(path):
        return Door(path, Gate(gate), connect())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@functools.cache
def _watch_forks() -> None:
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _before_fork() -> None:
    end = time.monotonic() + FORK_PATIENCE_S
    _process.halted = _process.opening.acquire(timeout=FORK_PATIENCE_S)
    for door in list(_process.doors):
        door.close_for_fork(end - time.monotonic())


def _after_fork() -> None:
    if _process.halted:
        _process.opening.release()


def _after_fork_in_child() -> None:
    _process.opening = threading.Lock()
    _process.refused.update(filter(None, [door.disown() for door in _process.doors]))
