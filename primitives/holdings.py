"""What a member holds, over all kinds: renewed while it lives, given back when it dies."""

from __future__ import annotations

from prong.primitives import barrier, lock, message_queue
from prong.state import Transaction, member


def renew(tx: Transaction, *, lease_s: float = member.LEASE_S) -> None:
    """The acting member's heartbeat: it lives, and so does all that it holds."""
    assert tx.member is not None
    member.beat(tx, lease_s=lease_s)
    lock.renew_held_by(tx, tx.member.agent)


def bury(tx: Transaction, agent: int, *, state: str, reason: str, task: int | None) -> bool:
    """Close a member and give back what it held; False where that was done before.

    What was delivered to a task by name, and where a task has arrived, stays the task's: it lives on without this
    agent.
    """
    if not member.end(tx, agent, state=state, reason=reason):
        return False
    lock.free_held_by(tx, agent, reason=reason)
    message_queue.give_back_held_by(tx, agent=agent)
    if task is None:
        barrier.break_for(tx, agent=agent, task=None, reason=f"agent {agent} is gone: {reason}")
    return True
