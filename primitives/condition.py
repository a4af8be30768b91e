"""A condition: whoever holds a lock lets it go until another has changed something, and then has it again.

    holds the lock --wait--> in the condition's line --notify--> in the lock's line --lock is free--> holds the lock
                                 +--timeout, interrupt--------------^

Waiting frees the lock and takes the place in line in one transaction, so that no notification falls between.  Who
notifies moves waiters, first come first served, from the condition's line to the end of the lock's: nobody wakes before
the lock is his, and they do not crowd around it.  A notification whose receiver dies or is interrupted before it wakes
passes to the next in line.

A waiter that is moved gets a second row, in the lock's line.  Its number is chosen so that it rings the bell on which
the first sleeps.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from prong.primitives import lock_line
from prong.primitives.errors import NotHeld
from prong.primitives.lock import Lock
from prong.primitives.lock_line import Grant, Wanted
from prong.primitives.place import Place
from prong.primitives.rlock import RLock
from prong.primitives.values import MOST, checked_name, checked_timeout
from prong.state import Membership, Transaction
from prong.state.bell import SLOTS
from prong.state.errors import WaitInsideAtomic
from prong.state.ticket import Ticket
from prong.state.waiter import Outcome

_EVERYBODY = -1

_SAME_BELL = SLOTS - 2
"""Waiters whose numbers differ by a multiple of this have the same bell."""

_OWNED = """
select 1 from lock
 where name = :lock and holder = :agent and expires_at > :now
   and case when :reentrant then depth > 0 and thread = :thread else depth = 0 end
"""

_LINE = """
kind = 'condition' and object = :name and state = 'waiting' and (until_at is null or until_at > :now)
"""

_NEXT = f"""
select min(id) as first, max(id) as last, count(*) as count,
       (select seq from sqlite_sequence where name = 'waiter') as newest
  from (select id from waiter where {_LINE} and agent is not :but order by id limit :n)
"""  # noqa: S608  put together from constants of this file

# What a member's newest wait says of its threads is looked up for all of them at once: one by one would read the whole
# table for each.
_TO_LOCK = f"""
with newest (who, threads, last) as materialized
     (select agent, running, max(id) from waiter where state = 'waiting' and agent in
             (select agent from waiter where {_LINE} and agent is not :but and id <= :last) group by agent)
insert into waiter (id, agent, task, kind, object, wants, state, outcome, since_at, running)
select id + :shift, agent, task, 'lock', json_extract(wants, '$.lock'), json_remove(wants, '$.lock'), 'waiting',
       json_object('condition', :name), :now, (agent is :me) + threads
  from waiter join newest on who = agent where {_LINE} and agent is not :but and id <= :last order by id
"""  # noqa: S608  put together from constants of this file

_NOTIFIED = f"""
update waiter set state = 'granted', outcome = json_object('waiter', id + :shift)
 where {_LINE} and agent is not :but and id <= :last
"""  # noqa: S608  put together from constants of this file

# Of a member: the rows of those who have not looked since, and of those who have, but wait for the lock still.
_UNHEARD = """
select object as name, count(*) as count from waiter
 where agent = :agent and kind = 'condition' and state = 'granted' group by object
 union all
select json_extract(outcome, '$.condition'), count(*) from waiter as moved
 where agent = :agent and kind = 'lock' and state = 'waiting' and outcome is not null
   and not exists (select 1 from waiter as before where before.agent = :agent and before.kind = 'condition'
                      and before.state = 'granted' and json_extract(before.outcome, '$.waiter') = moved.id)
 group by 1
