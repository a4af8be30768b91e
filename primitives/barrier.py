"""A barrier: nobody goes on before all have arrived.

    filling --last party arrives--> open: round + 1, everybody goes on --> filling
       +--timeout, abort, a party fails for good--> broken --reset--> filling

The last to arrive opens it for all in one transaction.  An agent that dies after its arrival and comes back has still
arrived: the arrival belongs to its call, not to its process.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from prong.primitives.errors import BrokenBarrier
from prong.primitives.values import checked_name, checked_number, checked_timeout
from prong.state import Invalid, Membership, Row, Transaction, waiter
from prong.state.waiter import Outcome, Place

PARTIES = 10_000
"""The most parties that a barrier can have."""

_ROUNDS_KEPT = 2


@dataclass(frozen=True, slots=True)
class Passage:
    """How a party passed: in which round (1 for the first), and as the n-th to arrive (from 0)."""

    round: int
    place: int
    parties: int


@dataclass(frozen=True, slots=True)
class BarrierStatistics:
    """How full the barrier is now."""

    name: str
    parties: int
    arrived: int
    round: int
    broken: str | None


class Barrier:
    """A barrier by name for `parties` parties, as `threading.Barrier`, between processes.

    `siblings` is the fork point whose tasks are the parties; their number is counted from the tasks then.
    """

    def __init__(
        self, member: Membership, name: str, parties: int | None = None, *, siblings: int | None = None
    ) -> None:
        self.name = checked_name("barrier name", name)
        if (parties is None) == (siblings is None):
            raise Invalid("a barrier without parties, or with two kinds of them", "a number of parties or a fork point")
        if parties is not None:
            checked_number("a barrier's number of parties", parties, least=1, most=PARTIES)
        self._parties = parties
        self._siblings = siblings
        self._member = member

    def __repr__(self) -> str:
        return f"Barrier({self.name!r}, parties={self._parties})"

    def wait(self, *, timeout: float | None = None, party: str | None = None) -> Passage:
        """Arrive, and go on once all have; raises `BrokenBarrier`, also when `timeout` seconds pass (which breaks it).

        `party` names the arrival, so that the same arrival may be repeated: after it has passed it passes at once.
        """
        timeout = checked_timeout(timeout)
        party = checked_name("party", party) if party is not None else uuid.uuid4().hex
        broke = ""

        def withdraw(tx: Transaction, outcome: Outcome) -> None:
            # In the transaction that ends the wait, so that it can only ever be this round that breaks.
            nonlocal broke
            if outcome.state != "granted":
                how = "gave up waiting" if outcome.state == "timeout" else "was interrupted while it waited"
                broke = f"{self._who()} {how}"
                _break(tx, self.name, broke)

        with Place(self._member, withdraw=withdraw) as place:
            with self._member.transaction() as tx:
                came = self._come(tx, place, party, timeout)
            if isinstance(came, Passage):
                return came
            if came is None:
                outcome = place.wait()
                if outcome.state == "granted":
                    return Passage(**outcome.data)
                came = outcome.data.get("reason", broke)
        raise BrokenBarrier(self.name, came)

    def _come(self, tx: Transaction, place: Place, party: str, timeout: float | None) -> Passage | str | None:
        """Arrive: how it goes on, why it never will, or None and a place in the line."""
        barrier = self._found_or_made(tx)
        passed = self._passed(tx, barrier, party)
        if passed is not None or barrier["broken"] is not None:
            return passed or str(barrier["broken"])
        nth = self._arrive(tx, barrier, party)
        gone = _gone(tx, self.name)
        if gone is not None:
            _break(tx, self.name, gone)
            return gone
        if self._count(tx, barrier) >= barrier["parties"]:
            return self._open(tx, barrier, nth)
        place.enrol(tx, "barrier", self.name, timeout=timeout, wants={"place": nth})
        return None

    def abort(self, reason: str = "it was aborted") -> None:
        """Break the barrier: everybody who waits, and whoever comes, gets `BrokenBarrier`."""
        with self._member.transaction() as tx:
            self._found_or_made(tx)
            _break(tx, self.name, reason)

    def reset(self) -> None:
        """Empty and mend the barrier; those who wait get `BrokenBarrier`."""
        with self._member.transaction() as tx:
            if self._count(tx, self._found_or_made(tx)):
                _break(tx, self.name, "it was reset")
            tx.execute(
                "delete from barrier_arrival where barrier = :name"
                " and round = (select round from barrier where name = :name)",
                name=self.name,
            )
            tx.execute("update barrier set broken = null where name = :name", name=self.name)
            tx.event("barrier.reset", object=self.name)

    def statistics(self) -> BarrierStatistics:
        """What is so now, read in one query."""
        row = self._member.store.row(
            "select barrier.*, (select count(*) from barrier_arrival a where a.barrier = name"
            " and a.round = barrier.round) as arrived from barrier where name = :name",
            name=self.name,
        )
        if row is None:
            return BarrierStatistics(self.name, self._parties or 0, 0, 0, None)
        return BarrierStatistics(self.name, row["parties"], row["arrived"], row["round"], row["broken"])

    def _found_or_made(self, tx: Transaction) -> Row:
        parties = self._parties
        if self._siblings is not None:
            # Siblings are made one by one, so their number may grow while the first of them arrive.
            parties = tx.value("select count(*) from task where fork_point = :point", point=self._siblings)
        row = tx.row(
            "insert into barrier (name, parties, siblings) values (:name, :parties, :siblings)"
            " on conflict (name) do update set parties = excluded.parties"
            " where barrier.parties = excluded.parties or barrier.siblings = excluded.siblings returning *",
            name=self.name,
            parties=parties,
            siblings=self._siblings,
        )
        if row is None:
            there = tx.value("select parties from barrier where name = :name", name=self.name)
            raise Invalid(f"barrier {self.name!r} with {parties} parties", f"{there} parties, as when it was made")
        return row

    def _passed(self, tx: Transaction, barrier: Row, party: str) -> Passage | None:
        row = tx.row(
            "select round, place from barrier_arrival where barrier = :name and party = :party and round < :round",
            name=self.name,
            party=party,
            round=barrier["round"],
        )
        return Passage(row["round"] + 1, row["place"], barrier["parties"]) if row else None

    def _arrive(self, tx: Transaction, barrier: Row, party: str) -> int:
        """Write the arrival down, or find it where this party had arrived before its agent died."""
        row = tx.row(
            "insert into barrier_arrival (barrier, round, party, place, agent, task)"
            " values (:name, :round, :party,"
            "         (select count(*) from barrier_arrival where barrier = :name and round = :round), :agent, :task)"
            " on conflict (barrier, round, party) do update set agent = excluded.agent returning place",
            name=self.name,
            round=barrier["round"],
            party=party,
            agent=self._member.me.agent,
            task=self._member.me.task,
        )
        assert row is not None
        tx.event("barrier.arrived", object=self.name, round=barrier["round"] + 1, place=row["place"])
        place: int = row["place"]
        return place

    def _count(self, tx: Transaction, barrier: Row) -> int:
        count: int = tx.value(
            "select count(*) from barrier_arrival where barrier = :name and round = :round",
            name=self.name,
            round=barrier["round"],
        )
        return count

    def _open(self, tx: Transaction, barrier: Row, place: int) -> Passage:
        opened = barrier["round"] + 1
        tx.execute("update barrier set round = :round where name = :name", round=opened, name=self.name)
        tx.execute(
            "delete from barrier_arrival where barrier = :name and round < :old",
            name=self.name,
            old=opened - _ROUNDS_KEPT,
        )
        for row in waiter.everybody(tx, "barrier", self.name):
            waiter.grant(tx, row["id"], round=opened, parties=barrier["parties"], **waiter.wants(row))
        tx.event("barrier.opened", object=self.name, round=opened, parties=barrier["parties"])
        return Passage(opened, place, barrier["parties"])

    def _who(self) -> str:
        task = self._member.me.task
        return f"task {task}" if task is not None else f"agent {self._member.me.agent}"


def break_for(tx: Transaction, *, agent: int | None, task: int | None, reason: str) -> None:
    """Break every barrier that waits in vain: for an agent without a task that is gone, or for a task that has ended.

    A task that is done took part in what it arrived at; any other end takes its arrival back, so to speak.  Where
    nobody has arrived at a siblings' barrier, it is left for the next who comes to find out.
    """
    for row in tx.rows(
        "select distinct barrier.name from barrier left join task on task.id = :task"
        "  left join barrier_arrival a on a.barrier = barrier.name and a.round = barrier.round"
        "       and ((:task is not null and a.task = :task) or (:task is null and a.agent = :agent))"
        " where barrier.broken is null"
        "   and ((a.party is not null and task.state is not 'done')"
        "     or (a.party is null and barrier.siblings = task.fork_point and exists"
        "         (select 1 from barrier_arrival b where b.barrier = barrier.name and b.round = barrier.round)))",
        agent=agent,
        task=task,
    ):
        _break(tx, row["name"], reason)


def _gone(tx: Transaction, name: str) -> str | None:
    """Which of the siblings has ended and will never arrive in this round, in words; None where all may."""
    row = tx.row(
        "select task.id, task.state from barrier join task on task.fork_point = barrier.siblings"
        " where barrier.name = :name and task.state in ('done', 'failed', 'cancelled') and not exists"
        "   (select 1 from barrier_arrival a where a.barrier = :name and a.round = barrier.round and a.task = task.id)"
        " order by task.id limit 1",
        name=name,
    )
    return f"task {row['id']} has ended ({row['state']}) and will not arrive" if row else None


def _break(tx: Transaction, name: str, reason: str) -> None:
    if tx.execute(
        "update barrier set broken = :reason where name = :name and broken is null", reason=reason, name=name
    ):
        tx.event("barrier.broken", object=name, reason=reason)
    for row in waiter.everybody(tx, "barrier", name):
        waiter.refuse(tx, row["id"], reason=reason)
