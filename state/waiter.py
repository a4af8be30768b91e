"""Waiting: a blocked call is a row, and the process sleeps on a bell until somebody has decided.

    enrol --> waiting --> granted   by whoever freed the object, in its own transaction
                 +------> broken    it will never come; the reason is in `outcome`
                 +------> (gone)    timeout, interrupt, death

The decision is in the database before the bell rings, so it survives the death of either side.  A ring can be lost
only if the ringer dies between commit and ring; therefore a sleeper looks at its row once a second all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from prong.state.member import Membership
from prong.state.store import Row, Store, Transaction
from prong.state.ticket import Ticket

FALLBACK_S = 1.0
"""How often a sleeper looks at its row although no bell rang, in seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wait ended: `granted` or `broken`, with the data that the decider left; `timeout`, or `interrupted`."""

    state: str
    data: dict[str, Any]


def enrol(
    tx: Transaction, kind: str, object: str, *, timeout: float | None, wants: dict[str, Any] | None = None
) -> Ticket:
    """Take a place at the end of the line for an object; `timeout` in seconds, None for ever."""
    assert tx.member is not None, "only a member can wait"
    waiter: int = tx.value(
        "insert into waiter (agent, task, kind, object, wants, state, since_at, until_at)"
        " values (:agent, :task, :kind, :object, :wants, 'waiting', :now, :until) returning id",
        agent=tx.member.agent,
        task=tx.member.task,
        kind=kind,
        object=object,
        wants=json.dumps(wants or {}),
        now=tx.now,
        until=None if timeout is None else tx.now + timeout,
    )
    return Ticket(waiter, kind, object)


def line(tx: Transaction, kind: str, object: str) -> list[Row]:
    """Those who wait for an object and can still be served, first come first."""
    return tx.rows(
        "select * from waiter where kind = :kind and object = :object and state = 'waiting'"
        " and (until_at is null or until_at > :now) order by id",
        kind=kind,
        object=object,
        now=tx.now,
    )


def everybody(tx: Transaction, kind: str, object: str) -> list[Row]:
    """All who wait for an object, those too whose time is up but who have not looked yet."""
    return tx.rows(
        "select * from waiter where kind = :kind and object = :object and state = 'waiting' order by id",
        kind=kind,
        object=object,
    )


def first(tx: Transaction, kind: str, object: str) -> Row | None:
    """The first of the line, or None."""
    return tx.row(
        "select * from waiter where kind = :kind and object = :object and state = 'waiting'"
        " and (until_at is null or until_at > :now) order by id limit 1",
        kind=kind,
        object=object,
        now=tx.now,
    )


def grant(tx: Transaction, waiter: int, **data: Any) -> None:
    """Decide in a waiter's favour and ring its bell after the commit."""
    _decide(tx, waiter, "granted", data)


def refuse(tx: Transaction, waiter: int, **data: Any) -> None:
    """Decide that the wait can never end well, and ring."""
    _decide(tx, waiter, "broken", data)


def _decide(tx: Transaction, waiter: int, state: str, data: dict[str, Any]) -> None:
    tx.execute(
        "update waiter set state = :state, outcome = :outcome where id = :waiter",
        state=state,
        outcome=json.dumps(data, ensure_ascii=False),
        waiter=waiter,
    )
    tx.ring(waiter)


