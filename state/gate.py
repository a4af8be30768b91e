"""The gate: where writers queue before SQLite's own lock.

SQLite lets writers collide and sleep; under 32 of them somebody starves for seconds.  The kernel queues `flock` calls,
so whoever wants to write takes the gate first and then finds the database free.  The gate is a file of its own: closing
any descriptor of the database itself would drop the process's POSIX locks on it.

The file's first bytes say which process is inside, and how often a member was declared dead: as long as that number
stands, whoever was seen to live still does.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path

from prong.state.patience import Patience

TRIES = 60
"""How often one tries to get in before one sleeps, which takes about as long as two transactions."""

_PID = slice(0, 20)
_BURIALS = 24
_BYTES = 32
_number = struct.Struct("=q")


class Gate:
    """One thread's door to the writers' queue."""

    def __init__(self, path: Path) -> None:
        self._memory = _mapped(path)
        self.file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._me = b"%-20d" % os.getpid()
        self._patience = Patience()

    def enter(self) -> None:
        """Wait for our turn."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not self._tried():
                fcntl.flock(self.file, fcntl.LOCK_EX)
        self._memory[_PID] = self._me

    def _tried(self) -> bool:
        """Whether we got in without sleeping, where it pays to try."""
        if not self._patience.pays():
            return False
        for _ in range(TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._patience.hit()
                return True
        self._patience.missed()
        return False

    def leave(self) -> None:
        """Let the next writer in; nothing where we are not inside."""
        fcntl.flock(self.file, fcntl.LOCK_UN)

    def burials(self) -> int:
        """How often somebody was declared dead."""
        number: int = _number.unpack_from(self._memory, _BURIALS)[0]
        return number

    def bury(self) -> None:
        """Count one more; only for who is inside."""
        _number.pack_into(self._memory, _BURIALS, self.burials() + 1)

    def close(self) -> None:
        """Give the descriptor back, once."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
            self._memory.close()


def _mapped(path: Path) -> mmap.mmap:
    """The file's bytes, by a descriptor of their own: a mapping keeps a copy of it, which would keep the gate shut."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, _BYTES)  # a hole could not be written on a full disk
        return mmap.mmap(file, _BYTES)
    finally:
        os.close(file)


def process_inside(path: Path) -> int | None:
    """The process that is inside the gate now, or None where it is free.

    The number is the last one written, so it is right only for somebody who stays inside: a process that was stopped.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        written = os.pread(file, 20, 0).split()
        return int(written[0]) if written else None
    else:
        return None
    finally:
        os.close(file)
