"""What a worker is told: how work goes here, before the first words of its task; later, only what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prong.agents.conversation import Block, Message
from prong.harness.rules.rules import Role

GUIDE = """\
You work for a Prong swarm: several agents that work in parallel on one git repository. You are in a clone of it that \
is yours alone. When you end your turn, whatever you changed here is committed and merged onto the swarm's integration \
branch. Do not commit, push, or switch branches yourself, and do not touch files outside of this clone, except in the \
directory $PRONG_SHARED, which all agents share. Nobody reads along or can answer a question: decide by yourself.

The tools of the MCP server prong are shared by all agents: shared_map and message_queue for findings and pieces of \
work, barrier to meet, lock around a short change of something that all share (release it in the same step). Split \
work that has independent parts with its tool create_task, all parts in one turn, and then wait_tasks; a part that is \
given the context "fork" begins with all that you know. Your last message is your result: say what you did and what \
you found, briefly.
"""

_INTERRUPTED = "You were interrupted. Look at what is there before you repeat anything, then go on with your task."
_ELSEWHERE = "Your parent's:"
"""So begins what a fork reads of its siblings, which is of no use to a session that never saw them."""


def words(messages: Sequence[Message], *, resumes: bool, prose: str, roles: Mapping[str, Role]) -> str:
    """The words of the next run: all that is new to it, and where it begins without a session, how work goes here."""
    if resumes:
        return _texts(_unheard(messages)) or _INTERRUPTED
    parts = [GUIDE]
    if prose:
        parts.append(f"The rules of this repository, which its people wrote in PRONG.md:\n\n{prose}")
    if roles:
        lines = [f"- {name}" + (f": {role.description}" if role.description else "") for name, role in roles.items()]
        parts.append("The roles that a task can have here:\n" + "\n".join(lines))
    begun = any(message.role == "assistant" for message in messages)
    parts.append("Your task:\n\n" + _texts([message for message in messages if message.role == "user"]))
    return "\n\n".join([*parts, *([_INTERRUPTED] if begun else [])])


def _unheard(messages: Sequence[Message]) -> list[Message]:
    """What stands behind the last answer."""
    found: list[Message] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        found.append(message)
    return found[::-1]


def _texts(messages: Sequence[Message]) -> str:
    found = []
    for message in messages:
        for block in message.content:
            if block["type"] == "text":
                found.append(str(block["text"]))
            elif block["type"] == "tool_result" and _is_told(block):
                found += [part["text"] for part in block["content"] if isinstance(part, dict)]
    return "\n\n".join(found)


def _is_told(block: Block) -> bool:
    """Whether it is what a fork is told of itself; results of its own calls the session knows."""
    content = block.get("content")
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and str(first.get("text", "")).startswith("You are task ")