class Place:
    """A call's place in a line, from before it is taken until the call ends, however it ends.

        with Place(member, withdraw=give_back) as place:
            with member.transaction() as tx:
                place.enrol(tx, "lock", name, timeout=timeout)
            outcome = place.wait()

    `withdraw` runs where the caller leaves without what it waited for: with `timeout`, in the very transaction that
    takes the row away; with `interrupted`, when an exception (an interrupt, say) ends the wait undecided; or with the
    `granted` that nobody will read, because the exception came just after it.
    """

    def __init__(self, member: Membership, *, withdraw: Callable[[Transaction, Outcome], None] | None = None) -> None:
        self._member = member
        self._withdraw = withdraw
        self._left: Outcome | None = None
        self._ticket: Ticket | None = None
        self._taken_in: Transaction | None = None

    def enrol(
        self, tx: Transaction, kind: str, object: str, *, timeout: float | None, wants: dict[str, Any] | None = None
    ) -> Ticket:
        """Take a place at the end of the line, as the function of that name does."""
        self._taken_in = tx
        self._ticket = enrol(tx, kind, object, timeout=timeout, wants=wants)
        return self._ticket

    def granted(self, tx: Transaction, **data: Any) -> None:
        """Nobody was in line, and the caller got at once what `withdraw` would have to give back."""
        self._taken_in = tx
        self._left = Outcome("granted", data)

    def wait(self, *, look: Callable[[], None] | None = None, parks: bool = True) -> Outcome:
        """Sleep until it is decided or the time is up; the row is gone afterwards.

        `look` runs whenever the sleeper wakes without a decision, so that it may itself find what has expired.  While
        it sleeps the member is parked, unless `parks` is false because the wait is short by nature.
        """
        assert self._ticket is not None, "a place is taken before one waits in it"
        with self._member.parking(self._ticket) if parks else nullcontext():
            _sleep_until_decided(self._member.store, self._ticket, look)
        with self._member.transaction() as tx:
            self._left = _take_away(tx, self._ticket, undecided="timeout")
            if self._left.state == "timeout" and self._withdraw is not None:
                self._withdraw(tx, self._left)
        return self._left

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        never_taken = self._ticket is None and self._left is None
        if error is None or never_taken or (self._taken_in is not None and self._taken_in.undone):
            return
        with self._member.transaction() as tx:
            left = self._left
            if self._ticket is not None:
                # The row is there still, unless the exception came after the commit at the end of the wait.
                left = _take_away(tx, self._ticket, undecided="interrupted", before=left)
            if left is not None and left.state in ("interrupted", "granted") and self._withdraw is not None:
                self._withdraw(tx, left)


def wait(member: Membership, ticket: Ticket, *, parks: bool = True) -> Outcome:
    """Wait in a place that was taken before; an exception gives it up."""
    with Place(member) as place:
        place._ticket = ticket  # noqa: SLF001  the two are one door
        return place.wait(parks=parks)


def _sleep_until_decided(store: Store, ticket: Ticket, look: Callable[[], None] | None) -> None:
    slot = store.bells.slot(ticket.waiter)
    woken = False
    while True:
        seen = store.bells.read(slot)
        row = store.row("select state, until_at from waiter where id = :waiter", waiter=ticket.waiter)
        if row is None or row["state"] != "waiting":
            return
        remaining = FALLBACK_S if row["until_at"] is None else row["until_at"] - store.clock.now()
        if remaining <= 0:
            return
        if woken and look is not None:
            look()  # what it grants us rings our own bell, so that we do not sleep over it
        store.bells.wait(slot, seen, min(remaining, FALLBACK_S))
        woken = True


def _take_away(tx: Transaction, ticket: Ticket, *, undecided: str, before: Outcome | None = None) -> Outcome:
    """Take the row away and read in the same transaction what was decided, so that no decision falls between.

    Where the row is gone, how the wait ended was seen `before`, or it is over because the member's row was closed.
    """
    row = tx.row("delete from waiter where id = :waiter returning state, outcome", waiter=ticket.waiter)
    tx.execute("delete from waiter_task where waiter = :waiter", waiter=ticket.waiter)
    if row is None:
        return before or Outcome(undecided, {})
    if row["state"] == "waiting":
        return Outcome(undecided, {})
    return Outcome(row["state"], json.loads(row["outcome"]))


def wants(row: Row) -> dict[str, Any]:
    """What the waiter of this row asked for."""
    wanted: dict[str, Any] = json.loads(row["wants"])
    return wanted
