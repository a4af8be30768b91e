"""`prong map --dry-run`: what a map would take, told as for a plan that has one task for each item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from prong.harness.advice import advise
from prong.harness.cli.estimating import estimated, figures_of, lines
from prong.harness.patterns.mapping import Work, asked, text_of
from prong.harness.plans.estimate import Estimate
from prong.harness.plans.plan import Items, Plan, Step
from prong.harness.repository.repository import Repository
from prong.harness.rules.rules import Rules
from prong.harness.swarms import Options

SHOWN = 3
"""So many items are named."""

WORDS = 60
"""So long an item or a prompt is shown, in characters."""


def show_map(
    repository: Repository, options: Options, rules: Rules, work: Work, todo: Sequence[Any], *, reducing: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print what it would take to do these items; nothing is made."""
    if not todo:
        click.echo(json.dumps({"items": 0}) if as_json else "items          0: each has its result already")
        return
    plans = {context: _plan(work, len(todo), context, reducing) for context in ("fresh", "fork")}
    ways = {context: estimated(repository, plan, options, rules) for context, plan in plans.items()}
    found = ways["fresh" if work.context == "fresh" else "fork"]
    price = replace(found.price, fork=ways["fork"].price.fork, fresh=ways["fresh"].price.fresh)
    found = replace(found, price=price)
    figures = replace(figures_of(found), cost=price.fresh if work.context == "fresh" else price.fork)
    sentences = [*_cheaper(work, found), *advise(figures, before=True)]
    if as_json:
        told = {"items": len(todo), **asdict(found), "speed_up": found.speed_up, "advice": sentences}
        click.echo(json.dumps(told))
        return
    named = ", ".join(_short(text_of(one)) for one in todo[:SHOWN]) + (", …" if len(todo) > SHOWN else "")
    _say(f"{'items':<14} {len(todo):,}: {named}")
    _say(f"{'first prompt':<14} {_short(asked(work.prompt, todo[0]))}")
    for name, value in lines(found):
        _say(f"{name:<14} {value}")
    for sentence in sentences:
        _say(f"{'advice':<14} {sentence}")


def _plan(work: Work, count: int, context: str, reducing: str | None) -> Plan:
    """So many items, each of which begins with nothing, or continues from one reading."""
    role = work.role or None
    steps = {"read": Step("Read what all items have in common.")} if context == "fork" else {}
    items = Items(listed=tuple(range(count)))
    steps["item"] = Step(work.prompt, needs=tuple(steps), role=role, type=work.type, for_each=items)
    if reducing is not None:
        steps["reduce"] = Step(reducing, needs=("item",), role=role)
    return Plan("map", steps, tuple(steps), "")


def _cheaper(work: Work, found: Estimate) -> list[str]:
    """Whether the items should begin with something else."""
    fork, fresh, unit = found.price.fork, found.price.fresh, "$" if found.price.in_usd else ""
    prices = f"about {unit}{min(fork, fresh):.2f} against {unit}{max(fork, fresh):.2f}"
    if work.context in ("fork", "brief") and fresh < fork:
        return [f"--context fresh would be cheaper, unless each item has to read again what all share: {prices}."]
    return []


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= WORDS else f"{words[: WORDS - 1]}…"


def _say(text: str) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as in every command

    click.echo(printable(text))
