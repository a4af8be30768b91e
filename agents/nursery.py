"""The nursery: a warm process from which agents are forked in about a millisecond.

    supervisor ==socket== nursery --fork--> agent, agent, agent …
                             +--order--> a process that has done one and left nothing behind

It has imported all that an agent needs and holds nothing that must not cross a fork: no database, no connection, no
second thread.  The kernel tells it of every death.  Whatever an agent leaves behind (a shell, a test server) becomes
its child and is ended; when the supervisor goes, the socket closes, and the nursery ends every agent and then itself.

A fork costs more than many an agent does.  So a process whose order left it as it was waits a moment for another one,
and is the next agent then.  To the supervisor each order is a birth and a death, whoever does it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MESSAGE_BYTES = 128 * 1024
GRACE_S = 2.0
"""How long an agent that was asked to end may take, in seconds; after that it is killed."""

WAITS_S = 2.0
"""How long a process that has done its order waits for another one, in seconds."""

ORDERS = 100
"""So many orders are done by one process: what it may have gathered meanwhile goes with it."""

_DONE = b"done"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

Order = Mapping[str, Any]
Main = Callable[[Order], bool | None]
"""What a child does with an order; whether it can do another, because it is as it was before."""


@dataclass(frozen=True, slots=True)
class Forked:
    """An agent's process exists."""

    agent: int
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    """An agent's process is gone, in words: `exit code 1`, `signal 9`."""

    agent: int
    pid: int
    how: str


