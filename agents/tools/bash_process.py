r"""One bash that reads its script from us, and the framing that tells where one command ends and the next begins.

    we                                     bash
    command file  <- the text, unchanged
    stdin         -> source 'command' </dev/null >'output' 2>&1
    output (fifo) <-------------------------- what the command and its children write
    stdin         -> printf status and directory >'done'
    done (fifo)   <-------------------------- "12 0 /workspace\0"

The files and pipes of this lie in a directory of their own, which a sandboxed shell can read and not write: otherwise a
command could put a link in the place of the next command's file, and we would write through it.

Why it holds: the text is a file, so no quote, heredoc or size can break the framing.  `source` and the answer stand on
two lines, because some errors (`${a b}`, 1/0) throw bash back to its next line.  The answer comes through a name, not
an open descriptor, so no child can hold it and no `exec` can close it.  Each command has its own fifo, so whatever
still runs when its call is over cannot write into the next result; a fifo and not a file, because `echo >/dev/stderr`
would truncate a file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prong.agents.sandbox import Sandbox
from prong.agents.sandbox.pids import PidsGroup
from prong.agents.tools.jail import Jail
from prong.agents.tools.output import CHUNK_BYTES, Output
from prong.agents.tools.processes import Start

DRAIN_S = 0.05
"""How long after a command's end we still listen for what its last children write, in seconds."""
ANSWER_BYTES = 64 * 1024
"""The longest answer, in bytes: a status and a directory."""
START_TIMEOUT_S = 60.0
"""How long a shell may take to start, in seconds."""
ERROR_BYTES = 2_000
"""How much is told of what is said by a shell that does not start, in bytes."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The command ended and the shell is ready for the next."""

    status: int
    directory: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The shell itself ended: by `exit`, under `set -e`, or by a signal (then `status` is negative)."""

    status: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The command did not end in time and was ended, with the shell."""

    directory: str | None


Outcome = Finished | Ended | TimedOut


