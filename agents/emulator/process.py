"""The emulator as a child process, for tests, benchmarks and `--offline`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from prong.agents.emulator.options import EmulatorOptions

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 5.0
CONTROL_TIMEOUT_S = 10.0


class EmulatorNotStarted(Exception):
    """The emulator ended, or said nothing, before it was ready."""


class EmulatorProcess:
    """A running emulator; leaving the context ends it.

        with EmulatorProcess(script_files=["demo.py"], options=EmulatorOptions(latency_s=0.2)) as emulator:
            client = anthropic.Anthropic(api_key="any", base_url=emulator.url)

    Without `script_files` and `builtins` it plays the built-in scripts.  Scripts are functions and cannot be handed to
    another process, so `options.scripts` must be empty.  It ends by itself when this process dies.  `errors` is where
    its standard error goes: by default to this process's own.
    """

    def __init__(
        self,
        *,
        script_files: Sequence[str | Path] = (),
        builtins: Sequence[str] = (),
        options: EmulatorOptions | None = None,
        errors: IO[bytes] | int | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        options = options or EmulatorOptions()
        if options.scripts:
            raise ValueError("scripts are functions of this process: give their files as script_files")
        self._arguments = [
            *(argument for file in script_files for argument in ("--script", str(file))),
            *(argument for name in builtins for argument in ("--builtin", name)),
            *options.arguments(),
        ]
        self._errors = errors
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._is_reviving = False
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the emulator."""
        return self._running().pid

    def start(self) -> None:
        """Start it and wait until it accepts connections; raises EmulatorNotStarted."""
        command = [sys.executable, "-P", "-m", "prong.agents.emulator", "--exit-with-stdin", *self._arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")},
            start_new_session=True,  # Ctrl-C in a terminal is for whoever started it, who then ends it in good order
        )
        try:
            self.url = json.loads(self._first_line())["url"]
        except BaseException:
            self._process.kill()
            self.stop()
            raise

    def revive(self) -> bool:
        """Start it again at its address if it has ended by itself; False where it runs or was stopped.

        Raises EmulatorNotStarted; the next call tries it again.
        """
        process = self._process
        if not self._is_reviving and (process is None or process.poll() is None):
            return False
        if not self._is_reviving:
            self._arguments += ["--port", self.url.rpartition(":")[2]]  # the last one counts
            self._is_reviving = True
        self.stop()
        self.start()
        self._is_reviving = False
        return True

    def stop(self) -> None:
        """End it and wait until it is gone; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        # The process closes its pipes whatever happens while it is waited for.
        with process:
            if process.stdin is not None:
                process.stdin.close()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_TIMEOUT_S)
            finally:
                # This does nothing to a process that has ended, and one that does not end has nothing to lose.
                process.kill()

    def journal(self, *, bodies: bool = False, after: int = 0) -> list[dict[str, Any]]:
        """What it was asked and answered, oldest first, from behind entry number `after`.

        `bodies` adds what the requests said; the emulator must have been started to keep that.
        """
        text = self._ask(f"/emulator/journal?after={after}&bodies={int(bodies)}")
        return [json.loads(line) for line in text.splitlines()]

    def health(self) -> dict[str, Any]:
        """The totals of all requests since it started."""
        answer: dict[str, Any] = json.loads(self._ask("/emulator/health"))
        return answer

    def advance_clock(self, seconds: float) -> None:
        """Move the emulator's clock forward: cache entries expire and rate limits refill by it."""
        self._ask("/emulator/clock", json.dumps({"advance_s": seconds}).encode())

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the emulator is not running: use it inside its `with` block")
        return self._process

    def _first_line(self) -> bytes:
        process = self._running()
        assert process.stdout is not None
        deadline = time.monotonic() + self._start_timeout_s
        line = b""
        while not line.endswith(b"\n"):
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([process.stdout], [], [], left_s)[0]:
                message = f"the emulator said nothing for {self._start_timeout_s:g} s"
                raise EmulatorNotStarted(message)
            piece = process.stdout.read1()  # type: ignore[attr-defined]  # it is a BufferedReader
            if not piece:
                code = process.wait(END_TIMEOUT_S)
                message = f"the emulator ended with exit code {code} before it was ready; its standard error tells why"
                raise EmulatorNotStarted(message)
            line += piece
        return line

    def _ask(self, path: str, data: bytes | None = None) -> str:
        self._running()
        try:
            with urllib.request.urlopen(self.url + path, data, timeout=CONTROL_TIMEOUT_S) as response:  # noqa: S310 - always http
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                message = json.loads(error.read())["error"]["message"]
            raise ValueError(message) from None
