"""How a message travels: what queues and topics decide inside a transaction of their own or of their caller.

    queued --delivered--> with a reader --done--> (gone)
       ^                     |  |
       +--given back---------+  +--failed too often--> dead letter --revived--> queued

Whoever makes something possible does it for those in line, in the same transaction: a put hands over to a reader who
waits, a get puts for a writer who waits for room, what is done last ends the waits of those who join.  No reader waits
while anything is queued, and no writer waits while there is room.

Messages are counted only where a queue has a bound: a counter in its row would make each put and each get a quarter
dearer.  What is first, and whether anything is left, an index tells at any length.  A delivery's lease is not renewed
row by row either: it ends so long after the reader's last heartbeat, which is one row however many messages it has.
"""

from __future__ import annotations

import json
from typing import Any

from prong.primitives import artifacts, once
from prong.primitives.errors import ShutDown
from prong.primitives.letters import Letter
from prong.state import Row, Transaction, waiter

ATTEMPTS = 5
"""After how many failed deliveries a message is a dead letter, unless its queue says otherwise."""

LEASE_S = 60.0
"""How long a delivery lasts after the reader's last heartbeat, in seconds, unless its queue says otherwise."""

_READY = "queue = :queue and holder is null and dead_at is null"

# Reading and then writing takes less than one statement that returns what it wrote, here and below.
_OPEN = """
select (select max(seq) from event), lease_s,
       exists (select 1 from waiter where kind = 'queue' and object = :queue and state = 'waiting')
  from queue where name = :queue and discipline = :discipline and closed is null and (maxsize = 0 or :claimed)
"""  # no row: it is not there, closed, full, or of another discipline

_PUT = """
insert into queue_message (id, queue, body, priority, rank, sender, sender_task, put_at)
values (:id, :queue, :body, :priority, :rank, :sender, :sender_task, :put_at)
"""

_HAND_OVER = """
insert into queue_message (id, queue, body, priority, rank, sender, sender_task, put_at,
                           holder, holder_task, delivery, delivered_at, deliveries)
values (:id, :queue, :body, :priority, :rank, :sender, :sender_task, :put_at, :holder, :task, :delivery, :put_at, 1)
"""

_READER = f"""
select id, agent, task, wants from waiter
 where kind = 'queue' and object = :queue and state = 'waiting' and (until_at is null or until_at > :now)
   and not exists (select 1 from queue_message where {_READY})
 order by id limit 1
"""  # noqa: S608  put together from constants of this file

_CLAIM = """
update queue set length = length + 1
 where name = :queue and closed is null and maxsize > 0 and length < maxsize
returning discipline
"""

_COLUMNS = (
    "id", "body", "priority", "rank", "sender", "sender_task", "put_at", "deliveries", "failures", "maxsize", "lease_s"
)  # fmt: skip

_JOINED = "select 1 from waiter where kind = 'joined' and object = :queue and state = 'waiting'"

# The queue's row comes first, so that an index tells the order of the messages.
_NEXT = f"""
select id, body, priority, rank, sender, sender_task, put_at, deliveries, failures, maxsize, lease_s,
       :for_good and exists ({_JOINED})
  from queue cross join queue_message on queue = name
 where {_READY} and name = :queue order by priority desc, rank, id limit :count
"""  # noqa: S608  put together from constants of this file

_DELIVER = """
update queue_message set holder = :agent, holder_task = :task, delivery = :delivery, delivered_at = :now,
                         deliveries = deliveries + 1
 where id = :id
"""

_AGAIN = """
update queue_message set holder = :agent where queue = :queue and delivery = :delivery
returning id, body, priority, rank, sender, sender_task, put_at, deliveries, failures,
          (select maxsize from queue where name = :queue) as maxsize,
          (select lease_s from queue where name = :queue) as lease_s
"""

_GIVE_BACK = """
update queue_message
   set holder = null, holder_task = null, delivery = null, delivered_at = null,
       deliveries = deliveries - :unread, failures = failures + :failed,
       dead_at = case when :failed and failures + 1 >= attempts then :now end,
       dead_reason = case when :failed and failures + 1 >= attempts then :reason end
  from queue as q
 where q.name = queue and {which}
returning id, queue, deliveries, dead_at is not null as dead
"""

