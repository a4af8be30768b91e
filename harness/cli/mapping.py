"""`prong map`: one task for each item, with every option of `prong run`."""

from __future__ import annotations

import copy
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from prong.harness.cli.launching import command_like, fail, note, opened, schema_of, tell_changes, tell_offline
from prong.harness.cli.map_showing import Tally, progress, show_stopped, show_table
from prong.harness.cli.planning import APPLYING

if TYPE_CHECKING:
    from prong.harness.patterns.mapping import Item, Work
    from prong.harness.patterns.outcome import Outcome
    from prong.harness.patterns.results_file import ResultsFile
    from prong.harness.patterns.swarm import Swarm
    from prong.harness.repository.repository import Repository
    from prong.harness.rules.rules import Rules
    from prong.harness.swarms import Options

RESULTS = "results.jsonl"
"""The file of results in a swarm's directory, where no other is named."""

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
    found = command_like(run, "map", own=_own(), work=_work, text=_TEXT, epilog=epilog)
    found.params = [_short(one) if one.name == "slots" else one for one in found.params]
    return found


def _short(agents: click.Parameter) -> click.Parameter:
    """`--agents`, here also as `-n`."""
    option = copy.copy(agents)
    option.opts = ["-n", *agents.opts]
    return option


def _own() -> list[click.Parameter]:
    file = click.Path(exists=True, dir_okay=False, allow_dash=True)
    return [
        click.Argument(["prompt"]),
        click.Argument(["source"], nargs=-1, metavar="[-]"),
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
        click.Option(["--type"], help="What route in PRONG.md makes a role of, where there is no --role."),
        click.Option(
            ["--hedge"], is_flag=True, help="Let an item that takes much longer than its like have a second copy."
        ),
        click.Option(
            ["-o", "--output"], type=click.Path(dir_okay=False, writable=True, path_type=Path),
            help="Append the results to this file, one JSON object a line, as they come.",
        ),
        click.Option(["--again"], is_flag=True, help="Do all of it anew, whatever was done before."),
        click.Option(["--dry-run"], is_flag=True, help="Only say what it would take: time, money, whether it pays."),
    ]  # fmt: skip


@dataclass(slots=True)
class _Order:
    """What the command line asks for."""

    source: Sequence[str]
    over: Sequence[str]
    lines: str | None
    jsonl: str | None
    on_error: str
    reducing: str | None
    fits: int
    hedge: bool
    output: Path | None
    again: bool
    as_json: bool


class _Start(NamedTuple):
    """From where a swarm begins: what `prong run` has checked."""

    repository: Repository
    options: Options
    base: str
    key: str | None


def _work(
    ctx: click.Context, *, prompt: str, context: str, schema: Any, role: str, type: str | None, dry_run: bool,
    **given: Any,
) -> Callable[..., None]:  # fmt: skip
    from prong.harness.patterns.mapping import Work  # noqa: PLC0415  only this command needs it
    from prong.harness.patterns.opening import schema_text  # noqa: PLC0415  as above

    order = _Order(**given)
    if prompt == "-" and len(order.source) == 1:  # the other way round is understood as well
        prompt, order.source = order.source[0], ("-",)
    named = [bool(order.over), order.lines is not None, order.jsonl is not None, bool(order.source)]
    if sum(named) != 1 or order.source not in ((), ("-",)):
        more = "" if order.source in ((), ("-",)) else " (quote the pattern, or the shell makes many words of it)"
        said = "items come from one place only" if sum(named) > 1 else "say where the items come from"
        raise click.UsageError(f"{said}: one of --over, --lines, --jsonl, or -{more}", ctx)
    work = Work(prompt, context, role, schema=schema_text(schema), type=type)
    if dry_run:
        ctx.meta[APPLYING] = _Looking(order, work)

    def launch(repository: Repository, options: Options, base: str, key: str | None) -> None:
        _map(order, work, _Start(repository, options, base, key))

    return launch


@dataclass(slots=True)
class _Looking:
    """What `--dry-run` does before anything is started or made."""

    order: _Order
    work: Work
    dry_run: bool = True

    def looked_at(self, repository: Repository, options: Options, rules: Rules) -> NoReturn:
        """Say what the map would take, and end."""
        from prong.harness.cli.map_estimating import show_map  # noqa: PLC0415  only such a look needs it
        from prong.harness.patterns.mapping import keyed  # noqa: PLC0415  as above
        from prong.harness.rules.role_names import check_role  # noqa: PLC0415  as above

        order, work = self.order, self.work
        check_role(work.role, options.roles)
        identity = work.identity("map", options.model)
        known = set() if order.again else _known(order, repository, identity)
        with _items(order, repository, repository.head()) as items:
            items.check(work)
            todo = [one.value for key, one in keyed(items.items, identity) if key not in known]
        show_map(repository, options, rules, work, todo, reducing=order.reducing, as_json=order.as_json)
        sys.exit(0)


def _known(order: _Order, repository: Repository, identity: str) -> set[str]:
    """The keys of what needs not be done any more."""
    from prong.harness.patterns import opening  # noqa: PLC0415  as above
    from prong.harness.patterns.results_file import ResultsFile  # noqa: PLC0415  as above

    path = order.output
    if path is None:
        earlier = next(opening.all_named(repository, f"map {identity}"), None)
        path = earlier.directory / RESULTS if earlier is not None else None
    if path is None or not path.is_file():
        return set()
    return {one.key for one in ResultsFile(path, identity).outcomes() if one.done or order.on_error == "keep"}


