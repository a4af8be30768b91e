"""Finding and ending everything that one shell started, however it tried to get away.

A process belongs to a shell if it is in one of the shell's sessions, or carries the shell's mark in its environment
(which survives setsid and the death of its parents), or descends from a process that does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TERM_GRACE_S = 2.0
"""How long a process may take to end after SIGTERM, before SIGKILL, in seconds."""
KILL_WAIT_S = 0.5
"""How long one round of SIGKILL waits for its processes to go, in seconds."""
KILL_ROUNDS = 10
"""How often SIGKILL is repeated for processes that appeared in the meantime."""
ROUND_PROCESSES = 256
"""How many processes are signalled in one round: each needs a file descriptor."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs: `started` is in clock ticks since boot and tells it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: int


@dataclass(frozen=True, slots=True)
class Start:
    """When a command of a shell began: `ticks` as in `Process.started`, and the children the shell had by then.

    A tick is as long as several short commands, so without the children a command could not be told from the last one.
    """

    ticks: int
    children: frozenset[int]

    @classmethod
    def now(cls, shell: int) -> Start:
        """The start of a command that `shell` is about to run."""
        ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
        try:
            children = (_PROC / f"{shell}/task/{shell}/children").read_bytes()
        except OSError:  # The kernel was built without it, or the shell is gone.
            children = b""
        return cls(ticks, frozenset(map(int, children.split())))


def look_up(pid: int) -> Process | None:
    """The process with this pid; None if there is none, or only its remains."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name, in parentheses, may itself contain parentheses and spaces: the last one ends it.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in b"ZX":
        return None
    return Process(pid=pid, parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]))


def belonging(mark: str, sessions: Mapping[int, int]) -> dict[int, Process]:
    """What belongs to the shell that has this mark and these sessions, each with when its leader started."""
    table = {process.pid: process for pid in _pids() if (process := look_up(pid))}
    own = {pid for pid, started in sessions.items() if pid not in table or table[pid].started == started}
    found = {pid for pid, process in table.items() if process.session in own or _carries(pid, mark)}
    return {pid: table[pid] for pid in _with_descendants(found, table)}


def of_command(members: Mapping[int, Process], *, shell: int, since: Start) -> dict[int, Process]:
    """Of a shell's members the shell and what it started `since` then; what ran before is spared, with its children."""
    older = {pid for pid, process in members.items() if process.started < since.ticks or pid in since.children}
    spared = _with_descendants(older - {shell}, members)
    return {pid: process for pid, process in members.items() if pid not in spared}


def end(find: Callable[[], Collection[Process]]) -> bool:
    """End what `find` returns, first with SIGTERM, then with SIGKILL; true if in the end it returns nothing."""
    if not _signal_all(find(), signal.SIGTERM, TERM_GRACE_S):
        return True
    return any(not _signal_all(find(), signal.SIGKILL, KILL_WAIT_S) for _ in range(KILL_ROUNDS))


def _signal_all(processes: Collection[Process], number: signal.Signals, wait_s: float) -> int:
    """Signal them and wait for them to go; how many there were.

    All are stopped before the first is signalled.  Otherwise a shell whose child ended a moment before it would report
    that, or begin its next command.
    """
    with contextlib.ExitStack() as undo:
        handles = [handle for process in list(processes)[:ROUND_PROCESSES] if (handle := _handle(process)) is not None]
        for handle in handles:
            undo.callback(os.close, handle)
        for one in (signal.SIGSTOP, number, signal.SIGCONT):
            for handle in handles:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(handle, one)
        _wait(handles, wait_s)
    return len(processes)


def _wait(handles: Collection[int], wait_s: float) -> None:
    """Wait until all these processes have ended, or the time is over."""
    left = set(handles)
    waiting = select.poll()
    for handle in left:
        waiting.register(handle, select.POLLIN)
    deadline = time.monotonic() + wait_s
    while left and (remaining_s := deadline - time.monotonic()) > 0:
        for handle, _ in waiting.poll(remaining_s * 1000):
            waiting.unregister(handle)
            left.discard(handle)


def _handle(process: Process) -> int | None:
    """A pidfd for exactly this process: the pid may belong to another one by now, but not after the pidfd is open."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return None
    current = look_up(process.pid)
    if current is not None and current.started == process.started:
        return handle
    os.close(handle)
    return None


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdecimal())


def _carries(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _with_descendants(pids: Collection[int], table: Mapping[int, Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    reached: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in reached:
            reached.add(pid)
            waiting += children.get(pid, [])
    return reached
