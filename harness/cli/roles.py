"""`prong roles`: what each role is used for, and whether it is busy enough to be worth having."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import find

if TYPE_CHECKING:
    from prong.harness.roles import RoleUse

NARROW = 80
"""So many columns the table has where the output is no terminal."""


@click.command(epilog="Example: prong roles")
@click.argument("swarm", required=False)
@REPO
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and nothing else.")
def roles(swarm: str | None, *, repo: Path, as_json: bool) -> None:
    """Show how much each role of a swarm is used.

    RUNNING counts those that run now, of how many may at once where PRONG.md bounds them; WAITING those that are ready
    and have not started; BUSY is how long at least one ran.  What they answer and are asked is counted in TOKENS.
    """
    from prong.harness.roles import read_roles  # noqa: PLC0415  each command imports what it needs

    found = find(Repository.open(repo), swarm)
    known = found.options.roles
    uses = read_roles(found.store(), tuple(known), kinds={name: role.kind for name, role in known.items()})
    if as_json:
        for one in uses:
            click.echo(json.dumps(one.as_json()))
        return
    _show(uses)


def _show(uses: Sequence[RoleUse]) -> None:
    from rich.console import Console  # noqa: PLC0415  only where a table is shown
    from rich.table import Table  # noqa: PLC0415  as above

    from prong.harness.cli.display import printable  # noqa: PLC0415  as above
    from prong.harness.why.moment import span  # noqa: PLC0415  as above

    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=NARROW, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    kinds = ("kind",) if any(one.kind for one in uses) else ()
    for column in ("role", *kinds, "tasks", "running", "waiting", "busy", "tokens", "usd", ""):
        table.add_column(column, justify="left" if column in ("role", "kind", "") else "right", overflow="fold")
    for one in uses:
        running = str(one.running) if one.agents is None else f"{one.running}/{one.agents}"
        usd = "?" if one.usd is None else f"${one.usd:.3f}"
        table.add_row(
            printable(one.role), *[one.kind or "" for _ in kinds], str(one.tasks), running, str(one.waiting),
            span(one.busy_s), f"{one.tokens:,}", usd, one.words(),
        )  # fmt: skip
    console.print(table)
