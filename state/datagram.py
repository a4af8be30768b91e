"""Bells for machines without futexes: a datagram socket for each thread that waits.

A ring is one byte sent to a socket file whose name is the slot.  Where nobody waits there is no such file, or nobody
behind it, and the ring is for nobody.  The files stand in the directory for temporary files, because the path of a
socket may have some hundred bytes only; whoever waits binds his own anew, so that a killed process leaves nothing that
matters.
"""

from __future__ import annotations

import os
import select
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from prong.state.errors import StoreError


class DatagramBells:
    """The bells of one swarm, which the file `path` gives its name."""

    def __init__(self, path: Path) -> None:
        try:
            path.touch(mode=0o600)
            found = path.stat()
            self._directory = Path(tempfile.gettempdir(), f"prong-{os.getuid()}", f"{found.st_dev:x}-{found.st_ino:x}")
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(str(path), str(error), "Free some of the disk, or make the directory writable.") from error
        self._own = threading.local()

    def read(self, slot: int) -> int:
        """Begin to listen: what rings from now on ends the next `wait`."""
        mine: _Listener | None = getattr(self._own, "listener", None)
        if mine is None or mine.slot != slot or mine.pid != os.getpid():
            self._own.listener = None  # the old one ends before the new one begins
            self._own.listener = _Listener(self._directory, slot)
        return 0

    def soon(self, slot: int, seen: int) -> bool:  # noqa: ARG002  a futex needs both
        """Never: looking takes as long as sleeping."""
        return False

    def wait(self, slot: int, seen: int, timeout_s: float) -> bool:  # noqa: ARG002  a futex needs what was seen
        """Sleep until it has rung since it was read, or `timeout_s` seconds pass (which is False)."""
        self.read(slot)
        heard: bool = self._own.listener.wait(timeout_s)
        return heard

    def ring(self, slot: int) -> bool:
        """Wake whoever sleeps on it, and whoever is about to; whether somebody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller, suppress(OSError):
            caller.setblocking(False)
            return caller.sendto(b"!", str(self._directory / str(slot))) > 0
        return False


class _Listener:
    """A socket bound to a slot; the last that binds to a slot hears it, others that share it look by themselves."""

    def __init__(self, directory: Path, slot: int) -> None:
        self.slot = slot
        self.pid = os.getpid()
        self._path = directory / str(slot)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._socket.setblocking(False)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a byte comes, and take all there are."""
        heard = bool(select.select([self._socket], [], [], timeout_s)[0])
        with suppress(BlockingIOError):
            while heard and self._socket.recv(16):
                pass
        return heard

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            self._socket.close()
            if self.pid == os.getpid():
                self._path.unlink(missing_ok=True)
