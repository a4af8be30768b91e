"""Why a task has not begun: what it needs still, and where it stands in the line."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prong.harness import scopes
from prong.harness.why.moment import Moment, Reason, clock, listed, many, named, quoted, span
from prong.primitives import ranking
from prong.state import Row

NEEDS_TOLD = 5
"""Of how many open needs it is told how they stand; the rest is named."""

SAID_BEFORE = 256
"""So many who stand before it are asked whether they are to write the same files."""

COUNTED = 10_000
"""Up to which place in line it is counted."""

REACHED = 10_000
"""How many tasks are looked at to find those on which a blocked one hangs in the end."""

Short = Callable[[Moment, Row], Reason]
"""Why another task is not done, in one sentence."""

_POLICIES = {
    "fail": "It starts when all that it needs is done, and fails if one of that fails.",
    "continue": "It starts when all that it needs has ended, even badly: what failed is then told to it.",
    "any": "It starts as soon as one of what it needs is done, and fails if all of that fails.",
}

_NEEDS = """
select need.id, need.state, need.title from task_need join task need on need.id = task_need.need
 where task_need.task = :task order by need.id
"""

# Those that hold everything up: reached over needs that have not begun, and begun or ready themselves.
_HANGS_ON = """
with recursive reach (id) as (
    select need from task_need where task = :task
     union select need from reach join task using (id) join task_need on task_need.task = reach.id
     where state = 'blocked' limit :most
) select task.id, state from reach join task using (id)
   where state not in ('blocked', 'done', 'failed', 'cancelled') order by id
"""

# Three ranges of one index, so that a long line is only counted, and not to its end.  Those that back off are no part
# of it.
_BEFORE = """
select (select count(*) from (select 1 from task where state = 'ready' and paused = 0 and level > :level limit :most))
     + (select count(*) from (select 1 from task where state = 'ready' and paused = 0 and level = :level
                                 and path_s > :path limit :most))
     + (select count(*) from (select 1 from task where state = 'ready' and paused = 0 and level = :level
                                 and path_s = :path and id < :task limit :most)) as before,
       (select count(*) from task indexed by task_later where not_before > :now and state = 'ready' and paused = 0
           and id <> :task
           and (level > :level or level = :level and (path_s > :path or path_s = :path and id < :task))) as later
"""

# The first of those who stand before it and have said what they will write.
_SAID_BEFORE = """
select id from task where state = 'ready' and paused = 0 and writes is not null
   and (level > :level or level = :level and (path_s > :path or path_s = :path and id < :task))
 order by level desc, path_s desc, id limit :most
"""

_WAKERS = """
select priority, raised, since_at from waiter join task on task.id = waiter.task
 where waiter.kind = 'slot' and waiter.state = 'waiting' and task.paused = 0 and task.id <> :task
"""

_RAISERS = """
select task.id from task_need join task on task.id = task_need.task
 where need = :task and state = 'blocked' and max(priority, coalesce(raised, priority)) >= :raised
 union
select task.id from waiter_task join waiter on waiter.id = waiter_task.waiter join task on task.id = waiter.task
 where waiter_task.task = :task and waiter.state = 'waiting' and max(priority, coalesce(raised, priority)) >= :raised
