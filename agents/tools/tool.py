"""What a tool is: a definition that the model reads, and a function that runs one call.

The loop runs the calls of one turn at once, except that an *ordered* call (a lock, a barrier, a wait, or one that may
touch the workspace) is finished before the calls behind it begin: models write acquire, edit and release in one turn
and mean them in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Replay = Literal["again", "uncertain"]
"""What becomes of a call that had begun but not ended when its agent died.

`again`      it is run again: it only reads, or its key makes the second time a no-op.
`uncertain`  it is not; the model is told that it may have run partly and looks for itself.
"""


class ToolError(Exception):
    """A call that failed in a way that the model should read and act on: what, who, and what next."""


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


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model sees it and as the loop runs it.

    `definition` is the entry of the request's `tools`, byte for byte the same for all agents of a swarm: a different
    one would lose the prompt cache.  `run` returns the text of the result or raises `ToolError`.  `instant` tells
    whether a call only changes or reads what is shared and cannot have to wait: such calls, where they stand side by
    side in a turn, are one transaction.
    """

    definition: Mapping[str, Any]
    run: Callable[[ToolCall], str]
    replay: Replay = "uncertain"
    ordered: bool = False
    instant: Callable[[ToolCall], bool] = never

    @property
    def name(self) -> str:
        """The name by which the model calls it."""
        return str(self.definition["name"])
