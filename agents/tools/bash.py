"""The tool `bash`: one shell per agent, in which directory, variables and functions last from call to call.

It starts with the first command.

    ready --command--> busy --answer--> ready
      ^                 |--exit, set -e, a signal--> ended --next command--> ready
      +-- new shell ----+--timeout: everything the command started is ended
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from prong.agents.sandbox import Sandbox
from prong.agents.sandbox.guard import Disk, Guard
from prong.agents.tools import processes
from prong.agents.tools.bash_process import BashProcess, Ended, Finished, Outcome, TimedOut
from prong.agents.tools.inputs import Inputs
from prong.agents.tools.output import CHUNK_BYTES, Output
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.agents.tools.touch import FILES, touched

COMMAND_TIMEOUT_S = 120.0
"""How long a command may take, in seconds."""
COMMAND_CHARACTERS = 4 * 1024 * 1024
"""The longest command, in characters."""
CLOSE_POLL_S = 0.05
"""How often `close` ends what runs while another thread still holds the shell, in seconds."""

MARK_VARIABLE = "PRONG_SHELL"
"""The environment variable by which all that a shell started is found again."""

BASH: Final[Mapping[str, Any]] = {"type": "bash_20250124", "name": "bash"}


class Shell:
    """One persistent bash; it starts with the first command, so that a process may be forked before.

    Calls from several threads wait for each other.
    """

    def __init__(
        self,
        workspace: Path,
        *,
        scratch: Path,
        environment: Mapping[str, str],
        timeout_s: float = COMMAND_TIMEOUT_S,
        sandbox: Sandbox | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        """Of what commands write, none of the `secrets` is told or kept."""
        self._secrets = secrets
        self._workspace = workspace.absolute()
        self._sandbox = sandbox
        self._disk = Disk(sandbox.writable, sandbox.limits.disk_bytes) if sandbox is not None else None
        self._guard: Guard | None = None
        self._passed = ""
        self._scratch = scratch.absolute()
        self._environment = dict(environment)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._bash: BashProcess | None = None
        self._directory = self._workspace
        self._mark = ""
        self._sessions: dict[int, int] = {}
        self._readers: list[threading.Thread] = []
        self._closed = False

    def run(self, command: str) -> str:
        """Run `command` and return what it wrote, with its exit code if that is not 0.

        Raises `ToolError` if it took too long: its text tells what happened and has the output so far.
        """
        with self._lock:
            notes: list[str] = []
            bash = self._ready(notes)
            if self._guard is not None:
                self._guard.wake()
            with contextlib.ExitStack() as undo:
                output = undo.enter_context(contextlib.closing(Output(self._scratch, secrets=self._secrets)))
                outcome, reader = bash.run(command, output, timeout_s=self._timeout_s, end_command=self._end_command)
                if self._guard is not None:
                    self._guard.rest()
                # bash names the file that it reads; the model knows only its command.
                text = output.text().replace(f"{bash.command_path}: line ", "bash: line ").removesuffix("\n")
                if reader is not None:
                    notes.append(self._collect(reader, output))
                    undo.pop_all()  # From now on another thread closes it.
            notes += self._settle(outcome)
        result = "\n".join([part for part in (text, *notes) if part]) or "(no output)"
        if isinstance(outcome, TimedOut):
            raise ToolError(result)
        return result

    def restart(self) -> str:
        """End the shell and everything started in it, and start a new one in the workspace."""
        with self._lock:
            self._end_all()
            self._discard()
            self._directory = self._workspace
            self._ready([])
            return f"[a new shell runs in {self._directory}; everything the old one had started was ended]"

    def close(self) -> None:
        """End the shell and everything started in it, a command that runs in another thread included."""
        self._closed = True
        while not self._lock.acquire(timeout=CLOSE_POLL_S):
            self._end_all()
        try:
            self._end_all()
            self._discard()
            for reader in self._readers:
                reader.join(timeout=1)
        finally:
            self._lock.release()

    def _ready(self, notes: list[str]) -> BashProcess:
        """The shell, started if there is none; what the model must know about that goes into `notes`."""
        if self._closed:
            raise ToolError("bash: this agent's shell is closed, because the agent is ending. Run no more commands.")
        if self._bash is not None and not self._bash.alive:
            self._discard()
            notes.append("[the shell had ended since the last command; this is a new one, without its variables]")
        if self._bash is None:
            self._mark = self._mark or token_hex(16)
            self._bash = bash = BashProcess(
                self._scratch,
                workspace=self._workspace,
                directory=self._directory,
                environment=self._environment | {MARK_VARIABLE: self._mark},
                sandbox=self._sandbox,
            )
            if bash.directory != self._directory:
                notes.append(f"[{self._directory} is gone; the shell starts in {bash.directory}]")
                self._directory = bash.directory
            if leader := processes.look_up(bash.started_pid):
                self._sessions[leader.pid] = leader.started
            self._guard = self._guarding(bash)
        return self._bash

    def _guarding(self, bash: BashProcess) -> Guard | None:
        """A guard over what the commands of this bash use up together; None where nothing is bounded."""
        if self._sandbox is None or self._disk is None:
            return None
        jail = bash.jail

        def members() -> Iterator[Path]:
            return (Path(f"/proc/{pid}") for pid in self._members())

        def end(problem: str) -> None:
            self._passed = problem
            if jail is not None:
                jail.end()
            else:
                self._end_all()

        guard = Guard(
            self._sandbox.limits,
            processes=jail.processes if jail is not None else members,
            disk=self._disk,
            in_memory=[Path(f"/proc/{jail.init}/root{place}") for place in self._sandbox.in_memory()] if jail else (),
            end=end,
        )
        guard.start()
        return guard

    def _settle(self, outcome: Outcome) -> list[str]:
        """Remember the directory, let go of a shell that ended, and say in words what the model must know."""
        if isinstance(outcome, Finished):
            self._directory = Path(outcome.directory)
            return [f"[exit code {outcome.status}]"] if outcome.status else []
        self._discard()
        passed, self._passed = self._passed, ""
        if passed:
            return [f"[{passed}, so everything in the sandbox was ended. The next command starts a new shell.]"]
        if isinstance(outcome, TimedOut):
            if outcome.directory is not None:
                self._directory = Path(outcome.directory)
            what = f"the command took longer than {self._timeout_s:g} s; it and the shell were ended"
            advice = "Run what takes longer in the background, with its output in a file, and look at that"
        else:
            what = f"the command ended the shell itself ({_status(outcome)})"
            advice = "Put `exit` and `set -e` into parentheses to keep the shell"
        return [f"[{what}. The next command starts a new shell in {self._directory}, without variables. {advice}.]"]

    def _end_command(self, since: processes.Start) -> None:
        bash = self._bash
        assert bash is not None
        keepers = bash.jail.keepers if bash.jail is not None else frozenset()

        def of_command() -> Collection[processes.Process]:
            members = {pid: process for pid, process in self._members().items() if pid not in keepers}
            return processes.of_command(members, shell=bash.pid, since=since).values()

        processes.end(of_command)

    def _end_all(self) -> None:
        if self._mark:
            processes.end(lambda: self._members().values())

    def _members(self) -> dict[int, processes.Process]:
        return processes.belonging(f"{MARK_VARIABLE}={self._mark}", dict(self._sessions))

    def _discard(self) -> None:
        if self._guard is not None:
            self._guard.stop()
            self._guard = None
        if self._bash is not None:
            self._bash.close()
            self._bash = None

    def _collect(self, reader: int, output: Output) -> str:
        """Go on reading what background processes write: unread, it would block them as soon as the pipe is full."""
        output.keep()
        self._readers = [thread for thread in self._readers if thread.is_alive()]
        thread = threading.Thread(target=_copy, args=(reader, output), name="background output", daemon=True)
        thread.start()
        self._readers.append(thread)
        return f"[something still runs in the background; what it writes goes to {output.path}]"


def bash_tool(shell: Shell) -> Tool:
    """The tool that runs commands in `shell`."""

    def run(call: ToolCall) -> str:
        inputs = Inputs(call, keys=("command", "restart"))
        restart = inputs.flag("restart")
        if not restart or "command" in inputs:
            command = inputs.filled("command", most_characters=COMMAND_CHARACTERS)
        try:
            if not restart:
                return shell.run(command)
            report = shell.restart()
            return f"{report}\n{shell.run(command)}" if "command" in inputs else report
        except OSError as error:
            reason = f"the shell could not run the command: {error}"
            raise inputs.refuse(f"{reason}. Try it again, or with `restart` set to true.") from error

    # A command that ran partly may have changed anything.  And it may read or change any file.
    return Tool(definition=BASH, run=run, replay="uncertain", touches=lambda call: touched(FILES["bash"], call.input))


def _status(outcome: Ended) -> str:
    if outcome.status >= 0:
        return f"exit code {outcome.status}"
    try:
        return f"signal {signal.Signals(-outcome.status).name}"
    except ValueError:
        return f"signal {-outcome.status}"


def _copy(reader: int, output: Output) -> None:
    try:
        os.set_blocking(reader, True)
        while data := os.read(reader, CHUNK_BYTES):
            output.write(data)
        output.write(b"", final=True)
    finally:
        os.close(reader)
        output.close()
