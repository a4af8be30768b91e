"""The options of `prong run` that bound a swarm: its budget, its tasks, and what the machine must bear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from prong.harness.bounds import Bounds
from prong.harness.cli.defaults import given
from prong.harness.repository.merge_rules import MergeRules
from prong.harness.rules import amounts
from prong.harness.rules.rules import Rules
from prong.primitives.budget import LARGEST_TOKENS, LARGEST_USD
from prong.state import Invalid

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Amount(click.ParamType[Any]):
    """An amount as people write it, such as 2M; `read` makes the value of it or raises `Invalid`."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value; what is one already stays as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except Invalid as error:
            return self.fail(str(error).rstrip(","), param, ctx)


TOKENS = Amount("tokens", lambda text: amounts.tokens(text, least=1, most=LARGEST_TOKENS))

_OPTIONS = {
    "budget.tokens": click.option("--tokens", type=TOKENS, help="The most tokens that it may use, such as 2M."),
    "budget.usd": click.option(
        "--usd", type=click.FloatRange(0, LARGEST_USD, min_open=True), help="The most dollars that it may spend."
    ),
    "limits.depth": click.option("--depth", type=click.IntRange(0, 1000), help="How deep tasks may create tasks."),
    "limits.children": click.option("--children", type=click.IntRange(1), help="How many tasks one may create."),
    "limits.open": click.option("--open-tasks", type=click.IntRange(1), help="How many may be open at once."),
    "limits.tasks": click.option("--total-tasks", type=click.IntRange(1), help="How many may ever be created."),
    "limits.attempts": click.option("--attempts", type=click.IntRange(1, 100), help="Failures after which one fails."),
    "limits.parked": click.option("--parked", type=click.IntRange(0), help="How many waiting agents keep a process."),
    "priority": click.option(
        "--priority", metavar="NAME|N", help="Of its tasks that name none: a whole number, or a name from PRONG.md."
    ),
    "limits.load": click.option(
        "--load", type=Amount("load", amounts.Load.read), help="Start none above this load of a core, or pressure: 40%."
    ),
    "limits.memory": click.option(
        "--memory", type=Amount("memory", amounts.Memory.read), help="Memory that stays free, such as 2GB or 10%."
    ),
}

_PARAMETERS = {
    "limits.open": "open_tasks", "limits.tasks": "total_tasks", "limits.agents": "slots",
}  # fmt: skip


def bounding(command: F) -> F:
    """Add the options to a command, which gets them as keywords."""
    for option in reversed(_OPTIONS.values()):
        command = option(command)
    return command


def bounds(rules: Rules, **options: Any) -> Bounds:
    """What the options say, and the rules where they say nothing."""
    limits, budget = rules.limits, rules.budget
    return (
        Bounds(
            tokens=options["tokens"],
            usd=options["usd"],
            agent_tokens=budget.agent.tokens,
            agent_usd=budget.agent.usd,
            task_tokens=budget.task.tokens,
            task_usd=budget.task.usd,
            open=_or(options["open_tasks"], limits.open),
            tasks=_or(options["total_tasks"], limits.tasks),
            depth=_or(options["depth"], limits.depth),
            children=_or(options["children"], limits.children),
            attempts=_or(options["attempts"], limits.attempts),
            parked=_or(options["parked"], limits.parked),
            ageing_s=rules.ageing_s,
            priority=None if options["priority"] is None else rules.priority(_number(options["priority"])),
        )
        .with_load(options["load"])
        .with_memory(options["memory"])
    )


def merge_rules(rules: Rules, *, check: str | None, timeout_s: float) -> MergeRules:
    """How finished work is checked and merged: what the options say, and for the rest the rules."""
    return MergeRules(
        check=check,
        timeout_s=timeout_s,
        tries=rules.check_attempts,
        batch=rules.check_batch,
        parallel=rules.check_parallel,
        attempts=rules.merge_attempts,
    )


def overridden(ctx: click.Context) -> tuple[str, ...]:
    """The rules that were given on the command line or in the environment: no change of the file touches them."""
    names = {key: _PARAMETERS.get(key, key.rpartition(".")[2]) for key in ("limits.agents", *_OPTIONS)}
    return tuple(key for key, parameter in names.items() if given(ctx, parameter))


def _number(given: str) -> str | int:
    """A priority as it was given: a number where it is one, else a name."""
    return int(given) if given.removeprefix("-").isdecimal() else given


def _or(value: T | None, other: T) -> T:
    return other if value is None else value
