"""A mutual-exclusion lock that survives the death of its holder, held by one alone or by many who share it.

    free --acquire--> held --release--> free
      |                +--lease expires, holder dies--> free
      +--acquire(shared=True)--> shared --the last one releases--> free

Whoever frees the lock hands it, in the same transaction, to the first in line, or to all who are first in line and
share it; nobody overtakes the line.  A slow holder may outlive its lease; every grant therefore carries a *fence*,
which only grows: `check` refuses a change under a grant that is over, and whoever guards something outside of the
database refuses a fence lower than the last it saw.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from prong.primitives import lock_line as line
from prong.primitives.any_lock import LEASE_S, AnyLock, patience
from prong.primitives.lock_line import Grant, Wanted
from prong.primitives.values import checked_lease, checked_name
from prong.state import Transaction

# Each name in line once, without reading the line: the index is left for the next name as soon as one is found.
_MOVABLE = """
with recursive line (name) as (
    select min(object) from waiter where kind = 'lock' and state = 'waiting'
     union all
    select (select min(object) from waiter where kind = 'lock' and state = 'waiting' and object > line.name)
      from line where line.name is not null)
select lock.name from line join lock on lock.name = line.name
 where lock.expires_at <= :now or lock.holder is null and lock.kept = 0
"""

_KEEP = (
    "update lock set kept = 1 where name = :name and holder = :agent and depth = 0 and task is not null",
    "update lock_share set kept = 1 where lock = :name and holder = :agent and task is not null",
)

_RENEW = (
    "update lock set expires_at = :now + lease_s where holder = :agent and expires_at > :now",
    "update lock_share set expires_at = :now + lease_s where holder = :agent and expires_at > :now",
)

_LEAVE_TO_TASK = (
    """update lock set expires_at = null, holder = null where holder = :agent and kept = 1
          and task in (select id from task where state not in ('done', 'failed', 'cancelled'))""",
    """update lock_share set expires_at = null, holder = null where holder = :agent and kept = 1
          and task in (select id from task where state not in ('done', 'failed', 'cancelled'))""",
)

_INHERIT = """
update lock set holder = :agent, fence = :fence, acquired_at = :now, expires_at = :now + lease_s, thread = null
 where name = :name
"""

_INHERIT_SHARE = """
update lock_share set holder = :agent, fence = :fence, acquired_at = :now, expires_at = :now + lease_s
 where lock = :name and fence = :before
"""

_KEPT = """
select name, fence, 0 as shared from lock where task = :task and kept = 1
 union all
