"""What a task does that has begun: its agent, what that is doing, and what it waits for."""

from __future__ import annotations

import psutil

from prong.harness.why.moment import Moment, Reason, data_of, quoted, span
from prong.harness.why.parked import waits
from prong.state import Row
from prong.state.member import LEASE_S

EVENTS_READ = 1_000
"""How many entries of the log are read, from the last on, to see what an agent is doing."""

SILENT_S = LEASE_S * 2 / 3
"""For how long an agent may give no sign of life until that is worth telling, in seconds."""

# What the agent did since the model's last answer.
_SINCE = """
select kind, object, at, data from event
 where task = :task and agent = :agent and seq > coalesce((select max(seq) from (
       select seq, kind from event where task = :task order by seq desc limit :most) where kind = 'model.answered'), 0)
 order by seq limit :most
"""

_ANSWERED = "select max(at) as at from (select at, kind from event where task = :task order by seq desc limit :most)"


def running(moment: Moment, task: Row) -> list[Reason]:
    """Who works on it, for how long, and what that agent is doing."""
    agent = moment.source.row("select * from agent where id = :agent", agent=task["agent"])
    if agent is None:  # a program claimed it and has left since
        return [Reason("working", "It is running, and nothing is known of who works on it.")]
    found = [] if moment.supervised or agent["task"] is None else _orphaned(moment, agent)
    if not found:
        found = [*waits(moment, agent), *_doing(moment, task, agent)] or [Reason("working", "It has just begun.")]
        found += _health(moment, agent)
    rest = [*found[1:], *moment.paused(task), *_still(moment), *_foreseen(moment, task)]
    return [*found[:1], _worker(moment, task, agent), *rest]


def _orphaned(moment: Moment, agent: Row) -> list[Reason]:
    detail = (
        f"Nobody supervises the swarm; agent {agent['id']} worked on it until then, and another one goes on with its"
        f" conversation. Go on with: prong resume {moment.swarm['id']}"
    )
    return [Reason("unsupervised", detail, {"agent": agent["id"]})]


def _still(moment: Moment) -> list[Reason]:
    """It works on until its turn ends although the swarm is paused."""
    if not moment.supervised or not moment.swarm["paused"]:
        return []
    who = moment.who("command.pause", ["swarm"])
    detail = f"The swarm is paused{who.words}: its agent steps aside when this turn has ended."
    return [Reason("swarm_paused", detail, who.data)]


def _foreseen(moment: Moment, task: Row) -> list[Reason]:
    """Tasks that change the same lines just now."""
    rows = moment.source.rows(
        "select foreseen.*, task.id as them from foreseen join task on task.id = one + other - :task"
        " where (one = :task or other = :task) and task.state not in ('done', 'failed', 'cancelled') order by path",
        task=task["id"],
    )
    return [
        Reason(
            "conflict_foreseen",
            f"Task {row['them']} changes the same lines of {quoted(row['path'])} ({row['lines']}): whoever is merged"
            " second has to make both fit.",
            {"task": row["them"], "path": row["path"], "lines": row["lines"]},
        )
        for row in rows
    ]


def _worker(moment: Moment, task: Row, agent: Row) -> Reason:
    process = "no process" if agent["pid"] is None else f"process {agent['pid']}"
    until = moment.now if moment.supervised else max(agent["beat_at"], agent["started_at"])  # its last sign of life
    since_s = until - agent["started_at"]
    has = "has" if moment.supervised or agent["task"] is None else "had"
    attempt = f", in attempt {task['attempt']}" if task["attempt"] > 1 else ""
    failed = f" ({task['failures']} of {task['attempts']} failed)" if task["failures"] else ""
    who = f"Agent {agent['id']}" if agent["task"] is not None else f"The program {agent['name']}"
    return Reason(
        "agent",
        f"{who} ({process}) {has} worked on it for {span(since_s)}{attempt}{failed}.",
        {"agent": agent["id"], "pid": agent["pid"], "since_s": round(since_s, 3), "attempt": task["attempt"]},
    )


def _doing(moment: Moment, task: Row, agent: Row) -> list[Reason]:
    """The calls of tools that are under way; else the question that the model thinks about, or what is in its way."""
    if agent["state"] == "starting" or agent["task"] is None:
        return [Reason("starting", "Its agent's process is being started.")] if agent["task"] is not None else []
    rows = moment.source.rows(_SINCE, task=task["id"], agent=agent["id"], most=EVENTS_READ)
    under_way: dict[str, Row] = {}
    trouble = None
    for row in rows:
        if row["kind"] == "tool.began":
            under_way[data_of(row)["call"]] = row
        elif row["kind"] == "tool.ended":
            under_way.pop(data_of(row)["call"], None)
        elif row["kind"] == "model.waits":
            trouble = row
    if under_way:
        return [_tool(moment, row) for row in under_way.values()]
    if task["state"] == "parked":
        return []
    if trouble is not None:
        return [_trouble(moment, trouble)]
    last = moment.source.row(_ANSWERED, task=task["id"], most=1)
    since_s = moment.wall - last["at"] if last is not None and last["at"] is not None else 0.0
    thinks = bool(rows) or not _has_answered(moment, task, agent)
    text = "The model has been asked" if thinks else "The model has answered, and its agent is taking that up"
    return [Reason("model" if thinks else "turn", f"{text} for {span(since_s)}.", {"for_s": round(since_s, 3)})]


def _has_answered(moment: Moment, task: Row, agent: Row) -> bool:
    row = moment.source.row(
        "select 1 from model_call where task = :task and agent = :agent limit 1", task=task["id"], agent=agent["id"]
    )
    return row is not None


def _tool(moment: Moment, row: Row) -> Reason:
    since_s = moment.wall - row["at"]
    shown = data_of(row)["input"]
    detail = f"It runs {row['object']} for {span(since_s)}: {quoted(shown)}."
    return Reason("tool", detail, {"tool": row["object"], "for_s": round(since_s, 3), "input": shown})


def _trouble(moment: Moment, row: Row) -> Reason:
    told = data_of(row)
    problem = told.get("problem") or told.get("reason") or "it does not say why"
    left = row["at"] + told.get("seconds", 0) - moment.wall
    again = f"it is asked again in {span(left)}" if left > 0 else "it has been asked again"
    return Reason("model_waits", f"The model gave no answer: {quoted(problem)}; {again}.", told)


def _health(moment: Moment, agent: Row) -> list[Reason]:
    """That the agent is silent, or that its process stands still."""
    found = []
    if agent["pid"] is not None and _is_stopped(agent["pid"]):
        detail = f"Its process {agent['pid']} was stopped by a signal and does nothing until it is continued."
        found.append(Reason("stopped", detail, {"pid": agent["pid"]}))
    silent_s = moment.now - agent["beat_at"]
    if agent["expires_at"] is not None and silent_s >= SILENT_S:
        detail = (
            f"It has given no sign of life for {span(silent_s)}; after {span(LEASE_S)} its process is ended and"
            " another agent goes on."
        )
        found.append(Reason("silent", detail, {"silent_s": round(silent_s, 3)}))
    return found


def _is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
