"""What people say to agents while these work, and what agents have in their inboxes.

    said --its agent's next turn--> heard       in one transaction: a message of the conversation, and an event

A person's message waits in the database until the task's conversation goes on, whoever goes on with it: one that has
not started reads it first of all, one that waits or sleeps when its wait is over.  A task that has come to its end
reads what is still unheard before it ends.  An inbox is the queue `inbox/task-N`, which any agent can put messages in;
its agent is told when there are new ones, and takes them as from any queue.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prong.agents.notices import Notice
from prong.harness.approvals import user
from prong.primitives import task as tasks
from prong.primitives.errors import WrongTaskState
from prong.state import Invalid, Membership, ProngError, Row, Store, Transaction

TEXT_CHARACTERS = 20_000
"""The longest message, in characters."""

HARNESS = "the harness"
"""Who says what nobody has said: a notice that may be heard, and holds no task up that ends before."""

Hears = Literal["at its next turn", "when its wait is over", "when it starts", "when it goes on"]
"""When a task hears what was said to it."""

_UNHEARD = "select id, text, who from said where task = :task and message is null order by id"

_WAITS_IN_INBOX = """
select count(*) as count, max(id) as newest from queue_message
 where queue = :queue and holder is null and dead_at is null
"""


class Unheard(ProngError):
    """A task was about to end although its agent has not heard what a person has said to it."""

    def __init__(self, task: int) -> None:
        self.task = task

    def __str__(self) -> str:
        return f"task {self.task} has not heard yet what a person has said to it; it goes on"


@dataclass(frozen=True, slots=True)
class Said:
    """What a person has said to a task: the message's number, and when it is heard."""

    id: int
    task: int
    hears: Hears


def inbox(task: int) -> str:
    """The name of the queue that is a task's inbox.

    >>> inbox(3)
    'inbox/task-3'
    """
    return f"inbox/task-{task}"


def send(store: Store, text: str, *, task: int | None = None, agent: int | None = None) -> list[Said]:
    """Say something to the agent of a task, to an agent, or where neither is named to all that are at work or to come.

    Raises `UnknownTask`, `WrongTaskState` where the task has ended, and `Invalid` where there is no such agent, nobody
    to hear it, or no text.
    """
    if not text.strip() or len(text) > TEXT_CHARACTERS or "\0" in text:
        what = "an empty message" if not text.strip() else f"a message of {len(text):,} characters"
        raise Invalid(what, f"a text of 1 to {TEXT_CHARACTERS:,} characters")
    text = text.encode(errors="replace").decode()
    with store.transaction(None) as tx:
        to_one = task is not None or agent is not None
        rows = [_open(tx, _task_of(tx, agent) if agent is not None else task)] if to_one else _all(tx)
        said = [_say(tx, row, text) for row in rows]
        numbers = [one.task for one in said]
        tx.event(
            "command.send", object=str(numbers[0]) if to_one else "all", tasks=numbers, text=text[:300],
            task=numbers[0] if len(numbers) == 1 else None, messages=[one.id for one in said], user=user(),
            pid=os.getpid(),
        )  # fmt: skip
    return said


def unheard(source: Store | Transaction, task: int) -> list[str]:
    """What was said to a task and not heard yet."""
    return [row["text"] for row in source.rows(_UNHEARD, task=task)]


def check_heard(tx: Transaction, task: int) -> None:
    """In the transaction that ends a task or hands in its work: raises `Unheard` where its agent has to hear first."""
    if any(row["who"] != HARNESS for row in tx.rows(_UNHEARD, task=task)):
        raise Unheard(task)


