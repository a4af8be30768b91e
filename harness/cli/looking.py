"""Commands that look at a swarm: how it stands, its tasks, its log."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from prong.harness.cli.executing import has_changes
from prong.harness.cli.places import JSON, REPO, SWARM
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, find
from prong.state.secrets import masked


@click.command(epilog="Example: prong status --json")
@SWARM
@REPO
@JSON
def status(swarm: str | None, *, repo: Path, as_json: bool) -> None:
    """Show how a swarm stands.

    Times count from the first start on, of the swarm as of each task: waiting, pauses and the time in which nobody ran
    it are in them.
    """
    from prong.harness.status import read_picture, read_status  # noqa: PLC0415  each command imports what it needs

    found = find(Repository.open(repo), swarm)
    if as_json:
        click.echo(json.dumps(read_status(found.store(), tasks=0).as_json()))
        return
    from rich.console import Console  # noqa: PLC0415

    from prong.harness.cli.display import ROWS, WIDE, picture  # noqa: PLC0415

    now = read_picture(found.store(), ROWS)
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(picture(now, width=console.width, height=10_000))
    if now.paused:
        click.echo(f"It is paused. Let it go on with: prong resume {found.id}")
    if now.supervisor.advice is not None:
        click.echo(now.supervisor.advice)
    answered = now.state == "approval" and not now.approvals  # since the run has ended
    advise(found, "answered" if answered else now.state)


@click.command(epilog="Example: prong tasks --json")
@SWARM
@REPO
@JSON
def tasks(swarm: str | None, *, repo: Path, as_json: bool) -> None:
    """List tasks with their results and errors."""
    from prong.harness.cli.display import printable  # noqa: PLC0415
    from prong.harness.status import read_status, tokens  # noqa: PLC0415

    for task in read_status(find(Repository.open(repo), swarm).store()).tasks:
        if as_json:
            click.echo(_json_line({**asdict(task), "usage": tokens(task.usage)}))
            continue
        click.echo(printable(f"{task.id:>4}  {task.state:<9} {task.title}"))
        for text in (task.error, task.result):
            for line in (text or "").splitlines():
                click.echo(printable(f"      {line}"))


@click.command(epilog="Example: prong log --follow")
@SWARM
@REPO
@click.option("--follow", "-f", is_flag=True, help="Go on printing what happens until the swarm ends.")
@click.option("--task", type=int, help="Only what concerns this task.")
@JSON
def log(swarm: str | None, *, repo: Path, follow: bool, task: int | None, as_json: bool) -> None:
    """Print what happened in a swarm, in order."""
    from prong.harness.cli.display import events_after, line  # noqa: PLC0415
    from prong.harness.status import read_picture  # noqa: PLC0415

    store = find(Repository.open(repo), swarm).store()
    seq = 0
    while True:
        over = not follow or read_picture(store, 0).state != "running"
        for row in events_after(store, seq, limit=1_000_000):
            seq = row["seq"]
            if task in (None, row["task"]):
                click.echo(_json_line({**dict(row), "data": json.loads(row["data"])}) if as_json else line(row))
        if over:
            return
        time.sleep(0.1)


def advise(swarm: Swarm, state: str, *, err: bool = False) -> None:
    """Say what a person may do next with a swarm in this state."""
    changed = has_changes(swarm)
    merged = f"What was merged is on {swarm.branch}" if changed else "Nothing was merged"
    advice = {
        "done": f"The result is branch {swarm.branch}. See it with: prong diff; take it with: prong merge"
        if changed
        else "No file was changed, so there is nothing to merge.",
        "failed": f"Not every task is done. {merged}; see why with: prong tasks {swarm.id}",
        "stopped": f"Stopped; nothing is lost. Go on with: prong resume {swarm.id}",
        "budget": f"A budget is spent, so tasks wait. See which with: prong why; raise it with: prong budget; then go"
        f" on with: prong resume {swarm.id}",
        "approval": "It needs a person: somebody has to say whether calls may run. Answer them with: prong approve, or"
        f" prong deny; then go on with: prong resume {swarm.id}",
        "cache": "The prompt cache of forks is lost, so tasks wait for you. See what they would cost with: prong why;"
        f" let one go on with: prong resume {swarm.id} --task N; then: prong resume {swarm.id}",
        "answered": f"All calls are answered. Go on with: prong resume {swarm.id}",
        "interrupted": f"Its process was killed; nothing is lost. Go on with: prong resume {swarm.id}",
        "running": f"It runs. Follow it with: prong log --follow {swarm.id}",
    }
    click.echo(advice[state], err=err)


def _json_line(data: Any) -> str:
    """One line for a program, in which nothing looks like a key."""
    return masked(json.dumps(data))
