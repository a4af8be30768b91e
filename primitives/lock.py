"""A mutual-exclusion lock that survives the death of its holder.

    free --acquire--> held --release--> free
                       +--lease expires, holder dies--> free

Whoever frees the lock hands it, in the same transaction, to the first in line.  A slow holder may outlive its lease;
every grant therefore carries a *fence*, which only grows, and whoever guards the real resource refuses a fence lower
than the last it saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from prong.primitives.errors import NotHeld
from prong.primitives.values import checked_lease, checked_name, checked_timeout
from prong.state import Membership, Transaction, waiter
from prong.state.waiter import Outcome, Place

LEASE_S = 60.0
"""How long a grant lasts without a heartbeat of its holder, in seconds."""

_TAKE = """
insert into lock (name, holder, task, fence, lease_s, acquired_at, expires_at)
     values (:name, :agent, :task, 1, :lease_s, :now, :now + :lease_s)
on conflict (name) do update
        set holder = excluded.holder, task = excluded.task, fence = lock.fence + 1, lease_s = excluded.lease_s,
            acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, kept = 0
      where (lock.holder is null and lock.kept = 0 or lock.expires_at <= :now)
        and not exists (select 1 from waiter where kind = 'lock' and object = :name and state = 'waiting'
                           and (until_at is null or until_at > :now))
  returning fence, expires_at                                  -- no row: somebody holds it, or came first
"""

_HAND_OVER = """
update lock set holder = :agent, task = :task, fence = fence + 1, lease_s = :lease_s,
                acquired_at = :now, expires_at = :now + :lease_s, kept = 0
 where name = :name and (holder is null and kept = 0 or expires_at <= :now)
returning fence, expires_at
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to what a lock guards: until `expires_at` (seconds since 1970), under `fence`."""

    name: str
    fence: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """Who holds the lock, since and until when, and how many wait for it."""

    name: str
    holder: str | None
    task: int | None
    fence: int
    acquired_at: float | None
    expires_at: float | None
    waiting: int


class Lock:
    """A lock by name, as `threading.Lock`, between processes.

    It is the membership that holds it: threads that share one share its locks.

    >>> with Lock(member, "index") as grant:              # doctest: +SKIP
    ...     append(path, line, fence=grant.fence)
    """

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("lock name", name)
        self._member = member

    def __repr__(self) -> str:
        return f"Lock({self.name!r})"

    def acquire(self, *, timeout: float | None = None, lease_s: float = LEASE_S) -> Grant | None:
        """Wait for the lock for at most `timeout` seconds (None: for ever); None where it did not come.

        Held already by this member, it is granted again under the same fence: a repeated call changes nothing.
        """
        timeout = checked_timeout(timeout)
        lease_s = checked_lease(lease_s)
        with Place(self._member, withdraw=self._withdraw) as place:
            with self._member.transaction() as tx:
                granted = self._mine(tx) or self._take(tx, lease_s, place)
                if granted is not None:
                    return granted
                hand_over(tx, self.name)  # it may have expired while those in line are dead or asleep
                if timeout == 0:
                    return None
                place.enrol(tx, "lock", self.name, timeout=timeout, wants={"lease_s": lease_s})
                tx.event("lock.waiting", object=self.name, behind=_holder_name(tx, self.name))
            outcome = place.wait(look=self._pass_on_expired)
            return Grant(self.name, **outcome.data) if outcome.state == "granted" else None

    def release(self) -> None:
        """Free the lock and hand it to the first in line; raises `NotHeld` where this member does not hold it."""
        with self._member.transaction() as tx:
            freed = tx.row(
                "update lock set holder = null, task = null, acquired_at = null, expires_at = null, kept = 0"
                " where name = :name and holder = :agent returning fence",
                name=self.name,
                agent=self._member.me.agent,
            )
            if freed is None:
                row = tx.row("select fence from lock where name = :name", name=self.name)
                raise NotHeld(self.name, _holder_name(tx, self.name), row["fence"] if row else 0)
            tx.event("lock.released", object=self.name, fence=freed["fence"])
            hand_over(tx, self.name)

    def keep(self) -> None:
        """Let the lock be the task's, if this member works on one: it then outlives the agent, until the task ends."""
        with self._member.transaction() as tx:
            tx.execute(
                "update lock set kept = 1 where name = :name and holder = :agent and task is not null",
                name=self.name,
                agent=self._member.me.agent,
            )

    def statistics(self) -> LockStatistics:
        """What is so now, read in one query."""
        row = self._member.store.row(
            "select lock.*, coalesce(agent.name, 'task ' || lock.task) as who,"
            " (select count(*) from waiter where kind = 'lock' and object = :name and state = 'waiting') as waiting"
            " from lock left join agent on agent.id = holder where lock.name = :name",
            name=self.name,
        )
        if row is None:
            return LockStatistics(self.name, None, None, 0, None, None, 0)
        return LockStatistics(
            self.name, row["who"], row["task"], row["fence"], row["acquired_at"], row["expires_at"], row["waiting"]
        )

    def __enter__(self) -> Grant:
        granted = self.acquire()
        assert granted is not None, "a wait without a timeout ends with a grant or an exception"
        return granted

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _mine(self, tx: Transaction) -> Grant | None:
        row = tx.row(
            "select fence, expires_at from lock where name = :name and holder = :agent and expires_at > :now",
            name=self.name,
            agent=self._member.me.agent,
            now=tx.now,
        )
        return Grant(self.name, row["fence"], row["expires_at"]) if row else None

    def _take(self, tx: Transaction, lease_s: float, place: Place) -> Grant | None:
        me = self._member.me
        row = tx.row(_TAKE, name=self.name, agent=me.agent, task=me.task, now=tx.now, lease_s=lease_s)
        if row is None:
            return None
        place.granted(tx, fence=row["fence"])
        tx.event("lock.acquired", object=self.name, fence=row["fence"], expires_at=row["expires_at"])
        return Grant(self.name, row["fence"], row["expires_at"])

    def _pass_on_expired(self) -> None:
        """A holder that died without a word is found by those who wait for it."""
        row = self._member.store.row("select expires_at from lock where name = :name", name=self.name)
        if row is not None and (row["expires_at"] is None or row["expires_at"] <= self._member.store.clock.now()):
            with self._member.transaction() as tx:
                hand_over(tx, self.name)

    def _withdraw(self, tx: Transaction, outcome: Outcome) -> None:
        """Undo a grant that came just as we were interrupted."""
        if outcome.state == "granted":
            reason = "its holder was interrupted while it waited"
            _free(tx, self._member.me.agent, reason=reason, name=self.name, fence=outcome.data["fence"])


