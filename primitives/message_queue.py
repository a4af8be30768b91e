"""A queue whose messages survive their readers.

    queued --get--> delivered --task_done--> (gone)
       ^                +--the reader dies--> queued again
       +--put

A put hands its message, in the same transaction, to the first in line.  A delivery that bears a name and was made for a
task belongs to the task rather than to its agent: the same call, repeated after a restart, reads the same messages.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Any

from prong.primitives import once
from prong.primitives.values import checked_name, checked_number, checked_timeout, decoded, encoded
from prong.state import Membership, Row, Transaction, waiter
from prong.state.waiter import Outcome, Place

TAKEN_AT_ONCE = 1_000
"""The most messages that one get can ask for."""

_TAKE = """
update queue_message set holder = :agent, holder_task = :task, delivery = :delivery, delivered_at = :now,
                         deliveries = deliveries + 1
 where id in (select id from queue_message where queue = :queue and holder is null
               order by priority desc, id limit :count)
returning id, body, sender, sender_task, priority
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A delivered message: its number in the queue's order, the value, and who sent it."""

    id: int
    value: Any
    sender: str
    priority: int


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """How many messages are queued, how many are with a reader, and how many readers wait."""

    name: str
    queued: int
    delivered: int
    waiting: int


class MessageQueue:
    """A queue by name, as `queue.Queue`, between processes; higher priority first, then first in, first out."""

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("queue name", name)
        self._member = member

    def __repr__(self) -> str:
        return f"MessageQueue({self.name!r})"

    def put(self, value: Any, *, priority: int = 0, key: str | None = None) -> int:
        """Append a message and return its number; the same `key` a second time changes nothing."""
        body = encoded("message", value)
        checked_number("priority", priority)
        me = self._member.me
        with self._member.transaction() as tx:
            number: int | None = once.returned(tx, f"queue {self.name}", key)
            if number is not None:
                return number
            number = tx.value(
                "insert into queue_message (queue, body, priority, sender, sender_task, put_at)"
                " values (:queue, :body, :priority, :agent, :task, :now) returning id",
                queue=self.name,
                body=body,
                priority=priority,
                agent=me.agent,
                task=me.task,
                now=tx.now,
            )
            tx.event("queue.put", object=self.name, message=number, priority=priority, value=value)
            serve(tx, self.name)
            return once.remember(tx, f"queue {self.name}", key, number)

    def get(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """The next message's value; raises `queue.Empty` where none came within `timeout` seconds."""
        messages = self.take(timeout=timeout if block else 0)
        if not messages:
            raise queue.Empty
        return messages[0].value

    def take(self, *, count: int = 1, timeout: float | None = None, delivery: str | None = None) -> list[Message]:
        """Up to `count` messages: all there are now, or else the first that come within `timeout` seconds.

        `delivery` names the call; the same one a second time returns the messages it took the first time.
        """
        checked_number("count", count, least=1, most=TAKEN_AT_ONCE)
        timeout = checked_timeout(timeout)
        if delivery is not None:
            checked_name("name of a delivery", delivery)
        with Place(self._member, withdraw=_withdraw) as place:
            with self._member.transaction() as tx:
                messages = self._taken_before(tx, delivery) or self._take(tx, count, delivery, place)
                if messages or timeout == 0:
                    return messages
                wants = {"count": count, "delivery": delivery}
                place.enrol(tx, "queue", self.name, timeout=timeout, wants=wants)
            outcome = place.wait()
            return [_message(row) for row in outcome.data.get("messages", [])]

    def task_done(self) -> None:
        """Say that the message that this member took first is dealt with; it is gone for good then.

        Raises ValueError where it has none, as `queue.Queue.task_done` does.
        """
        with self._member.transaction() as tx:
            row = tx.row(
                "delete from queue_message where id = (select id from queue_message where queue = :queue"
                " and holder = :agent order by delivered_at, priority desc, id limit 1) returning id",
                queue=self.name,
                agent=self._member.me.agent,
            )
            if row is None:
                raise ValueError("task_done() called too many times")
            tx.event("queue.done", object=self.name, message=row["id"])

    def qsize(self) -> int:
        """How many messages are queued."""
        return self.statistics().queued

    def empty(self) -> bool:
        """Whether no message is queued."""
        return self.qsize() == 0

    def statistics(self) -> QueueStatistics:
        """What is so now, read in one query."""
        row = self._member.store.row(
            "select count(*) filter (where holder is null) as queued, count(*) filter (where holder is not null) as"
            " delivered, (select count(*) from waiter where kind = 'queue' and object = :queue and state = 'waiting')"
            " as waiting from queue_message where queue = :queue",
            queue=self.name,
        )
        assert row is not None
        return QueueStatistics(self.name, row["queued"], row["delivered"], row["waiting"])

    def _take(self, tx: Transaction, count: int, delivery: str | None, place: Place) -> list[Message]:
        me = self._member.me
        rows = _deliver(tx, self.name, agent=me.agent, task=me.task, delivery=delivery, count=count)
        place.granted(tx, messages=rows)
        return [_message(row) for row in rows]

    def _taken_before(self, tx: Transaction, delivery: str | None) -> list[Message]:
        if delivery is None:
            return []
        rows = tx.rows(
            "update queue_message set holder = :agent where queue = :queue and delivery = :delivery"
            " returning id, body, sender, sender_task, priority",
            queue=self.name,
            agent=self._member.me.agent,
            delivery=delivery,
        )
        return [_message(row) for row in _in_order(rows)]


def serve(tx: Transaction, name: str) -> None:
    """Hand what is queued to those who wait, in order."""
    while (reader := waiter.first(tx, "queue", name)) is not None:
        wants = waiter.wants(reader)
        rows = _deliver(tx, name, agent=reader["agent"], task=reader["task"], **wants)
        if not rows:
            return
        waiter.grant(tx, reader["id"], messages=rows)


def give_back_held_by(tx: Transaction, *, agent: int | None = None, task: int | None = None) -> None:
    """Put back what a dead agent took for itself, or what a task that has failed for good had not finished."""
    _requeue(tx, agent=agent, task=task)


def forget_held_by(tx: Transaction, *, task: int) -> None:
    """What a task had taken is dealt with, since the task is done."""
    for row in tx.rows("delete from queue_message where holder_task = :task returning id, queue", task=task):
        tx.event("queue.done", object=row["queue"], task=task, message=row["id"])


def _withdraw(tx: Transaction, outcome: Outcome) -> None:
    """Put back what was delivered to a reader just as it was interrupted; a named delivery waits for its name."""
    for message in outcome.data.get("messages", ()):
        _requeue(tx, unnamed=message["id"])


def _requeue(tx: Transaction, *, agent: int | None = None, task: int | None = None, unnamed: int | None = None) -> None:
    rows = tx.rows(
        "update queue_message set holder = null, holder_task = null, delivery = null, delivered_at = null"
        " where (holder = :agent and holder_task is null) or holder_task = :task"
        "    or (id = :unnamed and delivery is null) returning id, queue",
        agent=agent,
        task=task,
        unnamed=unnamed,
    )
    for row in rows:
        tx.event("queue.requeued", object=row["queue"], message=row["id"])
    for name in sorted({row["queue"] for row in rows}):
        serve(tx, name)


def _deliver(
    tx: Transaction, name: str, *, agent: int, task: int | None, delivery: str | None, count: int
) -> list[dict[str, Any]]:
    """Give the next messages to a reader; without a name nobody can ask for them again but by taking them anew."""
    owner = task if delivery is not None else None
    rows = tx.rows(_TAKE, queue=name, agent=agent, task=owner, delivery=delivery, now=tx.now, count=count)
    ordered = _in_order(rows)
    for row in ordered:
        tx.event("queue.delivered", object=name, task=task, message=row["id"], holder=agent)
    return [dict(row) for row in ordered]


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row["priority"], row["id"]))


def _message(row: dict[str, Any] | Row) -> Message:
    sender = f"task {row['sender_task']}" if row["sender_task"] is not None else f"agent {row['sender']}"
    return Message(row["id"], decoded(row["body"]), sender, row["priority"])
