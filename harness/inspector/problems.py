"""What is wrong in a swarm just now, worst first: what it is, since when, whom it holds up, and what would help.

Each problem names its evidence, which is a page of the inspector, and remedies, which are commands of the door.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from prong.harness.approvals import asked_for
from prong.harness.inspector.problem import REMEDIES, Moment, Problem, Remedy, Severity, many
from prong.harness.inspector.spending import budgets, lost_cache
from prong.harness.status import SELDOM

LONG_WAIT_S = 60.0
"""From when on a wait for something that somebody holds is a problem, in seconds."""

SILENT_S = 90.0
"""After how long without an event a running agent is a problem, in seconds."""

WORN = 3
"""From how many agents on that a task has lost it is a problem although it gets further."""

SHOWN = 50
"""The most problems of one kind; the rest is counted."""

OVERTAKEN = 3
"""So many tasks that were ready later must have begun, for a task that waits long to be starved."""


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


_COULD = """
select count(*) as tasks from task
 where state not in ('done', 'failed', 'cancelled') and held is null and paused = 0 and state <> 'blocked'
"""


def _interrupted(moment: Moment) -> Iterator[Problem]:
    row = moment.rows("select id, state, paused, supervisor_pid, ended_at from swarm")[0]
    could = 0 if moment.alive else moment.rows(_COULD)[0]["tasks"]
    if not moment.alive and (could or row["state"] == "running"):
        died = row["state"] == "running"
        said = "The process that ran it is gone; nothing is lost." if died else "Its run has ended."
        detail = f"{said} {many(range(could), 'could', 'could')} go on; so does: prong resume {row['id']}"
        yield Problem(
            "interrupted", "bad", "Nobody runs this swarm", detail, moment.wall(row["ended_at"]), ("tasks",),
            remedies=(Remedy("Run it", "resume", {}),),
        )  # fmt: skip
    elif row["paused"] and moment.alive:
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
select id, title, error, failure, failures, ended_at, kept_branch,
       exists (select 1 from task_need where need = task.id) as needed,
       exists (select 1 from merge where merge.task = task.id and (merge.resolves is not null
                or merge.state in ('conflict', 'kept'))) as unmerged
  from task where state = 'failed' and coalesce(failure, '') <> 'need' order by ended_at
"""
_BEHIND = """
with recursive behind (first, id) as (
    select need, task from task_need where need in (select value from json_each(:tasks))
     union select first, task_need.task from behind join task_need on need = behind.id)
select first, count(*) as behind from behind group by first
"""


def _failed(moment: Moment) -> Iterator[Problem]:
    # That work is not merged is told by itself, with the same remedy.
    failed = [row for row in moment.rows(_FAILED) if row["needed"] or not row["unmerged"]]
    first = json.dumps([row["id"] for row in failed[:SHOWN]])  # the others are only counted
    behind_of = {row["first"]: row["behind"] for row in moment.rows(_BEHIND, tasks=first)}
    for row in failed:
        number, behind = row["id"], behind_of.get(row["id"], 0)
        retry = Remedy("Try again", "retry", {"task": number}, {"with_dependants": False})
        together = Remedy(
            f"Try again with the {behind} behind it", "retry", {"task": number}, {"with_dependants": True}
        )
        kept = f" Its work is kept as {row['kept_branch']}." if row["kept_branch"] else ""
        needed = f" {behind} {'task' if behind == 1 else 'tasks'} needed it." if behind else ""
        yield Problem(
            "failed", "bad", f"Task {number} failed: {row['title']}", f"{(row['error'] or '')[:400]}{kept}{needed}",
            moment.wall(row["ended_at"]), ("tasks", number), tasks=(number,),
            remedies=(together, retry) if behind else (retry,),
        )  # fmt: skip


_CRASHING = f"""
select id, title, failures, attempts, stalled, worn, failure, error, agent, ready_at from task
 where state not in ('done', 'failed', 'cancelled') and (failures > 0 or stalled > 0 or worn >= {WORN})
 order by failures desc, stalled desc, worn desc
"""  # noqa: S608  a constant


