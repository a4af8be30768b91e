"""Takes away the lock of a reference whose git was killed, which would keep everybody from that reference for ever.

Git holds such a lock for milliseconds, and lets others wait for it for `REF_LOCK_TIMEOUT_MS`.  Below the names that
Prong owns only Prong writes, one process at a time for each: a lock that is older than that is nobody's.
"""

import time
from contextlib import suppress
from pathlib import Path

from prong.harness.repository.git import REF_LOCK_TIMEOUT_MS


def take_away(common_dir: Path, ref: str) -> None:
    """Remove the lock of a reference of Prong's if a git that is gone has left it."""
    lock = common_dir / f"{ref}.lock"
    with suppress(OSError):
        if time.time() - lock.stat().st_mtime > REF_LOCK_TIMEOUT_MS / 1000:
            lock.unlink()
