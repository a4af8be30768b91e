"""All tools of one agent, made when it first calls one, and told when a turn begins and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prong.agents.conversation import Message
from prong.agents.tools import Tool
from prong.harness.tools.tasks import TaskTools
from prong.harness.tools.toolbox import PrimitiveTools


@dataclass(frozen=True, slots=True)
class Kit:
    """The tools themselves, and those among them that have to know of turns."""

    tools: Sequence[Tool]
    tasks: TaskTools
    primitives: PrimitiveTools


class Toolbox:
    """All tools of one agent by name.  Making them looks at the machine, which whoever only answers can do without."""

    def __init__(self, make: Callable[[], Kit], *, ready: Callable[[Message], object]) -> None:
        """`ready` is told of each turn before its calls run."""
        self._make = make
        self._ready = ready
        self._lock = threading.Lock()
        self._kit: Kit | None = None
        self._by_name: Mapping[str, Tool] = {}

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by name."""
        self.kit()
        return self._by_name

    def kit(self) -> Kit:
        """The tools, made by now."""
        with self._lock:
            if self._kit is None:
                kit = self._make()
                self._by_name = {tool.name: tool for tool in kit.tools}
                self._kit = kit
            return self._kit

    def begin_turn(self, turn: Message) -> None:
        """Wait for the clone where a call needs it, and let the tools know whose calls come."""
        self._ready(turn)
        self.kit().tasks.begin_turn(turn)

    def end_turn(self) -> None:
        """Give back what the turn did not keep."""
        self.kit().primitives.end_turn()
