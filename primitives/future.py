"""A promise by name: somebody sets it once, everybody may read it.

    pending --set_running_or_notify_cancel--> running --set_result--> done
       |  +--cancel--> cancelled --set_running_or_notify_cancel--> notified
       |                              running --set_exception--> failed
       +--its owner dies--> broken <--its owner dies-- running

Each object is a `concurrent.futures.Future` that mirrors the row (primitives/mirrored.py).
"""

from __future__ import annotations

import json
import logging
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from prong.primitives import artifacts, mirror, remote
from prong.primitives.errors import BrokenFuture, NotPromised
from prong.primitives.mirrored import STATES, Mirrored, Told
from prong.primitives.place import Place
from prong.primitives.values import FOREVER_S, checked_name
from prong.primitives.who import who
from prong.state import Invalid, Membership, Row, StoreError, Transaction
from prong.state.bell import slot_of
from prong.state.transaction import compact

FORGET_S = 3_600.0
"""How long the result of an executor's call is kept that its caller does not read any more, in seconds."""

FORGOTTEN_AT_ONCE = 500
"""How many of them are removed in one round of the watch."""

_LOGGER = logging.getLogger("concurrent.futures")

_PROMISE = """
insert into future (name, state, owner) values (:name, 'pending', :agent)
on conflict (name) do update set owner = excluded.owner
      where state = 'pending' and call is null and (owner is null or owner = excluded.owner)
  returning state                                              -- no row: it is somebody else's, or set
"""

_RUN = """
insert into future (name, state, owner) values (:name, 'running', :agent)
on conflict (name) do update
        set state = case state when 'pending' then 'running' else 'notified' end,
            owner = case state when 'pending' then excluded.owner end
      where state in ('pending', 'cancelled') and call is null and (owner is null or owner = excluded.owner)
  returning state                                              -- no row: it is under way, set, or somebody else's
"""

_SET = """
insert into future (name, state, result, error, set_at) values (:name, :state, :result, :error, :now)
on conflict (name) do update
        set state = excluded.state, result = excluded.result, error = excluded.error, set_at = :now, owner = null
      where state in ('pending', 'running') and call is null and (owner is null or owner = :agent)
"""  # no change: it is set, or somebody else's

_AWAITED = """
select exists (select 1 from waiter where kind = 'future' and object = :name and state = 'waiting')
    or exists (select 1 from future_watch where future = :name)
"""

_CANCEL = """
insert into future (name, state, set_at) values (:name, 'cancelled', :now)
on conflict (name) do update set state = 'cancelled', set_at = :now, owner = null where state = 'pending'
  returning state
"""


@dataclass(frozen=True, slots=True)
class FutureStatistics:
    """How far the future is, who has promised it, how many wait for it, and when it was set (seconds since 1970)."""

    name: str
    state: str
    owner: str | None
    waiting: int
    set_at: float | None


