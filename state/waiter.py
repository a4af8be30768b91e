"""Waiting: a blocked call is a row, and the process sleeps on a bell until somebody has decided.

    enrol --> waiting --> granted   by whoever freed the object, in its own transaction
                 +------> broken    it will never come; the reason is in `outcome`
                 +------> (gone)    timeout, interrupt, death

The decision is in the database before the bell rings, so it survives the death of either side.  A ring can be lost
only if the ringer dies between commit and ring; whoever keeps the watch (state/watch.py) rings for it then.  A row that
was decided and read is removed by the process's next transaction, whatever that is about: one of its own would double
what a wait costs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from prong.state import process
from prong.state.bell import slot_of, slot_of_all
from prong.state.calling import Kept
from prong.state.errors import StoreError, WaitInsideAtomic
from prong.state.member import Membership
from prong.state.store import Store
from prong.state.ticket import TOGETHER, Ticket
from prong.state.told import RECORDS
from prong.state.transaction import Row, Transaction, compact, expanded
from prong.state.watch import ROUND_S

FALLBACK_S = 2.0
"""After how many seconds a sleeper turns over at the latest, although no bell rang, and sees whether somebody keeps the
watch; later where many sleep."""

FIRST_S = 0.05
"""After how many seconds a sleeper does so for the first time; most waits are over by then."""

TURNS_PER_S = 8
"""How many sleepers turn over in a second, all together: where there are many, each does so the less often."""

CROWD = TURNS_PER_S * FALLBACK_S / 2
"""Of so many sleepers one turns over in a moment anyhow: nobody is woken to keep the watch."""

_GOLDEN = (5**0.5 - 1) / 2

ROW_TURNS = 5
"""How many times it turns over before it looks at its row although nothing rang."""


_FIRST = """
select id, agent, task, wants, since_at from waiter
 where kind = :kind and object = :object and state = 'waiting' and (until_at is null or until_at > :now)
 order by id limit 1
"""

_LOOK = "select state, outcome, until_at, running from waiter where id = :waiter"

_GRANT = "update waiter set state = 'granted', outcome = :outcome where id = :waiter"


Wants = dict[str, Any] | str | None
"""What a waiter asks for: a whole object of JSON, or its text."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a wait ended: `granted` or `broken`, with the data that the decider left; `timeout`, or `interrupted`."""

    state: str
    data: dict[str, Any]


