"""`run_program`: a program of the model's, whose calls are calls of the model's tools.

    program --line--> this agent: the same tool, the same checks and rules, under a key of the program's own
            <--------  data, or the words of a refusal

A program that is run again from its beginning makes the same calls again.  So each has a key made of the key of the
program, of what the call says, and of how often that was said before.  Not of its place: threads, and waits that end in
another order, would give the place of one call to another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol

import structlog

from prong.agents.tools.tool import Answer, Tool, ToolCall, ToolError
from prong.harness.program import wire
from prong.harness.tools.catalogue import offered, record
from prong.harness.tools.reading import value_text
from prong.primitives.task import find
from prong.state import Deposed, Membership, ProngError, TaskLost
from prong.state.ticket import Ticket

CALLS_AT_ONCE = 128
"""How many calls of one program are under way at once; more are refused."""

CALLS = 200_000
"""How many calls one program makes; more are refused, and it is ended."""

REFUSALS = 1_000
"""After so many refused calls in a row a program that goes on all the same is ended."""

ONCE_CHARACTERS = 80
"""The longest name that a program gives one of its calls, in characters."""

RESULTS_BYTES = 2 * 2**20
"""How much of the results of tasks one answer holds, in bytes; what is beyond is cut as a model reads it."""

WAITS_AFTER_S = 1.0
"""So long a call that may wait counts as work, in seconds: a program that only looks again and again works."""


_GIVE_UP = """
update waiter set until_at = :now where agent = :agent and kind <> 'slot' and state = 'waiting'
   and (until_at is null or until_at > :now) returning id, kind, object
