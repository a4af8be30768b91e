"""The processes of one running sandbox, seen from outside.

bubblewrap --- init, number 1 within --- bash --- what commands start
we see all four; what is within sees itself and what is to its right
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 10.0
"""How long the processes of a sandbox that has answered are looked for, in seconds."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Jail:
    """A sandbox that runs: the process that we started, the one that all within descend from, and its shell."""

    outside: int
    init: int
    shell: int
    _handle: int

    @classmethod
    def of(cls, outside: int) -> Jail:
        """The sandbox that was started as this process; raises `OSError` where it has ended."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            init = _only_child(outside)
            if init is not None and (shell := _only_child(init)) is not None:
                return cls(outside, init, shell, os.pidfd_open(init))
            time.sleep(0.001)
        raise OSError(errno.ESRCH, "the sandbox ended as soon as it had begun")

    @property
    def keepers(self) -> frozenset[int]:
        """What belongs to the sandbox itself and to no command."""
        return frozenset({self.outside, self.init})

    def processes(self) -> Iterator[Path]:
        """The directories in /proc of all that runs within."""
        with contextlib.suppress(OSError), os.scandir(_PROC / str(self.init) / "root/proc") as entries:
            yield from (Path(entry.path) for entry in entries if entry.name.isdecimal())

    def end(self) -> None:
        """End everything within at once: so does the kernel when number 1 is gone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it; what runs goes on."""
        os.close(self._handle)


def _only_child(pid: int) -> int | None:
    """The oldest child of a process; None while it has none."""
    try:
        children = (_PROC / f"{pid}/task/{pid}/children").read_bytes().split()
    except FileNotFoundError:  # the kernel was built without it, or the process is gone
        children = [b"%d" % child for child in _children_by_table(pid)]
    except OSError:
        return None
    return int(children[0]) if children else None


def _children_by_table(pid: int) -> Iterator[int]:
    from prong.agents.tools.processes import look_up  # noqa: PLC0415  only such kernels need it

    numbers = sorted(int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdecimal())
    return (one for one in numbers if (process := look_up(one)) is not None and process.parent == pid)
