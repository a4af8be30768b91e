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
from prong.primitives.values import checked_name
from prong.state import Invalid, Membership, Row, Transaction, waiter

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
        if parties is not None and not 1 <= parties <= PARTIES:
            raise Invalid(f"{parties} parties", f"1 to {PARTIES}")
        self._parties = parties
        self._siblings = siblings
        self._member = member

    def __repr__(self) -> str:
        return f"Barrier({self.name!r}, parties={self._parties})"

    def wait(self, *, timeout: float | None = None, party: str | None = None) -> Passage:
        """Arrive, and go on once all have; raises `BrokenBarrier`, also when `timeout` seconds pass (which breaks it).

        `party` names the arrival, so that the same arrival may be repeated: after it has passed it passes at once.
        """
        party = party or uuid.uuid4().hex
        with self._member.transaction() as tx:
            barrier = self._ready(tx)
            passed = self._passed(tx, barrier, party)
            if passed is not None:
                return passed
            place = self._arrive(tx, barrier, party)
            if self._count(tx, barrier) >= barrier["parties"]:
                return self._open(tx, barrier, place)
            ticket = waiter.enrol(tx, "barrier", self.name, timeout=timeout, wants={"place": place})
        try:
            outcome = waiter.wait(self._member, ticket)
        except BaseException:
            self.abort(f"{self._who()} was interrupted while it waited")
            raise
        if outcome.state == "granted":
            return Passage(outcome.data["round"], place, barrier["parties"])
        if outcome.state == "timeout":
            self.abort(f"{self._who()} gave up after {timeout:g} s")
        raise BrokenBarrier(self.name, self._reason())

    def abort(self, reason: str = "it was aborted") -> None:
        """Break the barrier: everybody who waits, and whoever comes, gets `BrokenBarrier`."""
        with self._member.transaction() as tx:
            _break(tx, self.name, reason)

    def reset(self) -> None:
        """Empty and mend the barrier; those who wait get `BrokenBarrier`."""
        with self._member.transaction() as tx:
            if self._count(tx, self._ready(tx, mend=True)):
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

    def _ready(self, tx: Transaction, *, mend: bool = False) -> Row:
        parties = self._parties
        if self._siblings is not None:
            parties = tx.value("select count(*) from task where fork_point = :point", point=self._siblings)
        row = tx.row(
            "insert into barrier (name, parties, siblings) values (:name, :parties, :siblings)"
            " on conflict (name) do update set parties = excluded.parties where barrier.parties = excluded.parties"
            " returning *",
            name=self.name,
            parties=parties,
            siblings=self._siblings,
        )
        if row is None:
            there = tx.value("select parties from barrier where name = :name", name=self.name)
            raise Invalid(f"barrier {self.name!r} with {parties} parties", f"{there} parties, as when it was made")
        if row["broken"] is not None and not mend:
            raise BrokenBarrier(self.name, row["broken"])
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
        for row in waiter.line(tx, "barrier", self.name):
            waiter.grant(tx, row["id"], round=opened)
        tx.event("barrier.opened", object=self.name, round=opened, parties=barrier["parties"])
        return Passage(opened, place, barrier["parties"])

    def _who(self) -> str:
        task = self._member.me.task
        return f"task {task}" if task is not None else f"agent {self._member.me.agent}"

    def _reason(self) -> str:
        row = self._member.store.row("select broken from barrier where name = :name", name=self.name)
        return (row["broken"] if row else None) or "it was reset while somebody waited"


def break_for(tx: Transaction, *, agent: int | None, task: int | None, reason: str) -> None:
    """Break every barrier that waits in vain: for a task that failed for good, or for an agent without a task."""
    for row in tx.rows(
        "select distinct barrier.name from barrier left join task on task.id = :task"
        "  left join barrier_arrival a on a.barrier = barrier.name and a.round = barrier.round"
        "       and ((:task is not null and a.task = :task) or (:task is null and a.agent = :agent and a.task is null))"
        " where barrier.broken is null and (a.party is not null or (barrier.siblings = task.fork_point"
        "       and not exists (select 1 from barrier_arrival b where b.barrier = barrier.name and b.task = :task)))",
        agent=agent,
        task=task,
    ):
        _break(tx, row["name"], reason)


def _break(tx: Transaction, name: str, reason: str) -> None:
    if tx.execute(
        "update barrier set broken = :reason where name = :name and broken is null", reason=reason, name=name
    ):
        tx.event("barrier.broken", object=name, reason=reason)
    for row in waiter.line(tx, "barrier", name):
        waiter.refuse(tx, row["id"], reason=reason)
