"""What SQLite's errors mean to somebody who did nothing wrong: the database cannot be used, and why."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from prong.state.errors import StoreBusy, StoreError

_ADVICE = {
    sqlite3.SQLITE_FULL: "Free some of the disk and call again; nothing was written.",
    sqlite3.SQLITE_IOERR: "See whether the disk is full or broken; nothing was written.",
    sqlite3.SQLITE_READONLY: "Make the file, those beside it and the directory writable; nothing was written.",
    sqlite3.SQLITE_CANTOPEN: "See whether the directory is still there and may be read.",
    sqlite3.SQLITE_CORRUPT: "Stop the swarm and keep a copy of its directory: the file is damaged.",
    sqlite3.SQLITE_NOTADB: "Name another swarm or file: this one is no database.",
    sqlite3.SQLITE_PROTOCOL: "Call again: other programs kept the file's locks in motion; nothing was written.",
    sqlite3.SQLITE_NOMEM: "Free some memory and call again; nothing was written.",
}

_WRITE_BYTE = 120
"""The byte of the `-shm` file that a writer locks while the database is in WAL mode."""


def meaning(path: Path, error: sqlite3.Error, patience_s: float) -> StoreError | None:
    """What the caller should be told instead; None where the error is a mistake in our own SQL."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return StoreBusy(str(path), patience_s, tuple(sorted(set(_writers(path)))))
    advice = _ADVICE.get(code)
    return StoreError(str(path), str(error), advice) if advice else None


def damaged(path: Path, problem: str) -> StoreError:
    """That the file is damaged, where SQLite cannot say so itself."""
    return StoreError(str(path), problem, _ADVICE[sqlite3.SQLITE_CORRUPT])


def _writers(path: Path) -> Iterator[int]:
    """The processes that keep others from writing, as the kernel lists them.

    Readers hold locks on the database too, all day; what keeps writers out is the write byte of the `-shm` file in WAL
    mode, and a write lock on the database itself where somebody took all of it.
    """
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        shared = path.with_name(path.name + "-shm")
        inodes = {str(file.stat().st_ino): file for file in (path, shared) if file.exists()}
    except OSError:
        return
    for *_, kind, pid, device_and_inode, start, end in locks:
        file = inodes.get(device_and_inode.rpartition(":")[2])
        if file is None or kind != "WRITE":
            continue
        if file == path or int(start) <= _WRITE_BYTE <= (int(end) if end != "EOF" else _WRITE_BYTE):
            yield int(pid)
