"""The reading side of a queue: deliveries, each of them one message in one reader's hands.

    take --> Message --done--> (gone)
                +--fail--> queued again, or a dead letter --revive--> queued
                                                  +--drop--> (gone)

A delivery is named by the message's number and by how often it was delivered, which is its fence: a reader that was
stopped for so long that its message went to somebody else is told so, instead of ending what the other works on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prong.primitives import delivery, letters, queue_settings
from prong.primitives.artifacts import ArtifactLost, loaded
from prong.primitives.errors import DONE, NotDelivered, ShutDown
from prong.primitives.letters import Message
from prong.primitives.place import Place
from prong.primitives.queue_loop import Loop
from prong.primitives.queue_settings import Settings
from prong.primitives.queue_taken import Taken
from prong.primitives.values import checked_name, checked_number, checked_timeout
from prong.state import Membership, Row, Transaction
from prong.state.waiter import Outcome

TAKEN_AT_ONCE = 1_000
"""The most messages that one call can ask for."""

SWEPT_S = 3.0
"""What was waited for and needs no acknowledgement is gone for good after a third of this, which is a heartbeat."""

_MINE = """
delete from queue_message
 where id = :id and queue = :queue and deliveries = :deliveries and (holder = :agent or holder_task = :task)
"""

_WHERE_IS_IT = """
select holder, holder_task, dead_at, coalesce(agent.name, 'task ' || holder_task) as who
  from queue_message left join agent on agent.id = holder where queue_message.id = :id and queue = :queue
"""

_QUEUED = """
select id, body, priority, sender, sender_task, deliveries from queue_message
 where queue = :queue and holder is null and dead_at is null order by priority desc, rank, id limit :count
