"""One process in the sandbox, for one call: watched over, and ended with all that it started.

A shell lasts from call to call; this does not.  What it writes, on both of its streams, goes into one `Output`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from prong.agents.sandbox import Sandbox
from prong.agents.sandbox.guard import Disk, Guard
from prong.agents.sandbox.pids import PidsGroup
from prong.agents.tools import processes
from prong.agents.tools.jail import Jail
from prong.agents.tools.output import CHUNK_BYTES, Output

MARK_VARIABLE = "PRONG_PROGRAM"
"""The environment variable by which all that the process started is found again."""

DRAIN_BYTES = 2**20
"""So much of what was written before the end is read after it, in bytes: what a pipe can hold."""


class Confined:
    """A process that runs.  Made and closed by one thread; `interrupt` may come from any."""

    def __init__(
        self, arguments: Sequence[str], *, line: int, files: Path, workspace: Path, environment: Mapping[str, str],
        sandbox: Sandbox | None,
    ) -> None:  # fmt: skip
        """`line` is a descriptor that the process gets under its number; `files` is a directory that it may read."""
        self._sandbox = sandbox
        self._mark = secrets.token_hex(16)
        self.passed = ""
        with contextlib.ExitStack() as undo:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self._reader = reader
            undo.callback(os.close, reader)
            with contextlib.closing(os.fdopen(writer, "wb", buffering=0)) as output:
                self._process = subprocess.Popen(
                    _within(sandbox, arguments, files),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=workspace,
                    env={**environment, MARK_VARIABLE: self._mark},
                    pass_fds=[line],
                    start_new_session=True,
                )
            undo.callback(self._reap)
            self._death = os.pidfd_open(self._process.pid)
            undo.callback(os.close, self._death)
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, self._bell)
            self._jail: Jail | None = None
            self._leader = processes.look_up(self._process.pid)
            self._bound = undo.enter_context(contextlib.ExitStack())
            undo.callback(self._end_all)
            self._resources = undo.pop_all()

    def bound(self) -> None:
        """Put bounds around it; call this when it has begun and before it does what nobody knows."""
        if self._sandbox is None:
            return
        if self._sandbox.is_closed:
            self._jail = Jail.of(self._process.pid)
            self._bound.callback(self._jail.close)
            group = PidsGroup.make(self._sandbox.limits.processes)
            if group is not None:
                self._bound.callback(group.remove)
                group.take((*self._jail.keepers, self._jail.shell))
        jail = self._jail
        guard = Guard(
            self._sandbox.limits,
            processes=jail.processes if jail is not None else self._members_in_proc,
            disk=Disk(self._sandbox.writable, self._sandbox.limits.disk_bytes),
            in_memory=[Path(f"/proc/{jail.init}/root{place}") for place in self._sandbox.in_memory()] if jail else (),
            end=self._pass,
        )
        guard.start()
        guard.wake()
        self._bound.callback(guard.stop)

    def interrupt(self) -> None:
        """Have `watch` look again."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._bell, 1)

    def watch(self, output: Output, go_on: Callable[[], float | None]) -> int | None:
        """Collect what it writes until it ends; its exit code, negative for a signal.

        `go_on` is asked now and then, and says for how many seconds at most it need not be asked again; None ends the
        watch, and None is returned: then the caller has had enough.
        """
        waiting = select.poll()
        for file in (self._reader, self._death, self._bell):
            waiting.register(file, select.POLLIN)
        while (pause_s := go_on()) is not None:
            ready = {file for file, _ in waiting.poll(max(0.0, pause_s) * 1000)}
            if self._bell in ready:
                os.eventfd_read(self._bell)
            if self._reader in ready and not self._read(output):
                waiting.unregister(self._reader)
            elif self._death in ready:
                return self._process.wait()
        return None

    def close(self, output: Output) -> None:
        """End it and all that it started, and take what was still written."""
        self._end_all()
        os.set_blocking(self._reader, False)
        left_bytes = DRAIN_BYTES
        with contextlib.suppress(BlockingIOError):
            while left_bytes > 0 and (count := self._read(output)):
                left_bytes -= count
        self._resources.close()

    def _read(self, output: Output) -> int:
        data = os.read(self._reader, CHUNK_BYTES)
        output.write(data)
        return len(data)

    def _pass(self, problem: str) -> None:
        """The guard has seen that it uses too much."""
        self.passed = problem
        if self._jail is not None:
            self._jail.end()
        else:
            self._end_all()

    def _end_all(self) -> None:
        if self._jail is not None:
            self._jail.end()
        processes.end(lambda: self._members().values())

    def _members(self) -> dict[int, processes.Process]:
        sessions = {} if self._leader is None else {self._leader.pid: self._leader.started}
        return processes.belonging(f"{MARK_VARIABLE}={self._mark}", sessions)

    def _members_in_proc(self) -> Iterator[Path]:
        return (Path(f"/proc/{pid}") for pid in self._members())

    def _reap(self) -> None:
        self._process.kill()
        self._process.wait()


def _within(sandbox: Sandbox | None, arguments: Sequence[str], files: Path) -> list[str]:
    """The arguments as they are run: in the sandbox, by a bash that bounds itself before it becomes the program."""
    if sandbox is None:
        return list(arguments)
    script = f'{sandbox.limits.script(own_users=sandbox.is_closed)}; exec "$@"'
    return sandbox.command(["bash", "--noprofile", "--norc", "-c", script, "bash", *arguments], readable=[files])


@contextlib.contextmanager
def files_for(sandbox: Sandbox | None, scratch: Path) -> Iterator[Path]:
    """A directory for the files of one process, which in the sandbox it can read and not write."""
    if sandbox is not None:
        sandbox.prepare()
    directory = Path(tempfile.mkdtemp(prefix="program-", dir=sandbox.own if sandbox is not None else scratch))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