_RESTORE = """
insert into queue_message (id, queue, body, priority, rank, sender, sender_task, put_at, deliveries, failures)
values (:id, :queue, :body, :priority, :rank, :sender, :sender_task, :put_at, :deliveries, :failures)
"""

_SET_ASIDE = """
update queue_message set holder = null, holder_task = null, delivery = null, delivered_at = null,
                         dead_at = :now, dead_reason = :reason
 where id = :id and deliveries = :deliveries and holder is :agent and dead_at is null
"""

_LEFT = f"""
select exists (select 1 from queue_message where {_READY})
    or exists (select 1 from queue_message where queue = :queue and holder is not null)
"""  # noqa: S608  put together from constants of this file

_EXPIRED = """
select m.id, m.deliveries from agent as a cross join queue as q cross join queue_message as m
 where a.ended_at is null and a.beat_at <= :now - (select min(lease_s) from queue)
   and a.beat_at <= :now - q.lease_s and m.queue = q.name and m.holder = a.id and m.holder_task is null
   and m.delivered_at <= :now - q.lease_s
 order by m.id
"""


def put(
    tx: Transaction, name: str, letter: Letter, *, discipline: str, sender: int, sender_task: int | None, claimed: bool
) -> int | None:
    """Put a message into an open queue of this discipline that has no bound, or whose room was `claimed`.

    Returns its number; None where the queue is not so.
    """
    found = tx.row(_OPEN, queue=name, discipline=discipline, claimed=claimed)
    if found is None:
        return None
    last, lease_s, awaited = found
    number: int = (last or 0) + 1
    row = {
        "id": number, "body": letter.body, "priority": letter.priority,
        "rank": -number if discipline == "lifo" else letter.rank,
        "sender": sender, "sender_task": sender_task, "put_at": tx.now,
    }  # fmt: skip
    behalf = "" if tx.member is None or sender == tx.member.agent else f'"sender":{sender},'
    text = f'{{"message":{number},"priority":{letter.priority},{behalf}{artifacts.told(letter.body)}}}'
    tx.logged("queue.put", name, text, sender_task)
    reader = tx.row(_READER, queue=name, now=tx.now) if awaited and not claimed else None
    if reader is not None:
        _hand_over(tx, name, row, lease_s, reader)
        return once.remember(tx, f"queue {name}", letter.key, number)
    tx.execute(_PUT, queue=name, **row)
    if awaited:
        serve(tx, name, 1)
    return number if letter.key is None else once.remember(tx, f"queue {name}", letter.key, number)


def _hand_over(tx: Transaction, name: str, row: dict[str, Any], lease_s: float, reader: Row) -> None:
    """Give what is put to the reader who waits for it: it is not queued first, as nothing else is queued."""
    wants = waiter.wants(reader)
    for_good, delivery = wants["for_good"], wants["delivery"]
    if not for_good:
        task = reader["task"] if delivery is not None else None
        tx.execute(_HAND_OVER, queue=name, **row, holder=reader["agent"], task=task, delivery=delivery)
    _log_delivered(tx, name, row["id"], reader["agent"], reader["task"], for_good=for_good)
    row |= {"deliveries": int(not for_good), "failures": 0, "maxsize": 0, "lease_s": lease_s}
    waiter.grant(tx, reader["id"], messages=[row], gone=for_good)


def claim(tx: Transaction, name: str) -> str | None:
    """Count one more message in a queue with a bound, and return its discipline; None where it is full or closed."""
    row = tx.row(_CLAIM, queue=name)
    return row["discipline"] if row is not None else None


def serve(tx: Transaction, name: str, count: int) -> None:
    """Hand up to `count` messages, which were just queued, to those who wait, in order."""
    while count > 0 and (reader := waiter.first(tx, "queue", name)) is not None:
        wants = waiter.wants(reader)
        rows = deliver(tx, name, agent=reader["agent"], task=reader["task"], **wants)
        if not rows:
            return
        count -= len(rows)
        waiter.grant(tx, reader["id"], messages=rows, gone=wants["for_good"])


