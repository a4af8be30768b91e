"""Giving back what a call was granted whose client never came to fetch it.

lock, permit --> released      task --> ready again      messages --> back into their queue, as they were
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from prong.agents.tools.tool import Answer, ToolCall, ToolError
from prong.primitives import delivery_by_call, task_attempts
from prong.state import Membership, ProngError

REASON = "its client never asked for what it had waited for"

Tools = Mapping[str, Callable[[ToolCall], "str | Answer"]]
"""The tools of one client, by name."""


def give_back(member: Membership, tools: Tools, call: ToolCall, told: Mapping[str, Any]) -> None:
    """Undo what `call` got, as far as it is still there; `told` is what it would have been answered."""
    op = call.input.get("op")
    try:
        if call.name in ("lock", "semaphore") and op == "acquire":
            tools[call.name](replace(call, input={"op": "release", "name": call.input["name"]}, key=f"{call.key} back"))
        elif call.name == "claim_task":
            with member.transaction() as tx:
                task_attempts.give_back(tx, told["task"], agent=member.me.agent, reason=REASON, blame=False)
        elif call.name == "message_queue" and op == "get":
            with member.transaction() as tx:
                delivery_by_call.undo(
                    tx, call.input["queue"], agent=member.me.agent, call=call.key, reason=REASON
                )  # fmt: skip
    except (ProngError, ToolError) as error:  # it was taken back already, as when a lease ran out
        structlog.get_logger().info("mcp.not_given_back", tool=call.name, why=str(error))
