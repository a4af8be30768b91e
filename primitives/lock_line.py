"""How a lock changes hands: what `Lock` and `RLock` decide inside a transaction of their own or of their caller.

    lock         one row a name, for ever: who holds it alone, and the fence of the last grant
    lock_share   one row for each who shares it; never while somebody holds it alone
    waiter       the line, first come first served

A lock is free while nobody holds or shares it and no task keeps it.  Whoever takes something away calls `hand_over`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from prong.primitives.errors import NotHeld
from prong.state import Row, Transaction, waiter
from prong.state.transaction import Entry

_FIRST_IN_LINE = """select 1 from waiter where kind = 'lock' and object = :name and state = 'waiting'
                       and (until_at is null or until_at > :now)"""

_UNSHARED = "not exists (select 1 from lock_share where lock = :name)"

# No row comes back where somebody holds it or came first.  An RLock's own thread comes in again, one deeper.
_TAKE = f"""
insert into lock (name, holder, task, fence, lease_s, acquired_at, expires_at, thread, depth, key)
     values (:name, :agent, :task, 1, :lease_s, :now, :now + :lease_s, :thread, :depth, :key)
on conflict (name) do update
        set holder = excluded.holder, task = excluded.task, fence = lock.fence + (lock.holder is null),
            lease_s = excluded.lease_s, acquired_at = coalesce(lock.acquired_at, excluded.acquired_at),
            expires_at = excluded.expires_at, thread = excluded.thread,
            depth = iif(lock.holder is null, 0, lock.depth) + excluded.depth, key = excluded.key
      where lock.holder is null and lock.kept = 0 and {_UNSHARED} and not exists ({_FIRST_IN_LINE})
         or lock.holder = :agent and lock.thread = :thread and :depth > 0 and lock.depth > 0 and lock.expires_at > :now
  returning fence, depth
"""  # noqa: S608  a statement is put together from our own parts, never from values

_HELD = "select 1 from lock where name = :name and holder is not null and expires_at > :now"

_HAND_OVER = f"""
update lock set holder = :agent, task = :task, fence = fence + 1, lease_s = :lease_s, acquired_at = :now,
                expires_at = :now + :lease_s, thread = :thread, depth = :depth, key = :key
 where name = :name and holder is null and kept = 0 and {_UNSHARED}
returning fence
"""  # noqa: S608  a statement is put together from our own parts, never from values

# A share is a row of its own; the lock's row gives it its fence, and says whether it may be had.
_TAKE_SHARE = f"""
insert into lock (name, fence, lease_s) values (:name, 1, :lease_s)
on conflict (name) do update set fence = lock.fence + 1
      where lock.holder is null and lock.kept = 0 and not exists ({_FIRST_IN_LINE})
  returning fence
"""  # noqa: S608  a statement is put together from our own parts, never from values

_HAND_SHARE = "update lock set fence = fence + 1 where name = :name and holder is null and kept = 0 returning fence"

_SHARE = """
insert into lock_share (lock, holder, task, fence, lease_s, acquired_at, expires_at, key)
     values (:name, :agent, :task, :fence, :lease_s, :now, :now + :lease_s, :key)
"""

FREE_SHARE = "delete from lock_share where lock = :name and fence = :fence"

FREE = "update lock set holder = null, task = null, acquired_at = null, expires_at = null, kept = 0"

_MY_OWN = """name = :name and holder = :agent and depth = 0 and expires_at > :now
         and (:thread is null or thread = :thread)"""

_RELEASE = f"{FREE} where {_MY_OWN} returning fence"

# Contended or not, the row is written once: that is most of what a release costs.
_RELEASE_UNCONTENDED = f"{FREE} where {_MY_OWN} and fence = :fence and not exists ({_FIRST_IN_LINE})"

_PASS_ON = f"""
update lock set holder = :heir, task = :heirs_task, fence = fence + 1, lease_s = :lease_s, acquired_at = :now,
                expires_at = :now + :lease_s, thread = :heirs_thread, depth = :depth, key = :key, kept = 0
 where {_MY_OWN} returning fence
"""  # noqa: S608  as above

_LEAVE = f"""
update lock set depth = depth - :by, holder = iif(depth = :by, null, holder), task = iif(depth = :by, null, task),
                acquired_at = iif(depth = :by, null, acquired_at), expires_at = iif(depth = :by, null, expires_at)
 where name = :name and holder = :agent and thread = :thread and depth >= :by and expires_at > :now
returning fence, depth, exists ({_FIRST_IN_LINE}) as awaited
"""  # noqa: S608  a statement is put together from our own parts, never from values

_RELEASE_SHARE = """
delete from lock_share
 where lock = :name
   and fence = (select fence from lock_share where lock = :name and holder = :agent and expires_at > :now
                   and (:only is null or fence = :only) order by fence = :rather desc, fence desc limit 1)
