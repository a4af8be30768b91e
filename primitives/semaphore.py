"""Semaphores: so many permits, and what happens to a permit whose holder dies.

    free --acquire--> lent ----release--> free               a resource: the semaphore began with one permit or more
                       +--lease expires, holder dies or leaves--> free
    free --acquire--> used up                                a signal: it began with none, or `lease_s=None`
    release of what nobody was lent --> one more is free

Of a permit that is free while somebody waits there is none: whatever frees one hands it, in the same transaction, to
the first in line.  Permits are alike, as in `threading`: a release gives back one of one's own, else one that was lent
to somebody else, so that one process may acquire for another that releases, and no death makes a permit too many.  A
permit whose lease ran out belongs to somebody else already; its former holder's release adds none, but says so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import EllipsisType, TracebackType

from prong.primitives import once as changes
from prong.primitives import permits
from prong.primitives.errors import PermitLost, ReleasedTooOften
from prong.primitives.place import Place
from prong.primitives.values import MOST, checked_lease, checked_name, checked_number, checked_timeout
from prong.state import Invalid, Membership, Row, Transaction
from prong.state.waiter import Outcome

LEASE_S = 60.0
"""How long a permit is lent without a heartbeat of its holder, in seconds."""

_TAKE = """
update semaphore set value = value - 1, grants = grants + 1
 where name = :name and initial = :initial and bounded = :bounded and value > 0
returning grants                                   -- no row: none is free, or the semaphore is another or not made yet
"""

_ADD = """
update semaphore set value = value + :count
 where name = :name and initial = :initial and bounded = :bounded and value + :count <= :most
returning value, exists (select 1 from permit where semaphore = :name) as lent,
          exists (select 1 from waiter where kind = 'semaphore' and object = :name and state = 'waiting') as line
"""

_OWN = """
delete from permit
 where semaphore = :name and holder = :agent
   and (expired, number) in (select expired, number from permit where semaphore = :name and holder = :agent
                              order by expired, number limit :count)
returning number, expired
"""

_OF_OTHERS = """
delete from permit
 where semaphore = :name
   and (holder, expired, number) in (select holder, expired, number from permit where semaphore = :name and expired = 0
                                      order by holder limit :count)
returning number
"""

_STATISTICS = """
select semaphore.*, permit.*,
       case when permit.expires_at is null then 'task ' || permit.task else agent.name end as who,
       (select count(*) from waiter where kind = 'semaphore' and object = :name and state = 'waiting') as waiting
  from semaphore left join permit on semaphore = semaphore.name and expired = 0
                 left join agent on agent.id = holder
 where semaphore.name = :name order by number
"""


@dataclass(frozen=True, slots=True)
class Permit:
    """A permit that is lent: to whom, and until when if the holder's heart stops (None: it is kept for a task)."""

    number: int
    holder: str
    task: int | None
    acquired_at: float
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class SemaphoreStatistics:
    """How many permits are free, to whom the others are lent, and how many wait; `initial` None: not made yet."""

    name: str
    initial: int | None
    bounded: bool
    value: int
    permits: tuple[Permit, ...]
    waiting: int


