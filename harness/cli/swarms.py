"""`prong swarms`: which swarms a repository has, and how each stands."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository

if TYPE_CHECKING:
    from prong.harness.swarm_list import SwarmLine

NARROW = 120
"""So many columns the table has where the output is no terminal."""

LEAST_GOAL = 20
"""How much of a goal is shown at least, in characters."""

_SUPERVISORS = {
    "alive": "process {pid}", "stopped": "process {pid}, stopped", "dead": "process {pid} is dead", "none": "",
}  # fmt: skip


@click.command(epilog="Example: prong swarms --json")
@REPO
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and nothing else.")
def swarms(*, repo: Path, as_json: bool) -> None:
    """List the swarms of a repository, the newest first.

    AGE counts from the first start.  A swarm is `interrupted` where it should be running and its supervisor, the
    process that runs it, is dead: prong resume goes on with it.  One whose supervisor is stopped (Ctrl-Z) stands still.
    """
    from prong.harness.swarm_list import list_swarms  # noqa: PLC0415  each command imports what it needs

    found = list(list_swarms(Repository.open(repo)))
    if as_json:
        for one in found:
            click.echo(json.dumps(one.as_json()))
    elif found:
        _show(found)
    else:
        click.echo("No swarm has run here yet. Start one with: prong run GOAL")


def _show(found: Sequence[SwarmLine]) -> None:
    from rich.console import Console  # noqa: PLC0415  only where a table is shown
    from rich.table import Table  # noqa: PLC0415  as above

    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=NARROW, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("swarm", "state", "age", "tasks", "supervisor", "goal"):
        table.add_column(column, justify="right" if column == "age" else "left", overflow="fold")
    rows = [_cells(one) for one in found]
    others = sum(max(map(len, column)) + 1 for column in list(zip(*rows, strict=True))[:-1])
    room = max(LEAST_GOAL, console.width - others - 1)
    for *cells, goal in rows:
        table.add_row(*cells, goal if len(goal) <= room else goal[: room - 1] + "…")
    console.print(table)
    click.echo("The result of each is branch prong/SWARM.")


def _cells(one: SwarmLine) -> tuple[str, ...]:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above
    from prong.harness.why.moment import span  # noqa: PLC0415  as above

    tasks = ", ".join(f"{count} {state}" for state, count in one.tasks.items())
    supervisor = _SUPERVISORS[one.supervisor.state].format(pid=one.supervisor.pid)
    state = f"{one.state}, paused" if one.paused else one.state
    age = "" if one.age_s is None else span(one.age_s)
    return one.swarm, state, age, tasks, supervisor, printable(" ".join(one.goal.split()))
