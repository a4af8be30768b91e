"""What a tool is: a definition that the model reads, and a function that runs one call.

The loop runs the calls of one turn at once, except that those that touch the same thing keep their order.  An *ordered*
call (a lock, a barrier, a wait) touches everything: it is finished before the calls behind it begin, because models
write acquire, edit and release in one turn and mean them in that order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prong.agents.tools.touch import Touches

Replay = Literal["again", "uncertain"]
"""What becomes of a call that had begun but not ended when its agent died.

`again`      it is run again: it only reads, or its key makes the second time a no-op.
`uncertain`  it is not; the model is told that it may have run partly and looks for itself.
"""


class ToolError(Exception):
    """A call that failed in a way that the model should read and act on: what, who, and what next."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A result in words, for reading, and data, for acting on: an object that satisfies the tool's output schema."""

    words: str
    data: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.words}\n{json.dumps(self.data, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One `tool_use` block.  Its `id` is the endpoint's and unique in a turn; `key` is ours and unique in the swarm."""

    id: str
    name: str
    input: Mapping[str, Any]
    key: str = ""


def never(_call: ToolCall) -> bool:
    """For tools whose calls may take their time."""
    return False


def nothing(_call: ToolCall) -> Touches:
    """For tools whose calls can run beside any other."""
    return ()


def freely(_call: ToolCall) -> str | None:
    """For tools whose calls nobody restricts."""
    return None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model sees it and as the loop runs it.

    `definition` is the entry of the request's `tools`, byte for byte the same for all agents of a swarm: a different
    one would lose the prompt cache.  `run` returns the result, a text or words with data, or raises `ToolError`.
    `touches` tells which things a call reads or changes; an `ordered` tool's calls touch everything.  `instant` tells
    whether a call only changes or reads what is shared and cannot have to wait: such calls, where they stand side by
    side in a turn, are one transaction.  `permit` is asked before a call runs, and may wait for a person: the words by
    which the call is refused, None where it may run.
    """

    definition: Mapping[str, Any]
    run: Callable[[ToolCall], str | Answer]
    replay: Replay = "uncertain"
    ordered: bool = False
    instant: Callable[[ToolCall], bool] = never
    touches: Callable[[ToolCall], Touches] = nothing
    permit: Callable[[ToolCall], str | None] = freely

    @property
    def name(self) -> str:
        """The name by which the model calls it."""
        return str(self.definition["name"])
