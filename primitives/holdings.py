"""What a member holds, over all kinds: renewed while it lives, given back when it dies, taken back when it expires."""

from __future__ import annotations

from prong.primitives import barrier, budget, condition, delivery, future, lock, permits
from prong.primitives.presence import Processes
from prong.primitives.task_attempts import give_back
from prong.primitives.values import LONGEST_LEASE_S
from prong.primitives.who import who
from prong.state import Store, Transaction, member, process

# What a program took from the line; the task of an agent of the harness is given back by the supervisor.
_CLAIMED = """
select id from task where state not in ('done', 'failed', 'cancelled') and state in ('running', 'parked')
   and agent = :agent order by id
"""

ASLEEP_S = LONGEST_LEASE_S
"""How long what an agent asleep holds lasts from the last look at it, in seconds, while its supervisor is there."""

_ASLEEP = "select id from agent where state = 'asleep' and ended_at is null"

# Beyond half of it nothing is written.
_LENGTHEN = f"""
update {{of}} set expires_at = :now + :long_s
 where expires_at > :now and expires_at <= :now + :long_s / 2 and holder in ({_ASLEEP})
"""  # noqa: S608  put together from constants of this file

_SHORTEN = f"""
update {{of}} set expires_at = :now + lease_s where expires_at > :now + lease_s and holder in ({_ASLEEP})
"""  # noqa: S608  as above

REAPED_AT_ONCE = 500
"""How many members' processes are looked at in one round of the watch; the others' turn comes in the next rounds."""


def renew(tx: Transaction, *, lease_s: float | None = member.LEASE_S) -> None:
    """The acting member's heartbeat: it lives, and so does all that it holds."""
    assert tx.member is not None
    if lease_s is not None:
        member.beat(tx, lease_s=lease_s)
    renew_for(tx, tx.member.agent)


def renew_for(tx: Transaction, agent: int) -> None:
    """Extend the leases of all that a member holds of whom the caller knows that it lives."""
    lock.renew_held_by(tx, agent)
    permits.renew_held_by(tx, agent)
    delivery.renew_held_by(tx, agent)


def keep_for_sleepers(tx: Transaction) -> None:
    """Let what agents asleep hold last: they have no process that could renew it.  For their supervisor to call."""
    for table in ("lock", "lock_share", "permit"):
        tx.execute(_LENGTHEN.format(of=table), now=tx.now, long_s=ASLEEP_S)


def look_after_sleepers(tx: Transaction) -> None:
    """Do so for a supervisor that is there, even if it stands still; for whoever looks after others' waits to call.

    Where nobody supervises them their leases run from then on, so that nothing is held for ever.  The next supervisor
    keeps what has not run out by then.
    """
    if tx.row(f"{_ASLEEP} limit 1") is None:
        return
    swarm = tx.row("select supervisor_process from swarm where state = 'running' and supervisor_pid is not null")
    if swarm is not None and not process.gone(swarm["supervisor_process"] or ""):
        keep_for_sleepers(tx)
        return
    for table in ("lock", "lock_share", "permit"):
        tx.execute(_SHORTEN.format(of=table), now=tx.now)


def bury(tx: Transaction, agent: int, *, state: str, reason: str, task: int | None) -> bool:
    """Close a member and give back what it held; False where that was done before.

    What was delivered to a task by name, and where a task has arrived, stays the task's: it lives on without this
    agent.
    """
    condition.pass_on(tx, agent)  # while its places in line tell what it was notified of
    delivery.restore_unread(tx, agent)
    if not member.end(tx, agent, state=state, reason=reason):
        return False
    barrier.free_held_by(tx, agent, reason=reason)
    lock.free_held_by(tx, agent, reason=reason)
    permits.free_held_by(tx, agent, reason=reason)
    future.free_held_by(tx, agent, reason=reason)
    budget.free_held_by(tx, agent, reason=reason)
    delivery.give_back_held_by(tx, agent=agent, reason=None if state == "ended" else reason)
    if task is None:
        for row in tx.rows(_CLAIMED, agent=agent):
            give_back(tx, row["id"], agent=agent, reason=reason, blame=state == "dead")
        barrier.break_for(tx, agent=agent, task=None, reason=f"{who(tx, agent)} is gone: {reason}")
    return True


def shortest_lease(tx: Transaction) -> float | None:
    """The shortest lease, in seconds, under which the acting member holds something; None where it holds nothing."""
    assert tx.member is not None
    shortest: float | None = tx.value(
        "select min(lease_s) from (select lease_s from lock where holder = :agent"
        " union all select lease_s from lock_share where holder = :agent"
        " union all select lease_s from permit where holder = :agent and expired = 0"
        " union all select lease_s from queue as q"
        "  where exists (select 1 from queue_message where queue = q.name and holder = :agent))",
        agent=tx.member.agent,
    )
    return shortest


def expire(tx: Transaction) -> None:
    """Take back every right whose lease has run out, and hand it on."""
    lock.expire(tx)
    permits.expire(tx)
    future.expire(tx)
    delivery.expire(tx)


def reap(store: Store, processes: Processes, after: int = 0) -> int:
    """Bury joined members whose process is gone, at most `REAPED_AT_ONCE` from number `after` on; where to go on."""
    processes.look()
    rows = store.rows(
        "select id, process, expires_at <= :now as expired from agent"
        " where ended_at is null and id > :after and process is not null order by id limit :limit",
        now=store.clock.now(),
        after=after,
        limit=REAPED_AT_ONCE,
    )
    for row in rows:
        if row["expired"] or processes.gone(row["process"]):
            reason = "its heartbeat stopped" if row["expired"] else "its process is gone"
            with store.transaction(None) as tx:
                bury(tx, row["id"], state="dead", reason=reason, task=None)
    return rows[-1]["id"] if len(rows) == REAPED_AT_ONCE else 0