class Future(Mirrored):
    """A future by name, as `concurrent.futures.Future`, between processes.

    Values are JSON: every reader, the setter too, gets what JSON makes of them.  An exception is made anew in other
    processes where they know its type, else it is a `RemoteError`.  Whoever calls `promise` or
    `set_running_or_notify_cancel` owns the future, so that nobody else can set it and its readers get `BrokenFuture`
    when the owner dies; one that nobody owns may be set by anybody.

    >>> answer = swarm.Future("answer")
    >>> answer.set_result(42)
    >>> swarm.Future("answer").result()
    42
    """

    def __init__(self, member: Membership, name: str) -> None:
        super().__init__(member, checked_name("future name", name))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.member, self.name)

    def promise(self) -> Self:
        """Own the future before work begins: it breaks when this member dies; raises `InvalidStateError` if too late.

        >>> swarm.Future("report").promise().statistics().state
        'pending'
        """
        with self.member.transaction() as tx:
            if tx.row(_PROMISE, name=self.name, agent=self.member.me.agent) is None:
                raise self._refusal(tx)
            tx.event("future.promised", object=self.name)
        return self

    def set_running_or_notify_cancel(self) -> bool:
        """Own the future and begin; False where it was cancelled, which those who wait are told now.

        Raises RuntimeError where it is under way or set.

        >>> swarm.Future("index").set_running_or_notify_cancel()
        True
        """
        with self.member.transaction() as tx:
            row = tx.row(_RUN, name=self.name, agent=self.member.me.agent)
            if row is not None:
                told = Told(row["state"])
                tx.event(f"future.{told.state}", object=self.name)
                if told.state == "notified":
                    tell(tx, self.name)
            else:
                refusal = self._refusal(tx)
        if row is None:
            if isinstance(refusal, NotPromised):
                raise refusal
            _LOGGER.critical("Future %s in unexpected state: %s", id(self), self._state)
            raise RuntimeError("Future in unexpected state")
        self._carry(told)
        return told.state == "running"

    def set_result(self, result: Any) -> None:
        """Set what it came to; raises `InvalidStateError` where it is set, `NotPromised` where it is somebody else's.

        >>> swarm.Future("sum").set_result(12)
        """
        text = artifacts.stored(self.member, f"the result of future {self.name!r}", result)
        self._set(Told("done", text), artifacts.told(text))

    def set_exception(self, exception: BaseException | None) -> None:
        """Set what it failed with; raises as `set_result` does.

        >>> swarm.Future("sum").set_exception(ValueError("no numbers"))
        >>> swarm.Future("sum").exception()
        ValueError('no numbers')
        """
        if exception is None:
            self._set(Told("done", "null"), artifacts.told("null"))
            return
        if not isinstance(exception, BaseException | type):
            raise TypeError("an exception is expected")
        text = compact(remote.described(exception))
        self._set(Told("failed", error=text), f'"error":{text}', exception)

    def cancel(self) -> bool:
        """Cancel it if nobody has begun; False where somebody has.

        >>> swarm.Future("late").cancel()
        True
        """
        with self.member.transaction() as tx:
            cancelled = tx.row(_CANCEL, name=self.name, now=tx.now) is not None
            if cancelled:
                tx.event("future.cancelled", object=self.name)
                tell(tx, self.name)
        if cancelled:
            self._carry(Told("cancelled"))
            self._call_back()
        return self.cancelled()

    def join(self, timeout: float | None = None) -> None:
        """Wait for at most `timeout` seconds until it is set or cancelled.

        >>> late = swarm.Future("late")
        >>> late.join(timeout=0)
        >>> late.done()
        False
        """
        if self.done() or (timeout is not None and not timeout > 0):
            return
        with Place(self.member) as place:
            with self.member.transaction() as tx:
                if place.take_up(tx, "future", self.name) is None:
                    if tx.row(
                        "select 1 from future where name = :name and state not in ('pending', 'running')",
                        name=self.name,
                    ):
                        return
                    limit = timeout if timeout is not None and timeout < FOREVER_S else None
                    place.enrol(tx, "future", self.name, timeout=limit)
            place.wait()

    def statistics(self) -> FutureStatistics:
        """What is so now, read in one query.

        >>> swarm.Future("answer").statistics().state
        'pending'
        """
        row = self.member.store.row(
            "select future.state, agent.name as owner, set_at, (select count(*) from waiter where kind = 'future'"
            " and object = :name and waiter.state = 'waiting') as waiting"
            " from (select 1) left join future on future.name = :name left join agent on agent.id = future.owner",
            name=self.name,
        )
        assert row is not None
        return FutureStatistics(self.name, row["state"] or "pending", row["owner"], row["waiting"], row["set_at"])

    def _read(self) -> Told:
        owner, told = self._row()
        # Who only polls has to look by himself whether its owner is gone.
        return self._row()[1] if owner not in (None, self.member.me.agent) and self._glance() else told

    def _row(self) -> tuple[int | None, Told]:
        row = self.member.store.row(
            "select owner, state, result, error, pickled from future where name = :name", name=self.name
        )
        return (row["owner"], Told(*row[1:])) if row is not None else (None, Told("pending"))

    def _glance(self) -> bool:
        from prong.primitives.watch import glance  # noqa: PLC0415  it looks after every kind, this one too

        with suppress(StoreError):  # a full disk is for those to hear who want to write
            return glance(self.member.store)
        return False

    def _set(self, told: Told, logged: str, exception: BaseException | None = None) -> None:
        with self.member.transaction() as tx:
            changed = tx.execute(
                _SET, name=self.name, agent=self.member.me.agent, now=tx.now, state=told.state, result=told.result,
                error=told.error,
            )  # fmt: skip
            if not changed:
                raise self._refusal(tx)
            tx.logged(f"future.{told.state}", self.name, f"{{{logged}}}")
            if tx.value(_AWAITED, name=self.name):
                tell(tx, self.name)
        self._carry(told, exception)
        self._call_back()

    def _refusal(self, tx: Transaction) -> NotPromised | futures.InvalidStateError:
        """Why the row is not as a change of it needs it."""
        row = tx.row("select state, call, owner from future where name = :name", name=self.name)
        assert row is not None, "a future without a row can be changed by anybody"
        if row["state"] in ("pending", "running"):
            if row["call"] is not None:
                return NotPromised(self.name, "a worker of its executor")
            if row["owner"] is not None and row["owner"] != self.member.me.agent:
                return NotPromised(self.name, who(tx, row["owner"]))
        return futures.InvalidStateError(f"{STATES[row['state']]}: {self!r}")

    def _outcome(self, told: Told) -> tuple[Any, BaseException | None]:
        try:
            if told.state == "done":
                return self._value(told), None
            if told.state == "broken":
                return None, BrokenFuture(self.name, json.loads(told.error or '"nobody said why"'))
            return None, remote.rebuilt(artifacts.loaded(self.member, told.error or "{}"))
        except Exception as error:  # noqa: BLE001  what cannot be read is what it came to
            return None, error

    def _value(self, told: Told) -> Any:
        if told.result is None:
            raise Invalid(f"future {self.name!r} holds a Python object", "its executor's `future(name)`")
        return artifacts.loaded(self.member, told.result)