class Ears:
    """What one agent's model is told of messages: a source of notices each for people's words and for the inbox."""

    def __init__(self, member: Membership, task: int) -> None:
        self._member = member
        self._task = task
        self._newest = 0

    def people(self) -> Notice | None:
        """What people have said."""
        rows = self._member.store.rows(_UNHEARD, task=self._task)
        if not rows:
            return None
        words = "\n\n".join(_words(row) for row in rows)
        return Notice(words, lambda tx, message: _heard(tx, rows, message), urgent=_is_urgent(rows))

    def inbox(self) -> Notice | None:
        """That new messages wait in its inbox."""
        name = inbox(self._task)
        row = self._member.store.row(_WAITS_IN_INBOX, queue=name)
        if row is None or not row["count"] or row["newest"] <= self._newest:
            return None
        count, newest = row["count"], row["newest"]

        def told(tx: Transaction, message: int) -> None:
            self._newest = newest
            tx.event("inbox.told", object=name, messages=count, message=message)

        many = "1 message waits" if count == 1 else f"{count} messages wait"
        call = f'message_queue {{"op": "get", "queue": "{name}", "count": {min(count, 100)}, "timeout": 0}}'
        return Notice(f"{many} in your inbox, from other agents. Read them with {call}", told)


def notify(tx: Transaction, task: int, text: str) -> None:
    """Tell the agent of a task something at its next turn, of which nobody has to hear who has ended by then."""
    tx.insert(
        "insert into said (task, text, who, said_at) values (:task, :text, :who, :now)",
        task=task, text=text[:TEXT_CHARACTERS], who=HARNESS, now=tx.now,
    )  # fmt: skip


def _is_urgent(rows: Sequence[Row]) -> bool:
    return any(row["who"] != HARNESS for row in rows)


def _words(row: Row) -> str:
    if row["who"] == HARNESS:
        return f"A notice from the harness, which sees the clones of all tasks:\n{row['text']}"
    return f"A message from {row['who']}, who operates this swarm, sent while you work; follow it:\n{row['text']}"


def _heard(tx: Transaction, rows: Sequence[Row], message: int) -> None:
    for row in rows:
        tx.execute(
            "update said set message = :message, heard_at = :now where id = :id", message=message, now=tx.now,
            id=row["id"],
        )  # fmt: skip
    tx.event("message.heard", object=str(message), messages=[row["id"] for row in rows])


def _say(tx: Transaction, row: Row, text: str) -> Said:
    number = tx.insert(
        "insert into said (task, text, who, said_at) values (:task, :text, :who, :now)",
        task=row["id"],
        text=text,
        who=user(),
        now=tx.now,
    )
    return Said(number, row["id"], _hears(row))


def _hears(row: Row) -> Hears:
    if row["paused"] or row["held"] in ("budget", "cache"):
        return "when it goes on"
    if row["state"] == "parked":
        return "when its wait is over"
    return "at its next turn" if row["state"] == "running" else "when it starts"


def _open(tx: Transaction, task: int | None) -> Row:
    assert task is not None, "either is named"
    found = tasks.find(tx, task)
    if found.final:
        raise WrongTaskState(task, found.state, "still open")
    if tx.row("select 1 from merge where task = :task and state = 'waiting'", task=task) is not None:
        raise WrongTaskState(task, "finished but for its merge", "still at work")
    row = tx.row("select id, state, held, paused from task where id = :task", task=task)
    assert row is not None, "it was found"
    return row


def _all(tx: Transaction) -> list[Row]:
    rows = tx.rows(
        "select id, state, held, paused from task where state not in ('done', 'failed', 'cancelled')"
        " and id not in (select task from merge where state = 'waiting') order by id"
    )
    if not rows:
        raise Invalid("a message to all, where no task is open", "a swarm that is at work: see prong status")
    return rows


def _task_of(tx: Transaction, agent: int) -> int:
    row = tx.row("select task, ended_at, reason from agent where id = :agent", agent=agent)
    if row is None or row["task"] is None:
        raise Invalid(f"agent {agent}", "the number of an agent that works on a task: see prong status")
    if row["ended_at"] is not None:
        raise Invalid(f"agent {agent}, which has ended ({row['reason']})", "one that is at work: see prong status")
    task: int = row["task"]
    return task
