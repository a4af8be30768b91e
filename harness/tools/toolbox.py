"""The primitives as one agent's tools."""

from __future__ import annotations

from prong.agents.tools.tool import Tool
from prong.harness.tools.data import DataTools
from prong.harness.tools.locks import LockTools
from prong.state import Membership


class PrimitiveTools:
    """All tools of the primitives but those for tasks; `siblings` is the agent's own fork point, if it is a fork."""

    def __init__(self, member: Membership, *, siblings: int | None) -> None:
        self._locks = LockTools(member, siblings=siblings)
        self._data = DataTools(member)

    def tools(self) -> tuple[Tool, ...]:
        """The tools, in the order of `definitions.PRIMITIVES`."""
        return (*self._locks.tools(), *self._data.tools())

    def end_turn(self) -> None:
        """Give back the locks and permits that the turn did not keep."""
        self._locks.end_turn()
