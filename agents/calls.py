"""Running the tool calls of one turn: at once, in order where order counts, and never twice by accident.

Calls run together unless they touch the same thing: one that conflicts with calls before it is begun when they have
ended.  An ordered one (a lock, a barrier, a wait) touches everything, so that it ends before those behind it begin.
Calls that only touch what is shared and cannot have to wait are one transaction where they stand side by side: ten
puts cost little more than one.  A call whose second run could do harm is written down when it begins and when it ends,
so that an agent that takes over after a death neither repeats it nor pretends to know how it went.  So is the result of
one that has waited for something that may never come again: an event, say, that is cleared by now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from prong.agents.conversation import Block, Message
from prong.agents.tools.inputs import shown
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.agents.tools.touch import EVERYTHING, Touches, conflict, reads
from prong.state import Deposed, Membership, ProngError, TaskLost
from prong.state.errors import WaitInsideAtomic

THREADS = 8
"""How many calls of one turn run at once."""

RESULT_CHARACTERS = 200_000
"""The most that the model reads of one result, in characters; only stored values are ever longer."""

_SHOWN_CHARACTERS = 300

_TURN = reads("turn")
"""What every call touches, so that one that touches everything has to wait for it."""

_UNCERTAIN = (
    "This agent was restarted while the call was under way. It may have run wholly, partly or not at all: "
    "look at what is there before you do it again."
)
_ENDED = "select id, result from tool_call where task = :task and state = 'ended'"

_END_UNCERTAIN = "update tool_call set state = 'ended', result = :result, ended_at = :now where id = :id"

_END_WAITED = """
insert into tool_call (id, task, name, state, result, started_at, ended_at)
values (:id, :task, :name, 'ended', :result, :now, :now)
"""

_CUT = "The answer was cut off at its token limit, so nothing of it was run. Call again with a smaller input."


class Toolbox(Protocol):
    """The tools of one agent, told when a turn begins and ends."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by name."""
        ...

    def begin_turn(self, turn: Message) -> None:
        """The calls of this assistant message are about to run."""
        ...

    def end_turn(self) -> None:
        """All of them have ended."""
        ...


class Work(Protocol):
    """What counts the calls under way (the agent's slot)."""

    def working(self) -> AbstractContextManager[None]:
        """Around one call."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What the model reads."""

    text: str
    is_error: bool = False

    def block(self, call_id: str) -> dict[str, Any]:
        """The `tool_result` block; the API refuses an empty text."""
        content = [{"type": "text", "text": self.text if self.text.strip() else "(no output)"}]
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id, "content": content}
        return {**block, "is_error": True} if self.is_error else block


