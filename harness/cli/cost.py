"""`prong cost`: what a swarm has cost, and what its forks have saved."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

if TYPE_CHECKING:
    from prong.harness.costs import Costs, ForkPointCost, Sum, TaskCost

NARROW = 80
"""So many columns the tables need; where there are more, titles get them."""

NARROWEST = 8
"""At least so much of a title is shown, in characters."""

_OF_TASKS = """
from: what the task began with. inherit: the tokens of its parent's conversation that it got; own: those of its own
since. cached: what its prompts read from the prompt cache, of all its calls together; written: the rest of them;
output: what was answered. fresh: what the same work would have cost an agent that had to read again what the parent
had read, an estimate; saved: the difference.
"""
_OF_FORK_POINTS = """
fork point: the message behind which tasks went their own ways. prefix: the tokens up to there. forks, briefed: how many
began with all of it, or with a summary. hits, losses: forks whose first call read it from the cache, or did not; lost:
what those paid for again. held: forks that wait for you because it is lost.
"""
LEGENDS = (_OF_TASKS, _OF_FORK_POINTS)
"""What the columns of the tables of tasks and of fork points are."""

_THOUSAND, _TEN_THOUSAND, _MILLION = 1_000, 10_000, 1_000_000
_TEN_DOLLARS, _CENT = 10.0, 0.01
_LEFT = frozenset({"title", "from", "role", "model"})


@click.command(epilog="Example: prong cost --as claude-sonnet-5-5")
@click.argument("swarm", required=False)
@REPO
@click.option("--as", "priced_as", help="Price everything as if this model had been asked, such as after --offline.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def cost(swarm: str | None, *, repo: Path, priced_as: str | None, as_json: bool) -> None:
    """Show what each task of a swarm has cost, and what it saved by forking.

    Below the tables it says what their columns are; `prong cost --json` has the same under whole names.
    """
    from prong.agents.models import all_models, known, told  # noqa: PLC0415  each command imports what it needs
    from prong.harness.costs import read_costs  # noqa: PLC0415  as above

    store = find(Repository.open(repo), swarm).store()
    if priced_as is not None and known(store, priced_as) is None:
        names = ", ".join([*sorted(told(store)), *(model.id for model in all_models())])
        raise click.BadParameter(f"the price of {priced_as!r} is not known. There are: {names}", param_hint="--as")
    costs = read_costs(store, priced_as=priced_as)
    if as_json:
        click.echo(json.dumps(costs.as_json()))
        return
    _show(costs)


def _show(costs: Costs) -> None:
    _table(
        ("task", "title", "from", "inherit", "own", "cached", "written", "output", "usd", "fresh", "saved"),
        [_task(one) for one in costs.tasks],
    )
    if costs.fork_points:
        click.echo()
        _table(
            ("fork point", "of task", "prefix", "forks", "briefed", "hits", "losses", "lost", "lost usd", "held"),
            [_point(one) for one in costs.fork_points],
        )
    for words in LEGENDS[: 1 + bool(costs.fork_points)]:
        click.echo()
        click.echo(click.style(textwrap.fill(words.strip(), NARROW), dim=True))
    for name, groups in (("role", costs.by_role), ("model", costs.by_model)):
        if len(groups) > 1 or name == "model":
            click.echo()
            _table(
                (name, "tasks", "calls", "cached", "written", "output", "usd"),
                [(group, str(tasks), str(sum_.calls), *_sum(sum_)) for group, tasks, sum_ in groups],
            )
    click.echo()
    for line in _words(costs):
        click.echo(textwrap.fill(line, NARROW))


def _words(costs: Costs) -> list[str]:
    total = costs.total
    prompts = total.cached + total.written
    share = f"{total.cached / prompts:.0%} of what was sent came from the cache" if prompts else "nothing was asked yet"
    priced = f" at the prices of {costs.priced_as}" if costs.priced_as else ""
    lines = [f"In all {_usd(total.usd)}{priced} for {total.calls} calls; {share}."]
    kept = [one for one in costs.fork_points if one.kept_calls]
    if kept:
        usd = None if any(one.kept_usd is None for one in kept) else sum(one.kept_usd or 0 for one in kept)
        calls = sum(one.kept_calls for one in kept)
        requests = "1 request" if calls == 1 else f"{calls} requests"
        lines.append(f"Of that {_usd(usd)} for {requests} that kept a prefix in the cache for children to come.")
    hours = sum(one.lifetime == "1h" for one in costs.fork_points)
    if hours:
        points = "1 fork point was" if hours == 1 else f"{hours} fork points were"
        lines.append(f"{points} written to the cache for an hour, for children that start late.")
    if costs.saved_usd is not None and (costs.saved_usd or total.usd):
        what = "saved" if costs.saved_usd >= 0 else "lost"
        lines.append(
            f"What tasks inherited has {what} about {_usd(abs(costs.saved_usd))}: an estimate, which takes it that a"
            " fresh agent would have taken the same turns, and some more to read again what its parent had read."
        )
    if not total.usd and costs.priced_as is None and total.calls:
        lines.append("These models cost nothing, or nobody knows what. See it in dollars with: prong cost --as MODEL")
    lost = sum(one.lost_tokens for one in costs.fork_points)
    if lost:
        lines.append(f"Lost from the prompt cache and paid for once more: {_tokens(lost)} tokens.")
    return lines


def _task(one: TaskCost) -> tuple[str, ...]:
    estimates = ("" if usd is None else _usd(usd) for usd in (one.fresh_usd, one.saved_usd))
    inherited = _tokens(one.inherited)
    return (str(one.task), one.title, one.context, inherited, _tokens(one.own), *_sum(one.spent), *estimates)


def _point(one: ForkPointCost) -> tuple[str, ...]:
    return (
        str(one.message), str(one.task), _tokens(one.prefix), str(one.children), str(one.briefed), str(one.hits),
        str(one.losses), _tokens(one.lost_tokens), _usd(one.lost_usd), str(one.held),
    )  # fmt: skip


def _sum(one: Sum) -> tuple[str, str, str, str]:
    return _tokens(one.cached), _tokens(one.written), _tokens(one.output), _usd(one.usd)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415  only where a table is shown
    from rich.table import Table  # noqa: PLC0415  as above

    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=NARROW, highlight=False)
    lines = [[*map(printable, row)] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *lines, strict=True)]
    for place in [place for place, column in enumerate(columns) if column in ("title", "role", "model")]:
        room = max(NARROWEST, console.width - sum(widths) - len(widths) + widths[place])
        for line in lines:
            line[place] = line[place] if len(line[place]) <= room else f"{line[place][: room - 1]}…"
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(table)


def _tokens(number: int) -> str:
    """A number of tokens in at most six characters."""
    if abs(number) < _TEN_THOUSAND:
        return str(number)
    if abs(number) < _MILLION:
        return f"{number / _THOUSAND:.1f}k" if abs(number) < 10 * _TEN_THOUSAND else f"{number / _THOUSAND:.0f}k"
    return f"{number / _MILLION:.1f}M"


def _usd(usd: float | None) -> str:
    if usd is None:
        return "?"
    if usd < 0:
        return f"-{_usd(-usd)}"
    return f"${usd:.2f}" if usd >= _TEN_DOLLARS else f"${usd:.3f}" if usd >= _CENT or not usd else f"${usd:.4f}"
