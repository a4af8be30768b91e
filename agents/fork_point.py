"""The first request after a fork warms the prompt cache for all others.

    cold --somebody asks--> warming --its response begins--> warm --five minutes--> cold
                               |                              ^
                               +--the leader dies--> cold     +-- a scout has read it: proved
                               +--a child has not read what it should have--> lost

A cache entry can be read only once the response to the request that wrote it has begun; sixteen children that ask at
the same moment would all pay for writing the same prefix.  So one leads and the others wait for its first byte.  The
parent itself leads where it can: its next request holds the fork point too and has to be paid for anyway, and no child
then pays for the assistant message in which it was made.  Where the parent waits or is gone, the first child leads.

A long prefix that is lost costs as much as all the children together: so one of them goes before the others, the scout,
and where it has read almost nothing, and nothing explains that, those that have not begun are held until a person lets
them go on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from prong.agents import economics, keeping
from prong.agents.models import known
from prong.state import Membership, ProngError, Row, Transaction, waiter

PARENT_GRACE_S = 2.0
"""How long children leave the lead to a parent that is still at work on its turn, in seconds."""

WARM_S = keeping.LIVES_S["5m"]
"""How long a prefix is taken to be readable that was written as usual, in seconds."""

SCOUT_TOKENS = 20_000
"""From what length on a prefix is worth a scout, in tokens: below it, a loss costs less than the wait."""

LOST_SHARE = 0.5
"""A child that reads less than this share of what should be in the cache has lost it."""


Go = Literal["go", "lead", "prewarm"]
"""What to do now: ask; ask as the one for whom the others wait; or warm the cache by a request of its own first."""


class CacheLost(ProngError):
    """A child that has not begun would pay for its parent's whole conversation once more, and its siblings, too."""

    def __init__(self, message: int, found: dict[str, Any]) -> None:
        self.message = message
        self.found = found

    def __str__(self) -> str:
        found = self.found
        if found["prefix_is_the_same"]:
            what = f"the first child read {found['cache_read']} of {found['prefix_tokens']} tokens from the cache"
        else:
            what = "what it would send is not what its parent had sent, so nothing of it is in the cache"
        cost = f"{found['prefix_tokens']} tokens"
        if found.get("lost_usd"):
            cost += f" (${found['lost_usd']:.4f})"
        return (
            f"the prompt cache of its fork point is lost: {what}, and it would pay for {cost} once more. Let it go on"
            " all the same with: prong resume --task N, or let all forks do so with on_lost_cache: continue in PRONG.md"
        )


@dataclass(frozen=True, slots=True)
class Child:
    """A task before the first request of its own conversation: what it begins with, and whether a loss stops it."""

    task: int
    prefix_hash: str
    stops: bool


def declare(tx: Transaction, message: int, prefix_hash: str) -> None:
    """Say that an assistant message is a fork point, and what all its forks share."""
    tx.execute(
        "insert into fork_point (message, state, prefix_hash) values (:message, 'cold', :hash)"
        " on conflict (message) do update set prefix_hash = excluded.prefix_hash",
        message=message,
        hash=prefix_hash,
    )
    # What its own request wrote is in the cache already; what it answered will be with the next one.
    tx.execute(
        "update fork_point set (model, asked_tokens, prefix_tokens, kept_until) ="
        " (select model, input_tokens + cache_read_tokens + cache_write_tokens,"
        "         input_tokens + cache_read_tokens + cache_write_tokens + output_tokens, started_at + :warm_s"
        "    from model_call where model_call.message = fork_point.message"
        "     and model_call.task = (select message.task from message where id = fork_point.message))"
        " where message = :message and prefix_tokens is null",
        message=message,
        warm_s=WARM_S,
    )


def exists(member: Membership, message: int) -> bool:
    """Whether a fork was made at this message."""
    return bool(member.store.row("select 1 from fork_point where message = :message", message=message))


def lead_or_wait(member: Membership, message: int, *, child: Child | None) -> Go:
    """Before a request that holds the fork point: returns at once where we lead, else once it is warm.

    `child` is None for the parent itself.  A child whose parent is still at work on its turn does not wait for it where
    warming the cache by a request of its own pays.  Raises `CacheLost` for a child that is to be held.
    """
    leads = child is None
    while True:
        with member.transaction() as tx:
            row = _row(tx, message)
            stopped = _stopped(tx, row, child) if child is not None else None
            if stopped is None:
                warm = _is_warm(tx, row)
                if row["state"] == "lost" or (warm and (child is None or not _wants_scout(tx, row))):
                    return "go"
                prewarms = child is not None and not warm and not _parent_waits(tx, message) and _prewarms(tx, row)
                if (leads or warm or prewarms or _parent_waits(tx, message)) and _take_lead(tx, message):
                    if not warm:
                        _set_lifetime(tx, row)
                    tx.event("fork.warming", object=str(message), scout=warm, prewarm=prewarms)
                    return "prewarm" if prewarms else "lead"
                ticket = waiter.enrol(tx, "fork", str(message), timeout=PARENT_GRACE_S)
        if stopped is not None:
            raise stopped
        outcome = waiter.wait(member, ticket, parks=False)
        leads = leads or outcome.state == "timeout"


