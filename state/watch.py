"""The watch: of all who sleep, one keeps it.

Nobody is told when a process dies, a lease runs out or a circle of waits closes; somebody has to look.  If every
sleeper did, hundreds of them would cost more than the work.  So one of them holds the file lock `watch` and looks for
all; when it has got what it waited for, it wakes another, and when it dies the kernel frees the lock and the next who
turns over in its sleep finds it free.
"""

from __future__ import annotations

import fcntl
import functools
import os
import struct
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path

ROUND_S = 0.5
"""How often the keeper of the watch looks, in seconds."""


NEGLECTED_S = 3 * ROUND_S
"""After how long without a look others look for the keeper, in seconds."""

_moment = struct.Struct("=dq")


class Watch:
    """One process's way to the watch of a swarm."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._mine = threading.Lock()
        _watches().add(self)

    def begin(self) -> bool:
        """Keep the watch until `end`; False where somebody else keeps it."""
        if not self._mine.acquire(blocking=False):
            return False
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # taken, or nothing can be made here: others will look
            self._mine.release()
            return False
        except BaseException:
            if self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._mine.release()
            raise
        return True

    def stamp(self, sleepers: int) -> None:
        """Say that somebody looks now, for so many."""
        if self._file >= 0:
            with suppress(OSError):  # a full disk: then others look as well
                os.pwrite(self._file, _moment.pack(time.monotonic(), sleepers), 0)

    def is_due(self) -> bool:
        """Whether nobody has looked for a round; for who keeps the watch."""
        written = os.pread(self._file, _moment.size, 0)
        return len(written) < _moment.size or not 0 <= time.monotonic() - _moment.unpack(written)[0] < ROUND_S

    def seen(self) -> tuple[bool, int]:
        """Whether the keeper has looked not long ago (it may be stopped, or busy), and how many sleep."""
        written = os.pread(self._file, _moment.size, 0) if self._file >= 0 else b""
        if len(written) < _moment.size:
            return True, 0
        at, sleepers = _moment.unpack(written)
        return 0 <= time.monotonic() - at < NEGLECTED_S, sleepers

    def end(self) -> None:
        """Let somebody else keep it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._mine.release()

    def forget(self) -> None:
        """In a forked child: the file, and with it the lock, are the parent's."""
        self._mine = threading.Lock()
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __del__(self) -> None:
        self.close()


@functools.cache
def _watches() -> weakref.WeakSet[Watch]:
    """All of this process, so that a forked child can let go of its parent's."""
    watches: weakref.WeakSet[Watch] = weakref.WeakSet()

    def forget() -> None:
        for watch in list(watches):
            watch.forget()

    os.register_at_fork(after_in_child=forget)
    return watches
