"""The first request after a fork warms the prompt cache for all others.

    cold --somebody asks--> warming --its response begins--> warm --five minutes--> cold
                               +--the leader dies--> cold

A cache entry can be read only once the response to the request that wrote it has begun; sixteen children that ask at
the same moment would all pay for writing the same prefix.  So one leads and the others wait for its first byte.  The
parent itself leads where it can: its next request holds the fork point too and has to be paid for anyway, and no child
then pays for the assistant message in which it was made.  Where the parent waits or is gone, the first child leads.
"""

from __future__ import annotations

from prong.state import Membership, Transaction, waiter

PARENT_GRACE_S = 2.0
"""How long children leave the lead to a parent that is still at work on its turn, in seconds."""

WARM_S = 290.0
"""How long a warmed prefix is taken to be readable, in seconds: the cache's five minutes, less a margin."""


def declare(tx: Transaction, message: int, prefix_hash: str) -> None:
    """Say that an assistant message is a fork point, and what all its forks share."""
    tx.execute(
        "insert into fork_point (message, state, prefix_hash) values (:message, 'cold', :hash)"
        " on conflict (message) do nothing",
        message=message,
        hash=prefix_hash,
    )


def exists(member: Membership, message: int) -> bool:
    """Whether a fork was made at this message."""
    return bool(member.store.row("select 1 from fork_point where message = :message", message=message))


def lead_or_wait(member: Membership, message: int, *, parent: bool) -> bool:
    """Before a request that holds the fork point: True where we lead; False, at once or later, where it is warm."""
    while True:
        with member.transaction() as tx:
            if _is_warm(tx, message):
                return False
            if _may_lead(tx, message, parent=parent) and _take_lead(tx, message):
                tx.event("fork.warming", object=str(message))
                return True
            ticket = waiter.enrol(tx, "fork", str(message), timeout=PARENT_GRACE_S)
        outcome = waiter.wait(member, ticket, parks=False)
        parent = parent or outcome.state == "timeout"


def warmed(member: Membership, message: int) -> None:
    """The response has begun: let the others go."""
    with member.transaction() as tx:
        tx.execute(
            "update fork_point set state = 'warm', leader = null, warm_until = :until where message = :message",
            until=tx.now + WARM_S,
            message=message,
        )
        tx.event("fork.warm", object=str(message))
        _let_look(tx, message)


def abandon(tx: Transaction, agent: int) -> None:
    """The agent is dead: if it led, those who wait for it choose another."""
    for row in tx.rows(
        "update fork_point set state = 'cold', leader = null where leader = :agent returning message", agent=agent
    ):
        _let_look(tx, row["message"])


def parent_parks(tx: Transaction, task: int) -> None:
    """The task's agent waits, so it will not ask soon: the children that left it the lead need wait no longer."""
    for row in tx.rows(
        "select message from fork_point join message on message.id = fork_point.message"
        " where message.task = :task and fork_point.state = 'cold'",
        task=task,
    ):
        _let_look(tx, row["message"])


def chill(tx: Transaction) -> None:
    """The cache itself is gone, with the emulator that held it."""
    tx.execute("update fork_point set state = 'cold', leader = null")


def _let_look(tx: Transaction, message: int) -> None:
    for row in waiter.line(tx, "fork", str(message)):
        waiter.grant(tx, row["id"])


def _is_warm(tx: Transaction, message: int) -> bool:
    row = tx.row("select state, warm_until from fork_point where message = :message", message=message)
    return row is not None and row["state"] == "warm" and row["warm_until"] > tx.now


def _may_lead(tx: Transaction, message: int, *, parent: bool) -> bool:
    """A child leaves the lead to its parent while that is about to ask; the parent asks nobody."""
    if parent:
        return True
    row = tx.row(
        "select 1 from message join task on task.id = message.task"
        " where message.id = :message and task.state = 'running'",
        message=message,
    )
    return row is None


def _take_lead(tx: Transaction, message: int) -> bool:
    assert tx.member is not None
    taken = tx.execute(
        "update fork_point set state = 'warming', leader = :agent where message = :message"
        " and (state <> 'warming' or leader = :agent"
        "      or leader in (select id from agent where ended_at is not null))",
        agent=tx.member.agent,
        message=message,
    )
    return bool(taken)
