"""One connection: a member of the swarm with a name, whose calls run in threads and whose holdings end with it.

    call --quick--> result
      +--waits longer than a client is patient--> still waiting, ticket --resume_wait--> result
      +--the client cancels it, or gives the ticket up--> its place in the line is free

A call that was seen before, by its id, is not made again: it is answered with what came of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import structlog

from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.mcp.giving_back import give_back
from prong.harness.mcp.offered import offers
from prong.harness.mcp.permitting import Permits, Question, is_of_an_agent
from prong.harness.mcp.queues import reading_once
from prong.harness.mcp.steering import NAME as STEER
from prong.harness.mcp.steering import Steering
from prong.harness.mcp.tasks import ClientTasks
from prong.harness.tools.tasks import ForkSource, TaskTools
from prong.harness.tools.toolbox import PrimitiveTools
from prong.primitives import Swarm, join
from prong.state import Deposed, Membership, ProngError
from prong.state.ticket import Ticket

PATIENCE_S = 25.0
"""How long a call waits before it answers with a ticket, in seconds: less than any known client's own limit."""

AT_ONCE = 64
"""How many calls of one connection can be under way, those that wait included."""

REMEMBERED = 1_000
"""How many calls are answered again from memory, and how many tickets are known.

A call that is repeated later than that runs again under the key that it had, by which the database knows what it did.
"""

ABANDONED_S = 600.0
"""How long a ticket that nobody resumes keeps the place in the line, or what the call was granted, in seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client reads: words, data where there are any, and whether it was refused."""

    text: str
    data: Mapping[str, Any] | None = None
    is_error: bool = False


@dataclass(eq=False, slots=True)
class Call:
    """A call that was made: `outcome` comes when it has ended, and `place` is where it waits, while it waits.

    `question` comes where a person is asked first; `can_ask` says whether the client can show it.  `looked_at` counts
    how often the client has asked for its outcome.
    """

    outcome: Future[Outcome] = field(default_factory=Future)
    place: Ticket | None = None
    given_up: bool = False
    question: Future[Question] = field(default_factory=Future)
    can_ask: bool = False
    tool: ToolCall | None = None
    looked_at: int = 0


