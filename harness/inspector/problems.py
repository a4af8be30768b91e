"""What is wrong in a swarm just now, worst first: what it is, since when, whom it holds up, and what would help.

Each problem names its evidence, which is a page of the inspector, and remedies, which are commands of the door.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from prong.harness.approvals import asked_for
from prong.harness.status import SELDOM

LONG_WAIT_S = 60.0
"""From when on a wait for something that somebody holds is a problem, in seconds."""

SILENT_S = 90.0
"""After how long without an event a running agent is a problem, in seconds."""

SHOWN = 50
"""The most problems of one kind; the rest is counted."""

RECENT_S = 600.0
"""How long ago something may have happened that is over, to be a problem still, in seconds."""

Severity = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command that would help, as its button says it."""

    label: str
    op: str
    target: dict[str, Any]
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.  `since_at` is the wall clock's; `page` is where its evidence stands."""

    kind: str
    severity: Severity
    title: str
    detail: str
    since_at: float | None
    page: tuple[Any, ...]
    tasks: tuple[int, ...] = ()
    agents: tuple[int, ...] = ()
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """What the readers read: rows by name, the swarm's clock now, and how far the wall clock is from it, in seconds."""

    connection: sqlite3.Connection
    now: float
    shift_s: float
    alive: bool

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """The rows of a query, each by name."""
        cursor = self.connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def wall(self, at: float | None) -> float | None:
        """A point of the swarm's clock on the wall clock."""
        return None if at is None else at + self.shift_s


def problems(moment: Moment) -> dict[str, Any]:
    """All problems, worst first and then longest; `counted` says how many there are of each kind, shown or not."""
    found: list[Problem] = []
    counted: dict[str, int] = {}
    for read in _READERS:
        some = list(read(moment))
        for one in some:
            counted[one.kind] = counted.get(one.kind, 0) + 1
        found += some[:SHOWN]
    found.sort(key=lambda one: (one.severity != "bad", one.since_at or 0.0))
    return {"problems": [asdict(one) for one in found], "counted": counted}


def _interrupted(moment: Moment) -> Iterator[Problem]:
    row = moment.rows("select id, state, paused, supervisor_pid from swarm")[0]
    if row["state"] == "running" and not moment.alive:
        detail = "The process that ran it is gone; nothing is lost. Go on with: prong resume"
        yield Problem("interrupted", "bad", "Nobody runs this swarm", detail, None, ("events",))
    elif row["paused"]:
        remedy = Remedy("Go on", "resume", {})
        detail = "Nothing starts or goes on until somebody says so."
        yield Problem("paused", "warn", "The swarm is paused", detail, None, ("tasks",), remedies=(remedy,))


_ASKED = """
select approval.id, approval.task, approval.tool, approval.input, approval.asked_at, agent.name
  from approval left join task on task.id = approval.task join agent on agent.id = approval.agent
 where approval.state = 'waiting' and (task.state not in ('done', 'failed', 'cancelled') or approval.task is null
   and exists (select 1 from waiter where kind = 'approval' and object = cast(approval.id as text)
                                      and waiter.state = 'waiting'))
 order by approval.id
"""


def _asked(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_ASKED):
        target = {"approval": row["id"]}
        remedies = (
            Remedy("Allow", "approve", target),
            Remedy("Allow such calls from now on", "approve", target, {"always": True}),
            Remedy("Refuse", "deny", target, {"reason": "a person refused it"}),
        )
        task = row["task"]
        who, page = (f"Client {row['name']}", ("events",)) if task is None else (f"Task {task}", ("tasks", task))
        yield Problem(
            "approval", "bad", f"{who} asks whether it may use {row['tool']}",
            asked_for(row["tool"], json.loads(row["input"]))[:2_000], moment.wall(row["asked_at"]),
            page, tasks=() if task is None else (task,), remedies=remedies,
        )  # fmt: skip


_LAST = """
select event.at, event.object, event.data, event.task, event.agent, event.seq from event
 where kind = :kind and seq > (select max(0, max(seq) - 200000) from event) and at >= :after order by seq desc limit 51
"""


def _deadlocks(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_LAST, kind="deadlock.found", after=moment.now + moment.shift_s - RECENT_S):
        told = json.loads(row["data"])
        story = str(told.get("story") or told.get("text") or "agents waited for each other in a circle")
        yield Problem("deadlock", "bad", "A circle of waits was broken", story, row["at"], ("locks",))


_WAITS = """
select waiter.kind, waiter.object, waiter.since_at, waiter.agent, waiter.task, task.title,
       (select holder from lock where name = waiter.object and waiter.kind = 'lock') as holder,
       (select task from lock where name = waiter.object and waiter.kind = 'lock') as holder_task
  from waiter left join task on task.id = waiter.task
 where waiter.state = 'waiting' and waiter.kind in ('lock', 'semaphore', 'barrier', 'slot')
   and waiter.since_at < :before
 order by waiter.since_at
"""


def _long_waits(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_WAITS, before=moment.now - LONG_WAIT_S):
        holder = row["holder"]
        held = f", held by agent {holder} (task {row['holder_task']})" if holder else ""
        who = f"Task {row['task']}" if row["task"] else f"Agent {row['agent']}"
        remedies = (Remedy(f"Kill agent {holder}", "kill", {"agent": holder}),) if holder else ()
        yield Problem(
            "waiting", "warn", f"{who} waits long for {row['kind']} {row['object']}",
            f"{row['title'] or ''}{held}.", moment.wall(row["since_at"]), ("locks",),
            tasks=(row["task"],) if row["task"] else (), agents=(row["agent"],), remedies=remedies,
        )  # fmt: skip


