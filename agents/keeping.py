"""How long the prompt cache keeps a fork point, and whether it is worth a request to keep it for longer.

    the first request with the fork point is due --> an entry for five minutes, or for an hour, where children come late
    nobody asks, and the entry is about to go    --> a request that nobody answers, while that is cheaper than writing

Children that work keep the entry by what they read.  It goes where nobody asks for long: all wait for a slot, for other
tasks, for a person, or for a command that takes an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prong.agents import economics
from prong.agents.conversation import Block, Message
from prong.agents.economics import Keeping, Lifetime, Work
from prong.agents.models import Source, known
from prong.agents.request import Request
from prong.state import Row, Store, Transaction

MARGIN_S = 20.0
"""So long before an entry goes it is looked at, in seconds."""

LIVES_S: dict[Lifetime, float] = {"5m": 290.0, "1h": 3_590.0}
"""How long an entry is taken to be readable, in seconds, from when the request began that last used it."""

_TO_COME = """
select count(*) as all_, coalesce(sum(state in ('blocked', 'ready')), 0) as late from task
 where fork_point = :point and state not in ('done', 'failed', 'cancelled')
   and not exists (select 1 from model_call where model_call.task = task.id and message is not null)
"""

_FREE = "select slots - (select count(*) from task where state = 'running') as free from swarm"

_BLOCKED = """
select count(*) as blocked, max(need.estimate_s) as wait_s from task
  join task_need on task_need.task = task.id join task need on need.id = task_need.need
 where task.fork_point = :point and task.state = 'blocked' and need.state not in ('done', 'failed', 'cancelled')
   and (need.fork_point is null or need.fork_point <> :point)
"""

_TURN_S = """
select avg(turn_s) as turn_s from (
    select (max(ended_at) - min(started_at)) / count(*) as turn_s from model_call where message is not null
     group by task having count(*) > 1)
"""

_NEXT_S = "select min(started_at + estimate_s) - :now as wait_s from task where state = 'running'"

_DUE = """
select fork_point.*, parent.id as parent, parent.account, parent.fence, parent.state = 'parked' as waits
  from fork_point join message on message.id = fork_point.message join task parent on parent.id = message.task
 where fork_point.state in ('cold', 'warm') and kept_until > :now and kept_until <= :soon order by kept_until
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A fork point whose entry is about to go, who will still read it, and whether it is to be kept."""

    point: int
    parent: int
    fence: int
    account: int | None
    model: str
    prefix_tokens: int
    children: int
    made: int
    keeping: Keeping


def choose(tx: Transaction, row: Row) -> Lifetime:
    """For how long the entry of a fork point is to be written by the request that is due now; an event says why."""
    prefix = row["prefix_tokens"] or 0
    model = known(tx, row["model"] or "")
    if not prefix or (model is not None and prefix < model.min_cacheable_tokens):
        return "5m"
    late, chance, wait_s = _lateness(tx, row["message"])
    is_there = row["kept_until"] is not None and row["kept_until"] > tx.now
    written = prefix - (row["asked_tokens"] or 0) if is_there else prefix
    lifetime = economics.lifetime(model, prefix=prefix, written=written, gap_is_likely=chance, wait_s=wait_s)
    if lifetime == "1h":
        reason = (
            f"{late} of its children start late, and nobody may ask for {wait_s:.0f} s; to write {written} tokens for"
            f" an hour costs less than to keep {prefix} alive, or to write them again"
        )
        tx.event("fork.for_an_hour", object=str(row["message"]), prefix_tokens=prefix, written=written, reason=reason)
    return lifetime


def lifetime(source: Source, point: int | None) -> Lifetime:
    """For how long requests with this fork point are to be kept."""
    found = source.rows("select lifetime from fork_point where message = :point", point=point)
    return "1h" if found and found[0]["lifetime"] == "1h" else "5m"


def due(store: Store) -> list[Due]:
    """The fork points whose entries are about to go and for which somebody waits, kept or not."""
    now = store.clock.now()
    found = []
    for row in store.rows(_DUE, now=now, soon=now + MARGIN_S):
        children = store.rows(_TO_COME, point=row["message"])[0]["late"]
        prefix, model = row["prefix_tokens"] or 0, known(store, row["model"] or "")
        if not (children or row["waits"]) or (model is not None and prefix < model.min_cacheable_tokens):
            continue
        wait_s = store.rows(_NEXT_S, now=now)[0]["wait_s"]
        keeping = economics.keeping(
            model, prefix=prefix, wait_s=wait_s if wait_s is not None and wait_s > 0 else None,
            made=row["kept_calls"], lives_s=LIVES_S["1h" if row["lifetime"] == "1h" else "5m"],
        )  # fmt: skip
        one = Due(
            row["message"], row["parent"], row["fence"] or 0, row["account"], row["model"] or "", prefix, children,
            row["kept_calls"], keeping,
        )  # fmt: skip
        found.append(one)
    return found


def request(system: Sequence[Block], tools: Sequence[Block], messages: Sequence[Message], kept: Lifetime) -> Request:
    """What reads a conversation up to its fork point, and is not answered."""
    point = messages[-1]
    results: list[Block] = [
        {"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": "It goes on."}]}
        for use in point.tool_uses()
    ]
    asked = Message(-1, "user", results)
    return Request(system, tools, [*messages, asked], fork_point=point.id, max_tokens=0, lifetime=kept)


def _lateness(tx: Transaction, point: int) -> tuple[int, float, float]:
    """How many children start late; how likely nobody reads the prefix for five minutes until then, and for how long.

    Those that start at once keep it for the others, unless their turns take longer than that.
    """
    to_come = tx.rows(_TO_COME, point=point)[0]
    blocked = tx.rows(_BLOCKED, point=point)[0]
    free = tx.rows(_FREE)
    at_once = max(0, min(to_come["all_"] - blocked["blocked"], free[0]["free"] if free else to_come["all_"]))
    late = to_come["all_"] - at_once
    if late <= 0:
        return 0, 0.0, 0.0
    if not at_once:
        wait_s = blocked["wait_s"] or tx.rows(_NEXT_S, now=tx.now)[0]["wait_s"] or 0.0
        return late, float(wait_s > LIVES_S["5m"]), wait_s
    turn_s = tx.rows(_TURN_S)[0]["turn_s"] or Work().turn_s
    outlasts, all_forget = economics.forgetting(turn_s, at_once)
    return late, outlasts * all_forget, turn_s
