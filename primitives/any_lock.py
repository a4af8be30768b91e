"""What `Lock` and `RLock` have in common: the line, the lease, the fence, and what can be seen of them."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

from prong.primitives import lock_line as line
from prong.primitives.lock_line import Grant, Wanted
from prong.primitives.place import Place
from prong.primitives.values import FOREVER_S, checked_lease, checked_name
from prong.state import Membership, Transaction
from prong.state.transaction import compact
from prong.state.waiter import Outcome

LEASE_S = 60.0
"""How long a grant lasts without a heartbeat of its holder, in seconds."""

_ALL_HOLDERS = """
select holder from lock where name = :name and holder is not null
 union all select holder from lock_share where lock = :name and holder is not null
"""

_STATISTICS = """
select coalesce(agent.name, 'task ' || lock.task) as who, lock.*,
       (select json_group_array(name)
          from (select coalesce(a.name, 'task ' || s.task) as name
                  from lock_share as s left join agent as a on a.id = s.holder where s.lock = :name order by s.fence)
       ) as sharing,
       (select count(*) from waiter where kind = 'lock' and object = :name and state = 'waiting') as waiting
  from lock left join agent on agent.id = holder where lock.name = :name
"""

_LOCKED = """
select 1 from lock where name = :name and (holder is not null or kept = 1) and coalesce(expires_at > :now, 1)
 union all
select 1 from lock_share where lock = :name and coalesce(expires_at > :now, 1)
"""

_RENEW_ALONE = """
update lock set lease_s = coalesce(:lease_s, lease_s), expires_at = :now + coalesce(:lease_s, lease_s)
 where name = :name and holder = :agent and expires_at > :now returning fence, expires_at, lease_s
"""

_RENEW_SHARE = """
update lock_share set lease_s = coalesce(:lease_s, lease_s), expires_at = :now + coalesce(:lease_s, lease_s)
 where lock = :name and holder = :agent and expires_at > :now returning fence, expires_at, lease_s
"""


@dataclass(frozen=True, slots=True)
class LockStatistics:
    """Who holds the lock or shares it, since and until when, and how many wait for it; `fence` is the last grant's."""

    name: str
    holder: str | None
    task: int | None
    fence: int
    acquired_at: float | None
    expires_at: float | None
    waiting: int
    shared_by: tuple[str, ...] = ()