_SILENT = """
select task.id, task.title, task.agent,
       (select at from event where event.task = task.id order by seq desc limit 1) as at
  from task where task.state not in ('done', 'failed', 'cancelled') and task.state = 'running'
"""


def _silent(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_SILENT) if moment.alive else ():
        if row["at"] is not None and row["at"] < moment.now + moment.shift_s - SILENT_S:
            agents = (row["agent"],) if row["agent"] else ()
            yield Problem(
                "silent", "warn", f"Task {row['id']} has not been heard of", row["title"], row["at"],
                ("tasks", row["id"]), tasks=(row["id"],), agents=agents,
                remedies=tuple(Remedy(f"Kill agent {agent}", "kill", {"agent": agent}) for agent in agents),
            )  # fmt: skip


_FAILED = """
with recursive behind (first, id) as (
    select task.id, task_need.task from task join task_need on need = task.id
     where task.state = 'failed' and coalesce(task.failure, '') <> 'need'
     union select first, task_need.task from behind join task_need on need = behind.id)
select task.id, title, error, failure, failures, ended_at, kept_branch,
       (select count(*) from behind where first = task.id) as behind
  from task where state = 'failed' and coalesce(failure, '') <> 'need' order by ended_at
"""


def _failed(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_FAILED):
        number, behind = row["id"], row["behind"]
        retry = Remedy("Try again", "retry", {"task": number}, {"with_dependants": False})
        together = Remedy(
            f"Try again with the {behind} behind it", "retry", {"task": number}, {"with_dependants": True}
        )
        kept = f" Its work is kept as {row['kept_branch']}." if row["kept_branch"] else ""
        needed = f" {behind} tasks needed it." if behind else ""
        yield Problem(
            "failed", "bad", f"Task {number} failed: {row['title']}", f"{(row['error'] or '')[:400]}{kept}{needed}",
            moment.wall(row["ended_at"]), ("tasks", number), tasks=(number,),
            remedies=(together, retry) if behind else (retry,),
        )  # fmt: skip


_CRASHING = """
select id, title, failures, attempts, failure, error, agent, ready_at from task
 where state not in ('done', 'failed', 'cancelled') and failures > 0 order by failures desc
"""


def _crashing(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_CRASHING):
        number = row["id"]
        yield Problem(
            "retries", "warn", f"Task {number} has failed {row['failures']} of {row['attempts']} times: {row['title']}",
            (row["error"] or row["failure"] or "")[:400], moment.wall(row["ready_at"]), ("tasks", number),
            tasks=(number,), remedies=(Remedy("Cancel it", "cancel", {"task": number}),),
        )  # fmt: skip


_HELD = "select id, title, held, error from task where state not in ('done', 'failed', 'cancelled') and held = 'budget'"


def _budget(moment: Moment) -> Iterator[Problem]:
    held = moment.rows(_HELD)
    if held:
        names = ", ".join(str(row["id"]) for row in held[:SHOWN])
        yield Problem(
            "budget", "bad", f"{len(held)} tasks stand still because a budget is spent", f"Tasks {names}.", None,
            ("cost",), tasks=tuple(row["id"] for row in held[:SHOWN]),
        )  # fmt: skip
    account = moment.rows("select tokens, nanousd, settled_tokens, settled_nanousd from account where task = 0")
    for row in account if not held else ():
        for unit in ("tokens", "nanousd"):
            if row[unit] and row[f"settled_{unit}"] > 0.8 * row[unit]:
                share = row[f"settled_{unit}"] / row[unit]
                detail = "At its end tasks wait until somebody raises it."
                yield Problem("budget", "warn", f"{share:.0%} of the budget is spent", detail, None, ("cost",))


def _lost_cache(moment: Moment) -> Iterator[Problem]:
    rows = moment.rows(_LAST, kind="cache.lost", after=moment.now + moment.shift_s - RECENT_S)
    if rows:
        told = [json.loads(row["data"]) for row in rows]
        tokens = sum(one.get("prefix_tokens", 0) - one.get("cache_read", 0) for one in told)
        yield Problem(
            "cache", "bad" if len(rows) > 1 else "warn", f"{len(rows)} forks did not read their parent's cache",
            f"About {tokens:,} tokens were paid for again.", rows[-1]["at"], ("cost",),
            tasks=tuple(row["task"] for row in rows if row["task"]),
        )  # fmt: skip


_CONFLICTS = """
select merge.task, merge.state, merge.detail, merge.ended_at, task.title from merge join task on task.id = merge.task
 where merge.state in ('conflict', 'kept', 'resolving') order by merge.ended_at
"""


def _conflicts(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_CONFLICTS):
        yield Problem(
            "merge", "bad", f"The work of task {row['task']} is not merged: {row['title']}",
            (row["detail"] or "")[:400], moment.wall(row["ended_at"]), ("merge",), tasks=(row["task"],),
            remedies=(Remedy("Try again", "retry", {"task": row["task"]}),),
        )  # fmt: skip


def _refused(moment: Moment) -> Iterator[Problem]:
    row = moment.rows(
        f"select kind, object, data, at from event where {SELDOM} and kind in"  # noqa: S608  a constant
        " ('scheduler.admits', 'scheduler.refuses', 'swarm.running') order by seq desc limit 1"
    )
    if moment.alive and row and row[0]["kind"] == "scheduler.refuses" and row[0]["object"] != "paused":
        detail = str(json.loads(row[0]["data"]).get("detail", ""))
        yield Problem("admission", "warn", "No more agents are started just now", detail, row[0]["at"], ("now",))


_READERS: Sequence[Callable[[Moment], Iterator[Problem]]] = (
    _asked, _interrupted, _deadlocks, _failed, _conflicts, _budget, _lost_cache, _crashing, _long_waits, _silent,
    _refused,
)  # fmt: skip
