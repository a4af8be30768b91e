"""A barrier: nobody goes on before all have arrived.

    filling --last party arrives--> open: round + 1, everybody goes on --> filling
       |              +--it has an action--> acting --action returns--> open
       |                                        +--action raises, its process dies--> broken
       +--timeout, interrupt, abort, a party fails for good--> broken --reset--> filling

The last to arrive opens it for all in one transaction.  An action runs between two: the first makes the round full, so
that nobody's timeout counts any more and whoever comes waits for the next round; the second opens it.

An agent that dies after its arrival and comes back has still arrived: the arrival belongs to its call, not to its
process.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prong.primitives import barrier_round
from prong.primitives.barrier_round import Arrival, Passage
from prong.primitives.errors import BrokenBarrier, Deadlock
from prong.primitives.place import Place
from prong.primitives.values import checked_name, checked_number, checked_timeout
from prong.primitives.who import who
from prong.state import Invalid, Membership, Transaction
from prong.state.waiter import Outcome

PARTIES = 10_000
"""The most parties that a barrier can have."""

REASON_CHARACTERS = 500
"""How much of what an action raised is told to the other parties."""


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

    `action` is called by the last to arrive before anybody goes on: all parties give the same.  `timeout`, in seconds,
    is what `wait` takes by default.  `siblings` is the fork point whose tasks are the parties; their number is counted
    from the tasks then.

    >>> barrier = swarm.Barrier("measured", 1, action=lambda: print("all are here"))
    >>> barrier.wait()
    all are here
    0
    """

    def __init__(
        self,
        member: Membership,
        name: str,
        parties: int | None = None,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        siblings: int | None = None,
    ) -> None:
        self.name = checked_name("barrier name", name)
        if (parties is None) == (siblings is None):
            raise Invalid("a barrier without parties, or with two kinds of them", "a number of parties or a fork point")
        if parties is not None:
            checked_number("a barrier's number of parties", parties, least=1, most=PARTIES)
        self._action = action
        self._member = member
        self._parties = parties
        self._siblings = siblings
        self._timeout = _seconds(timeout)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Barrier):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        try:
            found = self.statistics()
        except Exception:  # noqa: BLE001  a debugger shows it, whatever state the database is in
            return f"<prong.Barrier at {self.name!r}>"
        state = "broken" if found.broken is not None else f"waiters={found.arrived}/{found.parties}"
        return f"<prong.Barrier at {self.name!r}: {state}>"

    @property
    def parties(self) -> int:
        """How many have to arrive.

        >>> swarm.Barrier("measured", 3).parties
        3
        """
        return self.statistics().parties if self._parties is None else self._parties

    @property
    def n_waiting(self) -> int:
        """How many have arrived and wait.

        >>> swarm.Barrier("measured", 3).n_waiting
        0
        """
        found = self.statistics()
        return found.arrived if found.broken is None else 0

    @property
    def broken(self) -> bool:
        """Whether it is broken; `statistics` tells why.

        >>> barrier = swarm.Barrier("measured", 3)
        >>> barrier.abort()
        >>> barrier.broken
        True
        """
        return self.statistics().broken is not None

    def wait(self, timeout: float | None = None) -> int:
        """Arrive, and go on once all have: the number of those who came before, from 0 to `parties` - 1.

        Raises `BrokenBarrier` where it breaks or is reset, also by this call's own `timeout` in seconds, which does not
        count any more once all have arrived.  An interrupt breaks it, too.

        >>> swarm.Barrier("measured", 2).wait(timeout=0)
        Traceback (most recent call last):
        prong.primitives.errors.BrokenBarrier: barrier 'measured' is broken: ada (agent 1) gave up waiting. Go on \
without it, or reset it and meet again.
        """
        return self.meet(timeout).index

    def meet(self, timeout: float | None = None, *, party: str | None = None) -> Passage:
        """Arrive as by `wait`, and learn the round.

        `party` names the arrival, so that the same arrival may be repeated: after it has passed it passes at once.

        >>> barrier = swarm.Barrier("measured", 1)
        >>> barrier.meet(party="call 7") == barrier.meet(party="call 7") == Passage(round=1, index=0, parties=1)
        True
        """
        timeout = self._timeout if timeout is None else _seconds(timeout)
        party = checked_name("party", party) if party is not None else None
        while True:
            end = _Visit(self._member, self.name, self._action).go(partial(self._come, party), timeout)
            if isinstance(end, Passage):
                return end
            if end is not None:
                raise BrokenBarrier(self.name, end)
            # It came while the action of a full round ran, which is over; another round fills.

    def abort(self, reason: str = "it was aborted") -> None:
        """Break the barrier: everybody who waits, and whoever comes, gets `BrokenBarrier`.

        >>> swarm.Barrier("measured", 2).abort("the disk is full")
        """
        with self._member.transaction() as tx:
            barrier_round.make(tx, self.name, self._count(tx), self._siblings)
            barrier_round.break_for_all(tx, self.name, reason)

    def reset(self) -> None:
        """Empty and mend the barrier; those who wait get `BrokenBarrier`, and who runs the action gets it afterwards.

        >>> barrier = swarm.Barrier("measured", 2)
        >>> barrier.abort()
        >>> barrier.reset()
        >>> barrier.broken
        False
        """
        with self._member.transaction() as tx:
            barrier_round.make(tx, self.name, self._count(tx), self._siblings)
            barrier_round.reset(tx, self.name)

    def statistics(self) -> BarrierStatistics:
        """What is so now, read in one query.

        >>> swarm.Barrier("measured", 2).statistics()
        BarrierStatistics(name='measured', parties=2, arrived=0, round=0, broken=None)
        """
        row = self._member.store.row("select * from barrier where name = :name", name=self.name)
        if row is None:
            return BarrierStatistics(self.name, self._parties or 0, 0, 0, None)
        return BarrierStatistics(self.name, row["parties"], row["arrived"], row["round"], row["broken"])

    def _identity(self) -> tuple[object, ...]:
        return type(self), self._member.store.path, self.name

    def _come(self, party: str | None, tx: Transaction) -> Passage | Arrival | str | None:
        again = barrier_round.come_again(tx, self.name, party) if party is not None else None
        if again is not None:
            return again
        acts = self._action is not None
        parties = self._count(tx) if self._parties is None else self._parties
        return barrier_round.arrive(tx, self.name, parties, self._siblings, party=party, acts=acts)

    def _count(self, tx: Transaction) -> int:
        if self._parties is not None:
            return self._parties
        # Siblings are made one by one, so their number may grow while the first of them arrive.
        count: int = tx.value("select count(*) from task where fork_point = :point", point=self._siblings)
        return count


