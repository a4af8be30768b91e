"""Calls that a person is asked about: how a call waits for an answer, and how it is answered.

    asked --> waiting --approve--> approved     the call runs
                 +-----deny------> denied       the model reads why

A call waits as an agent waits for anything: parked, without a slot and without a token, and its process may be ended
meanwhile.  Whoever goes on with the task makes the call again and finds the row by the call's key, answered or not.
Terminal, browser and MCP answer through `approve` and `deny`, each one transaction with an event that says who did it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prong.harness.permissions import policies
from prong.harness.permissions.permission import Judgement, Rule, judge, parts_of
from prong.primitives.place import Place
from prong.state import Invalid, Membership, ProngError, Row, Store, Transaction, waiter

WAITER = "approval"
"""The kind of the waiters."""

REASON_CHARACTERS = 4_000
"""The longest reason for a refusal, in characters."""

_SHOWN_CHARACTERS = 300

_WAITING = """
select approval.*, coalesce(task.title, agent.name) as title, coalesce(task.role, '') as role,
       task.state as task_state
  from approval left join task on task.id = approval.task join agent on agent.id = approval.agent
 where approval.state = 'waiting' and (task.state not in ('done', 'failed', 'cancelled') or approval.task is null
   and exists (select 1 from waiter where kind = 'approval' and object = cast(approval.id as text)
                                      and waiter.state = 'waiting'))
"""


class NotWaiting(ProngError):
    """An approval that cannot be answered (any more)."""

    def __init__(self, approval: int, state: str | None) -> None:
        self.approval = approval
        self.state = state

    def __str__(self) -> str:
        what = "there is no such call" if self.state is None else f"that is {self.state} already"
        return f"approval {self.approval} cannot be answered: {what}. See what waits with: prong approve"


class UnknownApproval(NotWaiting):
    """No call of this number was ever asked about."""

    def __init__(self, approval: int) -> None:
        super().__init__(approval, None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A call that waits for an answer: whose it is, all of its input, and the rule by which it is asked about.

    A call of an outside client has no task; its `title` is then the client's name.
    `always` are the rules that `always` would add; `asked_s` is for how many seconds it has waited.
    """

    id: int
    task: int | None
    title: str
    agent: int
    tool: str
    input: Any
    rule: str | None
    always: tuple[str, ...]
    asked_s: float

    @property
    def text(self) -> str:
        """What the call would do: its main argument, or its input."""
        return asked_for(self.tool, self.input)

    @property
    def who(self) -> str:
        """Who made it: a task, or a client by its name."""
        return f"client {self.title}" if self.task is None else f"task {self.task}"


@dataclass(frozen=True, slots=True)
class Answered:
    """The approvals that were answered, and the rules that hold from now on."""

    approvals: tuple[int, ...]
    tasks: tuple[int | None, ...]
    rules: tuple[str, ...] = ()


def ask(
    member: Membership, *, key: str, tool: str, given: Any, judgement: Judgement,
    told: Callable[[int], None] | None = None,
) -> str | None:  # fmt: skip
    """Wait until a person has answered; why the call is refused, None where it may run.

    `told` is called with the approval's number once others can see it.
    """
    me, asked = member.me, (tool, json.dumps(given))
    with Place(member) as place:
        with member.transaction() as tx:
            row = tx.row("select * from approval where key = :key", key=key)
            if row is not None and (row["tool"], row["input"]) != asked:  # a program calls two things by one name
                key = f"{key}#{hashlib.sha256(repr(asked).encode()).hexdigest()[:24]}"
                row = tx.row("select * from approval where key = :key", key=key)
            number = row["id"] if row is not None else _insert(tx, key, tool, given, judgement)
            if row is not None and row["state"] != "waiting":
                return _refusal(row)
            tx.execute("update approval set agent = :agent where id = :id", agent=me.agent, id=number)
            if place.take_up(tx, WAITER, str(number)) is None:
                place.enrol(tx, WAITER, str(number), timeout=None)
        if told is not None:
            told(number)
        place.wait()
    answered = member.store.row("select * from approval where id = :id", id=number)
    assert answered is not None, "approvals are never removed"
    if answered["state"] == "waiting":  # what it waited in was closed, not answered: its agent ends
        return "nobody has answered yet whether this call may run. Make it again to go on waiting."
    return _refusal(answered)


def waiting(store: Store) -> list[Asked]:
    """The calls that wait for an answer, the oldest first."""
    now = store.clock.now()
    return [_asked(row, now) for row in store.rows(f"{_WAITING} order by approval.id")]


def asked_for(tool: str, given: Any) -> str:
    """What a call would do, in words: a command for bash, else all of the input."""
    if isinstance(given, Mapping) and tool == "bash" and isinstance(given.get("command"), str):
        return str(given["command"])
    return json.dumps(given, ensure_ascii=False)


def find(store: Store, approval: int) -> Asked:
    """One that waits; raises `UnknownApproval` and `NotWaiting`."""
    with store.snapshot() as source:
        return _asked(_row(source, approval), store.clock.now())


