"""One reading of the repository for many tasks: a parent reads, and every piece continues from its last message.

the reading: a task that reads and does nothing --done--> its last message is a fork point
each piece:  fork   its conversation continues from there, at the price of the prompt cache
             brief  it begins with a summary of the reading, which is written once
             fresh  it knows its own prompt alone
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from prong.agents import conversation, economics, fork_point
from prong.agents.economics import Setting
from prong.agents.models import known
from prong.harness import prompt
from prong.harness.patterns.outcome import Outcome
from prong.harness.swarms import Swarm
from prong.primitives import Plan, Task
from prong.primitives.task_record import Context as TaskContext
from prong.state import Transaction

Context = Literal["fork", "brief", "fresh", "auto"]
"""What a piece begins with; `auto` lets prices decide when the reading is done."""

CONTEXTS = ("fresh", "fork", "brief", "auto")

READ = """\
Read what is needed of this repository for the work below, and change nothing. Many copies of you will then do that \
work, each for one item that it is told, and all of them will know what you have read: so read what they have in \
common, not what concerns one item. Do not begin with the work itself.

The work: {prompt}

End with a short summary of what you have read."""

OWN = """\
You are task {task}: {title}. You are a fork of this conversation, in a process and a clone of the repository of your \
own; the reading above is done. Do only this: {prompt}
End with your result."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading that is done: the message at which it ended, and what pieces begin with.

    Roles that `cannot_fork` ask another model, which cannot read the prompt cache of this one.
    """

    message: int
    task: int
    context: TaskContext
    base_commit: str
    cannot_fork: frozenset[str] = frozenset()

    def planned(self, plan: Plan) -> Plan:
        """The plan of a piece that begins with it; in place of a fork, a role that cannot fork reads a summary."""
        forks = self.context == "fork"
        if forks and plan.role not in self.cannot_fork:
            return replace(plan, context="fork", fork_point=self.message, base_commit=self.base_commit)
        if forks or self.context == "brief":
            return replace(plan, context="brief", brief_of=self.message, base_commit=self.base_commit)
        return plan

    def dress(self, tx: Transaction, task: Task, plan: Plan) -> None:
        """Let a fork continue from the reading with its own prompt."""
        if plan.fork_point is None:
            return
        text = OWN.format(task=task.id, title=plan.title, prompt=plan.prompt)
        head = conversation.insert(
            tx, parent=self.message, role="user", content=[{"type": "text", "text": text}], task=task.id
        )
        tx.execute("update task set head = :head where id = :task", head=head, task=task.id)


class NothingRead(ValueError):
    """The common reading has failed, so there is nothing that pieces could begin with."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def __str__(self) -> str:
        return (
            f"the common reading of the repository, task {self.outcome.task}, {self.outcome.state}:"
            f" {self.outcome.error}. Do the same again, or let each item begin with nothing: --context fresh"
        )


def plan_of_reading(work: str, *, key: str) -> Plan:
    """The task that reads for all."""
    return Plan("Read for all", READ.format(prompt=work), key=key)


def begin_with(
    swarm: Swarm, read: Outcome, context: Context, *, pieces: int, characters: int, say: Callable[[str], object]
) -> Reading:
    """Make the end of the reading a fork point; `auto` is decided here, for so many pieces of so many characters.

    Raises `NothingRead` where the reading has failed.
    """
    if not read.done:
        raise NothingRead(read)
    store = swarm.store()
    try:
        row = store.row("select head, merged_commit, base_commit from task where id = :task", task=read.task)
        assert row is not None, "it has ended"
        messages = conversation.load(store, row["head"])
        base = swarm.repository.resolve(f"refs/heads/{swarm.branch}")
        with store.transaction(None) as tx:
            fork_point.declare(tx, row["head"], _prefix_hash(swarm, messages))
            point = tx.row("select prefix_tokens from fork_point where message = :head", head=row["head"])
            chosen = context
            if chosen == "auto":
                tokens = (point["prefix_tokens"] if point else None) or 0
                chosen = _cheapest(tx, swarm, row["head"], tokens, pieces=pieces, characters=characters, say=say)
    finally:
        store.close()
    others = {name: role.model for name, role in swarm.options.roles.items() if role.model is not None}
    cannot = frozenset(name for name, model in others.items() if model != swarm.options.model)
    return Reading(row["head"], read.task, chosen, base, cannot)


def _prefix_hash(swarm: Swarm, messages: list[conversation.Message]) -> str:
    from prong.harness.agent.shared import TOOLS  # noqa: PLC0415  the catalogue costs, and only readings need it

    options = swarm.options
    system = ({"type": "text", "text": prompt.system(options.prose, options.roles)},)
    return conversation.prefix_hash(options.model, system, TOOLS, messages)


def _cheapest(
    tx: Transaction, swarm: Swarm, message: int, tokens: int, *, pieces: int, characters: int,
    say: Callable[[str], object],
) -> TaskContext:  # fmt: skip
    """What pieces should begin with, by what it would cost; an event tells why."""
    setting = Setting(
        prefix_tokens=tokens, shared_tokens=0, children=max(1, pieces), model=known(tx, swarm.options.model),
        prompt_tokens=max(1, characters // 4), sibling_tokens=0,
    )  # fmt: skip
    choice = economics.plan(setting)
    tx.event(
        "fork.planned", object=str(message), role="", context=choice.context, why=choice.why, children=pieces,
        prefix=tokens,
    )  # fmt: skip
    say(f"context {choice.context}: {choice.why}")
    return choice.context