class Semaphore:
    """A semaphore by name, as `threading.Semaphore`, between processes.

    Whoever uses it first makes it with `value` free permits, 1 where nothing is said; another value later on is refused
    with `Invalid`, and who says nothing uses it as it is.  `threading`'s ValueError meets a value below 0.

    >>> gpu = swarm.Semaphore("gpu", 2)
    >>> with gpu:                                  # lent: it comes back even if this process is killed here
    ...     gpu
    <prong.Semaphore at 'gpu': value=1>
    >>> gpu
    <prong.Semaphore at 'gpu': value=2>
    """

    _bounded = False

    def __init__(self, member: Membership, name: str, value: int | None = None) -> None:
        if value is not None and value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self.name = checked_name("semaphore name", name)
        self._initial = 1 if value is None else checked_number("a semaphore's initial value", value, least=0)
        self._is_told = value is None
        self._member = member
        self._as_made = {"name": self.name, "initial": self._initial, "bounded": self._bounded}

    def __repr__(self) -> str:
        value: int | str = "?"
        initial = self._initial
        with suppress(Exception):  # what cannot be read must not keep anybody from being told which semaphore it is
            row = self._member.store.row("select value, initial from semaphore where name = :name", name=self.name)
            value, initial = (initial, initial) if row is None else row
        of = f"/{initial}" if self._bounded else ""
        return f"<prong.{type(self).__name__} at {self.name!r}: value={value}{of}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Semaphore):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def acquire(
        self,
        blocking: bool = True,  # noqa: FBT001, FBT002  the standard library's own signature
        timeout: float | None = None,
        *,
        lease_s: float | EllipsisType | None = ...,
        key: str | None = None,
    ) -> bool:
        """Take a permit, waiting for at most `timeout` seconds (None: for ever); False where none came.

        The permit is lent for `lease_s` seconds, which heartbeats renew, and comes back when its holder dies or leaves.
        With `lease_s=None` it is used up instead, and only a release makes up for it: for signals, and where another
        process is to release.  Left out, it is 60 s, or None where the semaphore began with 0.  A `key` names the call:
        repeated by the same member, it finds the permit that it has and takes no second one.

        Raises ValueError for a timeout with `blocking=False`; `Invalid` where the semaphore has another initial value.

        >>> gpu = swarm.Semaphore("gpu", 1)
        >>> gpu.acquire(), gpu.acquire(blocking=False), gpu.acquire(timeout=0)
        (True, False, False)
        >>> done = swarm.Semaphore("done", 0)
        >>> done.release()                         # as often as something is done, by whoever did it
        >>> done.acquire()
        True
        """
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        at_once = not blocking or (timeout is not None and timeout < 0)
        patience = 0.0 if at_once else checked_timeout(timeout)
        lease_s = lease_s if lease_s is None or isinstance(lease_s, EllipsisType) else checked_lease(lease_s)
        if key is not None:
            checked_name("key of a call", key)
        return self._try(patience, lease_s, key) or (
            patience == 0 and self._glance() and self._try(patience, lease_s, key)
        )

    def _glance(self) -> bool:
        """Who only polls has to look by himself whether a holder is gone."""
        from prong.primitives.watch import glance  # noqa: PLC0415  it looks after every kind, this one too

        return glance(self._member.store)

    def _try(self, patience: float | None, lease_s: float | EllipsisType | None, key: str | None) -> bool:
        with Place(self._member, withdraw=self._withdraw) as place:
            with self._member.transaction() as tx:
                if place.take_up(tx, "semaphore", self.name) is None:
                    got = self._has(tx, key) or self._take(tx, place, lease_s, key)
                    if got or patience == 0:
                        return self._told(got, lease_s)
                    wants = {"bounded": self._bounded, "lease_s": self._lease(lease_s), "key": key}
                    place.enrol(tx, "semaphore", self.name, timeout=patience, wants=wants)
                    tx.event("semaphore.waiting", object=self.name)
            return self._told(place.wait().state == "granted", lease_s)

    def release(self, n: int = 1, *, key: str | None = None) -> None:
        """Free `n` permits, and hand them in the same transaction to those who wait, first come first served.

        A `key` names the call: repeated, it changes nothing.  Raises ValueError where `n` is below 1, and `PermitLost`
        where the lease of a permit of one's own ran out, so that somebody else may have been at work as well; the other
        permits are free then.

        >>> done = swarm.Semaphore("done", 0)
        >>> done.release(3)
        >>> done
        <prong.Semaphore at 'done': value=3>
        """
        if n < 1:
            raise ValueError("n must be one or more")
        checked_number("a number of permits", n)
        lost = 0
        with self._member.transaction() as tx:
            if not changes.returned(tx, f"release of semaphore {self.name}", key):
                lost = self._release(tx, n)
                changes.remember(tx, f"release of semaphore {self.name}", key, result=True)
        if lost:
            raise PermitLost(self.name, lost)

    def keep(self) -> None:
        """Let the permits lent to this member be its task's, if it works on one: they come back when the task ends.

        >>> gpu = swarm.Semaphore("gpu")
        >>> gpu.acquire()
        True
        >>> gpu.keep()
        """
        with self._member.transaction() as tx:
            tx.execute(
                "update permit set kept = 1"
                " where semaphore = :name and holder = :agent and task is not null and expired = 0",
                name=self.name,
                agent=self._member.me.agent,
            )

    def statistics(self) -> SemaphoreStatistics:
        """What is so now, read in one query.

        >>> gpu = swarm.Semaphore("gpu", 2)
        >>> with gpu:
        ...     found = gpu.statistics()
        >>> found.value, len(found.permits), found.waiting
        (1, 1, 0)
        """
        rows = self._member.store.rows(_STATISTICS, name=self.name)
        if not rows:
            return SemaphoreStatistics(self.name, None, self._bounded, self._initial, (), 0)
        lent = tuple(
            Permit(row["number"], row["who"], row["task"], row["acquired_at"], row["expires_at"])
            for row in rows
            if row["number"] is not None
        )
        row = rows[0]
        return SemaphoreStatistics(self.name, row["initial"], bool(row["bounded"]), row["value"], lent, row["waiting"])

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _identity(self) -> tuple[str, type, str]:
        return str(self._member.store.path), type(self), self.name

    def _told(self, got: bool, lease_s: float | EllipsisType | None) -> bool:  # noqa: FBT001  the result, passed through
        """Have the member's heart beat for what it got."""
        lease_s = self._lease(lease_s)
        if got and lease_s is not None:
            self._member.holding(lease_s)
        return got

    def _lease(self, lease_s: float | EllipsisType | None) -> float | None:
        """The lease that was asked for; who asked for none has to know first with how many permits it began."""
        if isinstance(lease_s, EllipsisType):
            return LEASE_S if self._initial else None
        return lease_s

    def _believe(self, initial: int) -> None:
        self._initial = self._as_made["initial"] = initial

    def _has(self, tx: Transaction, key: str | None) -> bool:
        """Whether the call of this name has its permit already."""
        if key is None:
            return False
        lent = tx.row(
            "select 1 from permit where semaphore = :name and holder = :agent and key = :key and expired = 0",
            name=self.name,
            agent=self._member.me.agent,
            key=key,
        )
        return lent is not None or changes.returned(tx, permits.used_up(self.name), key) is not None

    def _take(self, tx: Transaction, place: Place, lease_s: float | EllipsisType | None, key: str | None) -> bool:
        row = tx.row(_TAKE, **self._as_made)
        if row is None and self._made_or_mended(tx):
            row = tx.row(_TAKE, **self._as_made)
        if row is None:
            return False
        me = self._member.me
        lease_s = self._lease(lease_s)
        number = permits.lend(tx, self.name, row["grants"], holder=me.agent, task=me.task, lease_s=lease_s, key=key)
        place.granted(tx, permit=number, key=key)
        tx.event("semaphore.acquired", object=self.name, permit=number, lease_s=lease_s)
        return True

    def _made_or_mended(self, tx: Transaction) -> bool:
        """None was free: whether there may be one now, as the semaphore was made, or a lease was found to be over."""
        row = tx.row(
            "select initial, bounded, exists"
            " (select 1 from permit where semaphore = :name and expires_at <= :now) as overdue"
            " from semaphore where name = :name",
            name=self.name,
            now=tx.now,
        )
        if row is None:
            if self._is_told:
                self._believe(1)
            tx.execute(
                "insert into semaphore (name, initial, bounded, value) values (:name, :initial, :bounded, :initial)",
                **self._as_made,
            )
            tx.event("semaphore.made", object=self.name, initial=self._initial, bounded=self._bounded)
            return True
        was_told = self._is_told and row["initial"] != self._initial
        if was_told:
            self._believe(row["initial"])
        if (row["initial"], row["bounded"]) != (self._initial, self._bounded):
            kind = "BoundedSemaphore" if row["bounded"] else "Semaphore"
            raise Invalid(
                f"{type(self).__name__}({self.name!r}, {self._initial})",
                f"{kind}({self.name!r}, {row['initial']}), as it was made",
            )
        if row["overdue"]:
            permits.take_back_overdue(tx, self.name)
        return was_told or bool(row["overdue"])

    def _release(self, tx: Transaction, n: int) -> int:
        """Free permits: own ones, then those that the member lost before, then others'; how many it had lost."""
        most = self._initial if self._bounded else MOST
        me, initial = self._member.me.agent, self._initial
        if n == 1 and initial and permits.end_one(
            tx, self.name, me, initial=initial, bounded=self._bounded, most=most
        ):  # fmt: skip
            return 0
        added = self._add(tx, n)
        freed: list[Row] = []
        lost = 0
        if added is None or added["lent"]:
            freed = tx.rows(_OWN, name=self.name, agent=self._member.me.agent, count=n)
            lost = sum(row["expired"] for row in freed)
        if lost:  # these were added when they were taken back
            added = self._add(tx, n - lost if added is None else -lost)
        if added is None and self._bounded:
            raise ReleasedTooOften(self.name, self._initial)
        if added is None:
            raise Invalid(f"{n} more permits of semaphore {self.name!r}", f"at most {MOST} in all")
        if added["lent"] and len(freed) < n:
            freed += tx.rows(_OF_OTHERS, name=self.name, count=n - len(freed))
        if lost < n:
            numbers = [row["number"] for row in freed]
            tx.event("semaphore.released", object=self.name, count=n - lost, permits=numbers)
        if added["line"]:
            permits.hand_on(tx, self.name, added["value"])
        return lost

    def _add(self, tx: Transaction, count: int) -> Row | None:
        """Have more free, or fewer; None where they would be too many."""
        row = tx.row(_ADD, count=count, most=self._initial if self._bounded else MOST, **self._as_made)
        if row is None and self._made_or_mended(tx):
            row = tx.row(_ADD, count=count, most=self._initial if self._bounded else MOST, **self._as_made)
        return row

    def _withdraw(self, tx: Transaction, outcome: Outcome) -> None:
        """Undo a grant that came just as we were interrupted."""
        if outcome.state != "granted":
            return
        number, key = outcome.data["permit"], outcome.data["key"]
        reason = "its holder was interrupted while it waited"
        if number is None:
            changes.forget(tx, permits.used_up(self.name), key)
            tx.event("semaphore.released", object=self.name, count=1, permits=[], reason=reason)
            permits.put_back(tx, self.name, 1)
        else:
            permits.take_back(
                tx,
                "semaphore = :name and holder = :agent and number = :number",
                reason=reason,
                name=self.name,
                agent=self._member.me.agent,
                number=number,
            )


class BoundedSemaphore(Semaphore):
    """A semaphore as `threading.BoundedSemaphore`: never are more permits free than there were at first.

    A release too many raises `ReleasedTooOften`, a ValueError.

    >>> swarm.BoundedSemaphore("gpu", 2).release()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    prong.primitives.errors.ReleasedTooOften: semaphore 'gpu' was released too often: ...
    """

    _bounded = True
