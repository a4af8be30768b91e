"""The program's end of the line: calls go out, answers come back to whoever asked.

Threads may call at once.  A process that the program forks may not: two processes on one line would read each other's
answers.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from prong.harness.program import wire

AGENT_GONE = 70
"""The exit code of a program whose agent is gone; the next agent runs it again from its beginning."""

_NO_AGENT = (
    "no agent is here to answer: a program runs by the tool run_program, or by `prong exec PROGRAM.py`, not by"
    " python alone"
)


class Refused(RuntimeError):
    """A call that the agent's tool refused; the words say why and what next, `error` is the kind, as TooManyTasks."""

    def __init__(self, words: str, error: str = "ToolError") -> None:
        super().__init__(words)
        self.error = error

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        return type(self), (str(self), self.error)


class Door:
    """The line of this process; `open_door` makes the only one."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._asked: dict[int, Future[Mapping[str, Any]]] = {}
        self._count = 0

    def listen(self) -> None:
        """Take answers from now on, in a thread of its own."""
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    def call(self, tool: str, given: Mapping[str, Any], once: str | None) -> Any:
        """The data of the tool's answer; raises `Refused`."""
        if os.getpid() != self._pid:
            raise RuntimeError("only the process that the program began in can call; use threads, not processes")
        answer: Future[Mapping[str, Any]] = Future()
        with self._lock:
            self._count += 1
            try:
                data = wire.encode({"id": self._count, "tool": tool, "input": dict(given), "once": once})
            except wire.Garbage as error:
                raise Refused(f"{tool}: {error}. Keep what is this large in a file in $PRONG_SHARED.") from None
            self._asked[self._count] = answer
            self._line.sendall(data)
        message = answer.result()
        if "refused" in message:
            raise Refused(message["refused"], message["error"])
        return message["data"]

    def end(self, code: int) -> None:
        """Say with which exit code the program ends."""
        with self._lock:
            self._line.sendall(wire.encode({"bye": code}))

    def _listen(self) -> None:
        try:
            while (message := wire.receive(self._line)) is not None:
                with self._lock:
                    answer = self._asked.pop(message["id"])
                answer.set_result(message)
        except (OSError, wire.Garbage, KeyError):
            pass
        os._exit(AGENT_GONE)  # nobody is left for whom it could go on


_open: list[Door] = []

arguments: list[str] = []
"""What the program was given besides its source: `sys.argv` without the first."""


def open_door(line: socket.socket) -> Door:
    """Make the line the one by which this process calls."""
    door = Door(line)
    _open[:] = [door]
    door.listen()
    return door


def call(tool: str, /, *, once: str | None = None, **given: Any) -> Any:
    """Call one of the agent's tools by name, with its input as keywords.  Returns the data of the answer.

    `once` names the call for good: run again after a crash, the program finds what this call did, whatever the rest of
    its input says then.  Without it the call is known by what it says, and by how often that was said before.
    Raises `Refused`, and `RuntimeError` outside of a program.
    """
    if not _open:
        raise RuntimeError(_NO_AGENT)
    return _open[0].call(tool, given, once)
