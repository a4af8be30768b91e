"""How a person answers what agents ask, and speaks to them: `prong approve`, `deny` and `send`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, find
from prong.state import ProngError

if TYPE_CHECKING:
    from prong.harness.approvals import Answered, Asked

_SHOWN_LINES = 40
"""So many lines of a call's input are shown; --json has all of it."""

_OPTIONS = (
    REPO,
    click.option("--swarm", help="Which swarm; the newest if left out."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object (or one a line) and nothing else."),
)


class NotByAgents(ProngError):
    """An agent tried to do what only people may."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __str__(self) -> str:
        return f"prong {self.command} is for people, and an agent runs it. Ask for what you need in your result instead"


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(epilog="Example: prong approve 3 --always")
@click.argument("approval", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that wait.")
@click.option("--always", is_flag=True, help="And do not ask about such calls again in this swarm.")
@click.option("--rule", "rules", multiple=True, help="With --always: let through what this rule says, and not just it.")
@_with_options
def approve(
    approval: tuple[int, ...], *, every: bool, always: bool, rules: tuple[str, ...], repo: Path, swarm: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Let the calls of these numbers run; without a number, list what waits for an answer.

    Which calls people are asked about is said by rules: see prong run --ask, and `permissions` in PRONG.md.
    """
    from prong.harness import approvals  # noqa: PLC0415  each command imports what it needs

    if (every and approval) or ((always or rules) and not (every or approval)) or (rules and not always):
        raise click.UsageError("name calls by their numbers, or all with --all; --rule goes with --always")
    found = find(Repository.open(repo), swarm)
    if not every and not approval:
        _list(approvals.waiting(found.store()), as_json=as_json)
        return
    only_people(found, "approve")
    wanted = rules if always else None
    answered = approvals.approve(found.store(), None if every else list(approval), always=wanted)
    _tell(found, "approved", answered, as_json=as_json)


@click.command(epilog='Example: prong deny 3 --reason "Not on a Friday."')
@click.argument("approval", type=int, nargs=-1, required=True)
@click.option("--reason", default="", help="Why; the model reads it, and can do better.")
@_with_options
def deny(approval: tuple[int, ...], *, reason: str, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Refuse the calls of these numbers; their agents go on without them."""
    from prong.harness import approvals  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    only_people(found, "deny")
    _tell(found, "denied", approvals.deny(found.store(), list(approval), reason), as_json=as_json)


@click.command(epilog='Example: prong send 3 "Use the new parser."')
@click.argument("to", metavar="TASK|all|agent N")
@click.argument("message", nargs=-1, required=True)
@_with_options
def send(to: str, message: tuple[str, ...], *, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Say something to the agent of a task while it works; it reads it at its next turn, and follows it.

    TASK is a task's number; `agent 5` is whatever agent 5 works on, `all` every open task.  The message `-` is read
    from standard input.
    """
    from prong.harness import messages  # noqa: PLC0415  as above

    kind, words = "task", message
    if to == "agent":
        kind, to, words = "agent", message[0], message[1:]
    if (to != "all" and not to.isdecimal()) or not words:
        raise click.UsageError("say to whom and what: prong send 3 TEXT, prong send agent 5 TEXT, prong send all TEXT")
    found = find(Repository.open(repo), swarm)
    only_people(found, "send")
    text = sys.stdin.read() if words == ("-",) else " ".join(words)
    said = messages.send(found.store(), text.strip(), **({} if to == "all" else {kind: int(to)}))
    if as_json:
        for one in said:
            click.echo(json.dumps(asdict(one)))
        return
    for one in said:
        _say(f"task {one.task} hears it {one.hears}")
    _advise_to_resume(found)


COMMANDS = (approve, deny, send)


def only_people(swarm: Swarm, command: str) -> None:
    """Refuse a command that an agent's tool runs: what agents ask, they must not answer.  Raises `NotByAgents`.

    Whoever leaves the variable out is known by its parents.
    """
    import psutil  # noqa: PLC0415  as above

    from prong.harness.remains import MARK  # noqa: PLC0415  as above

    marks = {MARK, "PRONG_SHARED", "PRONG_TASK"}
    row = swarm.store().row("select supervisor_pid from swarm")
    supervisor = row["supervisor_pid"] if row is not None else None
    if not marks.isdisjoint(os.environ):
        raise NotByAgents(command)
    for parent in psutil.Process().parents():
        try:
            if parent.pid == supervisor or not marks.isdisjoint(parent.environ()):
                raise NotByAgents(command)
        except psutil.Error:  # it has ended, or is another user's
            continue


def show_waiting(swarm: Swarm) -> None:
    """Print what waits for an answer."""
    from prong.harness import approvals  # noqa: PLC0415  as above

    _list(approvals.waiting(swarm.store()), as_json=False)


def _list(asked: Sequence[Asked], *, as_json: bool) -> None:
    from prong.harness.why.moment import span  # noqa: PLC0415  as above

    if as_json:
        for one in asked:
            click.echo(json.dumps({**asdict(one), "always": list(one.always)}))
        return
    for one in asked:
        rule = "every call is asked about" if one.rule is None else f"because of ask {one.rule}"
        who = one.who if one.task is None else f"{one.who} ({one.title})"
        _say(f"{one.id}  {one.tool}, {who}, waits {span(one.asked_s)}, {rule}")
        lines = one.text.splitlines() or [""]
        for line in lines[:_SHOWN_LINES]:
            _say(f"     {line}")
        if len(lines) > _SHOWN_LINES:
            _say(f"     … and {len(lines) - _SHOWN_LINES} more lines: prong approve --json")
    if not asked:
        _say("No call waits for an answer.")


def _tell(swarm: Swarm, what: str, answered: Answered, *, as_json: bool) -> None:
    from prong.harness import control  # noqa: PLC0415  as above

    if as_json:
        told: dict[str, Any] = {what: list(answered.approvals), "tasks": list(answered.tasks)}
        click.echo(json.dumps({**told, "rules": list(answered.rules), "supervised": control.supervised(swarm)}))
        return
    if not answered.approvals:
        _say("No call waits for an answer.")
        return
    for number, task in zip(answered.approvals, answered.tasks, strict=True):
        _say(f"{what} {number}; {'its client' if task is None else f'task {task}'} goes on")
    for rule in answered.rules:
        _say(f"From now on this swarm is not asked about: {rule}")
    if any(task is not None for task in answered.tasks):
        _advise_to_resume(swarm)


def _advise_to_resume(swarm: Swarm) -> None:
    from prong.harness import control  # noqa: PLC0415  as above

    if not control.supervised(swarm):
        _say(f"Nobody runs the swarm now. Go on with: prong resume {swarm.id}")


def _say(text: str) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    click.echo(printable(text))
