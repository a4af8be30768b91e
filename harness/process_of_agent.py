"""The process of an agent, as somebody outside of the swarm finds it, so that no stranger is ever killed.

A number says little: when a process has ended, another one may bear it.  An agent's process is one that its nursery
forked, which runs nobody else meanwhile, and the nursery is the supervisor's.  It is held by a file descriptor that
never means another process.  One that has been an agent may be the next (`prong.agents.nursery`), but not where
somebody has written down that he is about to kill it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

from prong.harness.status import is_supervised
from prong.state import Invalid, Store

FORKING_S = 2.0
"""How long a process that is just being forked is waited for, in seconds."""


class AgentProcess:
    """A living process that belongs to an agent; to be closed, best as a `with` block."""

    def __init__(self, pid: int, file: int) -> None:
        self.pid = pid
        self._file = file

    @classmethod
    def find(cls, store: Store, agent: int) -> Self:
        """The process of an agent of a supervised swarm; raises `Invalid` where there is none that is surely its."""
        pid = _pid_of(store, agent)
        expected = f"an agent whose process runs here: see prong why, or prong status in {store.directory}"
        try:
            file = os.pidfd_open(pid)
        except OSError:
            raise Invalid(f"agent {agent}: its process {pid} is gone", expected) from None
        # Looked at only now: whoever bears the number from here on is whom the file means.
        row = store.row("select pid from agent where id = :agent and ended_at is null", agent=agent)
        if row is None or row["pid"] != pid or not _is_agent(store, pid):
            os.close(file)
            raise Invalid(f"agent {agent}: process {pid} is not its process, or not any more", expected)
        return cls(pid, file)

    def kill(self) -> None:
        """End it at once; nothing where it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._file, signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Wait until it is gone, at most `timeout` seconds; whether it is."""
        return bool(select.select([self._file], [], [], timeout)[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _pid_of(store: Store, agent: int) -> int:
    """Its number, once it is written down: a process that was forked this moment has none yet."""
    deadline = time.monotonic() + FORKING_S
    while True:
        if not is_supervised(store):
            raise Invalid(f"agent {agent}: nobody supervises its swarm, so it has no process", "a swarm that runs")
        row = store.row("select pid, state from agent where id = :agent and ended_at is null", agent=agent)
        if row is None:
            raise Invalid(f"agent {agent}, which has ended", "one that is at work: see prong status")
        if row["pid"] is not None:
            return int(row["pid"])
        if row["state"] == "asleep" or time.monotonic() >= deadline:
            raise Invalid(f"agent {agent}: it has no process now (it is {row['state']})", "one that has a process")
        time.sleep(0.01)


def _is_agent(store: Store, pid: int) -> bool:
    """Whether it is a fork of the nursery that this swarm's supervisor has started."""
    row = store.row("select supervisor_pid from swarm")
    try:
        process = psutil.Process(pid)
        nursery = process.parent()
        return (
            row is not None
            and nursery is not None
            and nursery.ppid() == row["supervisor_pid"]
            and process.cmdline() == nursery.cmdline()
        )
    except psutil.Error:
        return False