def warmed(member: Membership, message: int, *, read: int, child: Child | None, begun: bool = True) -> None:
    """The response to the leader's request has begun, and has read so much from the cache: let the others go.

    A child that only had the cache warmed has not `begun`, and can be held itself.
    """
    with member.transaction() as tx:
        row = _row(tx, message)
        lost = child is not None and child.stops and _is_lost(tx, row, read, besides=int(begun))
        tx.execute(
            "update fork_point set state = :state, leader = null, warm_until = :until, kept_until = :until,"
            " proved = case when :child then 1 else proved end where message = :message",
            state="lost" if lost else "warm",
            until=tx.now + _lives_s(row),
            child=child is not None,
            message=message,
        )
        tx.event("fork.warm", object=str(message), cache_read=read)
        if lost:
            assert child is not None
            found = {"cache_read": read, "prefix_is_the_same": child.prefix_hash == row["prefix_hash"]}
            _tell_of_loss(tx, row, found, held=_siblings_to_come(tx, message) - begun)
        _let_look(tx, message)


def used(tx: Transaction, message: int, *, started_at: float, kept_calls: int = 0) -> None:
    """A request that holds the fork point was answered: whatever it read lives on from when it began.

    It was the `kept_calls`th in a row that did nothing else; 0: it was one of an agent.
    """
    tx.execute(
        "update fork_point set kept_until = :until, kept_calls = :calls,"
        " warm_until = case when state = 'warm' then :until else warm_until end"
        " where message = :message and (kept_until is null or kept_until < :until)",
        calls=kept_calls,
        message=message,
        until=started_at + _lives_s(_row(tx, message)),
    )


def abandon(tx: Transaction, agent: int) -> None:
    """The agent is dead: if it led, or wrote a summary, those who wait for it choose another."""
    for row in tx.rows(
        "update fork_point set state = 'cold', leader = null where leader = :agent returning message", agent=agent
    ):
        _let_look(tx, row["message"])
    for row in tx.rows("update fork_point set briefer = null where briefer = :agent returning message", agent=agent):
        _let_look(tx, row["message"])


def parent_parks(tx: Transaction, task: int) -> None:
    """The task's agent waits, so it will not ask soon: the children that left it the lead need wait no longer."""
    for row in tx.rows(
        "select message from fork_point join message on message.id = fork_point.message"
        " where message.task = :task and fork_point.state = 'cold'",
        task=task,
    ):
        _let_look(tx, row["message"])


def chill(tx: Transaction) -> None:
    """The cache itself is gone, with the emulator that held it."""
    tx.execute(
        "update fork_point set state = 'cold', leader = null, warm_until = null, kept_until = null, proved = 0"
        " where state <> 'lost'"
    )


def brief(tx: Transaction, message: int) -> str | None:
    """The summary of the conversation up to a fork point; None where nobody has written it yet."""
    text: str | None = _row(tx, message)["brief"]
    return text


def begin_brief_or_wait(member: Membership, message: int) -> str | None:
    """The summary, once it is there; None where it is for us to write it."""
    while True:
        with member.transaction() as tx:
            text = brief(tx, message)
            if text is not None:
                return text
            assert tx.member is not None
            taken = tx.execute(
                "update fork_point set briefer = :agent where message = :message"
                " and (briefer is null or briefer = :agent"
                "      or briefer in (select id from agent where ended_at is not null))",
                agent=tx.member.agent,
                message=message,
            )
            if taken:
                tx.event("brief.began", object=str(message))
                return None
            ticket = waiter.enrol(tx, "fork", str(message), timeout=PARENT_GRACE_S)
        waiter.wait(member, ticket, parks=False)


def end_brief(tx: Transaction, message: int, text: str) -> None:
    """The summary is written, once for all children."""
    tx.execute(
        "update fork_point set brief = :text, briefer = null where message = :message", text=text, message=message
    )
    tx.event("brief.made", object=str(message), characters=len(text))
    _let_look(tx, message)


def _set_lifetime(tx: Transaction, row: Row) -> None:
    """Before the first request with the fork point: for how long its entry is to live."""
    lifetime = keeping.choose(tx, row)
    tx.execute(
        "update fork_point set lifetime = :lifetime where message = :message",
        lifetime=lifetime,
        message=row["message"],
    )


