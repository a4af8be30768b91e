"""The tool `message_queue` for a client, which has no task whose end would say that it has dealt with what it read.

get --> delivered --the next get from that queue, or done--> dealt with
            +-------the client is gone----------------------> back in the queue
"""

from __future__ import annotations

from collections.abc import Callable

from prong.agents.tools.inputs import Inputs
from prong.agents.tools.tool import Answer, Tool, ToolCall
from prong.harness.tools.answers import answer
from prong.primitives import delivery_by_call
from prong.primitives.values import NAME_CHARACTERS
from prong.state import Membership


def reading_once(member: Membership, tool: Tool) -> Callable[[ToolCall], str | Answer]:
    """The tool, where each get says that what earlier ones returned is dealt with; `done` says so alone."""

    def run(call: ToolCall) -> str | Answer:
        op = call.input.get("op")
        if op not in ("get", "done"):
            return tool.run(call)
        name = Inputs(call, keys=list(call.input)).filled("queue", most_characters=NAME_CHARACTERS)
        with member.transaction() as tx:
            count = delivery_by_call.dealt_with(tx, name, agent=member.me.agent, but=call.key)
        if op == "get":
            return tool.run(call)
        Inputs(call, keys=["op", "queue"])
        return answer(f"Dealt with: {count} messages of queue {name!r}.", {"queue": name, "done": count})

    return run