class BashProcess:
    """A running bash.  One thread at a time may call `run`.

    It begins in `directory`, which within a sandbox may be another one than outside; where that is not there, it begins
    in `workspace`.  `directory` afterwards is where it began.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        workspace: Path,
        directory: Path,
        environment: Mapping[str, str],
        sandbox: Sandbox | None = None,
    ) -> None:
        with contextlib.ExitStack() as undo:
            control = _control(scratch, sandbox)
            undo.callback(shutil.rmtree, control, ignore_errors=True)
            self.command_path = control / "command"
            self._output_path = control / "output"
            self._done_path = control / "done"
            os.mkfifo(self._done_path)
            # Opened for both directions, so that it neither blocks now nor reports an end between two commands.
            self._done = os.open(self._done_path, os.O_RDWR | os.O_NONBLOCK)
            undo.callback(os.close, self._done)
            bash = ["bash", "--noprofile", "--norc"]
            errors = undo.enter_context(tempfile.TemporaryFile(dir=control))
            self._process = subprocess.Popen(
                sandbox.command(bash, readable=[control]) if sandbox is not None else bash,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                bufsize=0,
                cwd=workspace,
                env=dict(environment),
                start_new_session=True,
            )
            undo.callback(self._reap)
            self._death = os.pidfd_open(self._process.pid)
            undo.callback(os.close, self._death)
            self._count = 0
            self._begin(directory, errors, sandbox)
            self.started_pid = self._process.pid
            self.jail = Jail.of(self._process.pid) if sandbox is not None and sandbox.is_closed else None
            if self.jail is not None and sandbox is not None:
                undo.callback(self.jail.close)
                self._bound(undo, self.jail, sandbox.limits.processes)
            self.pid = self.jail.shell if self.jail is not None else self._process.pid
            self._resources = undo.pop_all()

    def _bound(self, undo: contextlib.ExitStack, jail: Jail, processes: int) -> None:
        group = PidsGroup.make(processes)
        if group is not None:
            undo.callback(group.remove)
            group.take((*jail.keepers, jail.shell))

    def _begin(self, directory: Path, errors: IO[bytes], sandbox: Sandbox | None) -> None:
        """Let it bound itself and go to its directory; raises `OSError` where it does not start."""
        limits = sandbox.limits.script(own_users=sandbox.is_closed) if sandbox is not None else ":"
        where = shlex.quote(str(directory))
        self._write(
            f"builtin eval {shlex.quote(limits)} 2>/dev/null; builtin exec 2>/dev/null; builtin cd -- {where}\n"
            f'builtin printf "0 %d %s\\0" "$?" "${{PWD-}}" >|{shlex.quote(str(self._done_path))}\n'
        )
        begun = self._watch(None, None, deadline=time.monotonic() + START_TIMEOUT_S)
        if not isinstance(begun, Finished):
            errors.seek(0)
            said = errors.read(ERROR_BYTES).decode(errors="replace").strip()
            raise OSError(errno.EIO, f"it does not start: {said or begun or 'it took too long'}")
        self.directory = Path(begun.directory)

    @property
    def alive(self) -> bool:
        """Whether it can take a command."""
        return self._process.poll() is None

    def run(
        self,
        command: str,
        output: Output,
        *,
        timeout_s: float,
        end_command: Callable[[Start], object],
    ) -> tuple[Outcome, int | None]:
        """Run `command` and collect what it writes into `output`.

        If it takes longer than `timeout_s`, `end_command` is called with its start and must end it and
        this bash.  Returns how it went and, if something still holds the command's output open, the descriptor to read
        it from.
        """
        self._count += 1
        self.command_path.write_bytes(command.encode())
        os.mkfifo(self._output_path)
        since = Start.now(self.pid)
        reader = os.open(self._output_path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self._send()
            outcome = self._watch(reader, output, deadline=time.monotonic() + timeout_s)
            if outcome is None:
                outcome = TimedOut(self._working_directory())
                end_command(since)
            still_open = _drain(reader, output)
        except BaseException:
            os.close(reader)
            raise
        finally:
            self._output_path.unlink()
        if still_open:
            return outcome, reader
        os.close(reader)
        return outcome, None

    def close(self) -> None:
        """Let go of it; the caller has ended its processes."""
        self._resources.close()

    def _send(self) -> None:
        command, output, done = (
            shlex.quote(str(path)) for path in (self.command_path, self._output_path, self._done_path)
        )
        self._write(
            f"builtin source {command} </dev/null >|{output} 2>&1\n"
            f'builtin printf "%d %d %s\\0" {self._count} "$?" "${{PWD-}}" >|{done}\n'
        )

    def _write(self, script: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It has just died; whoever watches it sees that.
            self._process.stdin.write(os.fsencode(script))

    def _watch(self, reader: int | None, output: Output | None, *, deadline: float) -> Outcome | None:
        """Collect output until bash answers, dies, or the time is over (None)."""
        events = select.poll()
        for descriptor in (reader, self._done, self._death):
            if descriptor is not None:
                events.register(descriptor, select.POLLIN)
        answer = b""
        while (remaining_s := deadline - time.monotonic()) > 0:
            ready = dict(events.poll(remaining_s * 1000))
            if reader is not None and output is not None and reader in ready and _read(reader, output) == 0:
                events.unregister(reader)  # Nobody has it open any more.
            if self._done in ready:
                answer = (answer + os.read(self._done, CHUNK_BYTES))[-ANSWER_BYTES:]
                if finished := self._parse(answer):
                    return finished
            elif self._death in ready:
                return Ended(self._process.wait())
        return None

    def _parse(self, answer: bytes) -> Finished | None:
        """The answer to the present command; None if it is incomplete or somebody else wrote it."""
        *whole, _ = answer.split(b"\0")
        for line in whole:
            count, _, rest = line.partition(b" ")
            status, _, directory = rest.partition(b" ")
            if count == b"%d" % self._count and status.isdigit():
                return Finished(int(status), os.fsdecode(directory))
        return None

    def _working_directory(self) -> str | None:
        try:
            return str(Path(f"/proc/{self.pid}/cwd").readlink())
        except OSError:
            return None

    def _reap(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()


def _control(scratch: Path, sandbox: Sandbox | None) -> Path:
    """A new directory for the files between us and one shell."""
    if sandbox is None:
        return Path(tempfile.mkdtemp(prefix="shell-", dir=scratch))
    sandbox.prepare()
    return Path(tempfile.mkdtemp(prefix="shell-", dir=sandbox.own))


def _read(reader: int, output: Output) -> int | None:
    """Take what is there; how many bytes, 0 at the end, None if there is nothing yet."""
    try:
        data = os.read(reader, CHUNK_BYTES)
    except BlockingIOError:
        return None
    output.write(data)
    return len(data)


def _drain(reader: int, output: Output) -> bool:
    """Take what the command left in the pipe; True if something that still runs may write more.

    A pipe holds so many bytes and no more, so what comes after these was written by something that still runs.
    """
    left_bytes = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    events = select.poll()
    events.register(reader, select.POLLIN)
    deadline = time.monotonic() + DRAIN_S
    while left_bytes > 0 and events.poll(max(0, deadline - time.monotonic()) * 1000):
        count = _read(reader, output)
        if count == 0:
            return False
        left_bytes -= count or 0
    return True
