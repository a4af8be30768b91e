"""The conversation tree.

    system
       1 user -- 2 assistant -- 3 user -- 4 assistant -+- 5 user ("created task 2")      the parent goes on
                                                       +- 6 user ("you are task 2")      its fork

Messages are immutable rows of wire JSON with a parent, and a conversation is named by its last one.  So a fork costs
one row and shares all others, and the request that is built from it begins with the very bytes that the parent sent.
Nothing is ever changed: what cannot go on as it stands goes on from an earlier message, or from a new root that sums up
the old line, whose rows stay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prong.agents.definitions import in_order, sorted_json
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


def insert(
    tx: Transaction, *, parent: int | None, role: str, content: Sequence[Block], task: int, sums: int | None = None
) -> int:
    """Write a message and return its number; no conversation ends in it yet.

    `sums` is the last message of the conversation that this one, a new root, sums up.
    """
    number: int = tx.value(
        "insert into message (parent, role, content, task, created_at, sums)"
        " values (:parent, :role, :content, :task, :now, :sums) returning id",
        sums=sums,
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
        self.sums = self._sums()

    @property
    def last(self) -> Message | None:
        """The message in which it ends."""
        return self.messages[-1] if self.messages else None

    def append(self, tx: Transaction, role: str, content: Sequence[Block]) -> Message:
        """Add a message inside a transaction; raises `TaskLost` where somebody else holds the task by now."""
        parent = self.messages[-1].id if self.messages else None
        number = insert(tx, parent=parent, role=role, content=content, task=self.task)
        self._move(tx, number)
        return Message(number, role, content)

    def rebase(
        self, tx: Transaction, keep: int, messages: Sequence[tuple[str, Sequence[Block]]], *, sums: int | None = None
    ) -> list[Message]:
        """Go on from the first `keep` messages with new ones, each a role and its content, inside a transaction.

        What stood behind those stays where it is, and forks of it go on.  Raises `TaskLost` as `append` does.
        """
        parent = self.messages[keep - 1].id if keep else None
        new: list[Message] = []
        for role, content in messages:
            parent = insert(tx, parent=parent, role=role, content=content, task=self.task, sums=None if new else sums)
            new.append(Message(parent, role, content))
        assert parent is not None, "a conversation has at least one message"
        self._move(tx, parent)
        return new

    def take(self, keep: int, messages: Sequence[Message]) -> None:
        """Take up what `rebase` made, when its transaction is committed."""
        self.messages = [*self.messages[:keep], *messages]
        self.sums = self._sums()

    def set_aside(self, tx: Transaction, *messages: tuple[str, Sequence[Block]]) -> int:
        """Write down, behind the last message, what is no part of the conversation; returns the last one's number."""
        number = self.messages[-1].id
        for role, content in messages:
            number = insert(tx, parent=number, role=role, content=content, task=self.task)
        return number

    def _move(self, tx: Transaction, number: int) -> None:
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

    def _sums(self) -> int | None:
        """The last message of the conversation that this one's root sums up; None: it is the first of its line."""
        first = self.messages[0].id if self.messages else None
        row = self._member.store.row("select sums from message where id = :first", first=first)
        return row["sums"] if row else None

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
    head, line = sorted_json(model) + sorted_json(system), sorted_json([message.wire() for message in messages])
    for part in (head, in_order(tools), line):
        digest.update(part.encode())
    return digest.hexdigest()


def child_results(turn: Message, call_id: str, own: str) -> list[dict[str, Any]]:
    """What the fork made by call `call_id` reads where its parent reads the results of that turn.

    The child continues from the same assistant message, so every call needs a result; only its own is about itself.
    """
    elsewhere = "Your parent's: it is running elsewhere."  # every fork pays for it once for each of its siblings
    return [
        {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": [{"type": "text", "text": own if block["id"] == call_id else elsewhere}],
        }
        for block in turn.tool_uses()
    ]
