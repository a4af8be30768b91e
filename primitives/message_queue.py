"""A queue whose messages survive their readers, as `queue.Queue`, `LifoQueue` and `PriorityQueue`, between processes.

    put --> queued --get--> with a reader --task_done--> (gone)
              ^                 +--the reader dies, leaves or fails--> queued again, at its old place
              +-----------------+        or, after too many failed attempts, a dead letter

The standard library's `get` hands a message out and forgets it; whoever dies with it loses it.  Here it stays the
queue's until `task_done`, so that nothing is lost with a reader: what a reader has not said to be done comes back when
it dies or leaves.  Code that never calls `task_done` therefore gets its messages a second time when it is started
again; `acknowledge="at_get"` is for that code: whatever `get` has returned is done.

A put hands its message, in the same transaction, to the first reader in line, and a get lets in the first writer that
waits for room (primitives/delivery.py).
"""

from __future__ import annotations

import functools
import queue
import types
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar, Literal

from prong.primitives import artifacts, delivery, letters, once, queue_settings
from prong.primitives.errors import ShutDown
from prong.primitives.letters import Letter, Message
from prong.primitives.place import Place
from prong.primitives.queue_reader import QueueReader, checked_wait
from prong.primitives.queue_settings import Discipline, QueueStatistics, Settings
from prong.primitives.values import checked_name, checked_number
from prong.state import Invalid, Membership, Transaction
from prong.state.waiter import Outcome

__all__ = ["Message", "MessageQueue", "QueueStatistics"]

PUT_AT_ONCE = 10_000
"""The most messages that one call can put."""

EXECUTORS = "executor "
"""How the names of the queues begin through which executors have their calls run; nobody else can have one."""

_OLDEST = """
delete from queue_message
 where id = (select id from queue_message where queue = :queue and holder = :agent
              order by delivered_at, priority desc, rank, id limit 1)
returning id
"""


