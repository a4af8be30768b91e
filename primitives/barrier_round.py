"""How a barrier fills, opens and breaks: what `Barrier` decides inside a transaction of its own.

    barrier          one row a name, for ever: how many have arrived in this round, and who runs its action
    barrier_arrival  one row for each who has arrived in this round, or by name in one of the last rounds
    waiter           those who have arrived and wait, and those who wait for the end of an action to arrive

Opening and breaking decide for all who wait in one statement.
"""

from __future__ import annotations

from dataclasses import dataclass

from prong.state import Invalid, Member, Transaction, waiter

_ROUNDS_KEPT = 2

# Reading and then writing takes less than one statement that returns what it wrote.
_LOOK = """
select round, arrived, actions,
       exists (select 1 from waiter where kind = 'barrier' and object = :name and state = 'waiting')
  from barrier
 where name = :name and (parties = :parties or siblings = :siblings) and broken is null and acting is null
"""  # no row: it is not there, broken, acting, or of other parties

_ENTER = "update barrier set parties = :parties, arrived = :arrived, round = :round where name = :name"

_ACT = "update barrier set acting = :agent, actions = actions + 1 where name = :name"

_ACTED = """
update barrier set round = round + 1, arrived = 0, acting = null
 where name = :name and acting = :agent and actions = :action
returning round                                                -- no row: it broke or was reset meanwhile
"""

_COME_AGAIN = """
select a.round, a.place, b.round as rounds, b.parties, b.broken
  from barrier_arrival a join barrier b on b.name = a.barrier
 where a.barrier = :name and a.party = :party and a.round >= b.round - :kept
 order by a.round desc limit 1
"""

_FORGET = """
delete from barrier_arrival
 where barrier = :name and round < :round and (party is null or round < :round - :kept)
"""

_BREAK = """
update barrier set broken = :reason, acting = null where name = :name and broken is null
"""