"""


def blocked(moment: Moment, task: Row, short: Short) -> list[Reason]:
    """Which needs are open and how each stands, on what all of it hangs, and what becomes of the task if one fails."""
    rows = moment.source.rows(_NEEDS, task=task["id"])
    open_ = [row for row in rows if row["state"] not in ("done", "failed", "cancelled")]
    bad = [row for row in rows if row["state"] in ("failed", "cancelled")]
    states = {row["id"]: row["state"] for row in rows}
    text = f"It needs {named(row['id'] for row in open_)}, which {_has(open_)} not ended."
    if len(open_) < len(rows):
        ended = many(len(rows) - len(open_), "has", "have")
        text = f"Of the {len(rows)} tasks that it needs, {ended} ended. {text}"
    found = [Reason("needs", text, {"needs": states})]
    for row in open_[:NEEDS_TOLD]:
        need = moment.task(row["id"])
        assert need is not None, "it was joined"
        detail = f"Task {need['id']} is {need['state']}: {quoted(need['title'])}. {short(moment, need).detail}"
        found.append(Reason("need", detail, {"need": need["id"], "state": need["state"]}))
    found += _root(moment, task, [row["id"] for row in open_])
    policy = _POLICIES[task["on_failed_need"]]
    if bad:
        policy += f" {named(row['id'] for row in bad).capitalize()} did not end well."
    found.append(Reason("policy", policy, {"on_failed_need": task["on_failed_need"]}))
    return [*found, *moment.paused(task), *moment.standing_still()]


def blocked_in_short(moment: Moment, task: Row) -> Reason:
    """The same in one sentence."""
    rows = moment.source.rows(f"{_NEEDS} limit 100", task=task["id"])
    open_ = [row for row in rows if row["state"] not in ("done", "failed", "cancelled")]
    return needing([(row["id"], row["state"]) for row in open_])


def needing(open_: Sequence[tuple[int, str]]) -> Reason:
    """The sentence of a blocked task that needs these, each with its state."""
    texts = [f"task {number} ({state})" for number, state in open_]
    return Reason("needs", f"It needs {listed(texts, most=3)}.", {"needs": dict(open_)})


def ready(moment: Moment, task: Row, *, before: int | None = None) -> list[Reason]:
    """Why a ready task has not started; `before` is how many stand before it, where that was counted already."""
    found = [*moment.paused(task), *moment.standing_still()]
    if task["not_before"] is not None and task["not_before"] > moment.now:
        found.append(_backs_off(moment, task))
    if found:
        return found
    if moment.refusal is not None:
        found.append(moment.refusal)
    elif len(moment.running) >= moment.swarm["slots"]:
        found.append(_full(moment))
    full = moment.full_role(task)
    if full is not None:
        found.append(full)
    if before is None or before < SAID_BEFORE:  # whoever stands further behind does not start next
        found += _conflicts(moment, task)
    waits = any(reason.reason == "writes" for reason in found)
    return [*found, _place(moment, task, before, waits=waits), _level(moment, task)]


def ranked_with(level: int, priority: int, raised: int | None, since: float, ageing_s: float) -> bool:
    """Whether somebody whose wait has ended goes before a ready task of this level."""
    return ranking.level(priority, raised, since, ageing_s) >= level


def _root(moment: Moment, task: Row, direct: Sequence[int]) -> list[Reason]:
    """What it hangs on, where that is not what it needs itself."""
    rows = moment.source.rows(_HANGS_ON, task=task["id"], most=REACHED)
    if not rows or {row["id"] for row in rows} <= set(direct):
        return []
    texts = [f"task {row['id']} ({row['state']})" for row in rows]
    data = {"tasks": {row["id"]: row["state"] for row in rows}}
    return [Reason("hangs_on", f"In the end it hangs on {listed(texts)}.", data)]


def _backs_off(moment: Moment, task: Row) -> Reason:
    at = moment.at_wall(task["not_before"])
    left = task["not_before"] - moment.now
    if task["failure"] is not None and task["error"]:
        after = f" after failure {task['failures']} of {task['attempts']} ({task['failure']}): {quoted(task['error'])}"
    else:
        after = f" after {many(task['stalled'], 'agent', 'agents')} died without getting any further"
    data = {
        "until_at": at, "failures": task["failures"], "attempts": task["attempts"], "failure": task["failure"],
        "error": task["error"],
    }  # fmt: skip
    return Reason("backs_off", f"It is tried again in {span(left)}, at {clock(at)},{after}.", data)


def _full(moment: Moment) -> Reason:
    slots = moment.swarm["slots"]
    holders = moment.running
    which = "The only slot is" if slots == 1 else f"All {slots} slots are"
    return Reason("slots", f"{which} taken, by {named(holders)}.", {"slots": slots, "taken_by": list(holders)})


def _place(moment: Moment, task: Row, before: int | None, *, waits: bool) -> Reason:
    if before is None:
        before = _count_before(moment, task)
    awake = [
        row
        for row in moment.source.rows(_WAKERS, task=task["id"])
        if ranked_with(task["level"], row["priority"], row["raised"], row["since_at"], moment.ageing_s)
    ]
    ahead = before + len(awake)
    if ahead == 0:
        text = "It is the first in line." if waits else "It is the first in line, and starts next."
    else:
        least = "At least " if before == COUNTED else ""
        text = f"{least}{many(ahead, 'task stands', 'tasks stand')} before it in line."
        if awake:
            text += f" {many(len(awake), 'of them has', 'of them have')} begun already and only wants a slot again."
    return Reason("line", text, {"before": ahead})


def _conflicts(moment: Moment, task: Row) -> list[Reason]:
    """Who is at work on what it is to write, or probably will."""
    before = [row["id"] for row in moment.source.rows(_SAID_BEFORE, **_where(task), most=SAID_BEFORE)]
    clashes = scopes.read(moment.source, [*before, task["id"]])
    said, likely = (kind.get(task["id"], frozenset()) for kind in (clashes.declared, clashes.learnt))
    begun, waiting, maybe = said & clashes.under_way, said & set(before), (likely - said) & clashes.under_way
    until = (task["ready_at"] or moment.now) + moment.ageing_s
    found = []
    if (begun or waiting) and until > moment.now:
        whom = [f"{named(sorted(begun))}, whose work is not merged yet"] if begun else []
        whom += [f"{named(sorted(waiting))}, before it in line"] if waiting else []
        patterns = json.loads(task["writes"])
        detail = (
            f"It is to write {listed(patterns)}, and so {'is' if len(said) == 1 else 'are'} {' and '.join(whom)}: it"
            f" starts after that, at {clock(moment.at_wall(until))} at the latest."
        )
        data = {"writes": patterns, "under_way": sorted(begun), "before": sorted(waiting)}
        found.append(Reason("writes", detail, data))
    if maybe:
        detail = f"It will probably change what {named(sorted(maybe))} will, too, so others of its level go first."
        found.append(Reason("likely_conflict", detail, {"under_way": sorted(maybe)}))
    return found


def _where(task: Row) -> Mapping[str, Any]:
    return {"level": task["level"], "path": task["path_s"], "task": task["id"]}


def _count_before(moment: Moment, task: Row) -> int:
    row = moment.source.row(
        _BEFORE, level=task["level"], path=task["path_s"], task=task["id"], now=moment.now, most=COUNTED
    )
    assert row is not None, "it is a sum"
    return COUNTED if row["before"] >= COUNTED else max(0, row["before"] - row["later"])


def _level(moment: Moment, task: Row) -> Reason:
    """Why it stands where it stands."""
    waited = moment.now - (task["ready_at"] or moment.now)
    text = f"Its priority is {task['priority']}"
    raisers: list[int] = []
    if task["raised"] is not None and task["raised"] > task["priority"]:
        raisers = [
            row["id"] for row in moment.source.rows(_RAISERS, task=task["id"], raised=task["raised"])
        ]  # fmt: skip
        by = f" because {named(raisers)} wait{'s' if len(raisers) == 1 else ''} for it" if raisers else ""
        text += f", raised to {task['raised']}{by}"
    text += (
        f"; it has waited for {span(waited)} ({span(moment.ageing_s)} count as much as one more of priority), and about"
        f" {span(task['path_s'])} of work hang on it."
    )
    data = {
        "priority": task["priority"], "raised": task["raised"], "raised_by": raisers, "waited_s": round(waited, 3),
        "path_s": task["path_s"],
    }  # fmt: skip
    return Reason("level", text, data)


def _has(rows: Sequence[object]) -> str:
    return "has" if len(rows) == 1 else "have"


def needs_of_all(moment: Moment) -> dict[int, list[tuple[int, str]]]:
    """What each blocked task needs that has not ended, with its state, in one query."""
    found: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for row in moment.source.rows(
        "select task_need.task, need.id, need.state from task join task_need on task_need.task = task.id"
        " join task need on need.id = task_need.need where task.state not in ('done', 'failed', 'cancelled')"
        " and task.state = 'blocked' and need.state not in ('done', 'failed', 'cancelled') order by 1, 2"
    ):
        found[row["task"]].append((row["id"], row["state"]))
    return found
