"""What is wrong with what a swarm spends: a budget that is at its end, and forks that lost their prompt cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from prong.harness.inspector.acts import TASKS_AT_ONCE
from prong.harness.inspector.problem import REMEDIES, Moment, Problem, Remedy, many

NEARLY = 0.8
"""From which share of a budget on it is a problem."""

SHOWN = 50
"""The most tasks that are named."""

# In the order of +id: else all tasks are gone through by their numbers, and not the few in the index of those held.
_STANDING = """
select id, held_by,
       (select data from event where event.task = task.id and kind = 'budget.out' order by seq desc limit 1) as refused
  from task where state not in ('done', 'failed', 'cancelled') and held = 'budget' order by +id
"""
_HELD = """
with recursive chain (task, account) as (
    select id, coalesce(account, 0) from task
     where state not in ('done', 'failed', 'cancelled') and held = 'budget' and coalesce(held_by, '') <> 'agent'
     union select chain.task, account.lender from chain join account on account.task = chain.account
     where account.lender is not null)
select chain.task, account.task as account, tokens, nanousd, settled_tokens, settled_nanousd
  from chain join account on account.task = chain.account where tokens is not null or nanousd is not null
 order by chain.task
"""


def budgets(moment: Moment) -> Iterator[Problem]:
    """Tasks that stand still for a budget, or else that most of the swarm's is spent."""
    standing = moment.rows(_STANDING)
    if standing:
        held = tuple(row["id"] for row in standing[:SHOWN])
        yield Problem(
            "budget", "bad", f"{many(standing, 'stands', 'stand')} still because a budget is spent",
            f"{'Task' if len(held) == 1 else 'Tasks'} {', '.join(map(str, held))}.", None, ("cost",), tasks=held,
            remedies=tuple(_remedies(moment, standing)),
        )  # fmt: skip
        return
    for row in moment.rows("select task as account, * from account where task = 0"):
        if _share(row) > NEARLY:
            detail = "At its end tasks wait until somebody raises it."
            title = f"{_share(row):.0%} of the budget is spent"
            yield Problem("budget", "warn", title, detail, None, ("cost",), remedies=(_raise(row, {}),))


def _remedies(moment: Moment, standing: Sequence[Mapping[str, Any]]) -> Iterator[Remedy]:
    """Raise the accounts that are at their end; who has spent what one agent may is let go on by itself."""
    rows = moment.rows(_HELD)
    accounts = {row["account"]: row for row in rows if _share(row) > NEARLY} or {row["account"]: row for row in rows}
    lacks = _lacking(standing)
    for row in list(accounts.values())[:REMEDIES]:
        yield _raise(row, lacks)
    own = [row["id"] for row in standing if row["held_by"] == "agent"]
    for task in own[:REMEDIES]:
        yield Remedy(f"Let task {task} spend its own budget once more", "resume", {"task": task})


def _lacking(standing: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What the dearest call that was refused lacked, by unit."""
    lacks: dict[str, float] = {}
    for row in standing:
        told = json.loads(row["refused"] or "{}")
        if told.get("bound_of") == "account":
            lacks[told["unit"]] = max(lacks.get(told["unit"], 0.0), told["asked"] - told["open"])
    return lacks


def _share(row: Mapping[str, Any]) -> float:
    """How much of an account is spent, by its narrower bound."""
    return max(row[f"settled_{unit}"] / row[unit] if row[unit] else 0.0 for unit in ("tokens", "nanousd"))


def _raise(row: Mapping[str, Any], lacks: Mapping[str, float]) -> Remedy:
    """Half as much again, of whichever bounds the account has, and at least what the next call needs."""
    args: dict[str, Any] = {}
    if row["tokens"]:
        bound = max(row["tokens"], row["settled_tokens"])
        args["tokens"] = max(bound * 3 // 2, bound + ceil(lacks.get("tokens", 0)))
    if row["nanousd"]:
        usd = max(row["nanousd"], row["settled_nanousd"]) * 1e-9
        args["usd"] = ceil(max(usd * 1.5, usd + lacks.get("usd", 0)) * 10_000) / 10_000
    words = [f"{args['tokens']:,} tokens"] * ("tokens" in args) + [f"${args.get('usd', 0):g}"] * ("usd" in args)
    whose = f" of task {row['account']}" if row["account"] else ""
    label = f"Raise it{whose} to {' and '.join(words)}"
    return Remedy(label, "budget", {"task": row["account"]} if row["account"] else {}, args)


_COLD = "select id from task where state not in ('done', 'failed', 'cancelled') and held = 'cache' order by +id"


def lost_cache(moment: Moment) -> Iterator[Problem]:
    """Forks that paid for their parent's prefix again, and those that are held before they do."""
    lost = moment.happened("cache.lost")
    held = [row["id"] for row in moment.rows(_COLD)]
    if not lost and not held:
        return
    tokens = sum(one.told.get("prefix_tokens", 0) - one.told.get("cache_read", 0) for one in lost)
    waits = f" {many(held, 'waits', 'wait')} for you to say whether to begin all the same." if held else ""
    forks = "1 fork did not read its" if len(lost) == 1 else f"{len(lost)} forks did not read their"
    paid = f"About {tokens:,} tokens were paid for again." if lost else "The cache of their fork point is lost."
    yield Problem(
        "cache", "bad" if held or len(lost) > 1 else "warn",
        f"{forks} parent's cache" if lost else many(held, "waits", "wait") + " because a prompt cache is lost",
        paid + waits, lost[-1].at if lost else None, ("cost",),
        tasks=tuple(dict.fromkeys([*held, *(one.task for one in lost if one.task)])),
        remedies=tuple(_beginning(held)) or _pausing(moment),
    )  # fmt: skip


def _beginning(held: Sequence[int]) -> Iterator[Remedy]:
    if len(held) > 1:
        some = list(held[:TASKS_AT_ONCE])
        yield Remedy(f"Let all {len(some)} begin all the same", "resume", {"tasks": some})
    for task in held[:REMEDIES]:
        yield Remedy(f"Let task {task} begin all the same", "resume", {"task": task})


def _pausing(moment: Moment) -> tuple[Remedy, ...]:
    return (Remedy("Pause the swarm before more is lost", "pause", {}),) if moment.alive else ()