def tell(tx: Transaction, name: str) -> None:
    """Let all who wait for the future go on, and have every mirror hear."""
    for row in tx.rows(
        "update waiter set state = 'granted', outcome = '{}' where kind = 'future' and object = :name"
        " and state = 'waiting' returning id",
        name=name,
    ):
        tx.ring(slot_of(row["id"]))
    mirror.tell(tx, name)


def free_held_by(tx: Transaction, agent: int, *, reason: str) -> None:
    """Break what a dead agent had promised; an executor's call that it ran is another worker's to run."""
    why = f"{who(tx, agent)} had promised it and is gone: {reason}"
    for row in tx.rows(
        "update future set state = 'broken', owner = null, error = :why, set_at = :now"
        " where owner = :agent and call is null returning name",
        agent=agent,
        why=compact(why),
        now=tx.now,
    ):
        tx.event("future.broken", object=row["name"], reason=why)
        tell(tx, row["name"])
    tx.execute(
        "update future set owner = null, error = :reason where owner = :agent", agent=agent, reason=compact(reason)
    )
    tx.execute(
        "update future set caller = null, forget_at = :at where caller = :agent", agent=agent, at=tx.now + FORGET_S
    )
    mirror.forget_held_by(tx, agent)


def expire(tx: Transaction) -> None:
    """Remove the results of calls that nobody has read for an hour and whose caller is done with them."""
    due: Row | None = tx.row("select 1 from future where forget_at <= :now limit 1", now=tx.now)
    if due is not None:
        tx.execute(
            "delete from future where name in (select name from future where forget_at <= :now"
            " and state not in ('pending', 'running') limit :most)",
            now=tx.now,
            most=FORGOTTEN_AT_ONCE,
        )