def approve(
    store: Store, approvals: Sequence[int] | None, *, always: Sequence[str] | None = None, by: str | None = None
) -> Answered:
    """Let calls run (None: all that wait); raises `NotWaiting`, `UnknownApproval` and `Invalid`.

    `always` are rules that let calls through from now on in this swarm; an empty list stands for the narrowest that
    cover these calls.  Other calls that wait and that they let through are answered, too.  `by` says who answers,
    where that is not this process's user.
    """
    extra = [str(Rule.read(rule)) for rule in always or ()]
    with store.transaction(None) as tx:
        rows = tx.rows(f"{_WAITING} order by approval.id") if approvals is None else [_row(tx, n) for n in approvals]
        rules: tuple[str, ...] = ()
        if always is not None:
            own = [rule for row in rows for rule in json.loads(row["parts"])]
            rules = tuple(dict.fromkeys(extra or own))
            policies.add_always(tx, rules, user())
        answered = [_answer(tx, row, "approved", rules=rules, by=by) for row in rows]
        if rules:
            answered += [_answer(tx, row, "approved", rules=()) for row in _let_through(tx, store.directory)]
        tx.ring_scheduler()
    return Answered(tuple(row["id"] for row in answered), tuple(row["task"] for row in answered), rules)


def deny(store: Store, approvals: Sequence[int], reason: str, *, by: str | None = None) -> Answered:
    """Refuse calls; their models read the reason.  `by` is as in `approve`.

    Raises `NotWaiting`, `UnknownApproval` and `Invalid`.
    """
    if len(reason) > REASON_CHARACTERS:
        raise Invalid(f"a reason of {len(reason):,} characters", f"at most {REASON_CHARACTERS:,}")
    reason = reason.strip().encode(errors="replace").decode()
    with store.transaction(None) as tx:
        answered = [_answer(tx, _row(tx, number), "denied", reason=reason, by=by) for number in approvals]
        tx.ring_scheduler()
    return Answered(tuple(row["id"] for row in answered), tuple(row["task"] for row in answered))


def resolved(path: str) -> str:
    """The path without links; one that no file can have, as it is."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return os.path.normpath(path)


def user() -> str:
    """Who gives a command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name
        return f"uid {os.getuid()}"


def _insert(tx: Transaction, key: str, tool: str, given: Any, judgement: Judgement) -> int:
    rule = None if judgement.rule is None else str(judgement.rule)
    number: int = tx.insert(
        "insert into approval (task, agent, key, tool, input, rule, parts, asked_at)"
        " values (:task, :agent, :key, :tool, :input, :rule, :parts, :now)",
        task=tx.member.task if tx.member else None,
        agent=tx.member.agent if tx.member else None,
        key=key,
        tool=tool,
        input=json.dumps(given),  # in ASCII: half a surrogate pair could not be stored otherwise
        rule=rule,
        parts=json.dumps(list(dict.fromkeys(str(part.rule) for part in judgement.parts))),
        now=tx.now,
    )
    shown = "; ".join(part.shown for part in judgement.parts)
    tx.event("approval.asked", object=str(number), tool=tool, rule=rule, asks=cut(shown))
    return number


def _row(source: Store | Transaction, approval: int) -> Row:
    row = source.row(f"{_WAITING} and approval.id = :id", id=approval)
    if row is not None:
        return row
    known = source.row(
        "select approval.state, task.state as task_state, task.id as task from approval"
        " left join task on task.id = approval.task where approval.id = :id",
        id=approval,
    )
    if known is None:
        raise UnknownApproval(approval)
    ended = f"task {known['task']} is {known['task_state']}"
    over = f"void, since {'its client waits no more' if known['task'] is None else ended}"
    raise NotWaiting(approval, known["state"] if known["state"] != "waiting" else over)


def _answer(
    tx: Transaction, row: Row, state: str, *, reason: str | None = None, rules: Sequence[str] = (),
    by: str | None = None,
) -> Row:  # fmt: skip
    who = by or user()
    tx.execute(
        "update approval set state = :state, reason = :reason, answered_by = :who, answered_at = :now where id = :id",
        state=state,
        reason=reason,
        who=who,
        now=tx.now,
        id=row["id"],
    )
    waiter.grant_all(tx, WAITER, str(row["id"]))
    tx.event(
        "command.approve" if state == "approved" else "command.deny", object=str(row["id"]), task=row["task"],
        tool=row["tool"], reason=reason or None, always=list(rules) or None, user=who, pid=os.getpid(),
    )  # fmt: skip
    return row


def _let_through(tx: Transaction, directory: Path) -> list[Row]:
    """Those that still wait, and that the rules let through by now."""
    found = []
    for row in tx.rows(f"{_WAITING} order by approval.id"):
        policy = policies.policy_of(policies.rows_for(tx, row["role"]))
        workspace = directory / "workspaces" / str(row["task"])  # of a client there is none, nor a call that needs one
        parts = parts_of(row["tool"], json.loads(row["input"]), workspace, resolve=resolved)
        if judge(policy, parts).effect == "allow":
            found.append(row)
    return found


def _refusal(row: Row) -> str | None:
    if row["state"] == "approved":
        return None
    why = f", and says: {row['reason']}" if row["reason"] else ""
    return (
        f"{row['tool']}: a person ({row['answered_by']}) has denied this call{why}\nIt was not run. Do not reach the"
        " same by other means; go on without it, or say in your result what you could not do."
    )


def _asked(row: Row, now: float) -> Asked:
    return Asked(
        id=row["id"],
        task=row["task"],
        title=row["title"],
        agent=row["agent"],
        tool=row["tool"],
        input=json.loads(row["input"]),
        rule=row["rule"],
        always=tuple(json.loads(row["parts"])),
        asked_s=round(now - row["asked_at"], 3),
    )


def cut(text: str) -> str:
    """What an event shows of a text: so much, and as UTF-8 can carry it."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
