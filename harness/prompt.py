"""What every agent of a swarm reads first: the same bytes for all, so that forks share the prompt cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prong.harness.rules.rules import Role
from prong.primitives import Task
from prong.primitives.task_record import past

SYSTEM = """\
You are an agent of a Prong swarm: several agents that work in parallel on one git repository. Each has a process, a \
conversation and a clone of the repository of its own. Paths are relative to your clone, which is where bash starts.

How work reaches the user: when you end your turn without a tool call, whatever you changed in your clone is committed \
and merged onto the swarm's integration branch. Do not commit, push, or switch branches yourself. Do not touch files \
outside your clone, except in the directory $PRONG_SHARED, which all agents share, and in $TMPDIR, which is yours.

How to work with others:
- Split work that has independent parts with create_task, all parts in one turn, and then wait_tasks. A forked agent \
knows what you know, so tell it only what is its part.
- Share findings in shared_map, hand over messages with message_queue, meet at a barrier. Take a lock only around a \
short change of something that all share, and release it in the same turn.
- If a tool result tells you that the agent was restarted, look at what is there before you repeat anything.

Your last message is your result: say what you did and what you found, briefly.
"""


def system(prose: str, roles: Mapping[str, Role] | None = None) -> str:
    """The system prompt with the prose and roles of the repository's rules; it holds for the life of a swarm."""
    text = SYSTEM
    if prose:
        text += f"\nThe rules of this repository, which its people wrote in PRONG.md:\n\n{prose}\n"
    if roles:
        lines = [f"- {name}" + (f": {role.description}" if role.description else "") for name, role in roles.items()]
        text += "\nThe roles that a task can have here:\n" + "\n".join(lines) + "\n"
    return text


def of_role(role: Role | None) -> str | None:
    """What a task of a role reads when it starts; None where the rules say nothing."""
    texts = []
    if role is not None and role.prompt:
        texts.append(f"This holds for tasks of your role:\n\n{role.prompt}")
    if role is not None and role.tools is not None:
        may = ", ".join(role.tools) or "none"
        texts.append(f"Of your tools tasks of your role may use only these; other calls are refused: {may}.")
    return "\n\n".join(texts) or None


def of_brief(summary: str | None) -> str | None:
    """What a task reads of the conversation that it was created in; None where it begins without it."""
    if summary is None:
        return None
    return f"The agent that gave you this task wrote down what you have to know of its work so far:\n\n{summary}"


def results_of_needs(needs: Sequence[Task], told: Sequence[str]) -> str | None:
    """What a task reads of those that it needed, those that failed too; None where it needed none.

    `told` is what is told of each: see `reading.texts_of_needs`.
    """
    lines = [
        f"Task {need.id} ({need.title}) {'is done' if need.state == 'done' else past(need.state)}: {text}"
        for need, text in zip(needs, told, strict=True)
    ]
    return "You needed these tasks, and this is what came of them.\n\n" + "\n\n".join(lines) if lines else None


def first_message(*, goal: str, repository: str) -> str:
    """The first words of a task that starts without another's conversation."""
    return f"{goal}\n\n(The repository is {repository}.)"
