"""`prong watch`: a swarm as it goes on, in the terminal: what is wrong, who does what, who waits for whom."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import Swarm, find
from prong.state.secrets import masked

REFRESH_S = 0.25


@click.command(epilog="Example: prong watch")
@click.argument("swarm", required=False)
@REPO
@click.option("--once", is_flag=True, help="Print one picture and end.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line, again whenever something has happened."
)
def watch(swarm: str | None, *, repo: Path, once: bool, as_json: bool) -> None:
    """Watch a swarm in the terminal until it ends; Ctrl-C ends only the watching.

    First what is wrong, then who does what, who waits for whom, and what happened last.
    """
    found = find(Repository.open(repo), swarm)
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _as_lines(found, once=once)
        elif once or not sys.stdout.isatty():
            _print(found)
        else:
            _live(found)


def _print(swarm: Swarm) -> None:
    from rich.console import Console  # noqa: PLC0415  each command imports what it needs

    from prong.harness.cli.display import WIDE  # noqa: PLC0415  as above
    from prong.harness.cli.watch_picture import picture, read_frame  # noqa: PLC0415  as above

    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(picture(read_frame(swarm.store(), events=10), width=console.width, height=10_000))


def _as_lines(swarm: Swarm, *, once: bool) -> None:
    from prong.harness.cli.watch_picture import read_frame  # noqa: PLC0415  as above

    store, seen = swarm.store(), None
    while True:
        last = store.row("select max(seq) as seq from event")
        frame = read_frame(store, events=0) if last != seen else None
        if frame is not None:
            seen = last
            click.echo(masked(json.dumps(frame.as_json(), ensure_ascii=False)))
        if once or (frame is not None and frame.status.state != "running"):
            return
        time.sleep(REFRESH_S)


def _live(swarm: Swarm) -> None:
    """Redraw until the swarm is over; what cannot be read just now leaves the last picture, with its age.

    It is drawn on the terminal's other screen, where nothing flows when somebody makes the window smaller; the last
    picture stays behind on the usual one.
    """
    from rich.console import Console, Group  # noqa: PLC0415  as above
    from rich.live import Live  # noqa: PLC0415  as above
    from rich.text import Text  # noqa: PLC0415  as above

    from prong.harness.cli.watch_picture import picture, read_frame  # noqa: PLC0415  as above

    store, console = swarm.store(), Console()
    shown, stale = Group(Text("Reading the swarm …")), None
    read_at, over = time.monotonic(), False
    try:
        with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as screen:
            while not over:
                width, height = console.size
                try:
                    frame = read_frame(store, events=height)
                    shown, over = picture(frame, width=width, height=height), frame.status.state != "running"
                    read_at, stale = time.monotonic(), None
                except Exception as error:  # noqa: BLE001  a look that fails must not take away what was seen
                    age = time.monotonic() - read_at
                    stale = Text(f"  cannot be read just now; this is {age:.0f} s old: {error}", style="bold red")
                screen.update(Group(stale, shown) if stale else shown, refresh=True)
                if not over:
                    time.sleep(REFRESH_S)
    finally:
        console.print(shown)
