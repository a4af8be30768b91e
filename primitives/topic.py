"""A topic: whoever publishes reaches every queue that subscribes to it, in one transaction.

    publish --> topic --+--> queue "news/ada"
                        +--> queue "news/bob"        all of them, or none

A subscription is the queue's, not its reader's: it gathers what is published while nobody reads, over every restart.
"""

from __future__ import annotations

import queue
from typing import Any

from prong.primitives import artifacts, delivery, letters, once
from prong.primitives.letters import Letter
from prong.primitives.message_queue import MessageQueue
from prong.primitives.values import checked_name, checked_number
from prong.state import Membership

_SUBSCRIBED = """
select queue.name, queue.discipline, queue.maxsize from subscription join queue on queue.name = subscription.queue
 where topic = :topic and closed is null order by queue.name
"""


class Topic:
    """A topic by name.

    >>> news = swarm.Topic("news")
    >>> ada, bob = news.queue_of("ada"), news.queue_of("bob")
    >>> news.publish("the build is green")
    2
    >>> ada.get(), bob.get()
    ('the build is green', 'the build is green')
    """

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("topic name", name)
        self._member = member

    def __repr__(self) -> str:
        return f"<prong.Topic at {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Topic):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._member, self.name)

    def subscribe(self, to: MessageQueue) -> bool:
        """Have whatever is published from now on put into a queue; False where it was so before.

        >>> swarm.Topic("news").subscribe(swarm.MessageQueue("everything"))
        True
        """
        with self._member.transaction() as tx:
            to.settle(tx)
            new = tx.execute(
                "insert or ignore into subscription (topic, queue) values (:topic, :queue)",
                topic=self.name,
                queue=to.name,
            )
            if new:
                tx.event("topic.subscribed", object=self.name, queue=to.name)
        return bool(new)

    def unsubscribe(self, from_: MessageQueue) -> bool:
        """Put nothing more into a queue, which keeps what it has; False where it was not subscribed.

        >>> swarm.Topic("news").unsubscribe(swarm.MessageQueue("everything"))
        False
        """
        with self._member.transaction() as tx:
            gone = tx.execute(
                "delete from subscription where topic = :topic and queue = :queue", topic=self.name, queue=from_.name
            )
            if gone:
                tx.event("topic.unsubscribed", object=self.name, queue=from_.name)
        return bool(gone)

    def queue_of(self, subscriber: str, maxsize: int = 0, **options: Any) -> MessageQueue:
        """A subscriber's own queue of this topic, subscribed; it takes what `MessageQueue` takes.

        >>> swarm.Topic("news").queue_of("ada").name
        'news/ada'
        """
        own = MessageQueue(self._member, f"{self.name}/{checked_name('subscriber', subscriber)}", maxsize, **options)
        self.subscribe(own)
        return own

    def queues(self) -> list[str]:
        """The names of the queues that are subscribed.

        >>> news = swarm.Topic("news")
        >>> news.queue_of("ada").name in news.queues()
        True
        """
        rows = self._member.store.rows(
            "select queue from subscription where topic = :topic order by queue", topic=self.name
        )
        return [row["queue"] for row in rows]

    def publish(self, value: Any, *, priority: int = 0, key: str | None = None) -> int:
        """Put a value into every queue that subscribes and is open, and return into how many.

        The same `key` a second time changes nothing.  Raises `queue.Full`, and puts nothing anywhere, where one of them
        is full: a topic waits for nobody, and leaves nobody out.

        >>> swarm.Topic("nobody listens").publish("hello")
        0
        """
        body = artifacts.stored(self._member, "message", value)
        checked_number("priority", priority)
        me = self._member.me
        with self._member.transaction() as tx:
            count: int | None = once.returned(tx, f"topic {self.name}", key)
            if count is not None:
                return count
            rows = tx.rows(_SUBSCRIBED, topic=self.name)
            tx.event("topic.published", object=self.name, queues=len(rows))
            for row in rows:
                if row["maxsize"] and delivery.claim(tx, row["name"]) is None:
                    raise queue.Full(f"queue {row['name']!r}, which subscribes to topic {self.name!r}, is full")
                rank = letters.rank(value) if row["discipline"] == "priority" else 0.0
                delivery.put(
                    tx, row["name"], Letter(body, rank, priority),
                    discipline=row["discipline"], sender=me.agent, sender_task=me.task, claimed=bool(row["maxsize"]),
                )  # fmt: skip
            return once.remember(tx, f"topic {self.name}", key, len(rows))

    @property
    def _identity(self) -> tuple[str, type, str]:
        return str(self._member.store.path), Topic, self.name


def inbox(member: Membership, agent: str) -> MessageQueue:
    """The queue in which an agent of this name finds what is meant for it: `inbox/ada`.

    >>> number = inbox(swarm, "ada").put("come and see")
    >>> inbox(swarm, "ada").get()
    'come and see'
    """
    return MessageQueue(member, f"inbox/{checked_name('name of an agent', agent)}")