class MessageQueue(QueueReader):
    """A queue by name; among messages of one `priority` the first in comes first out, unless the discipline differs.

    `discipline` is "fifo", "lifo" (as `LifoQueue`) or "priority" (as `PriorityQueue`: each message is a number, or a
    list that begins with one, and the lowest comes first).  `maxsize` bounds how many are queued; 0 or less: no bound.
    A delivery that fails `attempts` times makes a dead letter; it lasts `lease_s` seconds after its reader's last
    heartbeat.  What is not said here is as it was said before, and as the standard library has it in a new queue.
    With `acknowledge="at_get"` a message is done once `get` has returned it, and needs no `task_done`.

    >>> jobs = swarm.MessageQueue("jobs")
    >>> number = jobs.put({"file": "a.py"})
    >>> job = jobs.get()
    >>> job
    {'file': 'a.py'}
    >>> jobs.task_done()
    >>> jobs.join()
    """

    _is_executors = False

    def __init__(
        self,
        member: Membership,
        name: str,
        maxsize: int = 0,
        *,
        discipline: Discipline | None = None,
        attempts: int | None = None,
        lease_s: float | None = None,
        acknowledge: Literal["at_task_done", "at_get"] = "at_task_done",
    ) -> None:
        if acknowledge not in ("at_task_done", "at_get"):
            raise Invalid(f"acknowledge={acknowledge!r}", "'at_task_done' or 'at_get'")
        given = Settings.checked(maxsize, discipline, attempts, lease_s)
        if checked_name("queue name", name).startswith(EXECUTORS) and not self._is_executors:
            raise Invalid(f"queue name {name!r}", f"another one: executors have those that begin with {EXECUTORS!r}")
        super().__init__(member, name, given, for_good=acknowledge == "at_get")
        self._acknowledge = acknowledge
        self._bounded = False
        self._discipline: str = given.discipline or "fifo"

    __class_getitem__: ClassVar[Any] = classmethod(types.GenericAlias)

    def __repr__(self) -> str:
        queued: int | str = "?"
        with suppress(Exception):  # what cannot be read must not keep anybody from being told which queue it is
            queued = self.qsize()
        return f"<prong.MessageQueue at {self.name!r}: {queued} queued>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MessageQueue):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __reduce__(self) -> tuple[Any, ...]:
        given = self._given
        made = functools.partial(
            type(self), discipline=given.discipline, attempts=given.attempts, lease_s=given.lease_s,
            acknowledge=self._acknowledge,
        )  # fmt: skip
        return made, (self._member, self.name, given.maxsize or 0)

    @property
    def maxsize(self) -> int:
        """How many messages may be queued, 0 for as many as one likes; setting it lets in who then has room.

        >>> jobs = swarm.MessageQueue("jobs", 2)
        >>> jobs.maxsize
        2
        >>> jobs.maxsize = 3
        """
        row = self._member.store.row("select maxsize from queue where name = :name", name=self.name)
        return row["maxsize"] if row is not None and self._settled else max(self._given.maxsize or 0, 0)

    @maxsize.setter
    def maxsize(self, maxsize: int) -> None:
        with self._member.transaction() as tx:
            queue_settings.settle(tx, self.name, Settings(maxsize=max(checked_number("maxsize", maxsize), 0)))

    def put(
        self,
        item: Any,
        block: bool = True,  # noqa: FBT001, FBT002  the standard library's own signature
        timeout: float | None = None,
        *,
        priority: int = 0,
        key: str | None = None,
    ) -> int:
        """Append a message and return its number; where the queue is full, wait in line for room.

        A message of higher `priority` comes before all others.  The same `key` a second time changes nothing.  Raises
        `queue.Full` where there is no room within `timeout` seconds, or at once where it must not `block`, and
        `ShutDown` where the queue was shut down.

        >>> jobs = swarm.MessageQueue("jobs", maxsize=1)
        >>> number = jobs.put("first")
        >>> jobs.put("second", block=False)
        Traceback (most recent call last):
        queue.Full
        """
        if block and timeout is not None and timeout < 0 and self.maxsize > 0:
            raise ValueError("'timeout' must be a non-negative number")
        letter = self._letter(item, priority, key)
        with self._member.transaction() as tx:
            number = self._put(tx, letter, item)
        self._settled = self._settled or not self._member.store.inside_atomic
        if number is not None:
            return number
        if not block:
            raise queue.Full
        return self._put_in_line(self._ranked(letter, item), item, checked_wait(timeout))

    def put_nowait(self, item: Any) -> int:
        """Append a message if there is room, as `put` does without blocking.

        >>> number = swarm.MessageQueue("jobs").put_nowait("first")
        """
        return self.put(item, block=False)

    def put_many(self, items: Iterable[Any], *, priority: int = 0, key: str | None = None) -> list[int]:
        """Append messages in one transaction, which is several times faster than one by one, and return their numbers.

        Raises `queue.Full` where there is no room for all of them, and puts none then.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> numbers = jobs.put_many(["a", "b"])
        >>> jobs.qsize()
        2
        """
        values = list(items)
        checked_number("a number of messages", len(values), least=0, most=PUT_AT_ONCE)
        letters = [self._letter(item, priority, None) for item in values]
        with self._member.transaction() as tx:
            numbers: list[int] | None = once.returned(tx, f"puts of queue {self.name}", key)
            if numbers is not None:
                return numbers
            found = [self._put(tx, letter, item) for letter, item in zip(letters, values, strict=True)]
            numbers = [number for number in found if number is not None]
            if len(numbers) < len(found):
                raise queue.Full
            return once.remember(tx, f"puts of queue {self.name}", key, numbers)

    def get(
        self,
        block: bool = True,  # noqa: FBT001, FBT002  the standard library's own signature
        timeout: float | None = None,
    ) -> Any:
        """The next message's value; it is this thread's to deal with until it calls `task_done`.

        Raises `queue.Empty` where none came within `timeout` seconds, or is there where it must not `block`, and
        `ShutDown` where the queue was shut down and is empty.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> jobs.get(timeout=0)
        Traceback (most recent call last):
        _queue.Empty
        """
        patience = checked_wait(timeout) if block else 0.0
        values = self._next(1, patience, read=letters.value)
        if not values:
            raise queue.Empty
        return values[0]

    def get_nowait(self) -> Any:
        """The next message's value if there is one, as `get` without blocking.

        >>> jobs = swarm.MessageQueue("jobs", discipline="lifo")
        >>> numbers = jobs.put_many(["a", "b"])
        >>> jobs.get_nowait()
        'b'
        """
        return self.get(block=False)

    def task_done(self) -> None:
        """Say that the message that this thread got first is dealt with; it is gone for good then.

        Raises ValueError where this member has none, as `queue.Queue.task_done` does; `NotDelivered`, which is one,
        where the message was given to somebody else meanwhile, because this process had stopped for too long.

        >>> swarm.MessageQueue("jobs").task_done()
        Traceback (most recent call last):
        ValueError: task_done() called too many times
        """
        first = self._taken.first()
        with self._member.transaction() as tx:
            problem = self._end_first(tx, first)
        if first is not None:
            self._taken.drop(*first)
        if problem is not None:
            raise problem

    def join(self) -> None:
        """Wait until every message that was put is done, or a dead letter.

        >>> swarm.MessageQueue("jobs").join()
        """
        with Place(self._member) as place:
            with self._member.transaction() as tx:
                if delivery.all_done(tx, self.name):
                    return
                place.enrol(tx, "joined", self.name, timeout=None)
            place.wait()

    def qsize(self) -> int:
        """How many messages are queued.  A process counts them once, and then reads of the changes only.

        >>> swarm.MessageQueue("jobs").qsize()
        0
        """
        return queue_settings.length(self._member.store, self.name)

    def empty(self) -> bool:
        """Whether no message is queued.

        >>> swarm.MessageQueue("jobs").empty()
        True
        """
        row = self._member.store.row(
            "select 1 from queue_message where queue = :queue and holder is null and dead_at is null limit 1",
            queue=self.name,
        )
        return row is None

    def full(self) -> bool:
        """Whether there is no room for one more message.

        >>> swarm.MessageQueue("jobs", 1).full()
        False
        """
        row = self._member.store.row(
            "select 1 from queue where name = :queue and maxsize > 0 and length >= maxsize", queue=self.name
        )
        return row is not None

    def shutdown(self, immediate: bool = False) -> None:  # noqa: FBT001, FBT002  the standard library's own signature
        """Let nothing more be put; `get` raises `ShutDown` once the queue is empty, which `immediate` makes it.

        What was queued is kept as dead letters then.  The queue stays shut down until `reopen`, over every restart.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> jobs.shutdown()
        >>> jobs.put("late")
        Traceback (most recent call last):
        prong.primitives.errors.ShutDown: queue 'jobs' was shut down. Nothing more comes: end, or have it reopened.
        """
        with self._member.transaction() as tx:
            self.settle(tx)
            delivery.shut_down(tx, self.name, immediate=bool(immediate))

    def reopen(self) -> None:
        """Let messages be put again after a `shutdown`; what became a dead letter stays one until it is revived.

        >>> jobs = swarm.MessageQueue("jobs")
        >>> jobs.shutdown()
        >>> jobs.reopen()
        >>> number = jobs.put("in time")
        """
        with self._member.transaction() as tx:
            if tx.execute("update queue set closed = null where name = :queue and closed is not null", queue=self.name):
                tx.event("queue.reopened", object=self.name)

    def statistics(self) -> QueueStatistics:
        """What is so now, read in one query.

        >>> swarm.MessageQueue("jobs", 5).statistics().queued
        0
        """
        return queue_settings.statistics(self._member.store, self.name)

    @property
    def _identity(self) -> tuple[str, type, str]:
        return str(self._member.store.path), MessageQueue, self.name

    def _letter(self, item: Any, priority: int, key: str | None) -> Letter:
        body = artifacts.stored(self._member, "message", item)
        letter = Letter(body, 0.0, checked_number("priority", priority), key)
        return self._ranked(letter, item) if self._discipline == "priority" else letter

    def _ranked(self, letter: Letter, item: Any) -> Letter:
        return letter._replace(rank=letters.rank(item) if self._discipline == "priority" else 0.0)

    def _end_first(self, tx: Transaction, first: tuple[int, int] | None) -> ValueError | None:
        """Be done with what this thread got first, or with the oldest that the member has; what keeps it from that."""
        if first is not None:
            if self._end(tx, *first):
                return None
            elsewhere = self._elsewhere(tx, first[0])
            if elsewhere.is_there:
                return elsewhere
            # Another object of this member was done with it.
        row = tx.row(_OLDEST, queue=self.name, agent=self._member.me.agent)
        if row is None:
            return ValueError("task_done() called too many times")
        self._ended(tx, row["id"])
        return None

    def _put(self, tx: Transaction, letter: Letter, item: Any) -> int | None:
        """Put a message if there is room; None where there is none."""
        number: int | None = None if letter.key is None else once.returned(tx, f"queue {self.name}", letter.key)
        if number is None and self._settled and not self._bounded:
            number = self._post(tx, letter, claimed=False)
        if number is not None:
            return number
        discipline = delivery.claim(tx, self.name) if self._settled and self._bounded else None
        if discipline is None:  # it is not there yet, or not as we knew it, or full, or shut down
            found = queue_settings.settle(tx, self.name, self._given if not self._settled else Settings())
            if found["closed"] is not None:
                raise ShutDown(self.name, found["closed"])
            self._bounded = found["maxsize"] > 0
            discipline = found["discipline"]
            if self._bounded and delivery.claim(tx, self.name) is None:
                self._discipline = discipline
                return None
        if discipline != self._discipline:
            self._discipline = discipline
            letter = self._ranked(letter, item)
        return self._post(tx, letter, claimed=self._bounded)

    def _post(self, tx: Transaction, letter: Letter, *, claimed: bool) -> int | None:
        me = self._member.me
        return delivery.put(
            tx, self.name, letter, discipline=self._discipline, sender=me.agent, sender_task=me.task, claimed=claimed
        )

    def _put_in_line(self, letter: Letter, item: Any, timeout: float | None) -> int:
        """Wait for room; who makes it puts the message for us."""

        def withdraw(tx: Transaction, outcome: Outcome) -> None:
            if letter.key is None and outcome.state == "granted":  # a call with a key finds out when it is repeated
                delivery.withdraw(tx, self.name, outcome.data["message"])

        with Place(self._member, withdraw=withdraw) as place:
            with self._member.transaction() as tx:
                if place.take_up(tx, "room", self.name) is None:
                    number = self._put(tx, letter, item)
                    if number is not None:
                        place.granted(tx, message=number)
                        return number
                    place.enrol(tx, "room", self.name, timeout=timeout, wants=letter._asdict())
            outcome = place.wait()
            if outcome.state == "broken":
                raise ShutDown(self.name, outcome.data.get("closed", "orderly"))
            if outcome.state != "granted":
                raise queue.Full
            return int(outcome.data["message"])