"""

_DEAD = """
select id, body, priority, sender, sender_task, deliveries, dead_reason, dead_at from queue_message
 where queue = :queue and dead_at is not null order by id limit :count
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody is given any more: what it was, why, and since when (seconds since 1970)."""

    id: int
    value: Any
    sender: str
    deliveries: int
    reason: str
    dead_at: float


class _AllLost(Exception):
    """Nothing of what was delivered can be read for ever."""


class QueueReader:
    """What `MessageQueue` has beyond `queue.Queue`: messages with their number and fence, and dead letters."""

    def __init__(self, member: Membership, name: str, given: Settings, *, for_good: bool) -> None:
        self.name = name
        self._for_good = for_good
        self._given = given
        self._member = member
        self._settled = given == Settings()
        self._taken = Taken(member.store)

    def take(self, *, count: int = 1, timeout: float | None = None, delivery: str | None = None) -> list[Message]:
        """Up to `count` messages: all there are now, or else the first that come within `timeout` seconds.

        `delivery` names the call; the same one a second time returns the messages it took the first time.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> number = jobs.put("a")
        >>> [message] = jobs.take(timeout=0)
        >>> message.value, message.deliveries
        ('a', 1)
        >>> jobs.done(message)
        """
        checked_number("count", count, least=1, most=TAKEN_AT_ONCE)
        if delivery is not None:
            checked_name("name of a delivery", delivery)
        return self._next(count, checked_timeout(timeout), named=delivery)

    def each(self, timeout: float | None = None) -> Loop:
        """The values of message after message; each is done when the next is asked for, in the same transaction.

        Ends where none comes within `timeout` seconds or the queue was shut down.  Whoever leaves the loop early gives
        the message in hand back, unless `task_done` was called for it.  That counts as a failed attempt only where the
        loop stands in a `with` block, which an exception leaves: a `for` alone cannot tell an exception from a `break`.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> numbers = jobs.put_many(["a", "b"])
        >>> with jobs.each(timeout=0) as values:
        ...     for value in values:
        ...         value
        'a'
        'b'
        """
        timeout = checked_wait(timeout)
        return Loop(self._member.store, take=lambda before: self._next(1, timeout, ended=before), give_up=self._give_up)

    def done(self, *messages: Message) -> None:
        """Say that these very deliveries are dealt with, in one transaction.

        Raises `NotDelivered`, and ends none, where one of them counts no more: it was delivered anew, or is done.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> numbers = jobs.put_many(["a", "b"])
        >>> jobs.done(*jobs.take(count=2))
        >>> jobs.statistics().delivered
        0
        """
        with self._member.transaction() as tx:
            for message in messages:
                if not self._end(tx, message.id, message.deliveries):
                    raise self._elsewhere(tx, message.id)
        self._forget(messages)

    def fail(self, message: Message, reason: str) -> bool:
        """Give this very delivery back, for somebody to try again; whether that made it a dead letter.

        Raises `NotDelivered` where the delivery counts no more.

        >>> jobs = swarm.MessageQueue("jobs", attempts=1)
        >>> number = jobs.put("a")
        >>> jobs.fail(jobs.take()[0], "cannot be read")
        True
        """
        with self._member.transaction() as tx:
            rows = self._back(tx, message, reason=str(reason), failed=True)
            if not rows:
                raise self._elsewhere(tx, message.id)
        self._forget([message])
        return bool(rows[0]["dead"])

    def peek(self, *, count: int = TAKEN_AT_ONCE) -> list[Message]:
        """What would be delivered next, at most `count` messages, without taking them.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> numbers = jobs.put_many(["a", "b"])
        >>> [message.value for message in jobs.peek()]
        ['a', 'b']
        """
        checked_number("count", count, least=1)
        rows = self._member.store.rows(_QUEUED, queue=self.name, count=count)
        return [letters.message(self._member, dict(row)) for row in rows]

    def dead_letters(self, *, count: int = TAKEN_AT_ONCE) -> list[DeadLetter]:
        """Messages whose delivery failed too often, or that a shutdown left; at most `count`, the oldest first.

        So is one whose artifact is lost; the value of such a dead letter is None.

        >>> jobs = swarm.MessageQueue("jobs", attempts=1)
        >>> number = jobs.put("a")
        >>> jobs.fail(jobs.take()[0], "cannot be read")
        True
        >>> [(letter.value, letter.reason) for letter in jobs.dead_letters()]
        [('a', 'cannot be read')]
        """
        checked_number("count", count, least=1)
        return [self._dead(row) for row in self._member.store.rows(_DEAD, queue=self.name, count=count)]

    def revive(self, number: int) -> bool:
        """Queue a dead letter again, at its old place and with all its attempts; False where there is none.

        >>> swarm.MessageQueue("jobs").revive(1)
        False
        """
        with self._member.transaction() as tx:
            back = tx.execute(
                "update queue_message set dead_at = null, dead_reason = null, failures = 0"
                " where id = :id and queue = :queue and dead_at is not null",
                id=number,
                queue=self.name,
            )
            if back:
                tx.event("queue.revived", object=self.name, message=number)
                delivery.requeued(tx, self.name, 1)
        return bool(back)

    def drop(self, number: int) -> bool:
        """Throw a dead letter away; False where there is none.

        >>> swarm.MessageQueue("jobs").drop(1)
        False
        """
        with self._member.transaction() as tx:
            gone = tx.execute(
                "delete from queue_message where id = :id and queue = :queue and dead_at is not null",
                id=number,
                queue=self.name,
            )
            if gone:
                tx.event("queue.dropped", object=self.name, message=number)
        return bool(gone)

    def settle(self, tx: Transaction) -> None:
        """Have the queue's row there, with what this object says of it."""
        queue_settings.settle(tx, self.name, self._given)

    def _next(
        self,
        count: int,
        timeout: float | None,
        *,
        named: str | None = None,
        ended: Iterable[Message] = (),
        read: Callable[[Membership, dict[str, Any]], Any] = letters.message,
    ) -> list[Any]:
        """Up to `count` messages, made by `read` of their rows; those `ended` are done in the same transaction.

        What cannot be read for ever is a dead letter then, and the next message comes.
        """
        clock = self._member.store.clock
        until = clock.now() + timeout if timeout else None
        while True:
            try:
                # Who only polls has to look by himself whether a reader is gone; in one line, as an interrupt may come.
                return self._try(count, timeout, named, ended, read) or (
                    self._try(count, timeout, named, (), read) if timeout == 0 and self._glance() else []
                )
            except _AllLost:
                ended, timeout = (), timeout if until is None else max(until - clock.now(), 0.0)

    def _glance(self) -> bool:
        from prong.primitives.watch import glance  # noqa: PLC0415  it looks after every kind, this one too

        return glance(self._member.store)

    def _try(
        self,
        count: int,
        timeout: float | None,
        named: str | None,
        ended: Iterable[Message],
        read: Callable[[Membership, dict[str, Any]], Any],
    ) -> list[Any]:
        with Place(self._member, withdraw=self._withdraw) as place:
            with self._member.transaction() as tx:
                if not self._settled:
                    self.settle(tx)
                for message in ended:
                    self._end(tx, message.id, message.deliveries)
                kept = place.take_up(tx, "queue", self.name) if named is not None else None
                rows = self._at_once(tx, count, named, place) if kept is None else []
                closed = None if rows or kept is not None else delivery.closed(tx, self.name)
                if not rows and kept is None and closed is None and timeout != 0:
                    wants = {"count": count, "delivery": named, "for_good": self._for_good and named is None}
                    place.enrol(tx, "queue", self.name, timeout=timeout, wants=wants)
            self._settled = self._settled or not self._member.store.inside_atomic
            if closed is not None:
                raise closed
            if not rows and timeout != 0:
                rows = self._waited_for(place.wait())
                if rows and self._for_good:  # until the wait's row is swept, its message would come back with our death
                    self._member.holding(SWEPT_S)
            return self._in_hand(rows, read, gone=self._for_good and named is None)

    def _at_once(self, tx: Transaction, count: int, named: str | None, place: Place) -> list[dict[str, Any]]:
        me = self._member.me
        if named is not None:
            before = delivery.delivered_before(tx, self.name, me.agent, named)
            if before:
                return before
        for_good = self._for_good and named is None
        rows = delivery.deliver(
            tx, self.name, agent=me.agent, task=me.task, delivery=named, count=count, for_good=for_good
        )
        place.granted(tx, messages=rows, gone=for_good)
        return rows

    def _waited_for(self, outcome: Outcome) -> list[dict[str, Any]]:
        if outcome.state == "broken":
            raise ShutDown(self.name, outcome.data.get("closed", "orderly"))
        rows: list[dict[str, Any]] = outcome.data.get("messages", [])
        return rows

    def _in_hand(
        self, rows: list[dict[str, Any]], read: Callable[[Membership, dict[str, Any]], Any], *, gone: bool
    ) -> list[Any]:
        try:
            messages = [read(self._member, row) for row in rows]
        except ArtifactLost:
            messages = self._readable(rows, read, gone=gone)
        if rows and not self._for_good:
            self._taken.add(rows)
            self._member.holding(rows[0]["lease_s"] or delivery.LEASE_S)
        return messages

    def _readable(
        self, rows: list[dict[str, Any]], read: Callable[[Membership, dict[str, Any]], Any], *, gone: bool
    ) -> list[Any]:
        """What can be read of what was delivered; the rest is taken out of `rows` and made dead letters."""
        messages = []
        for row in list(rows):
            try:
                messages.append(read(self._member, row))
            except ArtifactLost as error:
                if not error.is_gone:  # it may be read another time, or by another reader
                    raise
                with self._member.transaction() as tx:
                    delivery.set_aside(tx, self.name, row, gone=gone, reason=str(error))
                rows.remove(row)
        if not messages:
            raise _AllLost
        return messages

    def _withdraw(self, tx: Transaction, outcome: Outcome) -> None:
        """Put back what was delivered to us just as we were interrupted; a named delivery waits for its name."""
        for row in outcome.data.get("messages", ()):
            self._taken.drop(row["id"], row["deliveries"])
            if outcome.data["gone"]:
                delivery.restore(tx, self.name, row)
            else:
                delivery.give_back(
                    tx, "id = :id and deliveries = :deliveries and holder = :agent and delivery is null",
                    id=row["id"], deliveries=row["deliveries"], agent=self._member.me.agent,
                    reason="its reader was interrupted", failed=False, unread=True,
                )  # fmt: skip

    def _end(self, tx: Transaction, number: int, deliveries: int) -> bool:
        """Be done with a delivery of ours; False where it is ours no more."""
        me = self._member.me
        ours = tx.execute(_MINE, id=number, queue=self.name, deliveries=deliveries, agent=me.agent, task=me.task)
        if ours:
            self._ended(tx, number)
        return bool(ours)

    def _ended(self, tx: Transaction, number: int) -> None:
        tx.logged("queue.done", self.name, f'{{"message":{number}}}')
        delivery.finish(tx, self.name)

    def _back(self, tx: Transaction, message: Message, *, reason: str, failed: bool) -> list[Row]:
        me = self._member.me
        return delivery.give_back(
            tx, "id = :id and queue = :queue and deliveries = :deliveries and (holder = :agent or holder_task = :task)",
            id=message.id, queue=self.name, deliveries=message.deliveries, agent=me.agent, task=me.task,
            reason=reason, failed=failed,
        )  # fmt: skip

    def _give_up(self, message: Message, reason: str, failed: bool) -> None:  # noqa: FBT001  passed through
        with self._member.transaction() as tx:
            self._back(tx, message, reason=reason, failed=failed)
        self._forget([message])

    def _forget(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._taken.drop(message.id, message.deliveries)

    def _dead(self, row: Row) -> DeadLetter:
        value, reason = None, row["dead_reason"]
        try:
            value = loaded(self._member, row["body"])
        except ArtifactLost as error:
            if not error.is_gone:
                raise
            reason = reason if reason == str(error) else f"{reason}; and {error}"
        return DeadLetter(row["id"], value, letters.sender(row), row["deliveries"], reason, row["dead_at"])

    def _elsewhere(self, tx: Transaction, number: int) -> NotDelivered:
        """What is said of a message that is not with us under the delivery that we know."""
        row = tx.row(_WHERE_IS_IT, id=number, queue=self.name)
        if row is None:
            return NotDelivered(self.name, number, DONE)
        if row["dead_at"] is not None:
            return NotDelivered(self.name, number, "it is a dead letter")
        if row["holder"] is None:
            return NotDelivered(self.name, number, "it is queued again")
        return NotDelivered(self.name, number, f"it was delivered anew, to {row['who']}")


def checked_wait(timeout: float | None) -> float | None:
    """The seconds to wait, refused as `queue.Queue` refuses them; None for ever."""
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return checked_timeout(timeout)
