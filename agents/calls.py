"""Running the tool calls of one turn: at once, in order where order counts, and never twice by accident.

Calls run together; an ordered one (a lock, a barrier, a wait) is begun when those before it have ended, and ended
before those behind it begin.  Calls that only touch what is shared and cannot have to wait are one transaction where
they stand side by side: ten puts cost little more than one.  A call whose second run could do harm is written down
when it begins and when it ends, so that an agent that takes over after a death neither repeats it nor pretends to
know how it went.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from prong.agents.conversation import Block, Message
from prong.agents.tools.tool import Tool, ToolCall, ToolError
from prong.state import Deposed, Membership, ProngError, TaskLost

THREADS = 8
"""How many calls of one turn run at once."""

_SHOWN_CHARACTERS = 300

_UNCERTAIN = (
    "This agent was restarted while the call was under way. It may have run wholly, partly or not at all: "
    "look at what is there before you do it again."
)
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

    def __init__(self, member: Membership, task: int, toolbox: Toolbox, work: Work) -> None:
        self._member = member
        self._task = task
        self._toolbox = toolbox
        self._work = work
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="call")
        self._log = structlog.get_logger().bind(task=task)

    def run(self, turn: Message) -> list[dict[str, Any]]:
        """Run all calls of an assistant message; returns their results in the order of the calls."""
        calls = [
            ToolCall(block["id"], block["name"], block["input"], key=f"{turn.id}:{place}")
            for place, block in enumerate(turn.tool_uses())
        ]
        self._toolbox.begin_turn(turn)
        try:
            results: list[Result] = []
            for batch in self._batches(calls):
                if len(batch) == 1:
                    results.append(self._one(batch[0]))
                elif self._instant(batch[0]):
                    results += self._together(batch)
                else:
                    results += self._threads.map(self._one, batch)
        finally:
            self._toolbox.end_turn()
        return [result.block(call.id) for call, result in zip(calls, results, strict=True)]

    def refuse(self, turn: Message) -> list[dict[str, Any]]:
        """Answer all calls of a cut-off turn without running any."""
        return [Result(_CUT, is_error=True).block(block["id"]) for block in turn.tool_uses()]

    def _batches(self, calls: Sequence[ToolCall]) -> Iterator[list[ToolCall]]:
        """The calls in order, parted into those that run side by side and those that are one transaction."""
        batch: list[ToolCall] = []
        for call in calls:
            tool = self._toolbox.tools.get(call.name)
            ordered = tool is not None and tool.ordered
            if batch and (ordered or self._instant(call) != self._instant(batch[-1])):
                yield batch
                batch = []
            if ordered:
                yield [call]
            else:
                batch.append(call)
        if batch:
            yield batch

    def _instant(self, call: ToolCall) -> bool:
        tool = self._toolbox.tools.get(call.name)
        return tool is not None and tool.instant(call)

    def _together(self, batch: Sequence[ToolCall]) -> list[Result]:
        """Run calls one after another in one transaction; one that is refused undoes only itself."""
        with self._member.atomic():
            return [self._one(call) for call in batch]

    def _one(self, call: ToolCall) -> Result:
        tool = self._toolbox.tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._toolbox.tools))
            return Result(f"There is no tool {call.name!r}. The tools are: {known}.", is_error=True)
        before = self._begin(call, tool)
        if before is not None:
            return before
        with self._work.working():
            result = self._guarded(tool, call)
        self._end(call, tool, result)
        return result

    def _guarded(self, tool: Tool, call: ToolCall) -> Result:
        try:
            return Result(tool.run(call))
        except (Deposed, TaskLost):
            raise
        except (ToolError, ProngError) as error:
            return Result(str(error), is_error=True)
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
            tx.event("tool.began", object=call.name, call=call.id, input=_shown(call.input))
        return None

    def _end(self, call: ToolCall, tool: Tool, result: Result) -> None:
        with self._member.transaction() as tx:
            if tool.replay == "uncertain":
                tx.execute(
                    "update tool_call set state = 'ended', result = :result, ended_at = :now where id = :id",
                    id=call.key,
                    result=json.dumps({"text": result.text, "is_error": result.is_error}, ensure_ascii=False),
                    now=tx.now,
                )
            tx.event(
                "tool.ended", object=call.name, call=call.id, is_error=result.is_error,
                text=result.text[:_SHOWN_CHARACTERS], characters=len(result.text),
            )  # fmt: skip


def _shown(inputs: Block) -> str:
    text = json.dumps(inputs, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
