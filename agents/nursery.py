"""The nursery: a warm process from which agents are forked in about a millisecond.

    supervisor ==socket== nursery --fork--> agent, agent, agent …

It has imported all that an agent needs and holds nothing that must not cross a fork: no database, no connection, no
second thread.  The kernel tells it of every death.  Whatever an agent leaves behind (a shell, a test server) becomes
its child and is ended; when the supervisor goes, the socket closes, and the nursery ends every agent and then itself.
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

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

Order = Mapping[str, Any]
Main = Callable[[Order], None]


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
                [sys.executable, "-m", module, str(theirs.fileno())],
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

    `main_of` gets the settings, imports and prepares all that agents share, and returns what an agent runs.
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


class _Nurse:
    """The nursery's loop: one thread, one poll over the socket and a pidfd for each agent."""

    def __init__(self, line: socket.socket, main: Main) -> None:
        self._line = line
        self._main = main
        self._agents: dict[int, tuple[int, int]] = {}  # pidfd -> (agent, pid)
        self._ending: dict[int, float] = {}  # pid -> when it will be killed
        self._poll = select.poll()
        self._poll.register(line, select.POLLIN)

    def run(self) -> None:
        try:
            alive = True
            while alive:
                for file, _ in self._poll.poll(200 if self._ending else None):
                    if file == self._line.fileno():
                        alive = self._obey()
                    else:
                        self._bury(file)
                self._kill_overdue()
        finally:
            self._end_everything()

    def _obey(self) -> bool:
        try:
            data = self._line.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            return False
        if not data:
            return False
        message = json.loads(data)
        if message["do"] == "fork":
            self._fork(message["agent"], message["order"])
        else:
            self._end(message["agent"], at_once=message["do"] == "kill")
        return True

    def _fork(self, agent: int, order: Order) -> None:
        nursery = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell({"is": "exited", "agent": agent, "pid": 0, "how": f"no process at all: {error.strerror}"})
            return
        if pid == 0:
            self._become_agent(nursery, order)
        file = os.pidfd_open(pid)
        self._agents[file] = (agent, pid)
        self._poll.register(file, select.POLLIN)
        self._tell({"is": "forked", "agent": agent, "pid": pid})

    def _become_agent(self, nursery: int, order: Order) -> None:
        """Never returns: an agent ends here, so that nothing of the nursery's runs twice."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self._line.close()
            for file in self._agents:
                os.close(file)
            if os.getppid() == nursery:
                self._main(order)
                code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:  # noqa: BLE001  the traceback is for the log; the exit code tells the supervisor
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _bury(self, file: int) -> None:
        agent, pid = self._agents.pop(file)
        self._poll.unregister(file)
        os.close(file)
        self._ending.pop(pid, None)
        status = os.waitpid(pid, 0)[1]
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
        self._end_orphans()
        self._tell({"is": "exited", "agent": agent, "pid": pid, "how": how})

    def _end(self, agent: int, *, at_once: bool) -> None:
        for known, pid in self._agents.values():
            if known == agent and at_once:
                os.kill(pid, signal.SIGKILL)
            elif known == agent and pid not in self._ending:
                os.kill(pid, signal.SIGTERM)
                self._ending[pid] = time.monotonic() + GRACE_S

    def _kill_overdue(self) -> None:
        for pid, at in list(self._ending.items()):
            if at <= time.monotonic():
                os.kill(pid, signal.SIGKILL)
                self._ending[pid] = at + GRACE_S

    def _end_orphans(self) -> None:
        """End what dead agents left behind: each orphan is our child now, and so are its children once it is gone."""
        end_orphans({pid for _, pid in self._agents.values()})

    def _end_everything(self) -> None:
        for _, pid in self._agents.values():
            os.kill(pid, signal.SIGKILL)
        for file in list(self._agents):
            self._bury(file)
        self._end_orphans()

    def _tell(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next read finds that nobody is there
            self._line.send(json.dumps(message).encode())


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
