"""The conversation tree.

    system
       1 user -- 2 assistant -- 3 user -- 4 assistant -+- 5 user ("created task 2")      the parent goes on
                                                       +- 6 user ("you are task 2")      its fork

Messages are immutable rows of wire JSON with a parent, and a conversation is named by its last one.  So a fork costs
one row and shares all others, and the request that is built from it begins with the very bytes that the parent sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.state import Membership, Store, TaskLost, Transaction

Block = Mapping[str, Any]

_LINE = """
with recursive line (id, parent, role, content, depth) as (
    select id, parent, role, content, 0 from message where id = :head
     union all
    select message.id, message.parent, message.role, message.content, line.depth + 1
      from message join line on message.id = line.parent
) select id, role, content from line order by depth desc
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, its content as it goes over the wire."""

    id: int
    role: str
    content: Sequence[Block]

    def wire(self) -> dict[str, Any]:
        """The message as a request holds it."""
        return {"role": self.role, "content": list(self.content)}

    def tool_uses(self) -> list[Block]:
        """Its tool calls."""
        return [block for block in self.content if block["type"] == "tool_use"]

    def text(self) -> str:
        """Its text blocks, joined."""
        return "\n".join(block["text"] for block in self.content if block["type"] == "text")


def insert(tx: Transaction, *, parent: int | None, role: str, content: Sequence[Block], task: int) -> int:
    """Write a message and return its number; no conversation ends in it yet."""
    number: int = tx.value(
        "insert into message (parent, role, content, task, created_at)"
        " values (:parent, :role, :content, :task, :now) returning id",
        parent=parent,
        role=role,
        content=json.dumps(list(content), ensure_ascii=False, separators=(",", ":")),
        task=task,
        now=tx.now,
    )
    return number


def load(store: Store, head: int | None) -> list[Message]:
    """The conversation that ends in `head`, first message first."""
    if head is None:
        return []
    return [Message(row["id"], row["role"], json.loads(row["content"])) for row in store.rows(_LINE, head=head)]


class Conversation:
    """The conversation of one claimed task: what was said, and the right to add to it under the claim's fence."""

    def __init__(self, member: Membership, task: int, fence: int) -> None:
        self.task = task
        self.fence = fence
        self._member = member
        row = member.store.row("select head, fork_point from task where id = :task", task=task)
        assert row is not None
        self.fork_point: int | None = row["fork_point"]
        self.messages = load(member.store, row["head"])

    @property
    def last(self) -> Message | None:
        """The message in which it ends."""
        return self.messages[-1] if self.messages else None

    def append(self, tx: Transaction, role: str, content: Sequence[Block]) -> Message:
        """Add a message inside a transaction; raises `TaskLost` where somebody else holds the task by now."""
        parent = self.messages[-1].id if self.messages else None
        number = insert(tx, parent=parent, role=role, content=content, task=self.task)
        moved = tx.execute(
            "update task set head = :head, stalled = 0 where id = :task and fence = :fence"
            " and state in ('running', 'parked')",
            head=number,
            task=self.task,
            fence=self.fence,
        )
        if not moved:
            row = tx.row("select state, fence from task where id = :task", task=self.task)
            assert row is not None
            raise TaskLost(self.task, self.fence, row["state"], row["fence"])
        return Message(number, role, content)

    def extend(self, message: Message) -> None:
        """Take up a message whose transaction is committed."""
        self.messages.append(message)

    def say(self, role: str, content: Sequence[Block]) -> Message:
        """Add a message in a transaction of its own."""
        with self._member.transaction() as tx:
            message = self.append(tx, role, content)
        self.extend(message)
        return message


def prefix_hash(model: str, system: Sequence[Block], tools: Sequence[Block], messages: Sequence[Message]) -> str:
    """A name for everything that a prompt cache compares, up to the last of these messages."""
    digest = hashlib.sha256()
    for part in (model, system, tools, [message.wire() for message in messages]):
        digest.update(json.dumps(part, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())
    return digest.hexdigest()


def child_results(turn: Message, call_id: str, own: str) -> list[dict[str, Any]]:
    """What the fork made by call `call_id` reads where its parent reads the results of that turn.

    The child continues from the same assistant message, so every call needs a result; only its own is about itself.
    """
    elsewhere = "This call belongs to the conversation you were forked from; it is running elsewhere."
    return [
        {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": [{"type": "text", "text": own if block["id"] == call_id else elsewhere}],
        }
        for block in turn.tool_uses()
    ]