select lock, fence, 1 from lock_share where task = :task and kept = 1 order by name, fence
"""


class Lock(AnyLock):
    """A lock by name, as `threading.Lock`, between processes and their threads.

    It is the member that holds it: any thread of it may release it, through any object of that name.  Whoever acquires
    it twice waits for himself, as with `threading.Lock`.

    >>> with swarm.Lock("index") as grant:
    ...     grant.fence
    1
    """

    def acquire(
        self,
        blocking: bool = True,  # noqa: FBT001, FBT002  the standard library's own signature
        timeout: float = -1,
        *,
        shared: bool = False,
        lease_s: float = LEASE_S,
        key: str | None = None,
    ) -> bool:
        """Take the lock, waiting for at most `timeout` seconds (-1: for ever); False where it did not come.

        It is granted for `lease_s` seconds, which heartbeats renew.  `shared` lets others in who share it too, and
        keeps out only who wants it alone.  A `key` names the call: repeated by the same member, it finds the grant that
        it has and changes nothing.  Raises ValueError for a negative timeout or one with `blocking=False`.

        >>> lock = swarm.Lock("index")
        >>> lock.acquire(), lock.acquire(blocking=False), lock.acquire(timeout=0)
        (True, False, False)
        """
        wanted = self._wanted(lease_s, shared=shared, key=key)
        return self._acquire(patience(blocking, timeout), wanted) is not None

    def release(self) -> None:
        """Free the lock, or give back one share of it, and hand it to the first in line; raises `NotHeld`.

        >>> swarm.Lock("index").release()
        Traceback (most recent call last):
        prong.primitives.errors.NotHeld: you do not hold lock 'index': nobody holds it. ...
        """
        self._release(thread=None)

    @contextmanager
    def shared(self, *, lease_s: float = LEASE_S) -> Iterator[Grant]:
        """Share the lock for the length of a block.

        >>> with swarm.Lock("index").shared() as grant:
        ...     grant.shared
        True
        """
        grant = self._acquire(None, self._wanted(lease_s, shared=True))
        assert grant is not None, "a wait without a timeout ends with a grant or an exception"
        try:
            yield grant
        finally:
            with self._member.transaction() as tx:
                line.release_share(tx, self.name, only=grant.fence)

    def keep(self) -> None:
        """Let the lock be the task's, if this member works on one: it then outlives the agent, until the task ends."""
        with self._member.transaction() as tx:
            for keep in _KEEP:
                tx.execute(keep, name=self.name, agent=self._member.me.agent)

    def let_go(self, tx: Transaction) -> Wanted:
        """Free the lock inside the caller's transaction, and what to wait for to have it again as it was."""
        line.release(tx, self.name, thread=None)
        return self._wanted()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # If the lease ran out, another thread of this member may have it by now: that one's is not ours to release.
        self._release(thread=threading.get_ident())

    def _wanted(self, lease_s: float = LEASE_S, *, shared: bool = False, key: str | None = None) -> Wanted:
        if key is not None:
            checked_name("key of a call", key)
        return Wanted(bool(shared), checked_lease(lease_s), threading.get_ident(), key=key)

    def _release(self, *, thread: int | None) -> None:
        last = self._last
        with self._member.transaction() as tx:
            rather = last.fence if last is not None else 0
            line.release(tx, self.name, thread=thread, rather=rather, awaited=self._waited)

    def _give_back(self, tx: Transaction, fence: int, wanted: Wanted) -> None:  # noqa: ARG002  an RLock's matters
        reason = "its holder was interrupted while it waited"
        line.give_back(tx, self.name, self._member.me.agent, fence, reason=reason)


def renew_held_by(tx: Transaction, agent: int) -> None:
    """Extend every lease of an agent that has just said that it lives."""
    for renew in _RENEW:
        tx.execute(renew, now=tx.now, agent=agent)


def expire(tx: Transaction) -> None:
    """Take back what expired and is waited for, and let every line move that can.

    What nobody waits for is left to whoever wants it next, so that this reads one row a line and no index is needed.
    """
    for row in tx.rows(_MOVABLE, now=tx.now):
        line.move(tx, row["name"])


def free_held_by(tx: Transaction, agent: int, *, reason: str) -> None:
    """Free what a dead agent held and hand it on, but for what it kept for a task that goes on without it."""
    for leave in _LEAVE_TO_TASK:
        tx.execute(leave, agent=agent)
    for row in tx.rows(
        "select name, fence from lock where holder = :agent"
        " union all select lock, fence from lock_share where holder = :agent order by 1, 2",
        agent=agent,
    ):
        line.give_back(tx, row["name"], agent, row["fence"], reason=reason)
    expire(tx)  # it may have stood in a line, between those who share the lock and others who want to


def inherit(tx: Transaction, task: int, agent: int) -> None:
    """Give a task's new agent the locks that its last one kept, under fences of its own."""
    for row in tx.rows(_KEPT, task=task):
        fence = tx.value("update lock set fence = fence + 1 where name = :name returning fence", name=row["name"])
        inherit = _INHERIT_SHARE if row["shared"] else _INHERIT
        tx.execute(inherit, agent=agent, fence=fence, now=tx.now, name=row["name"], before=row["fence"])
        tx.event("lock.inherited", object=row["name"], task=task, holder=agent, fence=fence)


def free_kept_for(tx: Transaction, task: int) -> None:
    """Free what was kept for a task that has ended."""
    for row in tx.rows(_KEPT, task=task):
        free = line.FREE_SHARE if row["shared"] else line.FREE + " where name = :name"
        tx.execute(free, name=row["name"], fence=row["fence"])
        tx.event("lock.released", object=row["name"], task=task, fence=row["fence"], reason="its task has ended")
        line.hand_over(tx, row["name"])
