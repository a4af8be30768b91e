"""This process as the others see it: who it is, and how many threads it has.

A pid alone says little: it is used again after its process has died.  Together with the moment of birth, the boot and
the pid namespace it names one process for ever, and whoever shares the namespace can see whether it is gone.
"""

from __future__ import annotations

import _thread
import functools
import gc
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import thread as thread_pool
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from prong.state.clock import boot_id


def identity() -> str:
    """A name for the calling process that no other ever bears; empty where the system has no /proc to tell it."""
    birth = _birth(os.getpid())
    return f"{_here()} {os.getpid()} {birth}" if birth is not None else ""


def gone(name: str) -> bool:
    """Whether the process of this name has certainly ended; False where that cannot be seen from here."""
    where, _, rest = name.partition(" ")
    pid, _, birth = rest.partition(" ")
    if where != _here() or not pid.isdigit():
        return False
    try:
        return _birth(int(pid)) != birth
    except OSError:  # too many open files, say
        return False


def _birth(pid: int) -> str | None:
    """When the process was born, in ticks since the boot; None where there is none, or a dead one not yet buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


@functools.cache
def _here() -> str:
    try:
        return f"{boot_id()}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{boot_id()}/-"


class _Threads:
    """How many threads of one process are helpers."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.lock = threading.Lock()
        self.helpers = 0


@functools.cache
def _threads_of(pid: int) -> _Threads:
    return _Threads(pid)


@contextmanager
def helping() -> Iterator[None]:
    """Around the life of a thread that is ours and does nothing of the program's own."""
    threads = _threads_of(os.getpid())
    with threads.lock:
        threads.helpers += 1
    try:
        yield
    finally:
        with threads.lock:
            threads.helpers -= 1


def threads_beside_me() -> int:
    """How many other threads this process has, whatever they do, but for helpers."""
    # Threads that were started without `threading` count, too.
    return max(0, _thread._count() - _threads_of(os.getpid()).helpers)  # noqa: SLF001  nothing else tells


def working_beside_me() -> int:
    """How many of them could do something by themselves, now or when their wait is over.

    Not among them: whoever waits without end for another thread to end, and a pool's threads without work.  Whoever was
    given work a moment ago may look idle still.
    """
    others = threads_beside_me()
    return max(0, others - sum(map(_is_idle, _frames()))) if others else 0


def _frames() -> list[FrameType]:
    """Where the other threads are."""
    with _looking:
        # Before 3.12 the interpreter holds a lock of its own meanwhile, which what is collected may want, too.
        collects = gc.isenabled()
        gc.disable()
        try:
            frames = sys._current_frames()  # noqa: SLF001  nothing else tells
        finally:
            if collects:
                gc.enable()
    frames.pop(threading.get_ident(), None)
    return list(frames.values())


_looking = threading.Lock()


def _is_idle(frame: FrameType) -> bool:
    """Whether a thread can only go on after another one of its process has done something."""
    code, values = frame.f_code, frame.f_locals
    if code.co_filename == thread_pool.__file__:
        return code.co_name == "_worker" and values["work_queue"].empty()
    if code.co_filename == threading.__file__ and code.co_name in ("join", "_wait_for_tstate_lock"):
        return values.get("timeout", -1) in (None, -1)
    return False