returning fence
"""

_HOLDERS = """
select lock.fence, coalesce(agent.name, 'task ' || lock.task,
       (select group_concat(coalesce(name, 'task ' || s.task), ', ')
          from lock_share as s left join agent as a on a.id = s.holder where s.lock = :name)) as who
  from lock left join agent on agent.id = lock.holder where lock.name = :name
"""

MINE = """
select fence, expires_at, 0 as shared, key from lock where name = :name and holder = :agent and expires_at > :now
 union all
select fence, expires_at, 1, key from lock_share where lock = :name and holder = :agent and expires_at > :now
 order by fence desc
"""

_IN_FORCE = """
select 1 from lock where name = :name and fence = :fence and holder is not null and expires_at > :now
 union all
select 1 from lock_share where lock = :name and fence = :fence and holder is not null and expires_at > :now
"""


_SHARED = {"shared": True}


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to what a lock guards: until `expires_at` (seconds since 1970), under `fence`."""

    name: str
    fence: int
    expires_at: float
    shared: bool = False


class Wanted(NamedTuple):
    """What a call asks of a lock; `depth` 0 is for a `Lock`, else how deep an `RLock` is to be held by `thread`."""

    shared: bool
    lease_s: float
    thread: int
    depth: int = 0
    key: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As a waiter's row keeps it."""
        return self._asdict()


def take(tx: Transaction, name: str, wanted: Wanted) -> Grant | None:
    """Acquire the lock for the acting member where it is free and nobody is in line."""
    assert tx.member is not None
    values = {"name": name, "agent": tx.member.agent, "task": tx.member.task, "now": tx.now}
    row = _granted(tx, _TAKE_SHARE if wanted.shared else _TAKE, values, wanted)
    if row is None:
        return None
    grant = Grant(name, row["fence"], tx.now + wanted.lease_s, wanted.shared)
    told = f'"fence":{grant.fence},"expires_at":{grant.expires_at}'
    if wanted.depth and row["depth"] > wanted.depth:
        tx.logged("lock.entered", name, f'{{{told},"depth":{row["depth"]}}}')
    else:
        tx.logged("lock.acquired", name, f"{{{told}{_mode(wanted)}}}")
    return grant


def find(tx: Transaction, name: str, key: str) -> Grant | None:
    """The grant that the call of this key got before, where the acting member still has it."""
    assert tx.member is not None
    for row in tx.rows(MINE, name=name, agent=tx.member.agent, now=tx.now):
        if row["key"] == key:
            return Grant(name, row["fence"], row["expires_at"], bool(row["shared"]))
    return None


def release(tx: Transaction, name: str, *, thread: int | None, rather: int = 0, awaited: bool = False) -> None:
    """Free what a `Lock` of the acting member got, or one share, `rather` the one of that fence, and hand it on.

    With `thread` only what that thread acquired alone; `awaited` is a guess that somebody stands in line, which saves a
    statement where it is right.  Raises `NotHeld` where there is none.
    """
    assert tx.member is not None
    mine = {"name": name, "agent": tx.member.agent, "thread": thread, "now": tx.now}
    if rather and not awaited and tx.execute(_RELEASE_UNCONTENDED, fence=rather, **mine):
        tx.logged("lock.released", name, f'{{"fence":{rather}}}')
    elif not _pass_on(tx, name, mine):
        if thread is not None:
            raise not_held(tx, name)
        release_share(tx, name, rather=rather)


def release_share(tx: Transaction, name: str, *, only: int | None = None, rather: int = 0) -> None:
    """Give one share of the acting member back, `only` that of a fence or `rather` that; raises `NotHeld`."""
    assert tx.member is not None
    freed = tx.row(_RELEASE_SHARE, name=name, agent=tx.member.agent, now=tx.now, only=only, rather=rather)
    if freed is None:
        raise not_held(tx, name)
    tx.event("lock.released", object=name, fence=freed["fence"], shared=True)
    hand_over(tx, name)


def leave(tx: Transaction, name: str, *, thread: int, by: int = 1, **data: Any) -> None:
    """Let a thread of the acting member out of an `RLock` `by` so many levels; raises `NotHeld`."""
    assert tx.member is not None
    left = tx.row(_LEAVE, name=name, agent=tx.member.agent, thread=thread, by=by, now=tx.now)
    if left is None:
        raise not_held(tx, name)
    if left["depth"]:
        tx.event("lock.left", object=name, fence=left["fence"], depth=left["depth"], **data)
        return
    tx.event("lock.released", object=name, fence=left["fence"], **data)
    if left["awaited"]:
        hand_over(tx, name)


def hand_over(tx: Transaction, name: str) -> None:
    """Grant the lock, where it is free, to the first in line, or to all who are first in line and share it."""
    shared = False
    while (heir := waiter.first(tx, "lock", name)) is not None:
        wanted = Wanted(**waiter.wants(heir))
        if shared and not wanted.shared:
            return
        values = {"name": name, "agent": heir["agent"], "task": heir["task"], "now": tx.now}
        row = _granted(tx, _HAND_SHARE if wanted.shared else _HAND_OVER, values, wanted)
        if row is None:
            return
        _grant(tx, name, heir, wanted, row["fence"])
        if not wanted.shared:
            return
        shared = True