def hand_over(tx: Transaction, name: str) -> None:
    """Grant a free or expired lock to the first in line."""
    heir = waiter.first(tx, "lock", name)
    if heir is None:
        return
    lease_s = waiter.wants(heir)["lease_s"]
    row = tx.row(_HAND_OVER, name=name, agent=heir["agent"], task=heir["task"], now=tx.now, lease_s=lease_s)
    if row is not None:
        tx.event(
            "lock.acquired", object=name, task=heir["task"], holder=heir["agent"], waited_s=tx.now - heir["since_at"],
            fence=row["fence"], expires_at=row["expires_at"],
        )  # fmt: skip
        waiter.grant(tx, heir["id"], fence=row["fence"], expires_at=row["expires_at"])


def free_held_by(tx: Transaction, agent: int, *, reason: str) -> None:
    """Free what a dead agent held and hand it on, but for what it kept for a task that goes on without it."""
    tx.execute(
        "update lock set expires_at = null, holder = null where holder = :agent and kept = 1"
        " and task in (select id from task where state not in ('done', 'failed', 'cancelled'))",
        agent=agent,
    )
    for row in tx.rows("select name, fence from lock where holder = :agent order by name", agent=agent):
        _free(tx, agent, reason=reason, name=row["name"], fence=row["fence"])


def inherit(tx: Transaction, task: int, agent: int) -> None:
    """Give a task's new agent the locks that its last one kept, under fences of its own."""
    for row in tx.rows(
        "update lock set holder = :agent, fence = fence + 1, acquired_at = :now, expires_at = :now + lease_s"
        " where task = :task and kept = 1"
        " returning name, fence",
        agent=agent,
        now=tx.now,
        task=task,
    ):
        tx.event("lock.inherited", object=row["name"], task=task, holder=agent, fence=row["fence"])


def free_kept_for(tx: Transaction, task: int) -> None:
    """Free what was kept for a task that has ended."""
    for row in tx.rows(
        "update lock set holder = null, task = null, acquired_at = null, expires_at = null, kept = 0"
        " where task = :task and kept = 1 returning name, fence",
        task=task,
    ):
        tx.event("lock.released", object=row["name"], task=task, fence=row["fence"], reason="its task has ended")
        hand_over(tx, row["name"])


def _free(tx: Transaction, agent: int, *, reason: str, name: str, fence: int) -> None:
    row = tx.row(
        "select task from lock where name = :name and holder = :agent and fence = :fence",
        name=name,
        agent=agent,
        fence=fence,
    )
    if row is None:
        return
    tx.execute(
        "update lock set holder = null, task = null, acquired_at = null, expires_at = null, kept = 0"
        " where name = :name",
        name=name,
    )
    tx.event("lock.released", object=name, task=row["task"], holder=agent, fence=fence, reason=reason)
    hand_over(tx, name)


def renew_held_by(tx: Transaction, agent: int) -> None:
    """Extend every lease of an agent that has just said that it lives."""
    tx.execute(
        "update lock set expires_at = :now + lease_s where holder = :agent and expires_at > :now",
        now=tx.now,
        agent=agent,
    )


def _holder_name(tx: Transaction, name: str) -> str | None:
    row = tx.row(
        "select coalesce(agent.name, 'task ' || lock.task) as who"
        " from lock left join agent on agent.id = holder where lock.name = :name",
        name=name,
    )
    return row["who"] if row else None
