"""`prong apply --dry-run`: what a plan would take, in words and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from prong.agents.models import Model, lookup
from prong.harness.advice import Figures, advise, duration
from prong.harness.plans.apply import files_of, roles_of
from prong.harness.plans.estimate import GUESSED_ITEMS, Estimate, estimate, is_played, learnt
from prong.harness.plans.plan import Plan
from prong.harness.repository.repository import Repository
from prong.harness.rules.rules import Rules
from prong.harness.swarms import Options, all_swarms

PRICED_AS = "claude-sonnet-5-5"
"""Whose prices are taken where the model costs nothing, or its price is unknown."""

CENTS = 0.1
"""Amounts below this are told with more places."""


def show_estimate(repository: Repository, plan: Plan, options: Options, rules: Rules, *, as_json: bool) -> None:
    """Print what the plan would take with these options; nothing is made."""
    found = estimated(repository, plan, options, rules)
    figures = figures_of(found)
    if as_json:
        told = {**asdict(found), "speed_up": found.speed_up, "advice": advise(figures, before=True)}
        click.echo(json.dumps(told))
        return
    from prong.harness.plans.tree import show  # noqa: PLC0415  only people see a tree

    show(plan)
    for name, value in lines(found):
        click.echo(f"{name:<14} {value}")
    for sentence in advise(figures, before=True):
        click.echo(f"advice         {sentence}")


def estimated(repository: Repository, plan: Plan, options: Options, rules: Rules) -> Estimate:
    """What the plan would take in this repository."""
    model, name = _model(options)
    files = files_of(repository, repository.head(), plan)
    return estimate(
        plan,
        slots=options.slots,
        known=learnt(all_swarms(repository), offline=is_played(options)),
        model=model,
        priced_as=name,
        roles=roles_of(plan, rules),
        estimates={role: one.estimate_s for role, one in rules.roles.items() if one.estimate_s is not None},
        crews={role: one.agents for role, one in rules.roles.items() if one.agents is not None},
        items={step: len(found) for step, found in files.items()},
    )


def figures_of(found: Estimate) -> Figures:
    """The same as what advice is made of: as fresh agents, which is what a plan runs where it says nothing else."""
    return Figures(
        tasks=found.tasks, slots=found.slots, wall_s=found.wall_s, work_s=found.sequential_s,
        critical_s=found.critical_s, critical=found.critical, cost=found.price.fresh, alone=found.price.alone,
        unit="usd" if found.price.in_usd else "tokens", busy=found.busy,
    )  # fmt: skip


def lines(found: Estimate) -> list[tuple[str, str]]:
    """Name and value of each figure."""
    guess = f", taking {GUESSED_ITEMS} items each for {', '.join(found.guessed)}" if found.guessed else ""
    price, unit = found.price, "$" if found.price.in_usd else ""
    fork, fresh, alone = (
        f"{unit}{one:.2f}" if one >= CENTS else f"{unit}{one:.4f}" for one in (price.fork, price.fresh, price.alone)
    )
    known = found.learnt
    shown = f"{known.tasks} tasks of earlier swarms" if known.tasks else "what is usual; nothing has run here yet"
    return [
        ("tasks", f"{found.tasks}{guess}"),
        ("longest path", f"{duration(found.critical_s)}: {' -> '.join(found.critical)}"),
        ("time", f"{duration(found.wall_s)} with {found.slots} at once; {duration(found.sequential_s)} one by one"),
        ("speed-up", f"{found.speed_up:.1f}"),
        ("cost, fork", f"{fork} (priced as {price.model})"),
        ("cost, fresh", fresh),
        ("cost, alone", f"{alone} (one agent does it all)"),
        ("estimated by", shown),
    ]


def _model(options: Options) -> tuple[Model | None, str]:
    name = options.model
    model = next((one for one in options.models if one.id == name), None) or lookup(name)
    if model is not None and any(tier.input for tier in model.prices):
        return model, name
    return lookup(PRICED_AS), PRICED_AS