class Session:
    """A client's connection to the shared state at `place`, under a name that others read."""

    def __init__(
        self, place: Path, name: str, *, patience_s: float = PATIENCE_S, abandoned_s: float = ABANDONED_S,
        rights: Sequence[str] = (), process: psutil.Process | None = None, member: Swarm | None = None,
    ) -> None:  # fmt: skip
        """`rights` are what it may do to the swarm; `process` is the client's, where that is known.

        `member` is who acts, where that is somebody who has joined already.
        """
        self.place = place
        self.patience_s = patience_s
        self.abandoned_s = abandoned_s
        self.rights = rights
        self.can_ask = process is None or not is_of_an_agent(process)
        self._swarm = member if member is not None else join(place, name)
        self._swarm.parking = self._waiting
        self._permits = Permits(self._swarm)
        self._id = _identity(name, process)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="call")
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._tickets: OrderedDict[str, Call] = OrderedDict()
        self._under_way = 0
        self._lock = threading.Lock()
        self._mine = threading.local()
        self._tools = self._make_tools()

    @property
    def name(self) -> str:
        """The name that others read."""
        return self._swarm.name

    def close(self, reason: str = "its connection ended") -> None:
        """Give back all that the client holds; its waits end and its tasks go to others."""
        with self._lock:
            calls = [*self._calls.values(), *self._tickets.values()]
        for call in calls:
            _answer(call, allowed=False, reason=reason)
        self._swarm.leave(reason)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def call(
        self, name: str, given: Mapping[str, Any], call_id: str | None = None, *, can_ask: bool = False
    ) -> Call:  # fmt: skip
        """Make a call, or find the one of the same id and input; its outcome comes when it ends.

        `can_ask` says whether its client can show its person a form.
        """
        text = f"{call_id or secrets.token_hex(8)} {name} {json.dumps(given, sort_keys=True)}"
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        with self._lock:
            if key in self._calls:
                return self._calls[key]
            if self._swarm.left:
                return _answered("This connection has ended, and what it held went to others. Connect again.")
            if self._under_way >= AT_ONCE:
                return _answered(f"{AT_ONCE} calls of this connection are under way; let some of them end first.")
            self._under_way += 1
            self._note_interest(name, given)
            own = call_id.rpartition(" ")[2] if call_id else key
            tool = ToolCall(own, name, given, key=f"mcp {self._id} {key}")
            call = Call(can_ask=can_ask and self.can_ask, tool=tool)
            _remember(self._calls, key, call)
        self._threads.submit(self._work, call, tool)
        return call

    def ticket(self, call: Call) -> Outcome:
        """What a client reads of a call that still waits: with the ticket it goes on."""
        with self._lock:
            ticket = next((one for one, known in self._tickets.items() if known is call), None)
            if ticket is None:
                ticket = secrets.token_hex(6)
                _remember(self._tickets, ticket, call)
        what = "Still waiting; your place in the line is kept"
        if call.question.done() and (number := call.question.result().approval) is not None:
            what = f"A person is asked whether this call may run (they can answer with: prong approve {number})"
        kept = f"{self.abandoned_s / 60:g} minutes" if self.abandoned_s >= 60 else f"{self.abandoned_s:g} s"  # noqa: PLR2004  a minute
        text = f"{what}. Go on with resume_wait, ticket {ticket}, within {kept}, or do other work."
        return Outcome(text, {"still_waiting": True, "ticket": ticket})

    def resume(self, given: Mapping[str, Any]) -> Call:
        """The call that a ticket stands for; with `give_up` it waits no longer."""
        ticket, gives_up = given.get("ticket"), given.get("give_up", False)
        with self._lock:
            call = self._tickets.get(ticket) if isinstance(ticket, str) else None
        if call is None:
            return _answered(
                "resume_wait: there is no such ticket on this connection. Make the call again that you waited for."
            )
        if not isinstance(gives_up, bool):
            return _answered("resume_wait: give_up is true or false.")
        if gives_up:
            self.give_up(call)
        return call

    def give_up(self, call: Call) -> None:
        """Let a call wait no longer: it ends as if its timeout were over, unless it was granted just before."""
        with self._lock:
            call.given_up = True
            place = call.place
        _answer(call, allowed=False, reason="nobody waits for it any more")
        if place is not None:
            self._end_wait(place)

    def abandon(self, call: Call, looked_at: int) -> None:
        """Take back what a call got that nobody has asked for since its ticket; it waits no longer where it does."""
        with self._lock:
            if call.looked_at != looked_at or self._swarm.left:
                return
            for kept in (self._calls, self._tickets):
                for key in [key for key, known in kept.items() if known is call]:
                    del kept[key]
        self.give_up(call)
        outcome = call.outcome.result()
        if not outcome.is_error and call.tool is not None:
            give_back(self._swarm, self._tools, call.tool, outcome.data or {})

    def _note_interest(self, name: str, given: Mapping[str, Any]) -> None:
        """Who deals with the same thing anew has not abandoned what an earlier call got of it."""
        about = [given.get(argument) for argument in ("name", "queue")]
        for call in self._tickets.values():
            tool = call.tool
            if tool is not None and tool.name == name and about == [tool.input.get(one) for one in ("name", "queue")]:
                call.looked_at += 1

    def ticketed(self, ticket: str) -> Call | None:
        """The call that a ticket stands for."""
        with self._lock:
            return self._tickets.get(ticket)

    def confirmed(self, text: str) -> str | None:
        """Ask the person at the client of the call that this thread runs; why not, or None."""
        call: Call | None = getattr(self._mine, "call", None)
        if call is None or not call.can_ask or call.question.done():  # nobody can be asked, or somebody was
            return None
        reply: Future[tuple[bool, str]] = Future()

        def answer(allowed: bool, reason: str) -> None:  # noqa: FBT001  what a form says
            with contextlib.suppress(InvalidStateError):  # it was given up just before
                reply.set_result((allowed, reason))

        call.question.set_result(Question(text, answer))
        allowed, reason = reply.result()
        return None if allowed else reason or "the person said no"

    def _end_wait(self, place: Ticket) -> None:
        with contextlib.suppress(ProngError), self._swarm.transaction() as tx:
            tx.execute(
                "update waiter set until_at = :now where id = :waiter and state = 'waiting'",
                now=tx.now,
                waiter=place.waiter,
            )
            tx.ring(place.slot)

    @contextlib.contextmanager
    def _waiting(self, place: Ticket) -> Iterator[None]:
        """Know where a call waits while it does, so that it can be told to stop."""
        call: Call | None = getattr(self._mine, "call", None)
        if call is None:
            yield
            return
        with self._lock:
            call.place, given_up = place, call.given_up
        if given_up:
            self._end_wait(place)
        try:
            yield
        finally:
            with self._lock:
                call.place = None

    def _work(self, call: Call, asked: ToolCall) -> None:
        self._mine.call = call
        try:
            outcome = self._run(asked)
        finally:
            with self._lock:
                self._under_way -= 1
        call.outcome.set_result(outcome)

    def _run(self, call: ToolCall) -> Outcome:
        run = self._tools.get(call.name)
        if run is None:
            known = ", ".join(sorted(self._tools))
            return Outcome(f"There is no tool {call.name!r}. The tools are: {known}.", is_error=True)
        try:
            refused = self._refusal(call)
            told = Outcome(refused, is_error=True) if refused is not None else run(call)
        except Deposed:
            words = "This connection was given up as dead, and what it held went to others. Connect again."
            return Outcome(words, is_error=True)
        except (ToolError, ProngError) as error:
            return Outcome(str(error), is_error=True)
        except Exception as error:  # noqa: BLE001  a broken tool must not end the connection
            structlog.get_logger().exception("tool.broke", tool=call.name)
            return Outcome(f"The tool {call.name} broke ({type(error).__name__}). Try another way.", is_error=True)
        if isinstance(told, Outcome):
            return told
        return Outcome(told.words, told.data) if isinstance(told, Answer) else Outcome(told)

    def _refusal(self, call: ToolCall) -> str | None:
        return self._permits.refusal(call, self._mine.call.question.set_result)

    def _make_tools(self) -> Mapping[str, Callable[[ToolCall], str | Answer]]:
        schemas = {offer.name: offer.input_schema for offer in offers()}
        own = ClientTasks(self._swarm, schemas)
        shared = TaskTools(self._swarm, ForkSource(_no_snapshot, _no_prefix))
        return {
            **{
                tool.name: _for_clients(self._swarm, tool)
                for tool in PrimitiveTools(self._swarm, siblings=None).tools()
            },
            "create_task": own.create_task,
            "claim_task": own.claim_task,
            "complete_task": own.complete_task,
            "fail_task": own.fail_task,
            "renew_task": own.renew_task,
            "wait_tasks": shared.wait_tasks,
            "list_tasks": shared.list_tasks,
            "read_result": shared.read_result,
            **({STEER: Steering(self.place, self.rights, self.confirmed).steer} if self.rights else {}),
        }


