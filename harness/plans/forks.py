"""A step with `context: fork` goes on with the conversation of the first task that it needs.

    1 user -- 2 assistant -- … -- 9 assistant (its last words) -+- 10 user ("you are task 5")
                                                                +- 11 user ("you are task 6")

What that task has read is read from the prompt cache, once for all, and nothing of it has to be told.  A role with
another model cannot read that cache: its tasks begin with a summary, as where an agent creates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prong.agents import conversation, fork_point
from prong.state import Invalid, Store, Transaction

if TYPE_CHECKING:
    from prong.harness.swarms import Options


@dataclass(frozen=True, slots=True)
class Source:
    """A task whose conversation has ended in the assistant message `point`; roles that `cannot_fork` it."""

    task: int
    point: int
    cannot_fork: frozenset[str] = frozenset()


def source_of(tx: Transaction, store: Store, of: str) -> Source:
    """Make the end of the conversation of the task with the key `of` a fork point; raises `Invalid`."""
    row = tx.row(
        "select task.id, task.head, task.role, message.role as speaker, content, model from task"
        " left join message on message.id = task.head left join model_call on model_call.message = message.id"
        " where key = :key",
        key=of,
    )
    if row is None or row["head"] is None or row["speaker"] != "assistant" or '"type":"tool_use"' in row["content"]:
        raise Invalid(f"a fork of {of.removeprefix('plan:')}, which has no conversation that has ended", "one that has")
    point: int = row["head"]
    options = _options(store)
    fork_point.declare(tx, point, _prefix_hash(store, options, point, row["model"]))
    models = {name: role.model or options.model for name, role in options.roles.items()} | {"": options.model}
    own = models.get(row["role"], options.model)
    return Source(row["id"], point, frozenset(name for name, model in models.items() if model != own))


def begin_fork(tx: Transaction, task: int, source: Source, prompt: str) -> None:
    """Let a task that has not begun go on from there."""
    if tx.value("select role from task where id = :task", task=task) in source.cannot_fork:
        tx.execute(
            "update task set context = 'brief', brief_of = :point where id = :task", point=source.point, task=task
        )
        return
    text = (
        f"You are task {task}. You are a fork of this conversation, in a process and a clone of the repository of your"
        f" own; what stands before was done by task {source.task}. Do only this: {prompt}\nYour last message is your"
        " result."
    )
    head = conversation.insert(
        tx, parent=source.point, role="user", content=[{"type": "text", "text": text}], task=task
    )
    tx.execute(
        "update task set context = 'fork', fork_point = :point, head = :head where id = :task", point=source.point,
        head=head, task=task,
    )  # fmt: skip


def _options(store: Store) -> Options:
    from prong.harness.swarms import at_directory  # noqa: PLC0415  only a plan with forks needs it

    return at_directory(store.directory).options


def _prefix_hash(store: Store, options: Options, point: int, model: str) -> str:
    """A name for all that the forks share: what their agents send first is made of the swarm's own options."""
    from prong.harness import prompt  # noqa: PLC0415  as above
    from prong.harness.agent.shared import TOOLS  # noqa: PLC0415  as above

    system = ({"type": "text", "text": prompt.system(options.prose, options.roles)},)
    return conversation.prefix_hash(model, system, TOOLS, conversation.load(store, point))