class Calls:
    """Runs turns for one agent.  Threads are started when a turn first needs them."""

    def __init__(
        self, member: Membership, task: int, toolbox: Toolbox, work: Work, *, hide: Callable[[str], str] = str
    ) -> None:
        """`hide` takes out of a result what is neither to be stored nor to be sent, such as the user's own keys."""
        self._member = member
        self._task = task
        self._toolbox = toolbox
        self._work = work
        self._hide = hide
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="call")
        self._ended = {row["id"]: row["result"] for row in member.store.rows(_ENDED, task=task)}
        self._log = structlog.get_logger().bind(task=task)

    def run(self, turn: Message) -> list[dict[str, Any]]:
        """Run all calls of an assistant message; returns their results in the order of the calls."""
        calls = [
            ToolCall(block["id"], block["name"], block["input"], key=f"{turn.id}:{place}")
            for place, block in enumerate(turn.tool_uses())
        ]
        self._toolbox.begin_turn(turn)
        try:
            results = self._all(calls)
        finally:
            self._toolbox.end_turn()
        return [result.block(call.id) for call, result in zip(calls, results, strict=True)]

    def refuse(self, turn: Message) -> list[dict[str, Any]]:
        """Answer all calls of a cut-off turn without running any."""
        return [Result(_CUT, is_error=True).block(block["id"]) for block in turn.tool_uses()]

    def _all(self, calls: Sequence[ToolCall]) -> list[Result]:
        """Run each part of the turn as soon as those before it that it conflicts with have ended."""
        results: dict[int, Result] = {}
        waiting = self._parts(calls)
        running: dict[Future[list[Result]], _Part] = {}
        try:
            while waiting or running:
                ready = _free(waiting, running.values())
                waiting = [part for part in waiting if part not in ready]
                if len(ready) == 1 and not running:
                    results |= zip(ready[0].places, self._part(ready[0]), strict=True)  # it needs no thread
                    continue
                running |= {self._threads.submit(self._part, part): part for part in ready}
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    results |= zip(running.pop(ended).places, ended.result(), strict=True)
        finally:
            for future in running:
                future.cancel()  # What has begun goes on: nothing can tell how far it got.
        return [results[place] for place in range(len(calls))]

    def _parts(self, calls: Sequence[ToolCall]) -> list[_Part]:
        """The calls in order, those that are one transaction together."""
        parts: list[_Part] = []
        for place, call in enumerate(calls):
            instant, touches = self._nature(call)
            if instant and parts and parts[-1].instant:
                last = parts.pop()
                parts.append(_Part((*last.places, place), (*last.calls, call), (*last.touches, *touches), instant))
            else:
                parts.append(_Part((place,), (call,), tuple(touches), instant))
        return parts

    def _nature(self, call: ToolCall) -> tuple[bool, Touches]:
        """Whether the call is over at once, and what it touches."""
        tool = self._toolbox.tools.get(call.name)
        if tool is None:
            return False, ()
        return tool.instant(call), EVERYTHING if tool.ordered else (_TURN, *tool.touches(call))

    def _part(self, part: _Part) -> list[Result]:
        if len(part.calls) == 1:
            return [self._one(part.calls[0])]
        return self._together(part.calls)

    def _together(self, batch: Sequence[ToolCall]) -> list[Result]:
        """Run calls one after another in one transaction; one that is refused undoes only itself.

        One for which somebody has to be asked after all, by a rule that is there only since now, parts them.
        """
        results: list[Result] = []
        while len(results) < len(batch):
            # A slot is waited for before, for inside nobody can wait.
            with self._work.working(), self._member.atomic(), suppress(WaitInsideAtomic):
                for call in batch[len(results) :]:
                    results.append(self._one(call))  # noqa: PERF401  what was run before one that waits counts
            if len(results) < len(batch):
                results.append(self._one(batch[len(results)]))
        return results

    def _one(self, call: ToolCall) -> Result:
        tool = self._toolbox.tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._toolbox.tools))
            return Result(f"There is no tool {shown(call.name)}. The tools are: {known}.", is_error=True)
        with self._work.working(), self._calling(call.key):
            before = self._refused(tool, call) or self._begin(call, tool)
            if before is not None:
                return before
            result = self._guarded(tool, call)
        self._end(call, tool, result)
        return result

    def _calling(self, key: str) -> AbstractContextManager[None]:
        calling = self._member.calling
        return nullcontext() if calling is None else calling.call(key)

    def _refused(self, tool: Tool, call: ToolCall) -> Result | None:
        """Why the call may not run, where somebody has something against it."""
        try:
            words = tool.permit(call)
        except (Deposed, TaskLost, WaitInsideAtomic):
            raise
        except ProngError as error:
            words = str(error)
        except Exception as error:  # noqa: BLE001  what cannot be checked does not run, and the agent goes on
            self._log.exception("tool.unchecked", tool=call.name)
            words = f"{call.name}: it cannot be told whether it may run ({type(error).__name__}), so it was not run."
        return None if words is None else Result(_readable(self._hide(words)), is_error=True)

    def _guarded(self, tool: Tool, call: ToolCall) -> Result:
        try:
            return Result(_readable(self._hide(str(tool.run(call)))))
        except (Deposed, TaskLost):
            raise
        except (ToolError, ProngError) as error:
            return Result(_readable(self._hide(str(error))), is_error=True)
        except Exception as error:  # noqa: BLE001  a broken tool must not end the agent
            self._log.exception("tool.broke", tool=call.name)
            return Result(f"The tool {call.name} broke ({type(error).__name__}). Try another way.", is_error=True)

    def _begin(self, call: ToolCall, tool: Tool) -> Result | None:
        """Write the beginning down; a result where an earlier agent had begun the call already."""
        with self._member.transaction() as tx:
            if tool.replay == "uncertain":
                row = tx.row("select state, result from tool_call where id = :id", id=call.key)
                if row is not None and row["state"] == "ended":
                    return Result(**json.loads(row["result"]))
                if row is not None:
                    return Result(_UNCERTAIN, is_error=True)
                tx.execute(
                    "insert into tool_call (id, task, name, state, started_at)"
                    " values (:id, :task, :name, 'running', :now)",
                    id=call.key,
                    task=self._task,
                    name=call.name,
                    now=tx.now,
                )
            elif call.key in self._ended:  # by a process that was ended while a later call of the turn waited
                return Result(**json.loads(self._ended[call.key]))
            tx.event("tool.began", object=call.name, call=call.id, input=self._hide(_shown(call.input)))
        return None

    def _end(self, call: ToolCall, tool: Tool, result: Result) -> None:
        waited = self._member.calling is not None and self._member.calling.ended(call.key)
        with self._member.transaction() as tx:
            if tool.replay == "uncertain" or waited:
                tx.execute(
                    _END_UNCERTAIN if tool.replay == "uncertain" else _END_WAITED,
                    id=call.key,
                    task=self._task,
                    name=call.name,
                    result=json.dumps({"text": result.text, "is_error": result.is_error}, ensure_ascii=False),
                    now=tx.now,
                )
            tx.event(
                "tool.ended", object=call.name, call=call.id, is_error=result.is_error,
                text=result.text[:_SHOWN_CHARACTERS], characters=len(result.text),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    """Calls of a turn that run one after another: a single one, or several that are one transaction."""

    places: tuple[int, ...]
    calls: tuple[ToolCall, ...]
    touches: Touches
    instant: bool


def _free(waiting: Sequence[_Part], running: Iterable[_Part]) -> list[_Part]:
    """Those that conflict with nothing that stands before them and has not ended."""
    ahead = list(running)
    free: list[_Part] = []
    for part in waiting:
        if not any(conflict(part.touches, other.touches) for other in ahead):
            free.append(part)
        ahead.append(part)
    return free


def _readable(text: str) -> str:
    """The text within its bound, as UTF-8 can carry it: half a surrogate pair could be neither stored nor sent."""
    if len(text) > RESULT_CHARACTERS:
        half = RESULT_CHARACTERS // 2
        left_out = (
            f"[{len(text) - 2 * half:,} characters left out: keep what is this large in a file, and share its path]"
        )
        text = f"{text[:half]}\n{left_out}\n{text[-half:]}"
    return text.encode(errors="replace").decode()


def _shown(inputs: Block) -> str:
    try:
        text = _readable(json.dumps(inputs, ensure_ascii=False))
    except (RecursionError, TypeError, ValueError) as error:
        return f"(an input that cannot be shown: {type(error).__name__})"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
