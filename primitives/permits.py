"""Permits that are lent: renewed while their holder lives, and handed on when they come back.

    lent --released, holder dies or leaves--> gone, and free for the first in line
      +----lease is over--> expired, and free as well; the row stays until the holder releases or ends
      +----kept for a task, agent dies--> without a lease, until the task's next agent inherits it or the task ends

The row that has expired is how its former holder is told so, instead of freeing a permit that is another's by now.
"""

from __future__ import annotations

from typing import Any

from prong.primitives import once as changes
from prong.state import Transaction, waiter

_LEND = """
insert into permit (semaphore, holder, number, task, lease_s, acquired_at, expires_at, key)
     values (:name, :holder, :number, :task, :lease_s, :now, :now + :lease_s, :key)
"""

# Reading and then writing takes less than statements that return what they wrote; most releases are of one permit.
_OLDEST = """
select value, exists (select 1 from waiter where kind = 'semaphore' and object = :name and state = 'waiting'),
       (select number from permit where semaphore = :name and holder = :agent and expired = 0
         order by number limit 1) as number
  from semaphore
 where name = :name and initial = :initial and bounded = :bounded and value < :most
"""

_GRANT = "update semaphore set value = value - 1, grants = grants + 1 where name = :name returning grants"


def expire(tx: Transaction) -> None:
    """Take back every permit whose lease is over, and hand it on."""
    for row in tx.rows("select distinct semaphore from permit where expires_at <= :now", now=tx.now):
        take_back_overdue(tx, row["semaphore"])


def renew_held_by(tx: Transaction, agent: int) -> None:
    """Extend every lease of an agent that has just said that it lives."""
    tx.execute(
        "update permit set expires_at = :now + lease_s where holder = :agent and expires_at > :now",
        now=tx.now,
        agent=agent,
    )


def free_held_by(tx: Transaction, agent: int, *, reason: str) -> None:
    """Take back what a dead agent was lent and hand it on, but for what it kept for a task that goes on without it."""
    tx.execute(
        "update permit set expires_at = null where holder = :agent and kept = 1 and expired = 0"
        " and task in (select id from task where state not in ('done', 'failed', 'cancelled'))",
        agent=agent,
    )
    take_back(tx, "holder = :agent and (kept = 0 or expired = 1 or expires_at is not null)", reason=reason, agent=agent)


def inherit(tx: Transaction, task: int, agent: int) -> None:
    """Give a task's new agent the permits that its last one kept."""
    for row in tx.rows(
        "update permit set holder = :agent, acquired_at = :now, expires_at = :now + lease_s"
        " where task = :task and kept = 1 and expired = 0 returning semaphore, number",
        agent=agent,
        now=tx.now,
        task=task,
    ):
        tx.event("semaphore.inherited", object=row["semaphore"], task=task, holder=agent, permit=row["number"])


def free_kept_for(tx: Transaction, task: int) -> None:
    """Take back what was kept for a task that has ended."""
    take_back(tx, "task = :task and kept = 1", reason="its task has ended", task=task)


def lend(
    tx: Transaction, name: str, number: int, *, holder: int, task: int | None, lease_s: float | None, key: str | None
) -> int | None:
    """Write down who has permit `number`; None where it is used up instead."""
    if lease_s is None:
        changes.remember(tx, used_up(name), key, result=True)
        return None
    tx.execute(_LEND, name=name, number=number, holder=holder, task=task, lease_s=lease_s, key=key, now=tx.now)
    return number


def end_one(tx: Transaction, name: str, agent: int, *, initial: int, bounded: bool, most: int) -> bool:
    """Free the oldest permit that an agent has; False where it has none, or the semaphore is not as is said here."""
    row = tx.row(_OLDEST, name=name, agent=agent, initial=initial, bounded=bounded, most=most)
    if row is None or row["number"] is None:
        return False
    value, awaited, number = row
    tx.execute(
        "delete from permit where semaphore = :name and holder = :agent and expired = 0 and number = :number",
        name=name,
        agent=agent,
        number=number,
    )
    tx.execute("update semaphore set value = value + 1 where name = :name", name=name)
    tx.logged("semaphore.released", name, f'{{"count":1,"permits":[{number}]}}')
    if awaited:
        hand_on(tx, name, value + 1)
    return True


def used_up(name: str) -> str:
    """Under what the names of those calls are kept that used a permit up."""
    return f"acquire of semaphore {name}"


def take_back(tx: Transaction, which: str, /, *, reason: str, **values: Any) -> None:
    """Delete the permits that the condition `which` names, and free those that were not taken back before."""
    counts: dict[str, int] = {}
    for row in tx.rows(
        f"delete from permit where {which} returning semaphore, number, holder, task, expired",  # noqa: S608  our words
        **values,
    ):
        if not row["expired"]:
            name = row["semaphore"]
            counts[name] = counts.get(name, 0) + 1
            tx.event(
                "semaphore.released", object=name, task=row["task"], holder=row["holder"], count=1,
                permits=[row["number"]], reason=reason,
            )  # fmt: skip
    for name in sorted(counts):
        put_back(tx, name, counts[name])


def take_back_overdue(tx: Transaction, name: str) -> None:
    """Free the permits whose lease is over; the rows stay for their holders, who do not know it yet."""
    overdue = tx.rows(
        "update permit set expired = 1, expires_at = null where semaphore = :name and expires_at <= :now"
        " returning number, holder, task",
        name=name,
        now=tx.now,
    )
    for row in overdue:
        tx.event("semaphore.expired", object=name, task=row["task"], holder=row["holder"], permit=row["number"])
    put_back(tx, name, len(overdue))


def put_back(tx: Transaction, name: str, count: int) -> None:
    """Free so many permits and hand them on."""
    free = tx.value(
        "update semaphore set value = value + :count where name = :name returning value", name=name, count=count
    )
    hand_on(tx, name, free)


def hand_on(tx: Transaction, name: str, free: int) -> None:
    """Give each free permit to the first in line, until there are no more of either."""
    while free > 0:
        heir = waiter.first(tx, "semaphore", name)
        if heir is None:
            return
        wants = waiter.wants(heir)
        lease_s, key = wants["lease_s"], wants["key"]
        if lease_s is None and changes.returned(tx, used_up(name), key):  # the same call waited twice
            waiter.grant(tx, heir["id"], permit=None, key=key)
            continue
        free -= 1
        number = lend(
            tx,
            name,
            tx.value(_GRANT, name=name),
            holder=heir["agent"],
            task=heir["task"],
            lease_s=lease_s,
            key=key,
        )
        tx.event(
            "semaphore.acquired", object=name, task=heir["task"], holder=heir["agent"], permit=number, lease_s=lease_s,
            waited_s=tx.now - heir["since_at"],
        )  # fmt: skip
        waiter.grant(tx, heir["id"], permit=number, key=key)
