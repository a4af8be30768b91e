"""Who is at the other end of a connection: the process of this machine that opened it, whose death ends what it holds.

A client that is killed closes its sockets, but so does one that thinks for a while; only its process tells them apart.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def socket_of(peer_port: int, own_port: int) -> str | None:
    """The inode of the socket at the other end; None where that is on another machine, or the system does not tell."""
    for table in _TABLES:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            ports = [int(fields[column].rpartition(":")[2], 16) for column in (1, 2)]
            if ports == [peer_port, own_port] and fields[9] != "0":
                return fields[9]
    return None


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that has a socket open, and where that is seen: a look at it costs next to nothing."""

    process: psutil.Process
    file: Path
    link: str

    @property
    def is_right(self) -> bool:
        """Whether it has that socket open still."""
        return _points_to(self.file, self.link)


def owner_of(inode: str, known: Collection[psutil.Process] = ()) -> Owner | None:
    """Who has a socket open, looked for among the `known` first; None: nobody that we may see."""
    first = [process.pid for process in known]
    link = f"socket:[{inode}]"
    for pid in [*first, *(pid for pid in psutil.pids() if pid not in first)]:
        file = _where_open(pid, link) if pid != os.getpid() else None
        if file is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                return Owner(psutil.Process(pid), file, link)
    return None


def lives(process: psutil.Process) -> bool:
    """Whether it is that process still, and no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _where_open(pid: int, link: str) -> Path | None:
    folder = Path(f"/proc/{pid}/fd")
    try:
        files = list(folder.iterdir())
    except OSError:  # another user's, or gone
        return None
    return next((file for file in files if _points_to(file, link)), None)


def _points_to(file: Path, link: str) -> bool:
    with contextlib.suppress(OSError):
        return str(file.readlink()) == link
    return False