def _crashing(moment: Moment) -> Iterator[Problem]:
    """Tasks that fail, or lose their agents before these get any further or whenever they do."""
    for row in moment.rows(_CRASHING):
        number, lost = row["id"], max(row["stalled"], row["worn"])
        if row["failures"]:
            happened = f"has failed {row['failures']} of {row['attempts']} times"
        elif row["stalled"] > 1:
            happened = f"has lost {row['stalled']} agents in a row"
        else:
            happened = "has lost its agent" if lost == 1 else f"has lost {lost} agents"
        bad = not row["failures"] and (row["stalled"] > 1 or lost >= WORN)
        yield Problem(
            "retries", "bad" if bad else "warn", f"Task {number} {happened}: {row['title']}",
            (row["error"] or row["failure"] or "")[:400], moment.wall(row["ready_at"]), ("tasks", number),
            tasks=(number,),
            remedies=(Remedy("Pause it", "pause", {"task": number}), Remedy("Cancel it", "cancel", {"task": number})),
        )  # fmt: skip


_CONFLICTS = """
select merge.task, merge.state, merge.detail, merge.attempt, merge.resolver, task.title,
       coalesce(merge.ended_at, (select max(at) from merge_attempt where merge_attempt.task = merge.task)) as since_at
  from merge join task on task.id = merge.task
 where merge.resolves is null and merge.state in ('conflict', 'kept')
    or merge.resolves is null and task.state not in ('done', 'failed', 'cancelled')
       and (merge.state = 'resolving' or merge.state = 'returned' and merge.attempt > 0)
 order by merge.ended_at
"""


def _conflicts(moment: Moment) -> Iterator[Problem]:
    """Work that was not merged, be it for good or with somebody at work on it."""
    for row in moment.rows(_CONFLICTS):
        task, resolver = row["task"], row["resolver"]
        told: dict[str, tuple[Severity, str, Remedy]] = {
            "returned": (
                "warn", f"The work of task {task} did not fit, and its agent has it again",
                Remedy(f"Pause task {task}", "pause", {"task": task}),
            ),
            "resolving": (
                "bad", f"The work of task {task} does not fit; task {resolver} tries to make it",
                Remedy("Keep it as a branch instead", "cancel", {"task": resolver}),
            ),
        }  # fmt: skip
        kept = f"The work of task {task} is not merged", Remedy("Try again", "retry", {"task": task})
        severity, so, remedy = told.get(row["state"], ("bad", *kept))
        yield Problem(
            "merge", severity, f"{so}: {row['title']}", (row["detail"] or "")[:400], moment.wall(row["since_at"]),
            ("merge",), tasks=(task,), remedies=(remedy,),
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


# All tasks are gone through once, and not once for each that waits.
_STARVED = """
with old as materialized (
    select * from task where state = 'ready' and paused = 0 and held is null and ready_at < :before
        and (not_before is null or not_before < :before) order by ready_at limit 5)
select old.id, old.title, old.priority, old.ready_at, count(*) as overtaken
  from task younger cross join old
 where younger.ready_at > (select min(ready_at) from old) and younger.started_at > (select min(ready_at) from old)
   and younger.ready_at > old.ready_at and younger.started_at > old.ready_at group by old.id order by old.ready_at
"""


def _starved(moment: Moment) -> Iterator[Problem]:
    for row in moment.rows(_STARVED, before=moment.now - LONG_WAIT_S) if moment.alive else ():
        if row["overtaken"] >= OVERTAKEN:
            yield Problem(
                "starved", "warn", f"Task {row['id']} is overtaken again and again: {row['title']}",
                f"{row['overtaken']} tasks that were ready later have begun before it.",
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
    _asked, _interrupted, _deadlocks, _failed, _conflicts, budgets, lost_cache, _crashing, _long_waits, _starved,
    _silent, _foreseen, _refused,
)  # fmt: skip
