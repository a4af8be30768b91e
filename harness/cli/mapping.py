"""`prong map`: one task for each item, with every option of `prong run`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from prong.harness.cli.launching import command_like, fail, note, opened, schema_of, tell_offline, usd_text

if TYPE_CHECKING:
    from prong.harness.patterns.mapping import Item, Work
    from prong.harness.patterns.outcome import Outcome, Spent
    from prong.harness.patterns.results_file import ResultsFile
    from prong.harness.patterns.swarm import Swarm
    from prong.harness.repository.repository import Repository
    from prong.harness.swarms import Options

ROWS = 20
"""The most items that the table shows; failed ones first."""

_TEXT = """Do the same for each of many items: one task for each, at most --agents at once.

PROMPT names the item as {item}, or {item.field} where it is an object; without that the item stands behind the prompt.
Items are files of the repository (--over 'src/**/*.py', in quotes), lines (--lines FILE), JSON (--jsonl FILE), or lines
of the standard input (-).

The same command again does only what is missing: finished items are known by what is in them.  What agents change is
merged, as with prong run.
"""


def map_like(run: click.Command) -> click.Command:
    """The command `map` with the options of `run`."""
    epilog = "Example: prong map --offline --over '**/*.md' 'Measure {item}'"
    return command_like(run, "map", own=_own(), work=_work, text=_TEXT, epilog=epilog)


def _own() -> list[click.Parameter]:
    file = click.Path(exists=True, dir_okay=False, allow_dash=True)
    return [
        click.Argument(["prompt"]),
        click.Argument(["source"], required=False, metavar="[-]"),
        click.Option(
            ["--over"], multiple=True,
            help="One task for each file that the pattern names from the repository's root; repeatable.",
        ),
        click.Option(["--lines"], type=file, help="One task for each line of this file that is not empty."),
        click.Option(["--jsonl"], type=file, help="One task for each JSON value of this file, one a line."),
        click.Option(
            ["--context"], type=click.Choice(["fresh", "fork", "brief", "auto"]), default="fresh", show_default=True,
            help="What each begins with: nothing, or one common reading of the repository, whole, summed up, or as"
            " it is cheapest.",
        ),
        click.Option(
            ["--on-error"], type=click.Choice(["keep", "stop", "retry"]), default="keep", show_default=True,
            help="A failed item is a result (keep), ends all (stop), or is tried again, also by the next call (retry).",
        ),
        click.Option(["--reduce", "reducing"], help="At the end put all results together by this prompt."),
        click.Option(
            ["--fits", "fits"], type=click.IntRange(1_000, 240_000), default=60_000, show_default=True,
            help="So many characters of results one task is given to reduce; beyond it is done in a tree.",
        ),
        click.Option(
            ["--schema"], type=click.Path(exists=True, dir_okay=False, path_type=Path), callback=schema_of,
            help="Results must fit the JSON schema in this file.",
        ),
        click.Option(["--role"], default="", help="The role that each task has: see prong roles."),
        click.Option(
            ["-o", "--output"], type=click.Path(dir_okay=False, writable=True, path_type=Path),
            help="Append the results to this file, one JSON object a line, as they come.",
        ),
        click.Option(["--again"], is_flag=True, help="Do all of it anew, whatever was done before."),
    ]  # fmt: skip


@dataclass(slots=True)
class _Order:
    """What the command line asks for."""

    source: str | None
    over: Sequence[str]
    lines: str | None
    jsonl: str | None
    on_error: str
    reducing: str | None
    fits: int
    output: Path | None
    again: bool
    as_json: bool


class _Start(NamedTuple):
    """From where a swarm begins: what `prong run` has checked."""

    repository: Repository
    options: Options
    base: str
    key: str | None


@dataclass(slots=True)
class _Tally:
    """What is shown at the end: sums, the first rows, and what is to be reduced."""

    keeps_texts: bool
    done: int = 0
    failed: int = 0
    before: int = 0
    cancelled: int = 0
    good: list[Outcome] = field(default_factory=list)
    bad: list[Outcome] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        from prong.harness.patterns.mapping import text_of  # noqa: PLC0415  only this command needs it
        from prong.harness.program.reducing import FITS_CHARACTERS, fitting  # noqa: PLC0415  as above

        self.done += outcome.done
        self.failed += not outcome.done
        self.before += outcome.before
        rows = self.good if outcome.done else self.bad
        if len(rows) < ROWS:
            rows.append(outcome)
        if self.keeps_texts and outcome.done:
            text = f"{text_of(outcome.item)}: {text_of(outcome.result)}"
            self.results.append((outcome.key, fitting(text, FITS_CHARACTERS)))


def _work(
    ctx: click.Context, *, prompt: str, context: str, schema: Any, role: str, **given: Any
) -> Callable[..., None]:
    from prong.harness.patterns.mapping import Work  # noqa: PLC0415  only this command needs it
    from prong.harness.patterns.opening import schema_text  # noqa: PLC0415  as above

    order = _Order(**given)
    named = [bool(order.over), order.lines is not None, order.jsonl is not None, order.source is not None]
    if sum(named) != 1 or order.source not in (None, "-"):
        more = "" if order.source in (None, "-") else " (quote the pattern, or the shell makes many words of it)"
        said = "items come from one place only" if sum(named) > 1 else "say where the items come from"
        raise click.UsageError(f"{said}: one of --over, --lines, --jsonl, or -{more}", ctx)
    work = Work(prompt, context, role, schema=schema_text(schema))

    def launch(repository: Repository, options: Options, base: str, key: str | None) -> None:
        _map(order, work, _Start(repository, options, base, key))

    return launch


def _map(order: _Order, work: Work, start: _Start) -> None:
    from prong.harness.patterns.results_file import ResultsFile  # noqa: PLC0415  as above

    identity = work.identity("map", start.options.model)
    tally = _Tally(order.reducing is not None)
    with ExitStack() as undo:
        items = undo.enter_context(_items(order, start.repository, start.base))
        items.check(work)
        show = undo.enter_context(_progress(order))
        if order.output is not None:
            _check_place(order.output)
        swarm, known = undo.enter_context(opened(*start, name=f"map {identity}", again=order.again, progress=show))
        if not order.as_json:
            tell_offline(start.options)
        begun = swarm.spent().last
        results = ResultsFile(order.output or swarm.directory / "results.jsonl", identity)
        _take_up(order, swarm, results, tally, items, known=known)
        undo.enter_context(results)
        _run(order, work, swarm, results, tally, items)
        whole = _reduced(order, work, swarm, tally, results)
        spent = swarm.spent(after=begun)
    if not order.as_json:
        _table(tally, results, spent)
    _end(order, swarm, tally, whole)


def _take_up(order: _Order, swarm: Swarm, results: ResultsFile, tally: _Tally, items: _Items, *, known: bool) -> None:
    """Keep what is there already, and say what is skipped."""
    again = order.on_error != "keep"

    def keep(outcome: Outcome) -> bool:
        return not order.again and not (again and not outcome.done) and items.is_so_now(outcome)

    gone = results.clean(keep)
    for outcome in results.outcomes():
        tally.count(outcome)
        _tell(order, outcome)
    if not order.again and (known or len(results) or gone):
        said = f"going on with swarm {swarm.id}: {len(results):,} items have their results and are skipped"
        if tally.failed:
            said += f", {tally.failed:,} of them failed (--on-error retry tries those again)"
        if gone:
            said += f"; {gone:,} are done anew"
        note(said)


def _run(  # noqa: PLR0917  what the parts of one command share
    order: _Order, work: Work, swarm: Swarm, results: ResultsFile, tally: _Tally, items: _Items
) -> None:
    outcomes = swarm.map_items(
        work, items.items, on_error=order.on_error, identity=results.identity, nonce="", skip=results, say=note  # type: ignore[arg-type]  # a click.Choice
    )  # fmt: skip
    for outcome in outcomes:
        if outcome.state == "cancelled":
            tally.cancelled += 1
            continue
        results.add(outcome)
        tally.count(outcome)
        _tell(order, outcome)


def _tell(order: _Order, outcome: Outcome) -> None:
    if order.as_json:
        from prong.harness.patterns.results_file import line_of  # noqa: PLC0415  as above
        from prong.state.secrets import masked  # noqa: PLC0415  as above

        click.echo(masked(line_of(outcome)))


def _reduced(order: _Order, work: Work, swarm: Swarm, tally: _Tally, results: ResultsFile) -> Outcome | None:
    if order.reducing is None or not tally.results or (tally.failed and order.on_error == "stop"):
        return None
    if tally.failed:
        note(f"{tally.failed:,} items failed and are left out of the whole")
    asked_for = [(key, text) for key, text in tally.results if results.is_met(key)]
    if len(asked_for) < len(tally.results):
        note(f"{len(tally.results) - len(asked_for):,} results are of items that are no more, and are left out, too")
    texts = [text for _, text in sorted(asked_for)]  # whatever came first, the same results are put together alike
    if not texts:
        return None
    return swarm.reduce(order.reducing, texts, fits_characters=order.fits, role=work.role, say=note)


def _end(order: _Order, swarm: Swarm, tally: _Tally, whole: Outcome | None) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as in every command

    if whole is not None and order.as_json:
        _tell(order, whole)
    elif whole is not None:
        click.echo("\n".join(map(printable, str(whole.result if whole.done else whole.error).splitlines())))
    if whole is not None and not whole.done:
        fail(f"the results could not be put together: task {whole.task} {whole.state}", code=1)
    if tally.failed or tally.cancelled:
        left = f"; {tally.cancelled:,} were cancelled, which the same command goes on with" if tally.cancelled else ""
        fail(f"{tally.failed:,} items failed{left}; see why with: prong tasks {swarm.id}", code=1)


def _table(tally: _Tally, results: ResultsFile, spent: Spent) -> None:
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
    click.echo(
        f"{tally.done:,} done, {tally.failed:,} failed"
        + (f", {tally.before:,} of them before" if tally.before else "")
        + f"; this time {spent.tokens:,} tokens{share}, {usd_text(spent.usd)}. Results: {_plain(str(results.path))}"
    )


def _plain(text: str) -> Any:
    from rich.text import Text  # noqa: PLC0415  as above

    return Text(text)


def _check_place(output: Path) -> None:
    if output.exists() and not output.is_file():
        raise click.UsageError(f"{output} is no file; results go to the standard output with --json")
    if not output.parent.is_dir():
        raise click.UsageError(f"there is no folder {output.parent} for the results")


@dataclass(slots=True)
class _Items:
    """The items; of files also what their keys end in now."""

    items: Iterator[Item]
    now: dict[str, str]

    def check(self, work: Work) -> None:
        """Refuse, before anything is made, where there is none, or the prompt does not fit the first."""
        from prong.harness.patterns.mapping import asked  # noqa: PLC0415  only this command needs it

        first = next(self.items, None)
        if first is None:
            raise click.UsageError("there is no item: nothing but empty lines")
        asked(work.prompt, first.value)
        self.items = itertools.chain([first], self.items)

    def is_so_now(self, outcome: Outcome) -> bool:
        """Whether what a result is about has not changed since."""
        expected = self.now.get(outcome.item) if isinstance(outcome.item, str) else None
        return expected is None or outcome.key.endswith(f"-{expected}")


@contextmanager
def _items(order: _Order, repository: Repository, base: str) -> Iterator[_Items]:
    from prong.harness.patterns import sources  # noqa: PLC0415  only this command needs it
    from prong.harness.patterns.mapping import digest  # noqa: PLC0415  as above

    if order.over:
        found = sources.files(repository, base, order.over)
        yield _Items(iter(found), {str(one.value): digest(one.content) for one in found})
        return
    name = order.lines or order.jsonl or "-"
    with click.open_file(name, encoding="utf-8", errors="replace") as file:
        yield _Items(sources.objects(file, name) if order.jsonl else sources.lines(file), {})


@contextmanager
def _progress(order: _Order) -> Iterator[Callable[[object], None] | None]:
    """One line on standard error: over and over in a terminal, now and then elsewhere."""
    import time  # noqa: PLC0415  only the display looks at it

    if order.as_json:
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
