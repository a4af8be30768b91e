"""Takes away the lock of a reference whose git was killed, which would keep everybody from that reference for ever.

Git holds such a lock for milliseconds, and lets others wait for it for `REF_LOCK_TIMEOUT_MS`.  Below the names that
Prong owns only Prong writes, one process at a time for each: a lock that is older than that is nobody's.  Of those who
take locks away one at a time looks: behind it there may be a living git's lock in the place of the old one.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from prong.harness.repository.git import REF_LOCK_TIMEOUT_MS


def take_away(common_dir: Path, ref: str) -> None:
    """Remove the lock of a reference of Prong's if a git that is gone has left it."""
    lock = common_dir / f"{ref}.lock"
    with suppress(OSError):
        if not _is_old(lock):  # as nearly always
            return
        folder = os.open(common_dir, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if _is_old(lock):
                lock.unlink()
        finally:
            os.close(folder)


def _is_old(lock: Path) -> bool:
    return time.time() - lock.stat().st_mtime > REF_LOCK_TIMEOUT_MS / 1000
