"""Membership: joining a swarm, saying that one lives, and leaving it.

    starting --> running <--> parked
        |           |
        +-----------+--> ended (it left)   dead (it was declared dead: its process is gone or its heartbeat stopped)

A dead member's row stays, so that a process that wakes up too late finds itself refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from prong.state.calling import Calling
from prong.state.store import Store
from prong.state.ticket import Ticket
from prong.state.transaction import Member, Transaction

LEASE_S = 15.0
"""An agent that has not beaten its heart for this many seconds is declared dead."""


Parking = Callable[[Ticket], AbstractContextManager[None]]
"""What a member does while it waits: an agent gives up its slot and gets one again."""


def no_parking(_ticket: Ticket) -> AbstractContextManager[None]:
    """For members that hold no slot."""
    return nullcontext()


class Membership:
    """A process's place in a swarm: the store, who it is there, and how it parks.  Every primitive is made with one.

    An agent's has the tool calls that it makes, too.
    """

    calling: Calling | None = None

    def __init__(self, store: Store, me: Member, parking: Parking = no_parking) -> None:
        self.store = store
        self.parking = parking
        self._me: Member | None = me

    @property
    def me(self) -> Member:
        """Who acts."""
        assert self._me is not None
        return self._me

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One atomic change in this member's name; raises `Deposed` once it was declared dead."""
        return self.store.transaction(self.me)

    def atomic(self) -> AbstractContextManager[Transaction]:
        """Make all that this thread does inside the block one transaction: all of it happens, or nothing.

        A call in there that would have to wait for others raises `WaitInsideAtomic`.
        """
        return self.store.atomic(self.me)

    def holding(self, lease_s: float) -> None:
        """It holds something now under a lease of so many seconds, which somebody has to renew."""


def join(store: Store, name: str, *, lease_s: float | None = None) -> Membership:
    """Make the calling process a member of the swarm; `lease_s` None ties it to the process alone."""
    with store.transaction(None) as tx:
        agent = enlist(tx, name, pid=os.getpid(), task=None, state="running", lease_s=lease_s)
    return Membership(store, Member(agent, 1))


def enlist(
    tx: Transaction, name: str, *, pid: int | None, task: int | None, state: str, lease_s: float | None,
    process: str | None = None,
) -> int:  # fmt: skip
    """Write a new member's row and return its number; whose `process` is told is found dead by anybody."""
    agent: int = tx.value(
        "insert into agent (name, pid, task, state, beat_at, expires_at, started_at, process)"
        " values (:name, :pid, :task, :state, :now, :expires_at, :now, :process) returning id",
        process=process,
        name=name,
        pid=pid,
        task=task,
        state=state,
        now=tx.now,
        expires_at=None if lease_s is None else tx.now + lease_s,
    )
    tx.event("agent.joined", object=name, task=task, agent_id=agent)
    return agent


def beat(tx: Transaction, *, lease_s: float) -> None:
    """Say that the acting member lives, which extends its own lease."""
    assert tx.member is not None
    tx.execute(
        "update agent set beat_at = :now, expires_at = :expires_at where id = :agent",
        now=tx.now,
        expires_at=tx.now + lease_s,
        agent=tx.member.agent,
    )


def end(tx: Transaction, agent: int, *, state: str, reason: str) -> bool:
    """Close a member's row; False where it was closed before."""
    changed = tx.execute(
        "update agent set state = :state, ended_at = :now, reason = :reason where id = :agent and ended_at is null",
        state=state,
        now=tx.now,
        reason=reason,
        agent=agent,
    )
    if changed:
        tx.buried()
        tx.execute("delete from waiter_task where waiter in (select id from waiter where agent = :agent)", agent=agent)
        for row in tx.rows("delete from waiter where agent = :agent returning id, kind, object", agent=agent):
            tx.tell(row["id"], Ticket(*row).slot, None)  # whoever sleeps on it learns at once that it is over
        tx.event(f"agent.{state}", object=str(agent), reason=reason)
    return bool(changed)
