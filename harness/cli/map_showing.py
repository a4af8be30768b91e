"""What `prong map` shows: how far it is, a table of some items, sums, and where the results and the changes are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from prong.harness.cli.launching import note, usd_text

if TYPE_CHECKING:
    from prong.harness.patterns.outcome import Outcome, Spent
    from prong.harness.patterns.results_file import ResultsFile
    from prong.harness.patterns.shelf import Shelf

ROWS = 20
"""The most items that the table shows; failed ones first."""


@dataclass(slots=True)
class Tally:
    """What is shown at the end: sums and the first rows; what is to be reduced is put on the `shelf`."""

    shelf: Shelf | None = None
    done: int = 0
    failed: int = 0
    before: int = 0
    cancelled: int = 0
    good: list[Outcome] = field(default_factory=list)
    bad: list[Outcome] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Take in what came of one item."""
        from prong.harness.patterns.mapping import text_of  # noqa: PLC0415  only this command needs it

        self.done += outcome.done
        self.failed += not outcome.done
        self.before += outcome.before
        rows = self.good if outcome.done else self.bad
        if len(rows) < ROWS:
            rows.append(outcome)
        if self.shelf is not None and outcome.done:
            self.shelf.put(outcome.key, f"{text_of(outcome.item)}: {text_of(outcome.result)}")

    def __str__(self) -> str:
        before = f", {self.before:,} of them before" if self.before else ""
        return f"{self.done:,} done, {self.failed:,} failed{before}"


def show_table(tally: Tally, results: ResultsFile, spent: Spent) -> None:
    """Print some of the items, failed ones first, and a line with sums."""
    from rich.console import Console  # noqa: PLC0415  as in every command
    from rich.table import Table  # noqa: PLC0415  as above

    from prong.harness.cli.display import WIDE, printable  # noqa: PLC0415  as above
    from prong.harness.patterns.mapping import text_of  # noqa: PLC0415  as above

    table = Table(box=None, padding=(0, 1), show_edge=False, expand=True)
    table.add_column("item", ratio=1, no_wrap=True, overflow="ellipsis", header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("result", ratio=2, no_wrap=True, overflow="ellipsis", header_style="dim")
    table.add_column("tokens", justify="right", header_style="dim")
    rows = [*tally.bad, *tally.good][:ROWS]
    for one in rows:
        said = " ".join(text_of(one.result if one.done else one.error or "").split())
        state = "[green]✔[/]" if one.done else "[bold red]✖[/]"
        table.add_row(_plain(printable(text_of(one.item))), state, _plain(printable(said)), f"{one.tokens:,}")
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(table)
    rest = tally.done + tally.failed - len(rows)
    if rest > 0:
        click.echo(f" and {rest:,} more")
    share = f" ({spent.cached / spent.tokens:.0%} from the cache)" if spent.tokens else ""
    where = printable(str(results.path))
    click.echo(f"{tally}; this time {spent.tokens:,} tokens{share}, {usd_text(spent.usd)}. Results: {where}")


def show_stopped(tally: Tally, results: ResultsFile) -> None:
    """Say how far it was when somebody stopped it."""
    note(f"{tally} so far, in {results.path}")


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[object], None] | None]:
    """One line on standard error: over and over in a terminal, now and then elsewhere."""
    import time  # noqa: PLC0415  only the display looks at it

    if quiet:
        yield None
        return
    live = sys.stderr.isatty()
    pause_s = 0.2 if live else 10.0
    shown = time.monotonic()

    def show(now: object) -> None:
        nonlocal shown
        if time.monotonic() - shown >= pause_s:
            shown = time.monotonic()
            click.echo(f"\r\x1b[K{now}" if live else str(now), err=True, nl=not live)

    try:
        yield show
    finally:
        if live:
            click.echo("\r\x1b[K", err=True, nl=False)


def _plain(text: str) -> Any:
    from rich.text import Text  # noqa: PLC0415  as above

    return Text(text)