def give_back(tx: Transaction, name: str, agent: int, fence: int, *, kind: str = "lock.released", reason: str) -> None:
    """Take a grant away from its holder, whose it may be no more, and hand the lock on."""
    values = {"name": name, "agent": agent, "fence": fence}
    row = tx.row("select task from lock where name = :name and holder = :agent and fence = :fence", **values)
    shared = row is None
    if row is None:
        row = tx.row(
            "delete from lock_share where lock = :name and holder = :agent and fence = :fence returning task", **values
        )
        if row is None:
            return
    else:
        tx.execute(FREE + " where name = :name", name=name)
    tx.event(kind, object=name, task=row["task"], holder=agent, fence=fence, reason=reason, **_SHARED if shared else {})
    hand_over(tx, name)


def move(tx: Transaction, name: str) -> None:
    """Take the lock from whoever let the lease run out, and let the line move where it can."""
    for row in tx.rows(
        "select holder, fence from lock where name = :name and expires_at <= :now"
        " union all select holder, fence from lock_share where lock = :name and expires_at <= :now",
        name=name,
        now=tx.now,
    ):
        give_back(tx, name, row["holder"], row["fence"], kind="lock.expired", reason="its lease ran out")
    hand_over(tx, name)


def is_held(tx: Transaction, name: str) -> bool:
    """Whether somebody holds it alone under a lease that is not over, so that nothing but an `RLock`'s own gets it."""
    return tx.row(_HELD, name=name, now=tx.now) is not None


def is_movable(tx: Transaction, name: str) -> bool:
    """Whether a lease ran out, or nobody holds the lock alone so that the line might move."""
    row = tx.row("select expires_at, kept from lock where name = :name", name=name)
    if row is None:
        return False
    return not row["kept"] if row["expires_at"] is None else bool(row["expires_at"] <= tx.now)


def holders(tx: Transaction, name: str) -> Row | None:
    """The last `fence`, and `who` holds or shares the lock (None: nobody)."""
    return tx.row(_HOLDERS, name=name)


def not_held(tx: Transaction, name: str, yours: int | None = None) -> NotHeld:
    """The refusal for somebody who does not hold the lock, or not any more under the fence `yours`."""
    found = holders(tx, name)
    return NotHeld(name, found["who"], found["fence"], yours) if found else NotHeld(name, None, 0, yours)


def guard(tx: Transaction, name: str, fence: int) -> None:
    """Bind the transaction to a grant: raises `NotHeld`, which undoes it, unless that of this fence is in force."""
    if tx.row(_IN_FORCE, name=name, fence=fence, now=tx.now) is None:
        raise not_held(tx, name, fence)


def _pass_on(tx: Transaction, name: str, mine: dict[str, Any]) -> bool:
    """Hand what the acting member holds alone to the first in line; False where there is nothing to hand on."""
    heir = waiter.first(tx, "lock", name)
    wanted = Wanted(**waiter.wants(heir)) if heir is not None else None
    if heir is None or wanted is None or wanted.shared:
        row = tx.row(_RELEASE, **mine)
        if row is not None:
            tx.logged("lock.released", name, f'{{"fence":{row["fence"]}}}')
            hand_over(tx, name)
        return row is not None
    row = tx.row(
        _PASS_ON, **mine, heir=heir["agent"], heirs_task=heir["task"], heirs_thread=wanted.thread,
        lease_s=wanted.lease_s, depth=wanted.depth, key=wanted.key,
    )  # fmt: skip
    if row is not None:
        _grant(tx, name, heir, wanted, row["fence"], ("lock.released", name, f'{{"fence":{row["fence"] - 1}}}', None))
    return row is not None


def _grant(tx: Transaction, name: str, heir: Row, wanted: Wanted, fence: int, *before: Entry) -> None:
    """Tell the heir and the log, which is told what was `before` as well."""
    expires_at = tx.now + wanted.lease_s
    told = f'"fence":{fence},"expires_at":{expires_at}'
    waited = f'"holder":{heir["agent"]},"waited_s":{tx.now - heir["since_at"]}'
    tx.events(*before, ("lock.acquired", name, f"{{{waited},{told}{_mode(wanted)}}}", heir["task"]))
    waiter.grant_told(tx, heir["id"], f"{{{told}}}")


def _granted(tx: Transaction, sql: str, values: dict[str, Any], wanted: Wanted) -> Row | None:
    """Run the statement that decides; the row of the grant, or None where there is none."""
    values.update(lease_s=wanted.lease_s, thread=wanted.thread, depth=wanted.depth, key=wanted.key)
    row = tx.row(sql, **values)
    if row is not None and wanted.shared:
        tx.execute(_SHARE, fence=row["fence"], **values)
    return row


def _mode(wanted: Wanted) -> str:
    """What an entry of the log ends with."""
    return ',"shared":true' if wanted.shared else ""