def _for_clients(member: Membership, tool: Tool) -> Callable[[ToolCall], str | Answer]:
    """A primitive's tool, for somebody who has neither turns nor a task."""
    return reading_once(member, tool) if tool.name == "message_queue" else _kept(tool)


def _kept(tool: Tool) -> Callable[[ToolCall], str | Answer]:
    """A tool whose locks and permits stay until they are released: a client has no turns that Prong sees."""
    if "keep" not in tool.definition["input_schema"].get("properties", {}):
        return tool.run

    def run(call: ToolCall) -> str | Answer:
        if "keep" in call.input:
            raise ToolError(f"{call.name}: keep is not among its inputs.")
        gets = call.input.get("op") == "acquire"
        return tool.run(replace(call, input={**call.input, "keep": True}) if gets else call)

    return run


def _answer(call: Call, *, allowed: bool, reason: str) -> None:
    """Answer what only the client's own person could; what others can answer stays asked."""
    if call.question.done() and (question := call.question.result()).approval is None:
        question.answer(allowed, reason)


def _identity(name: str, process: psutil.Process | None) -> str:
    """What the keys of a client's calls begin with: the same where its process connects anew, as to a new server."""
    if process is None:
        return secrets.token_hex(8)
    with contextlib.suppress(psutil.Error):
        return hashlib.sha256(f"{name} {process.pid} {process.create_time()}".encode()).hexdigest()[:16]
    return secrets.token_hex(8)


def _answered(words: str) -> Call:
    """A call that was refused before it was made."""
    call = Call()
    call.outcome.set_result(Outcome(words, is_error=True))
    return call


def _remember(calls: OrderedDict[str, Call], key: str, call: Call) -> None:
    calls[key] = call
    while len(calls) > REMEMBERED:
        calls.popitem(last=False)


def _no_snapshot(_ignored: str) -> str:
    raise AssertionError("a client's tasks start with only their prompt")


def _no_prefix(_turn: object) -> str:
    raise AssertionError("a client's conversation is not Prong's")