class AnyLock:
    """What `Lock` and `RLock` have in common.  Both by one name are one lock, taken in two ways."""

    def __init__(self, member: Membership, name: str) -> None:
        self.name = checked_name("lock name", name)
        self._member = member
        self._asked: tuple[Wanted, str] | None = None
        self._last: Grant | None = None
        self._waited = False

    @property
    def grant(self) -> Grant | None:
        """The grant that this object got last, as long as it is in force, with the lease as it is now; else None."""
        last = self._last
        return next((grant for grant in self._mine() if last is not None and grant.fence == last.fence), None)

    def held(self) -> Grant | None:
        """What this member has of the lock, whichever of its objects or threads acquired it; None where nothing."""
        return next(iter(self._mine()), None)

    def locked(self) -> bool:
        """Whether anybody holds it or shares it."""
        store = self._member.store
        return store.row(_LOCKED, name=self.name, now=store.clock.now()) is not None

    def renew(self, lease_s: float | None = None) -> Grant:
        """Let this member's grant last from now on as long as before, or for `lease_s` seconds; raises `NotHeld`.

        A joined member's heartbeat does so by itself for all that it holds.
        """
        lease_s = None if lease_s is None else checked_lease(lease_s)
        values = {"name": self.name, "agent": self._member.me.agent, "lease_s": lease_s}
        with self._member.transaction() as tx:
            alone = tx.row(_RENEW_ALONE, now=tx.now, **values)
            row = alone or tx.row(_RENEW_SHARE, now=tx.now, **values)
            if row is None:
                raise line.not_held(tx, self.name)
            renewed = Grant(self.name, row["fence"], row["expires_at"], alone is None)
        self._member.holding(row["lease_s"])
        return renewed

    def check(self, fence: int) -> None:
        """Refuse what is done under a grant that is over: raises `NotHeld` unless the one of this fence is in force.

        Inside `atomic` the check and the changes beside it are one: all of them are made under the grant, or none.

        >>> lock, findings = swarm.Lock("index"), swarm.SharedMap("findings")
        >>> with lock as grant, swarm.atomic():
        ...     lock.check(grant.fence)
        ...     findings["src"] = 12
        """
        with self._member.transaction() as tx:
            line.guard(tx, self.name, fence)

    def statistics(self) -> LockStatistics:
        """What is so now, read in one query."""
        row = self._member.store.row(_STATISTICS, name=self.name)
        if row is None:
            return LockStatistics(self.name, None, None, 0, None, None, 0)
        return LockStatistics(
            self.name,
            row["who"],
            row["task"],
            row["fence"],
            row["acquired_at"],
            row["expires_at"],
            row["waiting"],
            tuple(json.loads(row["sharing"])),
        )

    def regained(self, grant: Grant) -> None:
        """Somebody waited for the lock in this object's name, as a condition does, and got it."""
        self._last = grant

    def __enter__(self) -> Grant:
        grant = self._acquire(None, self._wanted())
        assert grant is not None, "a wait without a timeout ends with a grant or an exception"
        return grant

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyLock) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[type[Self], tuple[Membership, str]]:
        return type(self), (self._member, self.name)  # what this object was granted stays with this process

    def __repr__(self) -> str:
        return (
            f"<{self._state()} {type(self).__module__}.{type(self).__qualname__} object {self.name!r} at {id(self):#x}>"
        )

    def _identity(self) -> tuple[str, str, str]:
        return str(self._member.store.path), type(self).__name__, self.name

    def _state(self) -> str:
        try:
            return "locked" if self.locked() else "unlocked"
        except Exception:  # noqa: BLE001  whoever prints an object wants to see it, not what is wrong with the database
            return "unreadable"

    def _mine(self) -> Iterator[Grant]:
        store, agent = self._member.store, self._member.me.agent
        for row in store.rows(line.MINE, name=self.name, agent=agent, now=store.clock.now()):
            yield Grant(self.name, row["fence"], row["expires_at"], bool(row["shared"]))

    def _wanted(self, lease_s: float = LEASE_S) -> Wanted:
        raise NotImplementedError

    def _give_back(self, tx: Transaction, fence: int, wanted: Wanted) -> None:
        raise NotImplementedError

    def _acquire(self, timeout: float | None, wanted: Wanted) -> Grant | None:
        """Take the lock at once, or wait in line for at most `timeout` seconds (None: for ever)."""
        # In one line: an interrupt between two would lose what was got.
        return self._try(timeout, wanted) or (self._try(timeout, wanted) if self._bury_holders(timeout) else None)

    def _bury_holders(self, timeout: float | None) -> bool:
        """Whoever waits finds a holder whose process is gone; a call that does not wait has to look by itself."""
        if timeout != 0:
            return False
        from prong.primitives.watch import bury_gone  # noqa: PLC0415  it looks after every kind

        store = self._member.store
        return bury_gone(store, [row["holder"] for row in store.rows(_ALL_HOLDERS, name=self.name)])

    def _try(self, timeout: float | None, wanted: Wanted) -> Grant | None:
        with Place(self._member, withdraw=partial(self._withdraw, wanted)) as place:
            with self._member.transaction() as tx:
                kept = place.take_up(tx, "lock", self.name)
                grant = self._take(tx, place, wanted) if kept is None else None
                if kept is None and grant is None:
                    if timeout == 0:
                        return None
                    place.enrol(tx, "lock", self.name, timeout=timeout, wants=self._text(wanted))
                    tx.logged("lock.waiting", self.name, "{}")
            waited = grant is None
            if grant is None:
                outcome = place.wait()
                if outcome.state != "granted":
                    return None
                grant = Grant(self.name, shared=wanted.shared, **outcome.data)
            self._last, self._waited = grant, waited
            self._member.holding(wanted.lease_s)
            return grant

    def _take(self, tx: Transaction, place: Place, wanted: Wanted) -> Grant | None:
        found = line.find(tx, self.name, wanted.key) if wanted.key is not None else None
        if found is not None:
            return found
        # Who had to wait the last time has to again, as a rule; a look takes less than to try, and to look then.
        if self._waited and not wanted.depth and line.is_held(tx, self.name):
            return None
        taken = line.take(tx, self.name, wanted)
        if taken is None and line.is_movable(tx, self.name):
            line.move(tx, self.name)
            taken = line.take(tx, self.name, wanted)
        if taken is not None:
            place.granted(tx, fence=taken.fence)
        return taken

    def _text(self, wanted: Wanted) -> str:
        """What a waiter's row says of it, which is the same again and again."""
        if self._asked is None or self._asked[0] != wanted:
            self._asked = wanted, compact(wanted.as_dict())
        return self._asked[1]

    def _withdraw(self, wanted: Wanted, tx: Transaction, outcome: Outcome) -> None:
        """Undo a grant that came just as we were interrupted; or we leave the line, and others may share without us."""
        if outcome.state == "granted":
            self._give_back(tx, outcome.data["fence"], wanted)
        else:
            line.hand_over(tx, self.name)


def patience(blocking: bool, timeout: float) -> float | None:  # noqa: FBT001  the standard library's own signature
    """The seconds that `acquire` waits, None for ever; raises what `threading.Lock` does, but centuries are none."""
    seconds = timeout if isinstance(timeout, float) else operator.index(timeout)
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if not blocking:
        if seconds != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0.0
    if seconds == -1:
        return None
    if seconds < 0:
        raise ValueError("timeout value must be a non-negative number")
    return float(seconds) if seconds < FOREVER_S else None
