"""How a person steers a swarm: `prong why`, `pause`, `cancel`, `kill`, `retry`, `priority` and `budget`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, find
from prong.state import Invalid

if TYPE_CHECKING:
    from prong.harness.why.explain import Explanation
    from prong.primitives.budget import Figures, Statement

_OPTIONS = (
    REPO,
    click.option("--swarm", help="Which swarm; the newest if left out."),
    click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object (or one a line) and nothing else."
    ),
)  # fmt: skip
_NEGATIVE = {"ignore_unknown_options": True}
"""Lets `-5` be a number and no option."""


class _Amount(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers only
    """A number of tokens or dollars as people write it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The amount; click prints what is wrong with it."""
        from prong.harness.rules import amounts  # noqa: PLC0415  each command imports what it needs
        from prong.primitives.budget import LARGEST_TOKENS, LARGEST_USD  # noqa: PLC0415  as above

        if not isinstance(value, str):
            return value
        try:
            if self.name == "tokens":
                return amounts.tokens(value, least=1, most=LARGEST_TOKENS)
            return amounts.number(value.removeprefix("$"), above=0, most=LARGEST_USD)
        except Invalid as error:
            self.fail(str(error).rstrip(","), param, ctx)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(epilog="Example: prong why 12")
@click.argument("task", type=int, required=False)
@_with_options
def why(task: int | None, *, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Say why TASK is not running, what it does or waits for, or how it ended.

    Without TASK: one line for each task that is open.
    """
    from prong.harness.why.explain import explain, explain_open  # noqa: PLC0415  each command imports what it needs

    found = find(Repository.open(repo), swarm)
    if task is not None:
        one = explain(found.store(), task)
        if as_json:
            _print_json(one.as_json())
        else:
            _tell(one)
        return
    explained = explain_open(found.store())
    for each in explained:
        if as_json:
            _print_json(each.as_json())
        else:
            _say(f"{each.task:>4}  {each.state:<8} {_cut(each.title)}  {each.short}")
    if not explained and not as_json:
        _say(f"No task of swarm {found.id} is open. See how they ended with: prong tasks {found.id}")


