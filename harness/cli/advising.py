"""`prong advice`: what a run's time and money went to, and when one agent would have done better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from prong.harness.cli.places import REPO

if TYPE_CHECKING:
    from prong.harness.swarms import Swarm


WORTH_S = 30.0
"""About a run that took less time than this nobody is told at its end, in seconds: there is little to save."""


@click.command(epilog="Example: prong advice")
@click.argument("swarm", required=False)
@REPO
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def advice(swarm: str | None, *, repo: Path, as_json: bool) -> None:
    """Say whether a swarm has paid: how parallel it was, its longest path, where its time went, what one agent costs.

    A sentence of advice is said only where the figures bear it.
    """
    from prong.harness.advice import advise  # noqa: PLC0415  each command imports what it needs
    from prong.harness.report.words import paid  # noqa: PLC0415  as above
    from prong.harness.repository.repository import Repository  # noqa: PLC0415  as above
    from prong.harness.run_figures import read_figures  # noqa: PLC0415  as above
    from prong.harness.swarms import find  # noqa: PLC0415  as above

    found = find(Repository.open(repo), swarm)
    figures = read_figures(found.store())
    if as_json:
        click.echo(json.dumps({"swarm": found.id, **figures.as_json(), "advice": advise(figures)}, ensure_ascii=False))
        return
    for name, value in paid(figures):
        _say(f"{name:<14} {value}")
    for sentence in advise(figures) or ["nothing that the figures bear: it ran as it should"]:
        _say(f"{'advice':<14} {sentence}")


def show_advice(swarm: Swarm) -> None:
    """Print the advice on a run that has ended, to standard error; nothing where it was short, or all was well."""
    from prong.harness.advice import advise  # noqa: PLC0415  as above
    from prong.harness.run_figures import read_figures  # noqa: PLC0415  as above

    store = swarm.store()
    row = store.row("select ended_at - started_at as seconds from swarm")
    if row is None or (row["seconds"] or 0.0) < WORTH_S:  # its log need not even be read
        return
    figures = read_figures(store)
    for sentence in advise(figures) if figures.wall_s >= WORTH_S else ():
        _say(f"advice: {sentence}", err=True)


def _say(text: str, *, err: bool = False) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    click.echo(printable(text), err=err)