def _map(order: _Order, work: Work, start: _Start) -> None:
    from prong.harness.patterns.results_file import ResultsFile  # noqa: PLC0415  as above
    from prong.harness.patterns.shelf import Shelf  # noqa: PLC0415  as above
    from prong.harness.rules.role_names import check_role  # noqa: PLC0415  as above

    check_role(work.role, start.options.roles)
    identity = work.identity("map", start.options.model)
    with ExitStack() as undo:
        items = undo.enter_context(_items(order, start.repository, start.base))
        items.check(work)
        show = undo.enter_context(progress(quiet=order.as_json))
        if order.output is not None:
            _check_place(order.output)
        swarm, known = undo.enter_context(opened(*start, name=f"map {identity}", again=order.again, progress=show))
        if not order.as_json:
            tell_offline(start.options)
        begun = swarm.spent().last
        results = ResultsFile(order.output or _kept(order, swarm, start.repository, f"map {identity}"), identity)
        _take_up(order, swarm, results, items, known=known)
        undo.enter_context(results)
        tally = Tally()
        if order.reducing is not None:
            tally.shelf = undo.enter_context(Shelf(most=order.fits // 2, folder=swarm.directory))
        _run(order, work, swarm, results, tally, items)
        whole = _reduced(order, work, swarm, tally)
        spent = swarm.spent(after=begun)
    if not order.as_json:
        show_table(tally, results, spent)
    _end(order, swarm, tally, whole)


def _kept(order: _Order, swarm: Swarm, repository: Repository, name: str) -> Path:
    """The file of results in the swarm's directory; it begins with those of a swarm that began from another commit."""
    from prong.harness.patterns import opening  # noqa: PLC0415  as above

    path = swarm.directory / RESULTS
    earlier = next((one for one in opening.all_named(repository, name) if one.id != swarm.id), None)
    if earlier is not None and not order.again and not path.exists() and (earlier.directory / RESULTS).exists():
        fresh = path.with_suffix(".copy")
        shutil.copyfile(earlier.directory / RESULTS, fresh)
        fresh.replace(path)
        note(f"the results of swarm {earlier.id}, which began from another commit, count (--again does all anew)")
    return path


def _take_up(order: _Order, swarm: Swarm, results: ResultsFile, items: _Items, *, known: bool) -> None:
    """Keep what is there already, and say what is skipped."""
    again = order.on_error != "keep"
    failed = 0

    def keep(outcome: Outcome) -> bool:
        nonlocal failed
        kept = not order.again and not (again and not outcome.done) and items.is_so_now(outcome)
        failed += kept and not outcome.done
        return kept

    gone = results.clean(keep)
    if not order.again and (known or len(results) or gone):
        said = f"going on with swarm {swarm.id}: {len(results):,} items have their results and are skipped"
        if failed:
            said += f", {failed:,} of them failed (--on-error retry tries those again)"
        if gone:
            said += f"; {gone:,} are done anew"
        note(said)


@dataclass(slots=True)
class _Skipped:
    """The items that are not to be done again: each that is asked about is told of, and counted."""

    results: ResultsFile
    tell: Callable[[Outcome], None]

    def __contains__(self, key: object) -> bool:
        outcome = self.results.get(str(key))
        if outcome is None:
            return False
        self.tell(outcome)
        return True


def _run(  # noqa: PLR0917  what the parts of one command share
    order: _Order, work: Work, swarm: Swarm, results: ResultsFile, tally: Tally, items: _Items
) -> None:
    def tell(outcome: Outcome) -> None:
        tally.count(outcome)
        _tell(order, outcome)

    outcomes = swarm.map_items(
        work, items.items, on_error=order.on_error, identity=results.identity, nonce="", say=note,  # type: ignore[arg-type]  # a click.Choice
        skip=_Skipped(results, tell), hedge=order.hedge,
    )  # fmt: skip
    try:
        for outcome in outcomes:
            if outcome.state == "cancelled":
                tally.cancelled += 1
                continue
            results.add(outcome)
            tell(outcome)
    except KeyboardInterrupt:
        show_stopped(tally, results)
        raise
    gone = len(results) - tally.done - tally.failed
    if gone > 0 and not tally.cancelled:
        note(f"{gone:,} results in {results.path} are of items that are no more; they stay there and do not count")


def _tell(order: _Order, outcome: Outcome) -> None:
    if order.as_json:
        from prong.harness.patterns.results_file import line_of  # noqa: PLC0415  as above
        from prong.state.secrets import masked  # noqa: PLC0415  as above

        click.echo(masked(line_of(outcome)))


def _reduced(order: _Order, work: Work, swarm: Swarm, tally: Tally) -> Outcome | None:
    shelf = tally.shelf
    if order.reducing is None or not shelf or (tally.failed and order.on_error == "stop"):
        return None
    if tally.failed:
        note(f"{tally.failed:,} items failed and are left out of the whole")
    texts = (shelf[name] for name in shelf.names())  # whatever came first, the same are put together alike
    return swarm.reduce(order.reducing, texts, fits_characters=order.fits, role=work.role, say=note)


def _end(order: _Order, swarm: Swarm, tally: Tally, whole: Outcome | None) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as in every command

    if whole is not None and order.as_json:
        _tell(order, whole)
    elif whole is not None:
        click.echo("\n".join(map(printable, str(whole.result if whole.done else whole.error).splitlines())))
    if not order.as_json:
        tell_changes(swarm)
    if whole is not None and not whole.done:
        fail(f"the results could not be put together: task {whole.task} {whole.state}", code=1)
    if tally.failed or tally.cancelled:
        left = f"; {tally.cancelled:,} were cancelled, which the same command goes on with" if tally.cancelled else ""
        items = "1 item" if tally.failed == 1 else f"{tally.failed:,} items"
        fail(f"{items} failed{left}; see why with: prong tasks {swarm.id}", code=1)


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