def enrol(
    tx: Transaction, kind: str, object: str, *, timeout: float | None, wants: Wants = None, call: str | None = None
) -> Ticket:
    """Take a place at the end of the line for an object; `timeout` in seconds, None for ever.

    `call` is the tool call that waits, where it may be made again by another process.
    """
    assert tx.member is not None, "only a member can wait"
    tx.sweep_locks()
    waiter = tx.insert(
        "insert into waiter (agent, task, kind, object, wants, state, since_at, until_at, running, call)"
        " values (:agent, :task, :kind, :object, :wants, 'waiting', :now, :until, :running, :call)",
        agent=tx.member.agent,
        task=tx.member.task,
        kind=kind,
        object=object,
        wants=wants if isinstance(wants, str) else compact(wants or {}),
        now=tx.now,
        until=None if timeout is None else tx.now + timeout,
        running=process.threads_beside_me(),
        call=call,
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
    return tx.row(_FIRST, kind=kind, object=object, now=tx.now)


def grant(tx: Transaction, waiter: int, **data: Any) -> None:
    """Decide in favour of one waiter and ring its bell after the commit; of no kind that is woken together."""
    grant_told(tx, waiter, compact(data))


def grant_told(tx: Transaction, waiter: int, text: str) -> None:
    """Decide as `grant` does, with data that is a text of JSON already, a whole object."""
    tx.execute(_GRANT, outcome=text, waiter=waiter)
    tx.tell(waiter, slot_of(waiter), text)


def refuse(tx: Transaction, waiter: int, **data: Any) -> None:
    """Decide that the wait can never end well, and ring."""
    row = tx.row(
        "update waiter set state = 'broken', outcome = :outcome where id = :waiter returning kind, object",
        outcome=compact(data),
        waiter=waiter,
    )
    if row is not None:
        tx.ring(Ticket(waiter, row["kind"], row["object"]).slot)


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
        self._bell: int | None = None
        self._burials = -1
        self._left: Outcome | None = None
        self._ticket: Ticket | None = None
        self._taken_in: Transaction | None = None
        self._until: float | None = None

    def enrol(self, tx: Transaction, kind: str, object: str, *, timeout: float | None, wants: Wants = None) -> Ticket:
        """Take a place at the end of the line, as the function of that name does."""
        self._taken_in = tx
        calling = self._member.calling
        call = None if calling is None else calling.waits(kind)
        self._ticket = enrol(tx, kind, object, timeout=timeout, wants=wants, call=call)
        self._until = None if timeout is None else tx.now + timeout
        # Nobody can decide before this is committed: while the bell has not rung the row need not be looked at.
        self._bell = self._member.store.bells.read(self._ticket.slot)
        self._burials = tx.burials()
        self._member.store.told.awake(self._ticket.waiter)
        return self._ticket

    def take_up(self, tx: Transaction, kind: str, object: str) -> Kept | None:
        """Take the place that the same call had in a process that was ended while it waited; None where it had none."""
        calling = self._member.calling
        kept = None if calling is None else calling.taken_up(kind, object)
        if kept is not None:
            self._taken_in = tx
            self._ticket, self._until, self._bell = kept.ticket, kept.until_at, None
        return kept

    def granted(self, tx: Transaction, **data: Any) -> None:
        """Nobody was in line, and the caller got at once what `withdraw` would have to give back."""
        self._taken_in = tx
        self._left = Outcome("granted", data)

    def wait(self, *, look: Callable[[], None] | None = None, parks: bool = True) -> Outcome:
        """Sleep until it is decided or the time is up.

        `look` is what this sleeper does, twice a second, while it is the one that keeps the watch.  While it sleeps the
        member is parked, unless `parks` is false because the wait is short by nature.
        """
        assert self._ticket is not None, "a place is taken before one waits in it"
        store = self._member.store
        if store.inside_atomic:
            raise WaitInsideAtomic(self._ticket.kind, self._ticket.object)
        parks = parks and not (self._bell is None and self._is_over(store))
        with self._member.parking(self._ticket) if parks else nullcontext():
            told = None if self._bell is None else _sleep_once(store, self._ticket, self._bell, self._until)
            slept = told if store.burials() == self._burials else None  # or what we were told may be another's by now
            turn = int(self._bell is not None)
            self._left = slept or _sleep_until_decided(store, self._ticket, look, self._until, turn=turn)
        if self._left is not None and self._ticket.kind != "tasks":  # whose row others refer to
            # A lock's next transaction is its release, for which somebody waits: its row is left until the next wait.
            (store.read_locks if self._ticket.kind == "lock" else store.read_waits).append(self._ticket.waiter)
            return self._left
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
        try:
            with self._member.transaction() as tx:
                self._leave(tx)
        except StoreError:
            # Nobody is to be granted what nobody waits for: this process's next transaction takes the row away.
            if self._ticket is not None:
                self._member.store.read_waits.append(self._ticket.waiter)

    def _is_over(self, store: Store) -> bool:
        """Whether the wait has ended before it was begun here, so that no slot need be given up for it."""
        if self._until is not None and self._until <= store.clock.now():
            return True
        assert self._ticket is not None
        row = store.row(_LOOK, waiter=self._ticket.waiter)
        return row is None or row["state"] != "waiting"

    def _leave(self, tx: Transaction) -> None:
        """Undo what an exception has left half done."""
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


def _sleep_until_decided(
    store: Store, ticket: Ticket, look: Callable[[], None] | None, until: float | None, *, turn: int
) -> Outcome | None:
    """How it was decided; None where the time is up, or the row is gone with its member.

    `until` is when the time is up, as far as is known; `turn` how often it has turned over before.
    """
    bells, slot = store.bells, ticket.slot
    keeping, nap, running, seen, quiet = False, FALLBACK_S if turn else FIRST_S, -1, 0, 0
    try:
        while True:
            before, seen = seen, bells.read(slot)
            if quiet == 0 or seen != before:  # it may have rung just after the sleep had ended by itself
                row = store.row(_LOOK, waiter=ticket.waiter)
                if row is None:
                    return None
                state, outcome, until, running = row
                if state != "waiting":
                    return Outcome(state, expanded(outcome))
            if turn and look is not None:
                keeping = keeping or store.watch.begin()
                recent, sleepers = store.watch.seen()
                nap = ROUND_S if keeping else nap_s(ticket, turn, sleepers)
                if keeping or not recent:
                    # What it grants us rings our own bell, so that we do not sleep over it.
                    _look(store, look)
            remaining = nap if until is None else until - store.clock.now()
            if remaining <= 0:
                return None
            if turn:
                running = _tell_threads(store, ticket, running)
            rang = bells.wait(slot, seen, min(remaining, nap))
            quiet = 0 if rang or not turn else (quiet + 1) % ROW_TURNS
            nap, turn = FALLBACK_S, turn + 1
    finally:
        if keeping:
            store.watch.end()
            _pass_the_watch_on(store)


def _sleep_once(store: Store, ticket: Ticket, bell: int, until: float | None) -> Outcome | None:
    """How a place was decided whose `bell` was just read, as most are in one short sleep; None: the row must tell."""
    slot = ticket.slot
    if not store.bells.soon(slot, bell):
        store.told.asleep(ticket.waiter)
        limit = FIRST_S if until is None else min(FIRST_S, until - store.clock.now())
        if limit > 0:
            store.bells.wait(slot, bell, limit)
    text = store.told.read(ticket.waiter)
    return None if text is None else Outcome("granted", expanded(text))


def nap_s(ticket: Ticket, turn: int, sleepers: int) -> float:
    """How long a sleeper sleeps before it turns over once more, so that they never do it all at once.

    Steps of the golden ratio fall evenly; a random number would be the same in every forked child.
    """
    longest = max(FALLBACK_S, 2 * sleepers / TURNS_PER_S)
    return longest * ((ticket.waiter + turn) * _GOLDEN % 1)


def _tell_threads(store: Store, ticket: Ticket, told: int) -> int:
    """Write down anew how many threads could do something beside the sleeper, and sweep, where that has changed."""
    running = process.working_beside_me()
    if running != told or store.read_locks or store.read_waits:
        with suppress(StoreError), store.transaction(None) as tx:
            tx.sweep_locks()
            tx.execute(
                "update waiter set running = :running where id = :waiter and running <> :running",
                running=running,
                waiter=ticket.waiter,
            )
    return running


def _look(store: Store, look: Callable[[], None]) -> None:
    # A full disk, or a foreign program that holds the file, is for those to hear who want to write.
    with suppress(StoreError):
        store.watch.stamp(store.rows("select count(*) from waiter where state = 'waiting'")[0][0])
        look()


def _pass_the_watch_on(store: Store) -> None:
    """Let one of those who still sleep see that nobody keeps the watch, unless enough of them turn over anyhow."""
    with suppress(StoreError):
        _, sleepers = store.watch.seen()
        for count, *newest in store.rows(
            "select count(*), max(id), kind, object from waiter where state = 'waiting' having count(*) > 0"
        ):
            if count < max(CROWD, sleepers / 2):
                store.bells.ring(Ticket(*newest).slot)


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
    return Outcome(row["state"], expanded(row["outcome"]))


def wants(row: Row) -> dict[str, Any]:
    """What the waiter of this row asked for."""
    return cast("dict[str, Any]", expanded(row["wants"]))


def grant_all(tx: Transaction, kind: str, object: str, **data: Any) -> int:
    """Decide in favour of everybody who waits for an object, in one statement, and ring; how many they were."""
    return _decide_all(tx, kind, object, "granted", data)


def refuse_all(tx: Transaction, kind: str, object: str, **data: Any) -> int:
    """Decide for everybody who waits for an object that it can never end well, and ring; how many they were."""
    return _decide_all(tx, kind, object, "broken", data)


def _decide_all(tx: Transaction, kind: str, object: str, state: str, data: dict[str, Any]) -> int:
    text = compact(data)
    decided = tx.rows(
        "update waiter set state = :state, outcome = :outcome"
        " where kind = :kind and object = :object and state = 'waiting' returning id",
        state=state,
        kind=kind,
        object=object,
        outcome=text,
    )
    shared = slot_of_all(f"{kind} {object}") if kind in TOGETHER else None
    told = text if state == "granted" and len(decided) <= RECORDS else None
    for (waiter,) in decided:
        tx.tell(waiter, slot_of(waiter) if shared is None else shared, told)
    return len(decided)
