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
from prong.harness.inspector.recent import Happened, Recent
from prong.harness.status import SELDOM

LONG_WAIT_S = 60.0
"""From when on a wait for something that somebody holds is a problem, in seconds."""

SILENT_S = 90.0
"""After how long without an event a running agent is a problem, in seconds."""

SHOWN = 50
"""The most problems of one kind; the rest is counted."""

REMEDIES = 3
"""The most remedies of one kind that a problem has."""

OVERTAKEN = 3
"""So many tasks that were ready later must have begun, for a task that waits long to be starved."""

NEARLY = 0.8
"""From which share of a budget on it is a problem."""

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
    recent: Recent = field(default_factory=Recent)

    def happened(self, kind: str) -> list[Happened]:
        """The events of a seldom kind of the last minutes, oldest first."""
        after = self.now + self.shift_s - RECENT_S
        return [one for one in self.recent.read(self.connection) if one.kind == kind and one.at >= after]

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


_OPEN = "select id from task where id in (select value from json_each(:tasks)) and state in ('running', 'parked')"
_ADVICE = (
    "You and another task waited for each other in a circle, and one of you had to give way. From now on take locks in"
    " the order of their names, hold them shortly, and release all of them before you wait for anything else."
)


def _deadlocks(moment: Moment) -> Iterator[Problem]:
    for one in reversed(moment.happened("deadlock.found")):
        story = str(one.told.get("story") or one.told.get("text") or "agents waited for each other in a circle")
        tasks = tuple(dict.fromkeys(wait["task"] for wait in one.told.get("waits", ()) if wait.get("task")))
        still = [row["id"] for row in moment.rows(_OPEN, tasks=json.dumps(tasks))][:REMEDIES]
        remedies = (
            Remedy(f"Tell task {task} to keep to one order", "message", {"task": task}, {"text": _ADVICE})
            for task in still
        )
        yield Problem(
            "deadlock", "bad", f"A circle of {len(one.told.get('waits', ())) or 'several'} waits was broken", story,
            one.at, ("events", {"from": one.seq}), tasks=tasks, remedies=tuple(remedies),
        )  # fmt: skip


_WAITS = """
select waiter.kind, waiter.object, waiter.since_at, waiter.agent, waiter.task, task.title,
       (select holder from lock where name = waiter.object and waiter.kind = 'lock') as holder,
       (select task from lock where name = waiter.object and waiter.kind = 'lock') as holder_task,
       (select fence from lock where name = waiter.object and waiter.kind = 'lock') as fence
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
        remedies = (
            (
                Remedy("Release the lock", "release", {"lock": row["object"], "fence": row["fence"]}),
                Remedy(f"Kill agent {holder}", "kill", {"agent": holder}),
            )
            if holder
            else ()
        )
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
select id, title, failures, attempts, stalled, failure, error, agent, ready_at from task
 where state not in ('done', 'failed', 'cancelled') and (failures > 0 or stalled > 0)
 order by failures desc, stalled desc
"""


def _crashing(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_CRASHING):
        number, died = row["id"], row["stalled"] and not row["failures"]
        often = f"has failed {row['failures']} of {row['attempts']} times"
        happened = f"has lost {row['stalled']} agents in a row" if died else often
        pause = Remedy("Pause it", "pause", {"task": number})
        yield Problem(
            "retries", "bad" if died and row["stalled"] > 1 else "warn", f"Task {number} {happened}: {row['title']}",
            (row["error"] or row["failure"] or "")[:400], moment.wall(row["ready_at"]), ("tasks", number),
            tasks=(number,), remedies=(pause, Remedy("Cancel it", "cancel", {"task": number})),
        )  # fmt: skip


_STANDING = "select id from task where state not in ('done', 'failed', 'cancelled') and held = 'budget' order by id"
_HELD = """
with recursive chain (task, account) as (
    select id, coalesce(account, 0) from task
     where state not in ('done', 'failed', 'cancelled') and held = 'budget'
     union select chain.task, account.lender from chain join account on account.task = chain.account
     where account.lender is not null)
select chain.task, account.task as account, tokens, nanousd, settled_tokens, settled_nanousd
  from chain join account on account.task = chain.account where tokens is not null or nanousd is not null
 order by chain.task
"""


