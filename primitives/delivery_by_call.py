"""Deliveries to a reader that has only calls: what it has dealt with, and what it never came to fetch.

delivered to a call --the reader's next call, or its word--> done
+-----------nobody fetched what the call got------> queued again, at its old place
"""

from __future__ import annotations

from prong.primitives import delivery
from prong.state import Transaction


def dealt_with(tx: Transaction, name: str, *, agent: int, but: str) -> int:
    """Be done with all that a reader's calls were delivered, `but` for the call of that name; returns how many.

    >>> jobs = swarm.MessageQueue("jobs")
    >>> numbers = jobs.put_many(["a", "b"])
    >>> [one.value for one in jobs.take(timeout=0, delivery="call 1")]
    ['a']
    >>> with swarm.transaction() as tx:
    ...     dealt_with(tx, "jobs", agent=swarm.me.agent, but="call 2")
    1
    """
    rows = tx.rows(
        "delete from queue_message where queue = :queue and holder = :agent and holder_task is null and dead_at is null"
        " and delivery is not null and delivery <> :but returning id",
        queue=name,
        agent=agent,
        but=but,
    )
    for row in rows:
        tx.event("queue.done", object=name, message=row["id"])
    if rows:
        delivery.finish(tx, name)
    return len(rows)


def undo(tx: Transaction, name: str, *, agent: int, call: str, reason: str) -> int:
    """Queue again what a call was delivered, as if it had never been; returns how many messages."""
    rows = delivery.give_back(
        tx, "queue = :queue and holder = :agent and delivery = :call", reason=reason, failed=False, unread=True,
        queue=name, agent=agent, call=call,
    )  # fmt: skip
    return len(rows)
