"""A control group that bounds how many processes a sandbox has, where one may be made.

It is for root alone: the kernel lets root pass its own bound (`ulimit -u`), and only root may make a group without
asking systemd.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_PREFIX = "prong-"


@dataclass(frozen=True, slots=True)
class PidsGroup:
    """A control group with a bound on its processes."""

    directory: Path

    @classmethod
    def make(cls, processes: int) -> PidsGroup | None:
        """A new group; None where there can be none."""
        if os.geteuid() != 0:
            return None
        for above in _parents():
            _tidy(above)
            directory = above / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
            try:
                directory.mkdir()
                (directory / "pids.max").write_text(str(processes))
            except OSError:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            else:
                return cls(directory)
        return None

    def take(self, pids: Iterable[int]) -> None:
        """Put processes into it; what they start from now on is in it, too."""
        for pid in pids:
            with contextlib.suppress(OSError):
                (self.directory / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Remove it if nothing runs in it any more; else the next one that is made does."""
        with contextlib.suppress(OSError):
            self.directory.rmdir()


def _parents() -> Iterator[Path]:
    """Where a group may be made: below our own, in the old hierarchy of processes or in the unified one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            root = _GROUPS / "pids" if "pids" in kinds.split(",") else _GROUPS if not kinds else None
            if root is not None and (root / path.lstrip("/")).is_dir():
                yield root / path.lstrip("/")


def _tidy(above: Path) -> None:
    """Remove the groups of processes that are gone; those in which something runs refuse."""
    for old in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            old.rmdir()