"""


class Interrupted(Exception):
    """Raised by what a program has to heed, to end it."""


class Work(Protocol):
    """What counts the calls under way (the agent's slot)."""

    def working(self) -> AbstractContextManager[None]:
        """Around one call."""
        ...


class Units:
    """How many calls of the program count as work of the agent: with none under way the program itself does.

    The call of run_program counts as one already, which the first call under way takes over.  So where all calls wait,
    all that is counted waits, and the agent parks.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._calls = 0
        self._entered: list[AbstractContextManager[None]] = []

    @property
    def calls(self) -> int:
        """How many are under way."""
        return self._calls

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Around one call."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._calls += more
            while len(self._entered) < self._calls - 1:
                unit = self._work.working()
                unit.__enter__()
                self._entered.append(unit)
            while len(self._entered) > max(0, self._calls - 1):
                self._entered.pop().__exit__(None, None, None)


class Answering:
    """Answers the calls of one run of a program, from `start` to `stop`; `changed` is called when it is to be ended.

    `problem` says then why, in words for whoever wrote it; `error` is what ends the agent as well.
    """

    def __init__(
        self, line: socket.socket, tools: Mapping[str, Tool], *, id_: str, key: str, has_conversation: bool,
        member: Membership, work: Work, order: Mapping[str, Any], changed: Callable[[], object],
        begun: Callable[[], object], heed: Callable[[], object],
    ) -> None:  # fmt: skip
        """`begun` is called when the process is there, before it gets its `order`; `heed` before each of its calls."""
        names = {each.name for each in offered("clients")}
        self._tools = {name: tool for name, tool in tools.items() if name in names}
        self._line, self._id, self._key = line, id_, key
        self._has_conversation = has_conversation
        self._member = member
        self._order = order
        self._changed, self._begun, self._heed = changed, begun, heed
        self._units = Units(work)
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="program")
        self._sending = threading.Lock()
        self._counting = threading.Lock()
        self._creating = threading.Lock()
        self._said: Counter[str] = Counter()
        self._waits: dict[int, float] = {}
        self._under_way = 0
        self._refused_in_row = 0
        self._before = self._reached()
        self._marked = False
        self.calls = 0
        self.tasks: dict[int, None] = {}
        self.problem = ""
        self.error: BaseException | None = None
        self.bye: int | None = None

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="program", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Have every call end that is under way: what it waits for is not waited for any longer."""
        pause_s = 0.01
        while self._units.calls:
            with self._member.transaction() as tx:
                for row in tx.rows(_GIVE_UP, agent=self._member.me.agent, now=tx.now):
                    tx.ring(Ticket(row["id"], row["kind"], row["object"]).slot)
            time.sleep(pause_s)
            pause_s = min(0.5, pause_s * 1.5)

    @property
    def only_waits(self) -> bool:
        """Whether some call has waited for others long enough to say that the program waits."""
        now = time.monotonic()
        return any(now - since > WAITS_AFTER_S for since in list(self._waits.values()))

    @property
    def got_further(self) -> bool:
        """Whether this run has brought the task further than those before it."""
        return self._reached() > self._before

    def _listen(self) -> None:
        try:
            hello = wire.receive(self._line)
            if hello is None:
                return
            if hello.get("hello") != wire.VERSION:
                self._end(f"it speaks another version of the protocol; this agent speaks {wire.VERSION}")
                return
            if not self._could_begin():
                return
            self._send(self._order)
            while (message := wire.receive(self._line)) is not None:
                if "bye" in message:
                    self.bye = message["bye"] if type(message["bye"]) is int else 1
                    continue
                self._take(message)
        except wire.Garbage as error:
            self._end(f"it wrote {error} to the line that only Prong's own module may use")
        except OSError:
            return  # it has ended, or is being ended

    def _could_begin(self) -> bool:
        try:
            self._begun()
        except OSError as error:
            self._end(f"it did not run, because no bounds could be put around it ({error}); try it again")
            return False
        return True

    def _take(self, message: Mapping[str, Any]) -> None:
        number, tool, given, once = (message.get(name) for name in ("id", "tool", "input", "once"))
        if type(number) is not int or not isinstance(tool, str) or not isinstance(given, dict):
            raise wire.Garbage("a message that is no call")
        with self._counting:
            self.calls += 1
            self._under_way += 1
            too_many = self._under_way > CALLS_AT_ONCE
        if self.calls > CALLS:
            self._end(f"it made more than {CALLS:,} calls")
        elif too_many:
            words = f"{CALLS_AT_ONCE} calls of this program are under way, and no more may be. Use fewer threads."
            self._answer(number, _refused(words))
        elif (call := self._call(number, tool, given, once)) is not None:
            with contextlib.suppress(RuntimeError):  # it is being ended
                self._threads.submit(self._run, number, call)

    def _call(self, number: int, tool: str, given: dict[str, Any], once: object) -> ToolCall | None:
        """The call under its key; None where it was refused."""
        problem = None
        if tool not in self._tools:
            problem = f"a program has no tool {tool[:60]!r}; it has: {', '.join(self._tools)}."
        elif once is not None and not _is_name(once):
            problem = f"the name of a call must be 1 to {ONCE_CHARACTERS} printable characters."
        if problem is not None:
            self._answer(number, _refused(problem))
            return None
        return ToolCall(self._id, tool, self._fitted(tool, given), key=f"{self._key}/{self._name(tool, given, once)}")

    def _name(self, tool: str, given: Mapping[str, Any], once: object) -> str:
        if once is not None:
            return f"{tool}={once}"
        said = json.dumps([tool, {key: value for key, value in given.items() if key != "timeout"}], sort_keys=True)
        digest = hashlib.sha256(said.encode()).hexdigest()[:24]
        with self._counting:
            self._said[digest] += 1
            return f"{digest}.{self._said[digest]}"

    def _fitted(self, tool: str, given: dict[str, Any]) -> dict[str, Any]:
        """A task of a program begins with its prompt alone, where the program does not say otherwise."""
        return given if tool != "create_task" or given.get("context") else {**given, "context": "fresh"}

    def _run(self, number: int, call: ToolCall) -> None:
        tool = self._tools[call.name]
        waits = record(call.name).may_wait(call.input)
        message: dict[str, Any]
        try:
            self._heed()
            with self._units.one():
                if waits:
                    self._waits[number] = time.monotonic()
                words = tool.permit(call)
                message = {"data": self._data(tool, call)} if words is None else _refused(words)
        except (Deposed, TaskLost, Interrupted) as error:
            self.error = error
            self._changed()
            return
        except (ToolError, ProngError) as error:
            message = _refused(str(error), type(error).__name__)
        except Exception as error:  # noqa: BLE001  a broken tool must not end the agent
            structlog.get_logger().exception("tool.broke", tool=call.name)
            message = _refused(f"The tool {call.name} broke ({type(error).__name__}).")
        finally:
            self._waits.pop(number, None)
        self._answer(number, message)

    def _data(self, tool: Tool, call: ToolCall) -> Mapping[str, Any]:
        if call.name != "create_task":
            found = tool.run(call)
            assert isinstance(found, Answer), "the primitives answer with data"
            return self._whole(found.data) if call.name == "wait_tasks" else found.data
        if not self._has_conversation and call.input["context"] in ("fork", "brief"):
            raise ToolError(
                f"create_task: there is no conversation to begin with as {call.input['context']}: no model runs this"
                " program. Say fresh, and write a prompt that says all that it needs."
            )
        with self._creating:  # the snapshot of the files is one for all
            made = tool.run(call)
        assert isinstance(made, Answer), "as above"
        self.tasks[made.data["task"]] = None
        self._mark()
        return made.data

    def _whole(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The results of tasks whole, where a model reads only their beginning: nothing here costs tokens."""
        self._mark()
        left = RESULTS_BYTES
        told = []
        for one in data["tasks"]:
            with self._member.transaction() as tx:
                task = find(tx, one["task"])
            text = value_text(self._member.store, task)
            whole, value = task.result, None if text is None else json.loads(text)
            size = len(json.dumps([whole, value]))
            if whole is not None and size > left:
                told.append({**one, "cut": whole != one["result"]})
                continue
            left -= size
            told.append({**one, "result": whole, "value": value, "cut": task.whole is not None})
        return {**data, "tasks": told}

    def _answer(self, number: int, message: dict[str, Any]) -> None:
        with self._counting:
            self._under_way -= 1
            self._refused_in_row = self._refused_in_row + 1 if "refused" in message else 0
            gives_up = self._refused_in_row >= REFUSALS
        try:
            data = wire.encode({"id": number, **message})
        except wire.Garbage as error:
            data = wire.encode({"id": number, **_refused(f"The answer is {error}. Ask for less.")})
        with contextlib.suppress(OSError), self._sending:
            self._line.sendall(data)
        if gives_up:
            self._end(f"it went on after {REFUSALS:,} refused calls in a row, of which the last: {message['refused']}")

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._sending:
            self._line.sendall(wire.encode(message))

    def _end(self, problem: str) -> None:
        self.problem = self.problem or problem
        self._changed()

    def _reached(self) -> int:
        """How far the program's task has come: what it created, and what of that has ended."""
        row = self._member.store.row(
            "select count(*) + coalesce(sum(state in ('done', 'failed', 'cancelled')), 0) as reached"
            "  from task where parent = :task",
            task=self._member.me.task,
        )
        return row["reached"] if row is not None else 0

    def _mark(self) -> None:
        """An agent that dies later was not in vain: its task is not one that only kills agents."""
        if not self._marked and self.got_further:
            self._marked = True
            with self._member.transaction() as tx:
                tx.execute("update task set stalled = 0 where id = :task", task=self._member.me.task)


def _is_name(once: object) -> bool:
    return isinstance(once, str) and 0 < len(once) <= ONCE_CHARACTERS and once.isprintable()


def _refused(words: str, error: str = "ToolError") -> dict[str, Any]:
    return {"refused": words, "error": error}
