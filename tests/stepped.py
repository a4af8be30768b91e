"""Stepped processes: real processes that do one thing per command, so that a test decides who acts when.

    ada = spawn("ada")                        a process, forked from one that has imported everything and opened nothing
    ada.do("acquire", timeout=0)              calls the method of its object and waits for the result
    bob = spawn("bob").start("acquire")       does not wait; `bob.result()` does
    ada.run(function, 1)                      calls a function of a test's module with the process's `Here` first
    ada.kill()                                SIGKILL, and the process is gone when this returns

All of them share one fake clock.  Run as a program, this file is the process that forks them.
"""

import gc
import importlib.util
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prong.state import FileClock, Membership, Store, join

PATIENCE_S = 20.0
"""How long a test waits for what must come, in seconds."""


def until(condition, what):
    """Wait until the state is so; `what` says what never came."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.002)
    return found


class Mortal(Store):
    """A store whose process dies at its n-th commit from now, just before it or just after, or is interrupted then."""

    dies_in = 0
    when = "before"

    def _connect(self):
        return _MortalConnection(super()._connect(), self)


class _MortalConnection:
    def __init__(self, connection, store):
        self._connection = connection
        self._store = store

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, sql, *values):
        if sql != "commit" or not self._store.dies_in:
            return self._connection.execute(sql, *values)
        self._store.dies_in -= 1
        if not self._store.dies_in and self._store.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = self._connection.execute(sql, *values)
        if not self._store.dies_in and self._store.when == "interrupted":
            raise KeyboardInterrupt
        if not self._store.dies_in:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


@dataclass
class Here:
    """What a stepped process has."""

    store: Mortal
    member: Membership
    object: Any
    kept: dict = field(default_factory=dict)

    def die(self, n, when):
        self.store.dies_in, self.store.when = n, when


class Stepped:
    """One process, from the side of the test."""

    def __init__(self, name, pid, line):
        self.name = name
        self.pid = pid
        self._line = line
        self._process = os.pidfd_open(pid)
        self.agent = None

    def do(self, method, /, *arguments, **options):
        return self.start(method, *arguments, **options).result()

    def start(self, method, /, *arguments, **options):
        return self._send("do", method, arguments, options)

    def run(self, function, /, *arguments, **options):
        return self.start_running(function, *arguments, **options).result()

    def start_running(self, function, /, *arguments, **options):
        return self._send("run", (function.__code__.co_filename, function.__name__), arguments, options)

    def die(self, n, when):
        """Die at the n-th commit from now, `before` or `after` it; or be `interrupted` right behind it."""
        self._send("die", None, (n, when), {}).result()

    def result(self, timeout=PATIENCE_S):
        """What the command under way returned; what it raised is raised."""
        self._line.settimeout(timeout)
        try:
            kind, value = _receive(self._line)
        except EOFError:
            raise ChildProcessError(f"{self.name} died") from None
        if kind == "raised":
            raise value
        return value

    def busy(self):
        """Whether the command under way has not ended."""
        return not select.select([self._line], [], [], 0)[0]

    def kill(self):
        self.signal(signal.SIGKILL)
        self.gone()
        return self

    def signal(self, number):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, number)
        return self

    def interrupt(self):
        return self.signal(signal.SIGINT)

    def stop(self):
        """SIGSTOP, and the process stands still when this returns, but never in the gate: it goes on until it is out.

        Whoever waits writes now and then, so that it may be inside at any moment.
        """
        until(self._stands_outside_the_gate, f"{self.name} stopped outside the gate")
        return self

    def stop_anywhere(self):
        """SIGSTOP, and the process stands still when this returns, wherever it is."""
        self.signal(signal.SIGSTOP)
        until(lambda: _state(self.pid) == "T", f"{self.name} stopped")
        return self

    def _stands_outside_the_gate(self):
        self.stop_anywhere()
        files = [file for file in Path(f"/proc/{self.pid}/fd").iterdir() if file.readlink().name.endswith("gate")]
        if not {file.stat().st_ino for file in files} & _locked(self.pid):
            return True
        self.go_on()
        return False

    def go_on(self):
        return self.signal(signal.SIGCONT)

    def gone(self):
        """Wait until the process has ended."""
        assert select.select([self._process], [], [], PATIENCE_S)[0], f"{self.name} does not end"
        return self

    def close(self):
        self.kill()
        os.close(self._process)
        self._line.close()

    def _send(self, *command):
        _send(self._line, command)
        return self


class Nest:
    """The process that forks the stepped ones; `within` is a program that runs it, in surroundings of its making."""

    def __init__(self, within=()):
        ours, theirs = socket.socketpair()
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / ".src")}
        with theirs:
            self._process = subprocess.Popen(
                [*within, sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
            )
        self._line = ours

    def fork(self, name, directory, clock, target):
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._line, [pickle.dumps((name, directory, clock, target))], [theirs.fileno()])
        return Stepped(name, int.from_bytes(self._line.recv(8), "little"), ours)

    def close(self):
        self._line.close()
        self._process.wait(PATIENCE_S)


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _locked(pid):
    """The files, by inode, that a process holds a `flock` on."""
    locks = (line.split() for line in Path("/proc/locks").read_text().splitlines() if " FLOCK " in line)
    return {int(lock[5].rpartition(":")[2]) for lock in locks if lock[1] == "FLOCK" and int(lock[4]) == pid}


def _send(line, value):
    data = pickle.dumps(value)
    line.sendall(len(data).to_bytes(8, "little") + data)


def _receive(line):
    def exactly(size):
        data = b""
        while len(data) < size:
            more = line.recv(min(size - len(data), 1 << 20))
            if not more:
                raise EOFError
            data += more
        return data

    try:
        return pickle.loads(exactly(int.from_bytes(exactly(8), "little")))
    except ConnectionResetError:
        raise EOFError from None


def _serve(line, name, directory, clock, target):
    """The life of a stepped process."""
    store = Mortal(directory, clock=FileClock(clock))
    member = join(store, name)
    here = Here(store, member, None)
    if target is not None:
        module, attribute, arguments, options = target
        made = getattr(importlib.import_module(module), attribute)
        here.object = made(member, *arguments, **options)
    _send(line, ("returned", member.me.agent))
    while True:
        try:
            kind, what, arguments, options = _receive(line)
        except EOFError:
            return
        try:
            answer = "returned", _do(here, kind, what)(*arguments, **options)
        except BaseException as error:  # noqa: BLE001  an interrupt is a result, too
            answer = "raised", error
        _send(line, answer)


def _do(here, kind, what):
    if kind == "die":
        return here.die
    if kind == "do":
        return getattr(here.object, what)
    path, name = what
    function = getattr(_module(path), name)
    return lambda *arguments, **options: function(here, *arguments, **options)


def _module(path):
    """The module of a test, for the functions that it wants to run in a process."""
    name = f"stepped_{Path(path).stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _nest(line):
    """Fork a process for every request, until the test run is over."""
    import hypothesis.stateful  # noqa: F401, PLC0415  so that no child has to
    import pytest  # noqa: F401, PLC0415

    import prong.primitives  # noqa: F401, PLC0415

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # the children must not touch, and so copy, what they will never free
    while True:
        request, files, _, _ = socket.recv_fds(line, 1 << 16, 1)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            line.close()
            with socket.socket(fileno=files[0]) as own:
                _serve(own, *pickle.loads(request))
            os._exit(0)
        os.close(files[0])
        line.sendall(pid.to_bytes(8, "little"))


if __name__ == "__main__":
    sys.modules["stepped"] = sys.modules["__main__"]
    _nest(socket.socket(fileno=int(sys.argv[1])))
