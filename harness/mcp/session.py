"""One connection: a member of the swarm with a name, whose calls run in threads and whose holdings end with it.

    call --quick--> result
      +--waits longer than a client is patient--> still waiting, ticket --resume_wait--> result

A call that was seen before, by its id, is not made again: it is answered with what came of it.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from prong.agents.tools.tool import Answer, ToolCall, ToolError
from prong.harness.mcp.offered import offers
from prong.harness.mcp.tasks import ClientTasks
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import join
from prong.state import Deposed, ProngError

PATIENCE_S = 25.0
"""How long a call waits before it answers with a ticket, in seconds: less than any known client's own limit."""

AT_ONCE = 64
"""How many calls of one connection can be under way, those that wait included."""

REMEMBERED = 10_000
"""How many calls are remembered by their id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client reads: words, data where there are any, and whether it was refused."""

    text: str
    data: Mapping[str, Any] | None = None
    is_error: bool = False


class Session:
    """A client's connection to the shared state at `place`, under a name that others read."""

    def __init__(self, place: Path, name: str, *, patience_s: float = PATIENCE_S) -> None:
        self.place = place
        self.patience_s = patience_s
        self._swarm = join(place, name)
        self._id = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="call")
        self._calls: OrderedDict[str, Future[Outcome]] = OrderedDict()
        self._tickets: dict[str, Future[Outcome]] = {}
        self._lock = threading.Lock()
        self._tools = self._make_tools()

    @property
    def name(self) -> str:
        """The name that others read."""
        return self._swarm.name

    def close(self, reason: str = "its connection ended") -> None:
        """Give back all that the client holds; its waits end and its tasks go to others."""
        self._swarm.leave(reason)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def call(self, name: str, given: Mapping[str, Any], call_id: str | None = None) -> Future[Outcome]:
        """Make a call, or find the one of the same id; its outcome comes when it has ended, however long it waits."""
        with self._lock:
            key = call_id or f"call-{next(self._numbers)}"
            if key in self._calls:
                return self._calls[key]
            future = self._threads.submit(self._run, ToolCall(key, name, given, key=f"mcp {self._id} {key}"))
            self._calls[key] = future
            while len(self._calls) > REMEMBERED:
                self._calls.popitem(last=False)
            return future

    def ticket(self, future: Future[Outcome]) -> Outcome:
        """What a client reads of a call that still waits: with the ticket it goes on."""
        with self._lock:
            ticket = next((one for one, known in self._tickets.items() if known is future), None)
            ticket = ticket or secrets.token_hex(6)
            self._tickets[ticket] = future
        text = (
            f"Still waiting; your place in the line is kept. Go on with resume_wait, ticket {ticket}, or do other work."
        )
        return Outcome(text, {"still_waiting": True, "ticket": ticket})

    def resume(self, given: Mapping[str, Any]) -> Future[Outcome]:
        """The call that a ticket stands for."""
        ticket = given.get("ticket")
        with self._lock:
            future = self._tickets.get(ticket) if isinstance(ticket, str) else None
        if future is not None:
            return future
        unknown: Future[Outcome] = Future()
        words = (
            "resume_wait: there is no such ticket on this connection. Make the call again that you were waiting for."
        )
        unknown.set_result(Outcome(words, is_error=True))
        return unknown

    def _run(self, call: ToolCall) -> Outcome:
        run = self._tools.get(call.name)
        if run is None:
            known = ", ".join(sorted(self._tools))
            return Outcome(f"There is no tool {call.name!r}. The tools are: {known}.", is_error=True)
        try:
            told = run(call)
        except Deposed:
            words = "This connection was given up as dead, and what it held went to others. Connect again."
            return Outcome(words, is_error=True)
        except (ToolError, ProngError) as error:
            return Outcome(str(error), is_error=True)
        except Exception as error:  # noqa: BLE001  a broken tool must not end the connection
            structlog.get_logger().exception("tool.broke", tool=call.name)
            return Outcome(f"The tool {call.name} broke ({type(error).__name__}). Try another way.", is_error=True)
        return Outcome(told.words, told.data) if isinstance(told, Answer) else Outcome(told)

    def _make_tools(self) -> Mapping[str, Callable[[ToolCall], str | Answer]]:
        schemas = {offer.name: offer.input_schema for offer in offers()}
        own = ClientTasks(self._swarm, schemas)
        shared = TaskTools(self._swarm, ForkSource(_no_snapshot, _no_prefix))
        return {
            **{tool.name: tool.run for tool in PrimitiveTools(self._swarm, siblings=None).tools()},
            "create_task": own.create_task,
            "claim_task": own.claim_task,
            "complete_task": own.complete_task,
            "fail_task": own.fail_task,
            "renew_task": own.renew_task,
            "wait_tasks": shared.wait_tasks,
            "list_tasks": shared.list_tasks,
        }


def _no_snapshot(_ignored: str) -> str:
    raise AssertionError("a client's tasks start with only their prompt")


def _no_prefix(_turn: object) -> str:
    raise AssertionError("a client's conversation is not Prong's")
