"""What a supervisor hears while it sleeps: its nursery, the scheduler's bell, signals, and a gate that stays shut."""

from __future__ import annotations

import os
import selectors
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from prong.agents.nursery import Nursery
from prong.state.bell import SCHEDULER_SLOT, Bells
from prong.state.clock import Clock
from prong.state.gate import process_inside

LOOK_S = 1.0
"""How often the supervisor looks although nothing rang, in seconds."""

STOPPED_IN_GATE_S = 5.0
"""How long a stopped process may keep every other writer waiting before it is killed, in seconds."""


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal stop the swarm in good order; does nothing but in the main thread."""

    def hear(_number: int, _frame: FrameType | None) -> None:
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ears(nursery: Nursery, bells: Bells, pause_s: Callable[[], float]) -> Iterator[Callable[[], None]]:
    """A function that sleeps until the nursery speaks or the scheduler's bell rings, at most `pause_s()` seconds."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    over = threading.Event()
    thread = threading.Thread(target=_hear_bell, args=(bells, writer, over), name="bell")
    thread.start()
    with selectors.DefaultSelector() as selector:
        selector.register(nursery, selectors.EVENT_READ)
        selector.register(reader, selectors.EVENT_READ)

        def listen() -> None:
            for key, _ in selector.select(pause_s()):
                if key.fd == reader:
                    os.read(reader, 4096)

        try:
            yield listen
        finally:
            over.set()
            bells.ring(SCHEDULER_SLOT)
            thread.join()
            os.close(reader)
            os.close(writer)


def watch_gate(gate: Path, clock: Clock, over: threading.Event) -> None:
    """A process that was stopped while it wrote makes everybody wait; after a while it is killed."""
    since: dict[int, float] = {}
    while not over.wait(LOOK_S):
        pid = process_inside(gate)
        if pid is None or not _is_stopped(pid):
            since.clear()
            continue
        began = since.setdefault(pid, clock.now())
        if clock.now() - began >= STOPPED_IN_GATE_S:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _hear_bell(bells: Bells, writer: int, over: threading.Event) -> None:
    """Pass each ring of the scheduler's bell on to a pipe, which can be selected with other files."""
    seen = bells.read(SCHEDULER_SLOT)
    while not over.is_set():
        bells.wait(SCHEDULER_SLOT, seen, LOOK_S)
        now = bells.read(SCHEDULER_SLOT)
        if now != seen:
            seen = now
            with suppress(BlockingIOError):  # full: the reader will wake anyhow
                os.write(writer, b".")


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False
