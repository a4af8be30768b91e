"""A program's side of the process that supervises its swarm."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress

from prong.harness.outcome import finished, outcome
from prong.harness.swarms import Swarm
from prong.state import ProngError, Store

LOOK_S = 0.5
"""How often it is looked whether the swarm still gets further, in seconds."""

STOP_S = 30.0
"""How long a supervisor may take to end its agents, in seconds."""

SAID_CHARACTERS = 2_000


class SupervisorGone(ProngError):
    """The process that supervises the swarm has ended although there was work left."""

    def __init__(self, swarm: str, said: str) -> None:
        self.swarm = swarm
        self.said = said

    def __str__(self) -> str:
        why = self.said.strip() or "it did not say why"
        return f"the supervisor of swarm {self.swarm} has ended: {why}. Nothing is lost; do the same again to go on"


class Standstill(ProngError):
    """Nothing of the swarm can go on by itself; `state` is why: `budget`, `approval`, `cache`, or `failed`."""

    def __init__(self, swarm: str, state: str) -> None:
        self.swarm = swarm
        self.state = state

    def __str__(self) -> str:
        advice = {
            "budget": "its budget is spent. Raise it with: prong budget",
            "approval": "a person has to say whether calls may run. Answer them with: prong approve, or prong deny",
            "cache": "the prompt cache of forks is lost. See what they would cost with: prong why",
        }.get(self.state, "its tasks wait for each other. See for what with: prong why")
        return f"swarm {self.swarm} stands still: {advice}; then do the same again"


class Hosting:
    """The supervisor of a swarm, in a process that ends with this one; it begins when there is something to do."""

    def __init__(self, swarm: Swarm, api_key: str | None, *, attended: bool = False) -> None:
        self._swarm = swarm
        self._api_key = api_key
        self._attended = attended
        self._said = swarm.directory / "log" / "host.log"
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin, where it has not begun."""
        with self._lock:
            if self._process is None:
                self._process = self._started()
                self._tell(json.dumps({"api_key": self._api_key}))

    def _started(self) -> subprocess.Popen[bytes]:
        with self._said.open("ab") as said:
            self._from = said.tell()
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "prong.harness.patterns.host", str(self._swarm.directory)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def check(self) -> None:
        """Raise `SupervisorGone` or `Standstill` where no more is to come; costs nothing where it was just asked."""
        now = time.monotonic()
        if self._process is None or now - self._looked < LOOK_S:
            return
        self._looked = now
        if self._process.poll() is not None:
            raise SupervisorGone(self._swarm.id, self._words())
        store = self._swarm.store()
        try:
            if _has_open(store) and finished(store, attended=self._attended):
                raise Standstill(self._swarm.id, outcome(store))
        finally:
            store.close()

    def finish(self) -> None:
        """Let it end when every task has ended, and wait for that."""
        if self._process is not None:
            self._tell("finish")
            self._process.wait()
            self._close()

    def stop(self) -> None:
        """Let it stop now, in good order, and wait for that."""
        if self._process is None:
            return
        self._close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process is not None, "it has begun"
        assert self._process.stdin is not None, "it was started with one"
        with suppress(BrokenPipeError, ValueError):  # `check` tells that it is gone
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process is not None, "as above"
        assert self._process.stdin is not None, "as above"
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _words(self) -> str:
        with self._said.open("rb") as said:
            said.seek(self._from)
            return said.read()[-SAID_CHARACTERS:].decode(errors="replace")


def newest_event(store: Store) -> int:
    """The number of the last event so far."""
    row = store.row("select max(seq) as seq from event")
    return (row["seq"] if row else None) or 0


def _has_open(store: Store) -> bool:
    row = store.row("select open from task_count")
    return row is not None and row["open"] > 0