class _Visit:
    """One party's way through one round, to its passage or to why it broke."""

    def __init__(self, member: Membership, name: str, action: Callable[[], object] | None) -> None:
        self._action = action
        self._arrival: Arrival | None = None
        self._end: Passage | str | None = None
        self._member = member
        self._name = name
        self._waits = False

    def go(
        self, come: Callable[[Transaction], Passage | Arrival | str | None], timeout: float | None
    ) -> Passage | str | None:
        """Arrive by `come` and wait, or run the action; None where only the round before came to its end."""
        with Place(self._member, withdraw=self._withdraw) as self._place:
            with self._member.transaction() as tx:
                if self._member.calling is None or not self._take_up(tx):
                    self._begin(tx, come(tx), timeout)
            if self._arrival is not None and self._arrival.action is not None:
                self._act(self._arrival)
            while self._waits:
                self._wait()
        del self._place  # which knows us, too: a circle would stay until it is collected
        return self._end

    def _take_up(self, tx: Transaction) -> bool:
        kept = self._place.take_up(tx, "barrier", self._name)
        if kept is None:
            return False
        index = kept.wants.get("index")
        self._arrival = None if index is None else Arrival(index)
        self._waits = True
        return True

    def _begin(self, tx: Transaction, found: Passage | Arrival | str | None, timeout: float | None) -> None:
        if found is None:
            self._enrol(tx, None)
        elif not isinstance(found, Arrival):
            self._end = found
        else:
            self._arrival = found
            if found.action is not None:
                self._place.granted(tx)
            elif timeout != 0 or not self._give_up(tx, "gave up waiting"):
                self._enrol(tx, timeout)

    def _enrol(self, tx: Transaction, timeout: float | None) -> None:
        wants = "{}" if self._arrival is None else f'{{"index":{self._arrival.index}}}'
        self._place.enrol(tx, "barrier", self._name, timeout=timeout, wants=wants)
        self._waits = True

    def _wait(self) -> None:
        self._waits = False
        try:
            outcome = self._place.wait()
        except Deadlock:
            if self._arrival is not None:
                with self._member.transaction() as tx:
                    self._give_up(tx, "gave way in a deadlock")
            raise
        if self._arrival is not None and outcome.state == "granted":
            self._end = Passage(outcome.data["round"], self._arrival.index, outcome.data["parties"])
        elif self._arrival is not None and outcome.state == "broken":
            self._end = outcome.data["reason"]

    def _act(self, arrival: Arrival) -> None:
        """Run the action, then open; whatever is raised here breaks the barrier as the place is left."""
        assert self._action is not None
        self._action()
        with self._member.transaction() as tx:
            self._end = barrier_round.acted(tx, self._name, arrival)

    def _withdraw(self, tx: Transaction, outcome: Outcome) -> None:
        """Leave undecided, in the transaction that ends the wait, so that only this very round can break."""
        arrival = self._arrival
        if arrival is None:
            return
        if arrival.action is not None:
            error = "".join(traceback.format_exception_only(sys.exc_info()[1])).strip()[:REASON_CHARACTERS]
            reason = f"the action, which {self._who(tx)} ran, ended with {error}"
            barrier_round.fail(tx, self._name, reason, action=arrival.action)
        elif outcome.state == "interrupted":
            self._give_up(tx, "was interrupted while it waited")
        elif outcome.state == "timeout" and not self._give_up(tx, "gave up waiting"):
            self._enrol(tx, None)  # all had come before its time was up, and the action runs

    def _give_up(self, tx: Transaction, how: str) -> bool:
        """Break the barrier; False where all have come already."""
        reason = f"{self._who(tx)} {how}"
        if not barrier_round.give_up(tx, self._name, reason):
            return False
        self._end = reason
        return True

    def _who(self, tx: Transaction) -> str:
        me = self._member.me
        return f"task {me.task}" if me.task is not None else who(tx, me.agent)


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
        "   and ((a.place is not null and task.state is not 'done')"
        "     or (a.place is null and barrier.siblings = task.fork_point and barrier.arrived > 0))",
        agent=agent,
        task=task,
    ):
        barrier_round.break_for_all(tx, row["name"], reason)


def free_held_by(tx: Transaction, agent: int, *, reason: str) -> None:
    """Break every barrier whose action a dead agent was running, also where its task goes on without it."""
    for row in tx.rows("select name from barrier where acting = :agent", agent=agent):
        barrier_round.break_for_all(tx, row["name"], f"{who(tx, agent)}, which ran the action, is gone: {reason}")


def _seconds(timeout: float | None) -> float | None:
    """A timeout as `threading` takes it: less than nothing is nothing."""
    negative = isinstance(timeout, int | float) and timeout < 0
    return checked_timeout(0 if negative else timeout)