@click.command(epilog="Example: prong pause 3")
@click.argument("task", type=int, required=False)
@_with_options
def pause(task: int | None, *, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Pause TASK and all below it, or the whole swarm.

    Nothing of it starts any more, and agents at work step aside when their turn has ended; nothing is lost.  Let it go
    on with prong resume, or prong resume --task TASK.
    """
    from prong.harness import control  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    changed = control.pause(found, task)
    if as_json:
        _print_json({"paused": changed if task is not None else [], "swarm": found.id, "whole_swarm": task is None})
        return
    again = f"prong resume --task {task}" if task is not None else f"prong resume {found.id}"
    if not changed:
        _say(f"{_what(task, found)} was paused before. Let it go on with: {again}")
    else:
        which = _named(changed) if task is not None else f"swarm {found.id}"
        _say(f"paused {which}; agents at work step aside when their turn has ended. Let it go on with: {again}")


@click.command(epilog="Example: prong cancel 3")
@click.argument("task", type=int)
@_with_options
def cancel(task: int, *, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Cancel TASK and everything below it.

    Returns when their agents are gone.  Work that was not merged stays in the task's workspace.
    """
    from prong.harness.control import cancel_task  # noqa: PLC0415  as above

    cancelled = cancel_task(find(Repository.open(repo), swarm), task)
    if as_json:
        _print_json({"cancelled": cancelled})
    elif cancelled:
        _say(f"cancelled {', '.join(f'task {number}' for number in cancelled)}")
    else:
        _say(f"task {task} and all below it had ended before")


@click.command(epilog="Example: prong kill 3")
@click.argument("task", type=int, required=False)
@click.option("--agent", type=int, help="Not the agent of a task, but the one of this number.")
@_with_options
def kill(task: int | None, *, agent: int | None, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Kill the agent of TASK at once; another one goes on with the conversation.

    For an agent that hangs.  The task is not to blame for it; to be rid of the task, cancel it.
    """
    from prong.harness import control  # noqa: PLC0415  as above

    if (task is None) == (agent is None):
        raise click.UsageError("name a task, or an agent with --agent")
    killed = control.kill(find(Repository.open(repo), swarm), task=task, agent=agent)
    if as_json:
        _print_json(asdict(killed))
    else:
        _say(f"killed agent {killed.agent} (process {killed.pid}); another agent goes on with task {killed.task}")


@click.command(epilog="Example: prong retry 3 --with-dependants")
@click.argument("task", type=int)
@click.option("--with-dependants", is_flag=True, help="Also what failed because it needed the task.")
@_with_options
def retry(task: int, *, with_dependants: bool, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Try a failed or cancelled TASK again: in its workspace, with its conversation, with all its attempts."""
    from prong.harness import control  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    opened = control.retry(found, task, with_dependants=with_dependants)
    runs = control.supervised(found)
    if as_json:
        _print_json({"opened": opened, "swarm": found.id, "supervised": runs})
        return
    _say(f"opened {_named(opened)}")
    if not runs:
        _say(f"Nobody runs the swarm now. Go on with: prong resume {found.id}")


@click.command(epilog="Example: prong priority 3 10", context_settings=_NEGATIVE)
@click.argument("task", type=int)
@click.argument("priority")
@_with_options
def priority(task: int, priority: str, *, repo: Path, swarm: str | None, as_json: bool) -> None:
    """Give TASK another PRIORITY: the higher goes first, 0 is what tasks have that name none.

    It is a whole number, or a name from the `priorities` in PRONG.md.
    """
    from prong.harness import control  # noqa: PLC0415  as above
    from prong.harness.rules.rules import load  # noqa: PLC0415  as above
    from prong.harness.why.explain import explain  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    whole = priority.removeprefix("-").isdecimal()
    number = int(priority) if whole else load(found.repository.root).priority(priority)
    changed = control.set_priority(found, task, number)
    if as_json:
        _print_json(asdict(changed))
    else:
        now = explain(found.store(), task)
        _say(f"task {task} has priority {changed.priority} now, {changed.before} before")
        _say(f"It is {now.state}. {now.short}")


@click.command(epilog="Example: prong budget --tokens 2M --usd 5")
@click.option("--task", type=int, help="Of this task, and not of the swarm.")
@click.option("--tokens", type=_Amount("tokens"), help="The new bound in tokens, as 1500, 500k or 2M.")
@click.option("--usd", type=_Amount("usd"), help="The new bound in dollars.")
@_with_options
def budget(
    *, task: int | None, tokens: int | None, usd: float | None, repo: Path, swarm: str | None, as_json: bool
) -> None:
    """Show what is spent and left of every budget, or set another bound.

    A higher bound lets those tasks go on that were held for it.  It is the whole bound, not what is added to it; one
    that is not named stays as it is.
    """
    from prong.harness import control  # noqa: PLC0415  as above
    from prong.primitives.budget import Budget  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    if tokens is None and usd is None:
        _show_accounts(control.accounts(found, task), as_json=as_json)
        return
    raised = control.raise_budget(found, task, Budget(tokens, usd))
    runs = control.supervised(found)
    if as_json:
        account = _account_as_json(raised.statement)
        _print_json({"account": account, "freed": list(raised.freed), "swarm": found.id, "supervised": runs})
        return
    _show_accounts([raised.statement], as_json=False)
    if raised.freed:
        verb = "goes" if len(raised.freed) == 1 else "go"
        _say(f"{_named(raised.freed)} {verb} on")
    if raised.freed and not runs:
        _say(f"Nobody runs the swarm now. Go on with: prong resume {found.id}")


COMMANDS = (why, pause, cancel, kill, retry, priority, budget)


def resume_paused(found: Swarm, task: int | None, *, as_json: bool) -> None:
    """Let a paused task, or a paused swarm that somebody runs, go on, and say so."""
    from prong.harness import control  # noqa: PLC0415  as above

    changed = control.resume(found, task)
    runs = control.supervised(found)
    if as_json:
        told = changed if task is not None else []
        _print_json({"resumed": told, "swarm": found.id, "whole_swarm": task is None, "supervised": runs})
        return
    what = _what(task, found)
    _say(f"{what} was not paused" if not changed else f"{what if task is None else _named(changed)} may go on")
    if not runs:
        _say(f"Nobody runs the swarm now. Go on with: prong resume {found.id}")


def _tell(one: Explanation) -> None:
    _say(f"task {one.task} is {one.state}: {one.title}")
    for reason in one.reasons:
        first, *rest = reason.detail.splitlines() or [""]
        _say(f"  {first}")
        for line in rest:
            _say(f"    {line}")


def _show_accounts(statements: Sequence[Statement], *, as_json: bool) -> None:
    from prong.harness.cli.shared import table  # noqa: PLC0415  as above

    if as_json:
        for one in statements:
            _print_json(_account_as_json(one))
        return
    if all(one.tokens.bound is None and one.usd.bound is None for one in statements):
        _say("There is no budget here: nothing bounds what is spent.")
    if not statements:
        return
    rows: list[tuple[str, ...]] = []
    for one in statements:
        whose = f"task {one.account}" if one.account else "the swarm"
        state = "closed" if one.closed else "nearly spent" if one.warned else "open"
        for unit, figures in (("tokens", one.tokens), ("usd", one.usd)):
            if figures.bound is not None or figures.settled:
                rows.append((whose, unit, *_cells(figures, unit), state))
                whose = state = ""
        if whose:
            rows.append((whose, "", "", "", "", "", "", state))
    columns = ("budget of", "unit", "bound", "spent", "reserved", "lent", "left", "state")
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    right = range(2, 7)  # the figures
    table(
        [name.rjust(widths[n]) if n in right else name for n, name in enumerate(columns)],
        [[cell.rjust(widths[n]) if n in right else cell for n, cell in enumerate(row)] for row in rows],
    )


def _cells(figures: Figures, unit: str) -> list[str]:
    numbers = (figures.bound, figures.settled, figures.reserved, figures.lent, figures.open)
    return ["none" if one is None else f"{one:,.0f}" if unit == "tokens" else f"${one:,.4f}" for one in numbers]


def _account_as_json(one: Statement) -> dict[str, Any]:
    told = asdict(one)
    return {**told, "account": one.account, "of": f"task {one.account}" if one.account else "swarm"}


def _what(task: int | None, swarm: Swarm) -> str:
    return f"swarm {swarm.id}" if task is None else f"task {task}"


def _named(numbers: Sequence[int]) -> str:
    from prong.harness.why.moment import named  # noqa: PLC0415  as above

    return named(numbers)


def _cut(title: str) -> str:
    width = 28
    return f"{title:<{width}}" if len(title) <= width else title[: width - 1] + "…"


def _print_json(told: dict[str, Any]) -> None:
    click.echo(json.dumps(told, ensure_ascii=False))


def _say(text: str) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    click.echo(printable(text))