def _lives_s(row: Row) -> float:
    return keeping.LIVES_S["1h" if row["lifetime"] == "1h" else "5m"]


def _row(tx: Transaction, message: int) -> Row:
    row = tx.row("select * from fork_point where message = :message", message=message)
    assert row is not None, "whoever forks declares the fork point first"
    return row


def _stopped(tx: Transaction, row: Row, child: Child) -> CacheLost | None:
    """Why a child is held whose cache is known to be lost, before it has cost anything; None where it may go on."""
    if not child.stops or tx.value("select pays from task where id = :task", task=child.task):
        return None
    if row["state"] == "lost":
        return CacheLost(row["message"], json.loads(row["lost"]))
    if child.prefix_hash != row["prefix_hash"] and _siblings_to_come(tx, row["message"]) > 1:
        tx.execute("update fork_point set state = 'lost', leader = null where message = :m", m=row["message"])
        held = _siblings_to_come(tx, row["message"])
        found = _tell_of_loss(tx, row, {"cache_read": 0, "prefix_is_the_same": False}, held=held)
        _let_look(tx, row["message"])
        return CacheLost(row["message"], found)
    return None


def _is_lost(tx: Transaction, row: Row, read: int, *, besides: int) -> bool:
    """Whether a child that leads or scouts has read almost nothing of what should be there, without a reason."""
    model = known(tx, row["model"] or "")
    was_warm = row["warm_until"] is not None and row["warm_until"] > tx.now
    should = row["prefix_tokens"] if was_warm else row["asked_tokens"]
    if should is None or (model is not None and should < model.min_cacheable_tokens):
        return False
    expired = row["kept_until"] is None or row["kept_until"] <= tx.now
    return not expired and read < LOST_SHARE * should and _siblings_to_come(tx, row["message"]) > besides


def _tell_of_loss(tx: Transaction, row: Row, found: dict[str, Any], *, held: int) -> dict[str, Any]:
    """Write down that the fan-out stops here, with what it would cost if it went on; returns what was found."""
    prefix = row["prefix_tokens"] or 0
    lost_usd = economics.loss_usd(known(tx, row["model"] or ""), prefix=prefix, read=found["cache_read"])
    found = {"prefix_tokens": prefix, **found, "lost_usd": lost_usd}
    tx.execute(
        "update fork_point set lost = :lost where message = :message", lost=json.dumps(found), message=row["message"]
    )
    tx.event(
        "fork.stopped", object=str(row["message"]), **found, children_held=held,
        would_cost_tokens=held * (prefix - found["cache_read"]),
        would_cost_usd=None if lost_usd is None else held * lost_usd,
    )  # fmt: skip
    return found


def _wants_scout(tx: Transaction, row: Row) -> bool:
    """Whether one child is to go first: nobody has read the prefix yet, and losing it would cost much."""
    long = (row["prefix_tokens"] or 0) >= SCOUT_TOKENS
    return long and not row["proved"] and _siblings_to_come(tx, row["message"]) > 1


def _prewarms(tx: Transaction, row: Row) -> bool:
    """Whether a child should not wait for its parent's next request, but warm the cache itself."""
    if not _wants_scout(tx, row):
        return False
    setting = economics.Setting(
        prefix_tokens=row["prefix_tokens"], shared_tokens=0, children=_siblings_to_come(tx, row["message"]),
        model=known(tx, row["model"] or ""),
    )  # fmt: skip
    return economics.prewarm_pays(setting, leader_in_s=PARENT_GRACE_S)


def _siblings_to_come(tx: Transaction, message: int) -> int:
    """How many of its forks have not asked yet."""
    count: int = tx.value(
        "select count(*) from task where fork_point = :message and state not in ('done', 'failed', 'cancelled')"
        " and not exists (select 1 from model_call where model_call.task = task.id and message is not null)",
        message=message,
    )
    return count


def _let_look(tx: Transaction, message: int) -> None:
    for row in waiter.line(tx, "fork", str(message)):
        waiter.grant(tx, row["id"])


def _is_warm(tx: Transaction, row: Row) -> bool:
    return bool(row["state"] == "warm" and row["warm_until"] > tx.now)


def _parent_waits(tx: Transaction, message: int) -> bool:
    """A child leaves the lead to its parent while that is about to ask."""
    row = tx.row(
        "select 1 from message join task on task.id = message.task"
        " where message.id = :message and task.state = 'running'",
        message=message,
    )
    return row is None


def _take_lead(tx: Transaction, message: int) -> bool:
    assert tx.member is not None
    taken = tx.execute(
        "update fork_point set state = 'warming', leader = :agent where message = :message"
        " and (state <> 'warming' or leader = :agent"
        "      or leader in (select id from agent where ended_at is not null))",
        agent=tx.member.agent,
        message=message,
    )
    return bool(taken)
