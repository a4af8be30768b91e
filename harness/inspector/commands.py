"""The command door: what a person asks for in the browser goes through the same functions as the command line.

    requested --a thread takes it--> acknowledged --its effect is seen--> done
                                          +-------- refused, with words --> failed

A command with a key that was seen before is the one it was then.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog

from prong.harness.inspector.acts import ACTS, Act
from prong.harness.repository.git import RepositoryError
from prong.harness.swarms import Swarm
from prong.state import Invalid, ProngError

KEPT = 1_000
"""How many commands are remembered; the log has them all."""

AT_ONCE = 4
"""How many commands run at once; a cancel waits until processes are gone."""


@dataclass
class Command:
    """One thing that was asked for.  `result` is what it came to, in data; `error` why it was refused, in words."""

    id: int
    swarm: str
    op: str
    target: Mapping[str, Any]
    args: Mapping[str, Any]
    state: str = "requested"
    result: Any = None
    error: str | None = None
    requested_at: float = field(default_factory=time.time)
    ended_at: float | None = None


class Door:
    """Takes commands and runs them in threads of its own; `acts` are the ops that there are."""

    def __init__(self, acts: Mapping[str, Act] | None = None) -> None:
        self.acts = dict(ACTS if acts is None else acts)
        self._numbers = itertools.count(1)
        self._commands: OrderedDict[int, Command] = OrderedDict()
        self._by_key: OrderedDict[tuple[str, str], Command] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="command")

    def request(self, swarm: Swarm, asked: Any) -> Command:
        """Take one command, {op, target, args, key}; it runs at once.  Raises `Invalid` where it is none."""
        op, target, args, key = _read(asked, self.acts)
        with self._lock:
            before = self._by_key.get((swarm.id, key)) if key else None
            if before is not None:
                return before
            command = Command(next(self._numbers), swarm.id, op, target, args)
            self._commands[command.id] = command
            if key:
                self._by_key[swarm.id, key] = command
            for kept in (self._commands, self._by_key):
                while len(kept) > KEPT:
                    kept.popitem(last=False)
        self._threads.submit(self._run, swarm, command)
        return command

    def find(self, number: int) -> Command | None:
        """A command of this server by its number."""
        with self._lock:
            return self._commands.get(number)

    def close(self) -> None:
        """Take no more; what runs ends."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, swarm: Swarm, command: Command) -> None:
        command.state = "acknowledged"
        try:
            command.result = self.acts[command.op](swarm, command.target, command.args)
            command.state = "done"
        except (ProngError, RepositoryError) as error:
            command.error, command.state = str(error), "failed"
        except Exception as error:  # noqa: BLE001  whoever asked must hear of it, and the door stay open
            structlog.get_logger().exception("command.broke", op=command.op)
            command.error, command.state = f"{command.op} broke ({type(error).__name__})", "failed"
        finally:
            command.ended_at = time.time()


def as_dict(command: Command) -> dict[str, Any]:
    """A command as JSON tells it."""
    return asdict(command)


def _read(asked: Any, acts: Mapping[str, Act]) -> tuple[str, dict[str, Any], dict[str, Any], str]:
    if not isinstance(asked, dict):
        raise Invalid("a command that is no object", "{op, target, args, key}")
    op, target, args, key = asked.get("op"), asked.get("target") or {}, asked.get("args") or {}, asked.get("key") or ""
    if op not in acts:
        raise Invalid(f"op {str(op)[:40]!r}", f"one of {', '.join(acts)}")
    if not isinstance(target, dict) or not isinstance(args, dict) or not isinstance(key, str):
        raise Invalid("a command whose target or args are no objects", "{op, target: {…}, args: {…}, key: text}")
    return str(op), target, args, key