class Nursery:
    """The supervisor's end: starts the nursery, asks for forks, and hears of births and deaths."""

    def __init__(self, module: str, *, log: Path, environment: Mapping[str, str]) -> None:
        """Start `python -m module`, which must call `serve`; it imports while its settings are still being made."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with log.open("ab") as log_file, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env={**environment, "MALLOC_ARENA_MAX": "1"},  # threads that take turns need no heap each
                start_new_session=True,
            )
        self._socket = ours
        self._heard: list[Forked | Exited] = []
        self._gone = False

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Hand over what all agents share; by this way, since arguments and environment can be read by others."""
        self._send(settings)

    @property
    def pid(self) -> int:
        """The nursery's own process."""
        return self._process.pid

    def fileno(self) -> int:
        """For select: readable when there is something to hear."""
        return self._socket.fileno()

    def fork(self, agent: int, order: Order) -> None:
        """Ask for a process that works on `order` as agent number `agent`."""
        self._send({"do": "fork", "agent": agent, "order": dict(order)})

    def end(self, agent: int) -> None:
        """Ask an agent to end; it is killed if it has not after `GRACE_S`."""
        self._send({"do": "end", "agent": agent})

    def kill(self, agent: int) -> None:
        """Kill an agent's process at once."""
        self._send({"do": "kill", "agent": agent})

    def hear(self) -> list[Forked | Exited] | None:
        """What has happened since; None where the nursery is gone."""
        while not self._gone and select.select([self._socket], [], [], 0)[0]:
            self._receive()
        heard, self._heard = self._heard, []
        return heard if heard or not self._gone else None

    def close(self) -> None:
        """End all agents and the nursery, and wait for it."""
        self._socket.close()
        try:
            self._process.wait(timeout=GRACE_S * 3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        """Send without ever waiting for a nursery that itself waits for us to listen."""
        while not self._gone:
            readable, writable, _ = select.select([self._socket], [self._socket], [])
            if readable:
                self._receive()
            elif writable:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `hear` tells that it is gone
                    self._socket.send(json.dumps(message).encode())
                return

    def _receive(self) -> None:
        try:
            data = self._socket.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            self._gone = True
            return
        message = json.loads(data)
        kind = Forked if message.pop("is") == "forked" else Exited
        self._heard.append(kind(**message))


def serve(main_of: Callable[[Mapping[str, Any]], Main]) -> None:
    """The nursery's own main: make everything warm, then fork agents until the supervisor goes.

    `main_of` gets the settings, imports and prepares all that agents share, and returns what an agent runs: that says
    whether its process may be given another order.
    """
    line = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(line.fileno(), False)  # the tools that agents start must not hold it open
    adopt_orphans()
    data = line.recv(MESSAGE_BYTES)
    if not data:
        return
    main = main_of(json.loads(data))
    gc.collect()
    gc.freeze()  # the children must not touch, and so copy, what they will never free
    gc.enable()  # where a module of its own kept it off while it was read
    _Nurse(line, main).run()


@dataclass(slots=True)
class _Child:
    """A forked process: which agent it is (None: it waits for an order), how we speak to it, and how it stands."""

    pid: int
    death: int
    line: socket.socket
    agent: int | None
    orders: int = 1
    killed_at: float | None = None
    waits_until: float = 0.0


class _Nurse:
    """The nursery's loop: one thread, one poll over the socket, and a pidfd and a socket for each child."""

    def __init__(self, line: socket.socket, main: Main) -> None:
        self._line = line
        self._main = main
        self._deaths: dict[int, _Child] = {}
        self._lines: dict[int, _Child] = {}
        self._waiting: list[_Child] = []
        self._poll = select.poll()
        self._poll.register(line, select.POLLIN)

    def run(self) -> None:
        try:
            alive = True
            while alive:
                for file, _ in self._poll.poll(self._pause_ms()):
                    if file == self._line.fileno():
                        alive = self._obey()
                    elif file in self._lines:
                        self._hear(self._lines[file])
                    elif file in self._deaths:
                        self._bury(self._deaths[file])
                self._kill_overdue()
                self._let_go()
        finally:
            self._end_everything()

    def _pause_ms(self) -> float | None:
        at = [child.waits_until for child in self._waiting[:1]]
        at += [child.killed_at for child in self._deaths.values() if child.killed_at is not None]
        return max(0.0, min(at) - time.monotonic()) * 1000 + 1 if at else None

    def _obey(self) -> bool:
        try:
            data = self._line.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            return False
        if not data:
            return False
        message = json.loads(data)
        if message["do"] == "fork":
            self._begin(message["agent"], message["order"])
        else:
            self._end(message["agent"], at_once=message["do"] == "kill")
        return True

    def _begin(self, agent: int, order: Order) -> None:
        """Give the order to a child that waits for one, the last that came first; else to a new one."""
        while self._waiting:
            child = self._waiting.pop()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died, which we have yet to hear
                child.line.send(json.dumps(dict(order)).encode())
                child.agent = agent
                child.orders += 1
                self._tell({"is": "forked", "agent": agent, "pid": child.pid})
                return
        self._fork(agent, order)

    def _fork(self, agent: int, order: Order) -> None:
        nursery = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                pid = os.fork()
            except OSError as error:
                ours.close()
                how = f"no process at all: {error.strerror}"
                self._tell({"is": "exited", "agent": agent, "pid": 0, "how": how})
                return
            if pid == 0:
                ours.close()
                self._become_agent(nursery, order, theirs)
        child = _Child(pid, os.pidfd_open(pid), ours, agent)
        self._deaths[child.death] = self._lines[ours.fileno()] = child
        self._poll.register(child.death, select.POLLIN)
        self._poll.register(ours, select.POLLIN)
        self._tell({"is": "forked", "agent": agent, "pid": pid})

    def _become_agent(self, nursery: int, order: Order, line: socket.socket) -> None:
        """Never returns: an agent ends here, so that nothing of the nursery's runs twice."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self._line.close()
            for child in self._deaths.values():
                os.close(child.death)
                child.line.close()
            if os.getppid() == nursery:
                told: Order | None = order
                while told is not None:
                    told = _next_order(line) if self._main(told) else None
                code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:  # noqa: BLE001  the traceback is for the log; the exit code tells the supervisor
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _hear(self, child: _Child) -> None:
        """A child has done its order and waits for the next; or it is gone, of which its pidfd tells."""
        try:
            data = child.line.recv(len(_DONE))
        except ConnectionResetError:
            data = b""
        if not data:
            self._hang_up(child)
            return
        agent, child.agent = child.agent, None
        if child.killed_at is not None or child.orders >= ORDERS:
            self._hang_up(child)
        else:
            child.waits_until = time.monotonic() + WAITS_S
            self._waiting.append(child)
        self._tell({"is": "exited", "agent": agent, "pid": child.pid, "how": "exit code 0"})

    def _hang_up(self, child: _Child) -> None:
        """A child that waits reads the end of its orders, and ends; from now on it gets none."""
        if child in self._waiting:
            self._waiting.remove(child)
        if self._lines.pop(child.line.fileno(), None) is not None:
            self._poll.unregister(child.line)
            child.line.close()

    def _let_go(self) -> None:
        """End those who have waited long enough; the first of the line has waited longest."""
        now = time.monotonic()
        while self._waiting and self._waiting[0].waits_until <= now:
            self._hang_up(self._waiting[0])

    def _bury(self, child: _Child) -> None:
        del self._deaths[child.death]
        self._poll.unregister(child.death)
        os.close(child.death)
        self._hang_up(child)
        status = os.waitpid(child.pid, 0)[1]
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        self._end_orphans()
        if child.agent is not None:
            self._tell({"is": "exited", "agent": child.agent, "pid": child.pid, "how": how})

    def _end(self, agent: int, *, at_once: bool) -> None:
        for child in self._deaths.values():
            if child.agent == agent and at_once:
                os.kill(child.pid, signal.SIGKILL)
                child.killed_at = child.killed_at or time.monotonic() + GRACE_S
            elif child.agent == agent and child.killed_at is None:
                os.kill(child.pid, signal.SIGTERM)
                child.killed_at = time.monotonic() + GRACE_S

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._deaths.values():
            if child.killed_at is not None and child.killed_at <= now:
                os.kill(child.pid, signal.SIGKILL)
                child.killed_at = now + GRACE_S

    def _end_orphans(self) -> None:
        """End what dead agents left behind: each orphan is our child now, and so are its children once it is gone."""
        end_orphans({child.pid for child in self._deaths.values()})

    def _end_everything(self) -> None:
        for child in self._deaths.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in list(self._deaths.values()):
            self._bury(child)
        self._end_orphans()

    def _tell(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next read finds that nobody is there
            self._line.send(json.dumps(message).encode())


def _next_order(line: socket.socket) -> Order | None:
    """Say that an order is done, and wait for the next; None where there is none."""
    line.send(_DONE)
    data = line.recv(MESSAGE_BYTES)
    order: Order | None = json.loads(data) if data else None
    return order


def adopt_orphans() -> None:
    """Become the parent of whatever our descendants leave behind, instead of init."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(keep: set[int]) -> None:
    """Kill our children but those to keep, and theirs, which become ours, until none is left."""
    while orphans := children() - keep:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def children() -> set[int]:
    """Our children, as the kernel lists them by the thread that they belong to."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(child) for children in lists for child in children.read_text().split()}
