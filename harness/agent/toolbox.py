"""All tools of one agent, told when a turn begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prong.agents.conversation import Message
from prong.agents.tools import Tool
from prong.harness.tools.tasks import TaskTools
from prong.harness.tools.toolbox import PrimitiveTools


class Toolbox:
    """All tools of one agent by name."""

    def __init__(
        self, tools: Sequence[Tool], task_tools: TaskTools, primitives: PrimitiveTools, *, ready: Callable[[], object]
    ) -> None:
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._ready = ready
        self._task_tools = task_tools
        self._primitives = primitives

    def begin_turn(self, turn: Message) -> None:
        """Wait for the clone, which nothing touches before, and let the tools know whose calls come."""
        self._ready()
        self._task_tools.begin_turn(turn)

    def end_turn(self) -> None:
        """Give back what the turn did not keep."""
        self._primitives.end_turn()