@dataclass(frozen=True, slots=True)
class Passage:
    """How a party passed: in which round (1 for the first), and as the n-th to arrive (`index`, from 0)."""

    round: int
    index: int
    parties: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a party stands: it came as number `index`; `action` is the number of the action that it has to run."""

    index: int
    action: int | None = None


def make(tx: Transaction, name: str, parties: int, siblings: int | None) -> str | None:
    """Make the barrier where it is missing: why it is broken; raises `Invalid` where it has other parties."""
    tx.execute(
        "insert into barrier (name, parties, siblings) values (:name, :parties, :siblings)"
        " on conflict (name) do nothing",
        name=name,
        parties=parties,
        siblings=siblings,
    )
    row = tx.row("select * from barrier where name = :name", name=name)
    assert row is not None
    if row["parties"] != parties and (siblings is None or row["siblings"] != siblings):
        raise Invalid(f"barrier {name!r} with {parties} parties", f"{row['parties']} parties, as when it was made")
    broken: str | None = row["broken"]
    return broken


def come_again(tx: Transaction, name: str, party: str) -> Passage | Arrival | str | None:
    """How a party stands that has arrived before: through, still in this round, or told why it broke; None: it has not.

    It is through already, or its agent died and this is the task's next.
    """
    assert tx.member is not None
    row = tx.row(_COME_AGAIN, name=name, party=party, kept=_ROUNDS_KEPT)
    if row is None:
        return None
    if row["round"] < row["rounds"]:
        return Passage(row["round"] + 1, row["place"], row["parties"])
    if row["broken"] is not None:
        return str(row["broken"])
    tx.execute(
        "update barrier_arrival set agent = :agent where barrier = :name and round = :round and place = :place",
        name=name,
        round=row["round"],
        place=row["place"],
        agent=tx.member.agent,
    )
    return Arrival(row["place"])


def arrive(
    tx: Transaction, name: str, parties: int, siblings: int | None, *, party: str | None, acts: bool
) -> Passage | Arrival | str | None:
    """Arrive: through as the last, in this round, or told why it is broken; None while the action of a full one runs.

    `acts` says that the last to arrive has an action to run before it opens.
    """
    row = _enter(tx, name, parties, siblings, acts=acts) if siblings is None else None
    if row is None:
        broken = make(tx, name, parties, siblings)
        if broken is None and siblings is not None:
            broken = _break_for_gone(tx, name)
        row = _enter(tx, name, parties, siblings, acts=acts) if broken is None else None
        if row is None:
            return broken
    number, arrived, action, awaited = row
    if arrived == 0:
        if party is not None:  # nobody asks for the last of a round otherwise, and the log tells who opened it
            _write_down(tx, name, number - 1, parties - 1, party)
        return open_for_all(tx, name, number, parties, awaited=awaited)
    index = arrived - 1
    _write_down(tx, name, number, index, party)
    tx.logged("barrier.arrived", name, f'{{"round":{number + 1},"index":{index}}}')
    return Arrival(index, action)


def acted(tx: Transaction, name: str, arrival: Arrival) -> Passage | str:
    """The action has returned: open the barrier, or hear why it broke meanwhile."""
    assert tx.member is not None
    row = tx.row(_ACTED, name=name, agent=tx.member.agent, action=arrival.action)
    if row is not None:
        return open_for_all(tx, name, row["round"], arrival.index + 1, awaited=True)
    broken = tx.value("select coalesce(broken, 'it was reset') from barrier where name = :name", name=name)
    return str(broken)


def open_for_all(tx: Transaction, name: str, round: int, parties: int, *, awaited: bool) -> Passage:
    """Let everybody go on, where there may be somebody; the passage of the last to arrive."""
    tx.logged("barrier.opened", name, f'{{"round":{round},"parties":{parties}}}')
    if awaited:
        waiter.grant_all(tx, "barrier", name, round=round, parties=parties)
    return Passage(round, parties - 1, parties)


def reset(tx: Transaction, name: str) -> None:
    """Empty and mend the barrier, and send everybody away."""
    emptied = tx.value(
        "update barrier set broken = null, arrived = 0, acting = null where name = :name returning round", name=name
    )
    tx.execute("delete from barrier_arrival where barrier = :name and round = :round", name=name, round=emptied)
    tx.event("barrier.reset", object=name)
    waiter.refuse_all(tx, "barrier", name, reason="it was reset")


def break_for_all(tx: Transaction, name: str, reason: str) -> bool:
    """Break the barrier and tell all who wait; False where it is broken already."""
    return _broken(tx, name, reason, tx.execute(_BREAK, name=name, reason=reason))


def give_up(tx: Transaction, name: str, reason: str) -> bool:
    """Break the barrier because a party leaves; False where all had come before, so that its action runs."""
    return _broken(tx, name, reason, tx.execute(_BREAK + " and acting is null", name=name, reason=reason))


def fail(tx: Transaction, name: str, reason: str, *, action: int) -> bool:
    """Break the barrier because its action failed; False where that action is over."""
    return _broken(
        tx,
        name,
        reason,
        tx.execute(_BREAK + " and acting is not null and actions = :action", name=name, reason=reason, action=action),
    )


def _broken(tx: Transaction, name: str, reason: str, rows: int) -> bool:
    if rows:
        tx.event("barrier.broken", object=name, reason=reason)
        waiter.refuse_all(tx, "barrier", name, reason=reason)
    return bool(rows)


def _enter(
    tx: Transaction, name: str, parties: int, siblings: int | None, *, acts: bool
) -> tuple[int, int, int | None, bool] | None:
    """Count one more, and open the round or begin its action where that makes it full; None: see `_LOOK`.

    The round, how many have arrived (nobody where that opened it), the action to run, and whether somebody waits.
    """
    row = tx.row(_LOOK, name=name, parties=parties, siblings=siblings)
    if row is None:
        return None
    number, arrived, actions, awaited = row
    arrived += 1
    full = arrived >= parties
    if full and not acts:
        number, arrived = number + 1, 0
    tx.execute(_ENTER, name=name, parties=parties, arrived=arrived, round=number)
    if not (full and acts):
        return number, arrived, None, bool(awaited)
    assert tx.member is not None
    tx.execute(_ACT, name=name, agent=tx.member.agent)
    return number, arrived, actions + 1, bool(awaited)


def _write_down(tx: Transaction, name: str, round: int, index: int, party: str | None) -> None:
    member: Member | None = tx.member
    assert member is not None
    if index == 0:
        # Here rather than as a round opens, when all the others wait for it.
        tx.execute(_FORGET, name=name, round=round, kept=_ROUNDS_KEPT)
    tx.execute(
        "insert into barrier_arrival (barrier, round, place, party, agent, task)"
        " values (:name, :round, :place, :party, :agent, :task)",
        name=name,
        round=round,
        place=index,
        party=party,
        agent=member.agent,
        task=member.task,
    )


def _break_for_gone(tx: Transaction, name: str) -> str | None:
    """Break it where one of the siblings has ended and will never arrive in this round: the reason, or None."""
    row = tx.row(
        "select task.id, task.state from barrier join task on task.fork_point = barrier.siblings"
        " where barrier.name = :name and task.state in ('done', 'failed', 'cancelled') and not exists"
        "   (select 1 from barrier_arrival a where a.barrier = :name and a.round = barrier.round and a.task = task.id)"
        " order by task.id limit 1",
        name=name,
    )
    if row is None:
        return None
    reason = f"task {row['id']} has ended ({row['state']}) and will not arrive"
    break_for_all(tx, name, reason)
    return reason