def deliver(
    tx: Transaction,
    name: str,
    *,
    agent: int,
    task: int | None,
    delivery: str | None,
    count: int,
    for_good: bool = False,
) -> list[dict[str, Any]]:
    """Give the next messages to a reader, as rows of `message`; `for_good` they leave the queue for ever.

    A delivery that bears a name and is made for a task is the task's, and outlives its agent.
    """
    owner = task if delivery is not None else None
    rows = tx.rows(_NEXT, queue=name, count=count, for_good=for_good)
    found = [dict(zip(_COLUMNS, row, strict=False)) for row in rows]
    for row in found:
        if for_good:
            tx.execute("delete from queue_message where id = :id", id=row["id"])
        else:
            tx.execute(_DELIVER, id=row["id"], agent=agent, task=owner, delivery=delivery, now=tx.now)
            row["deliveries"] += 1
        _log_delivered(tx, name, row["id"], agent, task, for_good=for_good)
    if found and found[0]["maxsize"]:
        _change_length(tx, name, -len(found))
        admit(tx, name)
    if found and rows[0][-1]:
        finish(tx, name)
    return found


def _log_delivered(tx: Transaction, name: str, number: int, agent: int, task: int | None, *, for_good: bool) -> None:
    done = ',"done":true' if for_good else ""
    tx.logged("queue.delivered", name, f'{{"message":{number},"holder":{agent}{done}}}', task)


def delivered_before(tx: Transaction, name: str, agent: int, delivery: str) -> list[dict[str, Any]]:
    """What the call of this name was delivered, in its order."""
    rows = tx.rows(_AGAIN, queue=name, agent=agent, delivery=delivery)
    return sorted(map(dict, rows), key=lambda row: (-row["priority"], row["rank"], row["id"]))


def admit(tx: Transaction, name: str) -> None:
    """Put for those who wait for room, in order, as long as there is some."""
    while (writer := waiter.first(tx, "room", name)) is not None:
        letter = Letter(**waiter.wants(writer))
        made = once.returned(tx, f"queue {name}", letter.key)
        if made is not None:  # the same call waited twice, in another life of its task, say
            waiter.grant(tx, writer["id"], message=made)
            continue
        discipline = claim(tx, name)
        if discipline is None:
            return
        number = put(
            tx, name, letter, discipline=discipline, sender=writer["agent"], sender_task=writer["task"], claimed=True
        )
        waiter.grant(tx, writer["id"], message=number)


def give_back(
    tx: Transaction, which: str, /, *, reason: str, failed: bool, unread: bool = False, **values: Any
) -> list[Row]:
    """Queue again what some condition on `queue_message` says, or make it a dead letter where it failed too often.

    `failed` tells whether the delivery counts as one more attempt; what is `unread` nobody has seen.
    """
    rows = tx.rows(
        _GIVE_BACK.format(which=which),
        failed=failed, unread=unread, reason=reason, now=tx.now, **values,
    )  # fmt: skip
    rows.sort(key=lambda row: row["id"])
    for row in rows:
        tx.event(
            "queue.dead" if row["dead"] else "queue.requeued", object=row["queue"], message=row["id"], reason=reason
        )
    for name in sorted({row["queue"] for row in rows}):
        back = sum(1 for row in rows if row["queue"] == name and not row["dead"])
        requeued(tx, name, back)
        finish(tx, name)
    return rows


def set_aside(tx: Transaction, name: str, row: dict[str, Any], *, gone: bool, reason: str) -> None:
    """Make a dead letter of what was just delivered to the acting member; it may be `gone` from the queue for good."""
    assert tx.member is not None
    if gone:
        tx.execute(_RESTORE, queue=name, **row)
    agent = None if gone else tx.member.agent
    if tx.execute(_SET_ASIDE, id=row["id"], deliveries=row["deliveries"], agent=agent, now=tx.now, reason=reason):
        tx.event("queue.dead", object=name, message=row["id"], reason=reason)
        finish(tx, name)


def restore(tx: Transaction, name: str, row: dict[str, Any]) -> None:
    """Queue again what had left the queue for good, but never reached the one who took it."""
    tx.execute(_RESTORE, queue=name, **row)
    tx.event("queue.requeued", object=name, message=row["id"], reason="its reader never had it")
    requeued(tx, name, 1)


def restore_unread(tx: Transaction, agent: int) -> None:
    """Queue again what was handed for good to a reader that died in its wait; called while its waiters' rows are there.

    A row stays a moment after it was read, so that what a reader had only just got when it died comes back as well.
    """
    for row in tx.rows(
        "select object, outcome from waiter where agent = :agent and kind = 'queue' and state = 'granted' order by id",
        agent=agent,
    ):
        outcome = json.loads(row["outcome"])
        for message_row in outcome["messages"] if outcome["gone"] else ():
            restore(tx, row["object"], message_row)