"""


class NotAcquired(NotHeld):
    """A condition used by a thread that does not hold its lock."""

    def __init__(self, what: str, name: str, holder: str | None, fence: int) -> None:
        super().__init__(name, holder, fence)
        self.what = what

    def __str__(self) -> str:
        now = f"{self.holder} holds it now (fence {self.fence})" if self.holder else "nobody holds it"
        return f"cannot {self.what} on un-acquired lock {self.name!r}: {now}. Acquire it first, by a `with` block."


@dataclass(frozen=True, slots=True)
class ConditionStatistics:
    """How many wait to be notified, and the lock that they have let go."""

    name: str
    lock: str
    waiting: int


class Condition:
    """A condition by name, as `threading.Condition`, between processes and their threads.

    `lock` is a `Lock` or an `RLock`; without one it is the `RLock` of the condition's own name.  All who use the
    condition give the same.

    >>> changed, findings = swarm.Condition("changed"), swarm.SharedMap("findings")
    >>> with changed:
    ...     findings["src"] = 12
    ...     changed.notify_all()
    >>> with changed:
    ...     changed.wait_for(lambda: "src" in findings, timeout=10)
    True
    """

    def __init__(self, member: Membership, name: str, lock: Lock | RLock | None = None) -> None:
        self.name = checked_name("condition name", name)
        self.lock = RLock(member, name) if lock is None else lock
        self._member = member

    def __enter__(self) -> Grant:
        return self.lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.__exit__(kind, error, trace)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        try:
            waiting = str(self.statistics().waiting)
        except Exception:  # noqa: BLE001  whoever prints an object wants to see it, not what is wrong with the database
            waiting = "unreadable"
        return f"<Condition {self.name!r} ({self.lock!r}, {waiting})>"

    def acquire(self, *how: Any, **more: Any) -> bool:
        """Acquire the lock, as its own `acquire` does.

        >>> swarm.Condition("changed").acquire(timeout=10)
        True
        """
        return self.lock.acquire(*how, **more)

    def release(self) -> None:
        """Release the lock, as its own `release` does; raises `NotHeld`, a RuntimeError.

        >>> changed = swarm.Condition("changed")
        >>> changed.acquire()
        True
        >>> changed.release()
        """
        self.lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let the lock go until notified, or for `timeout` seconds, and have it again: whether one was notified.

        However it ends, also by an interrupt, the lock is held again as deep as before; only a second interrupt, or a
        deadlock, while it waits for the lock leaves without.  Raises `NotAcquired`, a RuntimeError, where this thread
        does not hold it.

        >>> changed = swarm.Condition("changed")
        >>> with changed:
        ...     changed.wait(timeout=0)
        False
        >>> changed.wait()
        Traceback (most recent call last):
        prong.primitives.condition.NotAcquired: cannot wait on un-acquired lock 'changed': nobody holds it. ...
        """
        timeout = checked_timeout(0 if isinstance(timeout, int | float) and timeout < 0 else timeout)
        if self._member.store.inside_atomic:
            raise WaitInsideAtomic("condition", self.name)
        visit = _Visit(self, self._member)
        try:
            return visit.wait(timeout)
        finally:
            visit.regain()

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until `predicate()` is true, or for `timeout` seconds in all; what it returned last.

        >>> with swarm.Condition("changed") as _, swarm.Condition("changed") as _:
        ...     swarm.Condition("changed").wait_for(lambda: "now", timeout=10)
        'now'
        """
        now = self._member.store.clock.now
        end: float | None = None
        left = timeout
        result = predicate()
        while not result:
            if left is not None:
                if end is None:
                    end = now() + left
                else:
                    left = end - now()
                    if left <= 0:
                        break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Let the first `n` who wait go on as soon as they get the lock, one after the other.

        Raises `NotAcquired`, a RuntimeError, where this thread does not hold the lock.

        >>> with swarm.Condition("changed"):
        ...     swarm.Condition("changed").notify(2)
        """
        n = max(0, min(operator.index(n), MOST))
        with self._member.transaction() as tx:
            self.check_owned(tx, "notify")
            move(tx, self.name, n)

    def notify_all(self) -> None:
        """Let all who wait go on as soon as they get the lock, one after the other; raises as `notify`.

        >>> with swarm.Condition("changed"):
        ...     swarm.Condition("changed").notify_all()
        """
        with self._member.transaction() as tx:
            self.check_owned(tx, "notify")
            move(tx, self.name, _EVERYBODY)

    def statistics(self) -> ConditionStatistics:
        """What is so now, read in one query.

        >>> swarm.Condition("changed").statistics()
        ConditionStatistics(name='changed', lock='changed', waiting=0)
        """
        row = self._member.store.row(
            "select count(*) as waiting from waiter where kind = 'condition' and object = :name and state = 'waiting'",
            name=self.name,
        )
        assert row is not None
        return ConditionStatistics(self.name, self.lock.name, row["waiting"])

    def check_owned(self, tx: Transaction, what: str) -> None:
        """Refuse what somebody does who does not hold the lock alone: raises `NotAcquired`."""
        owned = tx.row(
            _OWNED,
            lock=self.lock.name,
            agent=self._member.me.agent,
            now=tx.now,
            reentrant=isinstance(self.lock, RLock),
            thread=threading.get_ident(),
        )
        if owned is None:
            found = lock_line.not_held(tx, self.lock.name)
            raise NotAcquired(what, self.lock.name, found.holder, found.fence)

    def _identity(self) -> tuple[str, str, str]:
        return str(self._member.store.path), type(self).__name__, self.name


