"""What an agent waits for, and who has it; what a task without an agent is held for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prong.harness.approvals import asked_for
from prong.harness.repository import merge_queue
from prong.harness.why.moment import Moment, Reason, data_of, listed, many, named, quoted, span
from prong.primitives import deadlock, wait_graph
from prong.primitives.budget import rooms
from prong.primitives.deadlock_story import tell
from prong.state import Row

_HOLDS = """
select holder, task, expires_at, 0 as shared from lock
 where name = :name and (holder is not null or kept = 1)
 union all select holder, task, expires_at, 1 from lock_share where lock = :name
"""

_AHEAD = (
    "select count(*) as ahead from waiter where kind = :kind and object = :object and state = 'waiting' and id < :id"
)

_MISSING = """
select id from task where fork_point = :siblings and state not in ('done', 'failed', 'cancelled')
   and not exists (select 1 from barrier_arrival a where a.barrier = :name and a.round = :round and a.task = task.id)
 order by id
"""


def waits(moment: Moment, agent: Row) -> list[Reason]:
    """Every wait of the agent, and the deadlock that it is part of, if there is one."""
    rows = moment.source.rows("select * from waiter where agent = :agent order by id", agent=agent["id"])
    found = [_wait(moment, row) for row in rows]
    return [*_deadlock(moment, agent, rows), *found]


def asks(moment: Moment, task: Row) -> list[Reason]:
    """The calls of a task without an agent that a person is asked about: they will be made again, and wait again."""
    rows = moment.source.rows(
        "select id, tool, input, rule from approval where task = :task and state = 'waiting' order by id",
        task=task["id"],
    )
    found = []
    for row in rows:
        what = quoted(asked_for(row["tool"], json.loads(row["input"])))
        detail = f"It asks whether {row['tool']} may run: {what}. Answer with: prong approve {row['id']}, or prong deny"
        found.append(Reason("asks", detail, {"approval": row["id"], "tool": row["tool"], "rule": row["rule"]}))
    return found


def asleep(task: Row) -> Reason:
    """That its process was ended while it waits."""
    detail = (
        "So many agents wait that its process was ended meanwhile; a new one goes on with its conversation as soon as"
        " the wait is over."
    )
    return Reason("asleep", detail, {"agent": task["agent"]})


def held_for_budget(moment: Moment, task: Row) -> list[Reason]:
    """Whose budget is spent, with its figures, and how it goes on."""
    out = moment.source.row(
        "select data, object from event where task = :task and kind = 'budget.out' order by seq desc limit 1",
        task=task["id"],
    )
    told = data_of(out) if out is not None else {}
    why = " ".join((task["error"] or "no reason was given").split()).rstrip(".")
    found = [Reason("budget", f"Its budget is spent: {why}.", {**told, "account": _account(out)})]
    if told.get("bound_of") == "agent":
        detail = "That is the bound of one agent, which stands with the swarm's options: see agent_tokens in PRONG.md."
        return [*found, Reason("raise", detail)]
    account = _account(out) if out is not None else task["account"]
    for room in rooms(moment.source, task["account"]) if task["account"] is not None else ():
        figures = {"account": room.account, "unit": room.unit, "bound": room.bound, "settled": room.settled,
                   "reserved": room.reserved, "open": room.open}  # fmt: skip
        found.append(Reason("figures", _figures(figures), figures))
    unit = "--usd AMOUNT" if told.get("unit") == "usd" else "--tokens AMOUNT"
    which = f"--task {account} " if account else ""
    after = "" if moment.supervised else f", and then: prong resume {moment.swarm['id']}"
    found.append(Reason("raise", f"It goes on when the bound is raised: prong budget {which}{unit}{after}"))
    return found


def held_for_cache(moment: Moment, task: Row) -> list[Reason]:
    """What was found that is lost, what going on would cost, and how it goes on."""
    row = moment.source.row("select lost from fork_point where message = :point", point=task["fork_point"])
    told = json.loads(row["lost"]) if row is not None and row["lost"] else {}
    why = " ".join((task["error"] or "the prompt cache of its fork point is lost").split())
    found = [Reason("cache", f"It is held: {why}", {**told, "fork_point": task["fork_point"]})]
    held = moment.source.row(
        "select count(*) as held from task where held = 'cache' and fork_point = :point", point=task["fork_point"]
    )
    assert held is not None, "an aggregate has one row"
    after = "" if moment.supervised else f", and then: prong resume {moment.swarm['id']}"
    detail = f"{many(held['held'], 'fork of that turn is', 'forks of that turn are')} held. Let this one go on with:"
    detail += f" prong resume {moment.swarm['id']} --task {task['id']}{after}"
    return [*found, Reason("resume", detail, {"held": held["held"]})]


def _account(out: Row | None) -> int | None:
    return None if out is None or out["object"] is None else int(out["object"])


def _figures(figures: Mapping[str, Any]) -> str:
    money = figures["unit"] == "nanousd"

    def shown(number: int) -> str:
        return f"${number / 1e9:,.4f}" if money else f"{number:,} tokens"

    whose = f"The budget of task {figures['account']}" if figures["account"] else "The swarm's budget"
    return (
        f"{whose} is {shown(figures['bound'])}: {shown(figures['settled'])} spent, {shown(figures['reserved'])}"
        f" reserved by calls under way, {shown(figures['open'])} open."
    )


def _wait(moment: Moment, row: Row) -> Reason:
    wants = json.loads(row["wants"])
    since_s = moment.now - row["since_at"]
    data = {"kind": row["kind"], "object": row["object"], "since_s": round(since_s, 3)}
    if row["state"] != "waiting":
        return Reason("granted", f"What it waited for ({row['kind']} {row['object']}) has come; it goes on.", data)
    what, more = _KINDS.get(row["kind"], _anything)(moment, row, wants)
    until = "" if row["until_at"] is None else f", for at most {span(row['until_at'] - moment.now)} more"
    if row["until_at"] is not None:
        data["until_at"] = moment.at_wall(row["until_at"])
    detail = f"It has waited for {span(since_s)} for {what['for']}{until}.{_sentence(what.get('then'))}"
    return Reason("slot" if row["kind"] == "slot" else "waits", detail, {**data, **more})


def _sentence(text: str | None) -> str:
    return f" {text[0].upper()}{text[1:]}." if text else ""


Told = tuple[dict[str, str], dict[str, Any]]


def _lock(moment: Moment, row: Row, wants: Mapping[str, Any]) -> Told:
    holds = [
        hold
        for hold in moment.source.rows(_HOLDS, name=row["object"])
        if hold["expires_at"] is None or hold["expires_at"] > moment.now
    ]
    ahead = _ahead(moment, row)
    texts = []
    for hold in holds:
        left = (
            "" if hold["expires_at"] is None else f", for {span(hold['expires_at'] - moment.now)} more unless renewed"
        )
        texts.append(f"{_holder(moment, hold)} holds it{' with others' if hold['shared'] else ''}{left}")
    if ahead:
        texts.append(f"{many(ahead, 'stands', 'stand')} before it in line")
    mode = " in shared mode" if wants.get("shared") else ""
    data = {"holders": [_who(moment, hold) for hold in holds], "ahead": ahead}
    return {"for": f"lock {row['object']!r}{mode}", "then": listed(texts)}, data


def _semaphore(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    holds = moment.source.rows(
        "select holder, task, expires_at from permit where semaphore = :name and expired = 0 order by number",
        name=row["object"],
    )
    names = list(dict.fromkeys(_holder(moment, hold) for hold in holds))
    then = (
        f"{listed(names)} {'holds' if len(names) == 1 else 'hold'} its permits" if names else "no permit was released"
    )
    data = {"holders": [_who(moment, hold) for hold in holds], "ahead": _ahead(moment, row)}
    return {"for": f"a permit of semaphore {row['object']!r}", "then": then}, data


def _barrier(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    barrier = moment.source.row("select * from barrier where name = :name", name=row["object"])
    if barrier is None:
        return _anything(moment, row, _wants)
    then = f"{barrier['arrived']} of {barrier['parties']} have arrived"
    data: dict[str, Any] = {"arrived": barrier["arrived"], "parties": barrier["parties"]}
    if barrier["siblings"] is not None:
        rows = moment.source.rows(
            _MISSING, siblings=barrier["siblings"], name=row["object"], round=barrier["round"]
        )  # fmt: skip
        missing = [one["id"] for one in rows]
        data["missing"] = missing
        then += f"; {named(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else ""
    return {"for": f"the others at barrier {row['object']!r}", "then": then}, data


def _tasks(moment: Moment, row: Row, wants: Mapping[str, Any]) -> Told:
    rows = moment.source.rows(
        "select task.id, state from waiter_task join task on task.id = waiter_task.task where waiter = :waiter"
        " order by task.id",
        waiter=row["id"],
    )
    open_ = {one["id"]: one["state"] for one in rows if one["state"] not in ("done", "failed", "cancelled")}
    some = "one of " if wants.get("mode") == "any" and len(rows) > 1 else ""
    then = ""
    if len(rows) > 1 or open_:
        then = f"open still: {listed([f'task {number} ({state})' for number, state in open_.items()])}"
    return {"for": f"{some}{named(one['id'] for one in rows)}", "then": then}, {"open": open_}


def _queue(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    counts = moment.source.row(
        "select coalesce(sum(holder is null and dead_at is null), 0) as queued,"
        " coalesce(sum(holder is not null and dead_at is null), 0) as delivered from queue_message where queue = :name",
        name=row["object"],
    )
    assert counts is not None, "an aggregate has one row"
    name = f"queue {row['object']!r}"
    what = {"queue": f"a message in {name}", "room": f"room in {name}"}.get(row["kind"], f"all work on {name} to end")
    then = f"{many(counts['queued'], 'message is', 'messages are')} queued and {counts['delivered']} with their readers"
    return {"for": what, "then": then}, dict(counts)


def _future(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    future = moment.source.row("select state, owner from future where name = :name", name=row["object"])
    then = "nobody has promised it yet"
    if future is not None and future["owner"] is not None:
        owner = moment.source.row("select id as holder, task from agent where id = :id", id=future["owner"])
        then = f"{_holder(moment, owner)} has promised it" if owner is not None else then
    return {"for": f"future {row['object']!r}", "then": then}, {"state": future["state"] if future else None}


def _slot(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    slots, taken = moment.swarm["slots"], moment.running
    then = f"what it waited for has come; {len(taken)} of {slots} slots are taken"
    if taken:
        then += f", by {named(taken)}"
    if len(taken) < slots and moment.refusal is not None:
        then += f". {moment.refusal.detail.rstrip('.')}"
    task = moment.task(row["task"]) if row["task"] is not None else None
    full = moment.full_role(task) if task is not None else None
    if full is not None:
        then += f". {full.detail.rstrip('.')}"
    return {"for": "a slot", "then": then}, {"slots": slots, "taken_by": list(taken)}


def _fork(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    point = moment.source.row(
        "select leader from fork_point where message = :message", message=int(row["object"])
    )  # fmt: skip
    then = "nobody has asked yet"
    if point is not None and point["leader"] is not None:
        then = f"agent {point['leader']} asks first, so that the others read the beginning from the cache"
    return {"for": "the prompt cache to hold what it shares with its siblings", "then": then}, {}


def _merge(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    ahead = moment.source.row(
        merge_queue.AHEAD,
        task=int(row["object"]),
    )
    assert ahead is not None, "it waits for its merge"
    trouble = moment.source.row(
        "select data from event where task = :task and kind = 'merge.waits' and at >= :since order by seq desc limit 1",
        task=int(row["object"]),
        since=moment.at_wall(row["since_at"]) - 1,
    )
    then = f"{many(ahead['ahead'], 'stands', 'stand')} before it in the merge queue" if ahead["ahead"] else ""
    if trouble is not None:
        then = f"the merge waits: {quoted(data_of(trouble)['reason'])}"
    if ahead["checking_at"] is not None:
        then = f"its check has run for {span(moment.now - ahead['checking_at'])}"
    if ahead["state"] == "resolving":
        then = f"it was handed in {ahead['attempt']} times in vain; task {ahead['resolver']} delivers in its place"
    more = {name: ahead[name] for name in ("ahead", "attempt", "resolver")}
    return {"for": "its work to be merged", "then": then}, more


def _budget(_moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    whose = f"the budget of task {row['object']}" if row["object"] != "0" else "the swarm's budget"
    then = f"calls under way have reserved what {whose} has left, and give back what they do not cost"
    return {"for": "tokens", "then": then}, {"account": row["object"]}


def _approval(moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    asked = moment.source.row("select tool, input, rule from approval where id = :id", id=int(row["object"]))
    assert asked is not None, "approvals are never removed"
    what = asked_for(asked["tool"], json.loads(asked["input"]))
    then = f"answer with: prong approve {row['object']}, or prong deny {row['object']} --reason WHY"
    data = {"approval": int(row["object"]), "tool": asked["tool"], "rule": asked["rule"]}
    return {"for": f"a person to say whether {asked['tool']} may run: {quoted(what)}", "then": then}, data


def _anything(_moment: Moment, row: Row, _wants: Mapping[str, Any]) -> Told:
    things = {"map": "a change of map", "list": "an item of list", "event": "event", "condition": "condition",
              "work": "a task to work on"}  # fmt: skip
    name = f" {row['object']!r}" if row["object"] else ""
    return {"for": f"{things.get(row['kind'], row['kind'])}{name}"}, {}


_KINDS: Mapping[str, Callable[[Moment, Row, Mapping[str, Any]], Told]] = {
    "lock": _lock, "semaphore": _semaphore, "barrier": _barrier, "tasks": _tasks, "queue": _queue, "room": _queue,
    "joined": _queue, "future": _future, "slot": _slot, "fork": _fork, "merge": _merge, "budget": _budget,
    "approval": _approval,
}  # fmt: skip


def _deadlock(moment: Moment, agent: Row, rows: Sequence[Row]) -> list[Reason]:
    """The circle that one of its waits is in, or hangs on; it is untied within a second."""
    own = {row["id"] for row in rows if row["state"] == "waiting" and row["until_at"] is None}
    if not own:
        return []
    snapshot = wait_graph.read(moment.source, now=moment.now)
    stuck = {wait.id for wait in deadlock.deadlocked(snapshot)} & own
    if not stuck:
        return []
    knots = deadlock.find(snapshot)
    knot = next((knot for knot in knots if stuck & {wait.id for wait in knot.waits}), knots[0] if knots else None)
    story = tell(snapshot, knot)["story"] if knot is not None else "what it waits for can never come"
    return [Reason("deadlock", f"It is part of a deadlock, which is untied at once: {story}.", {"agent": agent["id"]})]


def _ahead(moment: Moment, row: Row) -> int:
    found = moment.source.row(_AHEAD, kind=row["kind"], object=row["object"], id=row["id"])
    return int(found["ahead"]) if found is not None else 0


def _who(moment: Moment, hold: Row) -> dict[str, Any]:
    expires = hold["expires_at"]
    until_at = None if expires is None else moment.at_wall(expires)
    return {"agent": hold["holder"], "task": hold["task"], "until_at": until_at}


def _holder(moment: Moment, hold: Row) -> str:
    if hold["task"] is not None:
        return f"task {hold['task']}" + (f" (agent {hold['holder']})" if hold["holder"] is not None else "")
    row = moment.source.row("select name from agent where id = :agent", agent=hold["holder"])
    return row["name"] if row is not None else f"agent {hold['holder']}"