def requeued(tx: Transaction, name: str, count: int) -> None:
    """So many messages are queued again: count them where there is a bound, and serve those who wait."""
    if count:
        _change_length(tx, name, count)
        serve(tx, name, count)


def finish(tx: Transaction, name: str) -> None:
    """Let those go on who wait until all is done, if it is."""
    if tx.rows(_JOINED, queue=name) and not tx.value(_LEFT, queue=name):
        for row in waiter.everybody(tx, "joined", name):
            waiter.grant(tx, row["id"])


def all_done(tx: Transaction, name: str) -> bool:
    """Whether nothing is queued and nothing is with a reader."""
    return not tx.value(_LEFT, queue=name)


def expire(tx: Transaction) -> None:
    """Take back what was delivered to readers whose heart has stopped for longer than the lease."""
    for row in tx.rows(_EXPIRED, now=tx.now):
        give_back(
            tx, "id = :id and deliveries = :deliveries", id=row["id"], deliveries=row["deliveries"],
            reason="its reader's lease ran out", failed=True,
        )  # fmt: skip


def shut_down(tx: Transaction, name: str, *, immediate: bool) -> None:
    """Close a queue: nothing more is put, and what is queued is read to the end, or at once a dead letter."""
    how = "immediate" if immediate else "orderly"
    tx.execute("update queue set closed = :how where name = :queue", how=how, queue=name)
    tx.event("queue.shut_down", object=name, how=how)
    if immediate:
        reason = "the queue was shut down"
        rows = tx.rows(
            f"update queue_message set dead_at = :now, dead_reason = :reason where {_READY} returning id",  # noqa: S608  constants
            queue=name, now=tx.now, reason=reason,
        )  # fmt: skip
        for row in rows:
            tx.event("queue.dead", object=name, message=row["id"], reason=reason)
        _change_length(tx, name, -len(rows))
        finish(tx, name)
    for kind in ("room", "queue"):
        for row in waiter.everybody(tx, kind, name):
            waiter.refuse(tx, row["id"], closed=how)


def closed(tx: Transaction, name: str) -> ShutDown | None:
    """What is raised where the queue is closed; None while it is open."""
    row = tx.row("select closed from queue where name = :queue", queue=name)
    return ShutDown(name, row["closed"]) if row is not None and row["closed"] is not None else None


def withdraw(tx: Transaction, name: str, number: int) -> None:
    """Take out what was put for a writer just as it was interrupted, unless somebody has it already."""
    taken_out = f"delete from queue_message where id = :id and {_READY}"  # noqa: S608  constants of this file
    if tx.execute(taken_out, id=number, queue=name):
        tx.event("queue.withdrawn", object=name, message=number)
        _change_length(tx, name, -1)
        admit(tx, name)
        finish(tx, name)


def renew_held_by(tx: Transaction, agent: int) -> None:
    """Extend every delivery of an agent that has just said that it lives: all of them end so long after this."""
    tx.execute("update agent set beat_at = :now where id = :agent", now=tx.now, agent=agent)


def give_back_held_by(
    tx: Transaction, *, agent: int | None = None, task: int | None = None, reason: str | None = None
) -> None:
    """Put back what an agent that is gone took for itself, or what a task that has failed for good had not finished.

    A `reason` tells that it did not leave in an orderly way, so that the delivery counts as failed.
    """
    if agent is not None:
        give_back(
            tx, "holder = :agent and holder_task is null", agent=agent,
            reason=reason or "its reader left", failed=reason is not None,
        )  # fmt: skip
    if task is not None:
        reason = reason or f"task {task} ended without it"
        give_back(tx, "holder_task = :task", task=task, reason=reason, failed=True)


def forget_held_by(tx: Transaction, *, task: int) -> None:
    """What a task had taken is dealt with, since the task is done."""
    rows = tx.rows("delete from queue_message where holder_task = :task returning id, queue", task=task)
    for row in rows:
        tx.event("queue.done", object=row["queue"], task=task, message=row["id"])
    for name in sorted({row["queue"] for row in rows}):
        finish(tx, name)


def _change_length(tx: Transaction, name: str, by: int) -> None:
    tx.execute("update queue set length = length + :by where name = :queue and maxsize > 0", by=by, queue=name)
