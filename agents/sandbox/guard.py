"""The guard of one sandbox: counts what its processes use up together, and ends all of them when it is too much.

The kernel's own bounds (`ulimit`) hold for one process, or do not hold for root.  Control groups would bound the sum,
but only root and sessions of systemd may make them (`pids` does, for root).  So somebody looks, often while commands
run and never while only the shell is there.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prong.agents.sandbox.sandbox import Limits

LOOK_S = 0.2
"""How often it looks while something runs, in seconds."""
WALK_SHARE = 0.05
"""How much of its time it may spend walking through directories."""
WALK_PAUSE_S = 2.0
"""How long it waits at least between two walks, in seconds; a disk that fills quickly makes it walk at once."""
LEEWAY_BYTES = 16 * 2**20
"""How much a command may write although the disk's bound was passed before it: deleting needs some room, too."""
IDLE_PROCESSES = 2
"""So many processes are there while nothing runs in the background: bubblewrap's own, and the shell."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Guard:
    """Watches over one sandbox in a thread of its own, from `start` to `stop`.

    `processes` gives the directories in /proc of all that runs within; `in_memory` are directories whose files are
    memory; `end` ends everything within, and is told why in words.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        processes: Callable[[], Iterable[Path]],
        disk: Disk,
        in_memory: Sequence[Path],
        end: Callable[[str], object],
    ) -> None:
        self._limits = limits
        self._processes = processes
        self._in_memory = in_memory
        self._end = end
        self._awake = threading.Event()
        self._busy = False
        self._over = threading.Event()
        self._disk = disk
        self._thread = threading.Thread(target=self._watch, name="sandbox guard", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """A command begins: look, until it has ended and only the shell is left."""
        self._busy = True
        self._awake.set()

    def rest(self) -> None:
        """The command has ended; what it left in the background is still watched."""
        self._busy = False

    def stop(self) -> None:
        """End, and wait for it."""
        self._over.set()
        self._awake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        # A thousand processes that fork leave no time for whoever counts them, unless it goes first.  Root may, and
        # for root alone the kernel does not count itself.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        self._disk.begin()
        while self._awake.wait() and not self._over.is_set():
            self._awake.clear()
            self._disk.allow_leeway()
            while not self._over.is_set():
                running = list(self._processes())
                problem = self._problem(running)
                if problem is not None:
                    self._end(problem)
                    return
                if not self._busy and len(running) <= IDLE_PROCESSES:
                    break
                self._over.wait(LOOK_S)

    def _problem(self, running: Sequence[Path]) -> str | None:
        limits = self._limits
        if len(running) > limits.processes:
            return f"there were more than {limits.processes} processes at once"
        if self._uses_too_much_memory(running):
            return f"its processes used more than {_shown(limits.memory_bytes)} of memory together"
        if self._disk.is_full():
            names = ", ".join(map(str, self._disk.places))
            return f"more than {_shown(limits.disk_bytes)} were written to {names}; delete what is not needed first"
        return None

    def _uses_too_much_memory(self, running: Sequence[Path]) -> bool:
        files = sum(map(_used_bytes, self._in_memory))
        if files + sum(map(_resident_bytes, running)) <= self._limits.memory_bytes:
            return False
        # What forked processes share was counted for each of them; the exact figure costs more.
        return files + sum(map(_proportional_bytes, running)) > self._limits.memory_bytes


class Disk:
    """How much directories have grown since it first looked; it outlives the sandboxes of one agent."""

    def __init__(self, places: Sequence[Path], limit_bytes: int) -> None:
        self.places = places
        self._first_bytes: int | None = None
        self._limit_bytes = limit_bytes
        self._most_bytes = limit_bytes
        self._grown_bytes = 0
        self._next_at = 0.0
        self._free_bytes = 0

    def begin(self) -> None:
        """Remember what is there before anything was written."""
        if self._first_bytes is None:
            self._first_bytes = self._walk()

    def allow_leeway(self) -> None:
        """A command begins: it may go on where the one before it was ended, if only to delete."""
        self._most_bytes = max(self._limit_bytes, self._grown_bytes + LEEWAY_BYTES)
        self._next_at = 0.0

    def is_full(self) -> bool:
        """Whether they have grown by more than they may; looks again only from time to time."""
        shrunk_bytes = self._free_bytes - _free_bytes(self.places[0])
        if time.monotonic() < self._next_at and shrunk_bytes < (self._most_bytes - self._grown_bytes) / 2:
            return False
        self._grown_bytes = self._walk() - (self._first_bytes or 0)
        return self._grown_bytes > self._most_bytes

    def _walk(self) -> int:
        began = time.monotonic()
        self._free_bytes = _free_bytes(self.places[0])
        used = sum(map(_tree_bytes, self.places))
        now = time.monotonic()
        self._next_at = now + max(WALK_PAUSE_S, (now - began) / WALK_SHARE)
        return used


def _tree_bytes(place: Path) -> int:
    """What all below a directory takes on the disk; links are not followed, and a file with many names counts once."""
    total = 0
    seen: set[int] = set()
    waiting: list[str] = [str(place)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if status.st_ino in seen:
                            continue
                        seen.add(status.st_ino)
                    total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total


def _free_bytes(place: Path) -> int:
    try:
        status = os.statvfs(place)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def _used_bytes(place: Path) -> int:
    try:
        status = os.statvfs(place)
    except OSError:
        return 0
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def _resident_bytes(process: Path) -> int:
    """Memory of a process that is no file's."""
    try:
        _, resident, shared, *_ = (process / "statm").read_bytes().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def _proportional_bytes(process: Path) -> int:
    """The same with a page that n processes share counted as an n-th part."""
    try:
        for line in (process / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss_Anon:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def _shown(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.3g} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"