class _Visit:
    """One call of `wait`, from letting the lock go to having it again."""

    def __init__(self, condition: Condition, member: Membership) -> None:
        self._condition = condition
        self._let_go_in: Transaction | None = None
        self._lock = condition.lock
        self._member = member
        self._moved_to: int | None = None
        self._wanted: Wanted | None = None

    def wait(self, timeout: float | None) -> bool:
        name = self._condition.name
        with Place(self._member, withdraw=self._pass_on) as place:
            with self._member.transaction() as tx:
                self._condition.check_owned(tx, "wait")
                self._let_go_in = tx
                wanted = self._wanted = self._lock.let_go(tx)
                wants = {"lock": self._lock.name, **wanted.as_dict()}
                place.enrol(tx, "condition", name, timeout=timeout, wants=wants)
                tx.event("condition.waiting", object=name)
            outcome = place.wait()
            self._moved_to = outcome.data.get("waiter")
        return self._moved_to is not None

    def regain(self) -> None:
        """Have the lock again as it was, whatever `wait` came to."""
        if self._wanted is None or self._let_go_in is None or self._let_go_in.undone:
            return
        if self._moved_to is None:
            self._lock._acquire(None, self._wanted)  # noqa: SLF001  as `acquire`, but as deep as it was
            return
        withdraw = partial(self._lock._withdraw, self._wanted)  # noqa: SLF001  this is its line, and its grant
        with Place(self._member, withdraw=withdraw) as place:
            place._ticket = Ticket(self._moved_to, "lock", self._lock.name)  # noqa: SLF001  who notified has taken it
            outcome = place.wait(parks=False)  # it is woken when the lock is its own, as a rule
            self._lock.regained(Grant(self._lock.name, **outcome.data))
            self._member.holding(self._wanted.lease_s)

    def _pass_on(self, tx: Transaction, outcome: Outcome) -> None:
        """An interrupt struck behind the notification: the next in line gets it, and we the lock all the same."""
        if outcome.state == "granted":
            self._moved_to = outcome.data["waiter"]
            move(tx, self._condition.name, 1)


def move(tx: Transaction, name: str, n: int, *, but: int | None = None) -> None:
    """Move the first `n` of the condition's line, without those of member `but`, to the end of the lock's."""
    line = {"name": name, "now": tx.now, "but": but}
    row = tx.row(_NEXT, n=n, **line)
    assert row is not None
    if row["count"]:
        shift = _SAME_BELL * ((row["newest"] - row["first"]) // _SAME_BELL + 1)
        # What the newest wait of a process says of its other threads is so still, and who notifies is one of them.
        me = tx.member.agent if tx.member is not None else None
        tx.execute(_TO_LOCK, shift=shift, last=row["last"], me=me, **line)
        tx.execute(_NOTIFIED, shift=shift, last=row["last"], **line)
        tx.event("condition.notified", object=name, count=row["count"])


def pass_on(tx: Transaction, agent: int) -> None:
    """Give the notifications that a dying member has not heard to the next in line, before its own places go."""
    for row in tx.rows(_UNHEARD, agent=agent):
        move(tx, row["name"], row["count"], but=agent)