def _budget(moment: Moment) -> Iterator[Problem]:
    rows = moment.rows(_HELD)
    standing = [row["id"] for row in moment.rows(_STANDING)]
    held = tuple(standing[:SHOWN])
    accounts = {row["account"]: row for row in rows if _share(row) > NEARLY} or {row["account"]: row for row in rows}
    if held:
        yield Problem(
            "budget", "bad", f"{_many(standing, 'stands', 'stand')} still because a budget is spent",
            f"Tasks {', '.join(map(str, held))}.", None, ("cost",), tasks=held,
            remedies=tuple(_raise(row) for row in list(accounts.values())[:REMEDIES]),
        )  # fmt: skip
    account = moment.rows("select task as account, * from account where task = 0")
    for row in account if not held else ():
        if _share(row) > NEARLY:
            detail = "At its end tasks wait until somebody raises it."
            title = f"{_share(row):.0%} of the budget is spent"
            yield Problem("budget", "warn", title, detail, None, ("cost",), remedies=(_raise(row),))


def _many(tasks: Sequence[int], one: str, more: str) -> str:
    return f"1 task {one}" if len(tasks) == 1 else f"{len(tasks)} tasks {more}"


def _share(row: dict[str, Any]) -> float:
    """How much of an account is spent, by its narrower bound."""
    return max(row[f"settled_{unit}"] / row[unit] if row[unit] else 0.0 for unit in ("tokens", "nanousd"))


def _raise(row: dict[str, Any]) -> Remedy:
    """Half as much again, of whichever bounds the account has."""
    args: dict[str, Any] = {}
    if row["tokens"]:
        args["tokens"] = max(row["tokens"], row["settled_tokens"]) * 3 // 2
    if row["nanousd"]:
        args["usd"] = round(max(row["nanousd"], row["settled_nanousd"]) * 1.5e-9, 4)
    bound = " and ".join(
        [f"{args['tokens']:,} tokens"] * ("tokens" in args) + [f"${args.get('usd', 0):g}"] * ("usd" in args)
    )
    whose = f" of task {row['account']}" if row["account"] else ""
    return Remedy(f"Raise it{whose} to {bound}", "budget", {"task": row["account"]} if row["account"] else {}, args)


_COLD = "select id from task where state not in ('done', 'failed', 'cancelled') and held = 'cache' order by id"


def _lost_cache(moment: Moment) -> Iterator[Problem]:
    lost = moment.happened("cache.lost")
    held = [row["id"] for row in moment.rows(_COLD)]
    if not lost and not held:
        return
    tokens = sum(one.told.get("prefix_tokens", 0) - one.told.get("cache_read", 0) for one in lost)
    waits = f" {_many(held, 'waits', 'wait')} for you to say whether to begin all the same." if held else ""
    go_on = tuple(Remedy(f"Let task {task} begin all the same", "resume", {"task": task}) for task in held[:REMEDIES])
    yield Problem(
        "cache", "bad" if held or len(lost) > 1 else "warn", f"{len(lost)} forks did not read their parent's cache",
        f"About {tokens:,} tokens were paid for again.{waits}", lost[-1].at if lost else None, ("cost",),
        tasks=tuple(dict.fromkeys([*held, *(one.task for one in lost if one.task)])),
        remedies=go_on or ((Remedy("Pause the swarm before more is lost", "pause", {}),) if moment.alive else ()),
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


def _foreseen(moment: Moment) -> Iterator[Problem]:
    for one in reversed(moment.happened("conflict.foreseen")):
        first, second = one.told["tasks"]
        still = moment.rows(_OPEN, tasks=json.dumps([first, second]))
        if len(still) == 2:  # noqa: PLR2004  both
            yield Problem(
                "foreseen", "warn", f"Tasks {first} and {second} change the same lines of {one.told['path']}",
                f"At {one.told['lines']}; both were told. Whoever is merged second has to make both fit.", one.at,
                ("merge",), tasks=(first, second),
                remedies=(Remedy(f"Let task {second} wait", "pause", {"task": second}),),
            )  # fmt: skip


_STARVED = """
select old.id, old.title, old.priority, old.ready_at,
       (select count(*) from (select 1 from task younger where younger.ready_at > old.ready_at
           and younger.started_at > old.ready_at limit 10)) as overtaken
  from (select * from task where state = 'ready' and paused = 0 and held is null and ready_at < :before
           and (not_before is null or not_before < :before) order by ready_at limit 5) old
"""


def _starved(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_STARVED, before=moment.now - LONG_WAIT_S) if moment.alive else ():
        if row["overtaken"] >= OVERTAKEN:
            yield Problem(
                "starved", "warn", f"Task {row['id']} is overtaken again and again: {row['title']}",
                f"At least {row['overtaken']} tasks that were ready later have begun before it.",
                moment.wall(row["ready_at"]), ("tasks", row["id"]), tasks=(row["id"],),
                remedies=(Remedy("Let it go first", "priority", {"task": row["id"]}, {"priority": 1_000}),),
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
    _asked, _interrupted, _deadlocks, _failed, _conflicts, _budget, _lost_cache, _crashing, _long_waits, _starved,
    _silent, _foreseen, _refused,
)  # fmt: skip
