"""Agents asleep: beyond a bound, those who wait have no process; their places in line stay, in their names.

    parked --too many have a process--> asleep --decided, or its time is up--> running, in a new process

A place belongs to the tool call that waits (state/calling.py): the new process makes that call again, has its place,
and returns what was decided.  So whatever waits by a tool call can sleep.  What the agent holds meanwhile is kept for
it while its supervisor's process is there, even if that is stopped (primitives/holdings.py).
"""

from __future__ import annotations

from prong.primitives import delivery, holdings
from prong.state import Row, Store, Transaction
from prong.state.member import LEASE_S

RENEW_S = LEASE_S / 3
"""How often what agents asleep hold is renewed, in seconds: as often as an agent does it by itself."""

TOGETHER = 50
"""How many processes are put to sleep in one round."""

NAP_S = 5.0
"""A wait that ends by itself within so many seconds is not worth a new process."""

# What a program waits for, which runs within one call, it would wait for anew; but the end of tasks and an answer stay
# as they are, and work that is handed in, unless it is a program's, which would run once more where it comes back.
# Those who stand in line for what others hand on are the last to be put to sleep, the first in line last of all:
# everybody behind them would wait for their new process.  Of those whose work waits for its merge the last go first.
_DROWSY = """
select agent.id as agent, task.id as task from task join agent on agent.id = task.agent
  join waiter on waiter.agent = agent.id
 where task.state not in ('done', 'failed', 'cancelled') and task.state = 'parked' and task.held is null
   and agent.state = 'parked' and agent.pid is not null
   and agent.id not in (
       select agent from waiter
        where state <> 'waiting' or until_at <= :soon
           or (call is null and (kind not in ('tasks', 'approval', 'merge') or until_at is not null)))
   and (task.program is null or agent.id not in (select agent from waiter where kind = 'merge'))
 group by agent.id
 order by max(waiter.kind in ('lock', 'semaphore', 'queue', 'room')),
          max(case when waiter.kind in ('lock', 'semaphore', 'queue', 'room', 'merge') then -waiter.id
                   else waiter.id end)
 limit :most
"""

# Whether one of them may be woken, without a place among the writers; and how long nobody is by time alone.
DUE = """
select exists (select 1 from waiter join agent on agent.id = waiter.agent
                where agent.state = 'asleep' and agent.ended_at is null
                  and not exists (select 1 from task where task.id = agent.task and (not_before > :now or paused = 1))
                  and (waiter.state <> 'waiting' or waiter.until_at <= :now)) as due
"""

NEXT = """
select min(waiter.until_at) as at from waiter join agent on agent.id = waiter.agent
 where agent.state = 'asleep' and agent.ended_at is null and waiter.until_at > :now
"""

_WAKING = """
select agent.id as agent, task.id as task from agent join task on task.agent = agent.id
 where agent.ended_at is null and agent.state = 'starting' and agent.incarnation > 1
   and task.state = 'running' and exists (select 1 from waiter where waiter.agent = agent.id)
"""

_READERS = """
select id from agent
 where ended_at is null and state = 'asleep' and id in (select holder from queue_message where holder is not null)
"""

_HOLDERS = f"""
{_READERS} union all
select id from agent
 where ended_at is null and state = 'asleep'
   and (id in (select holder from lock where holder is not null)
     or id in (select holder from lock_share where holder is not null)
     or id in (select holder from permit))
"""  # noqa: S608  put together from constants of this file


def put_to_sleep(tx: Transaction, excess: int) -> tuple[int, ...]:
    """Choose whose processes are to be ended, at most `excess` and `TOGETHER`: the agents' numbers.

    The agent stays a member and keeps its place; only what that process writes from now on is refused.
    """
    rows = tx.rows(_DROWSY, most=min(excess, TOGETHER), soon=tx.now + NAP_S)
    for row in rows:
        _lay_down(tx, row)
    if rows:
        tx.buried()
        holdings.keep_for_sleepers(tx)
    return tuple(row["agent"] for row in rows)


def wake(tx: Transaction, agent: int, *, within_s: float) -> None:
    """A new process is on its way, and takes up the places of the calls that it makes again."""
    gone = "select id from waiter where agent = :agent and call is null"
    tx.execute(f"delete from waiter_task where waiter in ({gone})", agent=agent)  # noqa: S608  a constant of ours
    tx.execute("delete from waiter where agent = :agent and call is null", agent=agent)
    tx.execute(
        "update agent set state = 'starting', expires_at = :at where id = :agent", agent=agent, at=tx.now + within_s
    )


def go_on(tx: Transaction) -> list[int]:
    """The processes of all agents are gone: the numbers of those who need one; who slept, or was to wake, sleeps."""
    for row in tx.rows(_WAKING):
        sleeps_on(tx, row["agent"])
    tx.execute("update agent set pid = null where ended_at is null and state = 'asleep'")
    _renew(tx)
    rows = tx.rows("select id from agent where ended_at is null and task is not null and state <> 'asleep'")
    return [row["id"] for row in rows]


def sleeps_on(tx: Transaction, agent: int, *, pause_s: float = 0.0) -> bool:
    """The process that was to wake an agent was never there: it sleeps on in its place; False where none was to.

    It is not woken again for `pause_s` seconds.
    """
    row = tx.row(f"{_WAKING} and agent.id = :agent", agent=agent)
    if row is None:
        return False
    later = tx.now + pause_s if pause_s else None
    tx.execute("update task set state = 'parked', not_before = :at where id = :task", task=row["task"], at=later)
    _lay_down(tx, row)
    return True


def lay_to_rest(tx: Transaction, task: int) -> bool:
    """An agent asleep whose task has ended is not woken any more; whether there was one."""
    rows = tx.rows("select id from agent where task = :task and state = 'asleep' and ended_at is null", task=task)
    for row in rows:
        holdings.bury(tx, row["id"], state="ended", reason="its task ended while it was asleep", task=task)
    return bool(rows)


def renew(store: Store) -> None:
    """Extend the leases of all that agents asleep hold."""
    if store.rows(_HOLDERS):
        with store.transaction(None) as tx:
            _renew(tx)


def _renew(tx: Transaction) -> None:
    holdings.keep_for_sleepers(tx)
    for row in tx.rows(_READERS):
        delivery.renew_held_by(tx, row["id"])


def _lay_down(tx: Transaction, row: Row) -> None:
    tx.execute(
        "update agent set state = 'asleep', incarnation = incarnation + 1, expires_at = null where id = :agent",
        agent=row["agent"],
    )
    tx.execute("update task set held = 'asleep' where id = :task", task=row["task"])
    tx.event("agent.asleep", object=str(row["agent"]), task=row["task"])
