"""`prong locks`, `maps`, `queues` and `show`: what is shared, in the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prong.harness.cli.places import REPO
from prong.harness.repository.repository import Repository
from prong.harness.swarms import FOLDER, NoSwarm, find
from prong.state import Invalid, Store
from prong.state.secrets import masked

if TYPE_CHECKING:
    from prong.harness.shared_state import Primitive
    from prong.harness.things import Thing

_OPTIONS = (
    REPO,
    click.option(
        "--file",
        type=click.Path(exists=True, path_type=Path),
        help="Not a swarm of a repository, but what programs share in this file or directory.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and nothing else."),
)

_UNTOLD = frozenset({
    "id", "level", "estimate_s", "path_s", "on_failed_need", "stalled", "fence", "head", "result_asks", "key", "parts",
})  # fmt: skip
"""What only `--json` tells of a thing: it serves the scheduler."""


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(epilog="Example: prong locks")
@click.argument("swarm", required=False)
@_with_options
def locks(swarm: str | None, *, repo: Path, file: Path | None, as_json: bool) -> None:
    """List locks and semaphores: who holds them and until when; below them who blocks whom, as a tree."""
    from prong.harness.blocking import lines, read_blocking  # noqa: PLC0415  each command imports what it needs
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    store = _store(swarm, repo, file)
    _list(
        store,
        ("lock", "semaphore"),
        as_json=as_json,
        columns=("kind", "name", "held by", "expires in", "fence", "waiting"),
        cells=lambda one: _lock_cells(one, store.clock.now()),
    )
    blocking = read_blocking(store)
    if as_json:
        for wait in blocking.waits:
            click.echo(json.dumps(wait.as_json(), ensure_ascii=False))
    elif blocking.waits:
        click.echo()
        for text in lines(blocking):
            click.echo(printable(text))


@click.command(epilog="Example: prong maps")
@click.argument("swarm", required=False)
@_with_options
def maps(swarm: str | None, *, repo: Path, file: Path | None, as_json: bool) -> None:
    """List maps, lists and atomic values."""
    _list(
        _store(swarm, repo, file),
        ("map", "list", "atomic"),
        as_json=as_json,
        columns=("kind", "name", "entries", "writes", "waiting"),
        cells=_map_cells,
    )


@click.command(epilog="Example: prong queues")
@click.argument("swarm", required=False)
@_with_options
def queues(swarm: str | None, *, repo: Path, file: Path | None, as_json: bool) -> None:
    """List queues: what is queued, with a reader, or a dead letter, and who waits."""
    _list(
        _store(swarm, repo, file),
        ("queue",),
        as_json=as_json,
        columns=("name", "order", "queued", "delivered", "dead", "room", "readers wait", "writers wait"),
        cells=lambda one: (one.name, *_queue_cells(one.statistics)),
    )


@click.command(epilog="Example: prong show findings")
@click.argument("name")
@click.option("--swarm", help="Which swarm; the newest if left out.")
@_with_options
def show(name: str, *, swarm: str | None, repo: Path, file: Path | None, as_json: bool) -> None:
    """Show all that is known of what is called NAME, or of one kind of it: lock:NAME, map:NAME, queue:NAME …

    Its state, its contents, who waits for it, and what happened to it last.  A number is a task; others have their
    kind before it: agent:3, event:400, message:7, approval:2, merge:12.
    """
    from prong.harness.shared_state import named  # noqa: PLC0415  each command imports what it needs
    from prong.harness.things import numbered  # noqa: PLC0415  as above

    store = _store(swarm, repo, file)
    thing = numbered(store, name)
    if thing is not None:
        _tell_thing(thing, as_json=as_json)
        return
    for one in named(store, name):
        if as_json:
            click.echo(json.dumps(asdict(one), ensure_ascii=False))
        else:
            _tell(one, store.clock.now())


COMMANDS = (locks, maps, queues, show)


def _of_repository(repository: Repository, swarm: str | None) -> Store:
    """The state of a swarm, or of what MCP clients share beside it: by its name, and where no swarm has run."""
    from prong.harness.mcp.place import SHARED  # noqa: PLC0415  as above

    common = repository.root / FOLDER / SHARED
    is_there = (common / "state.db").exists()
    if swarm == SHARED and is_there:
        return Store(common)
    try:
        return find(repository, swarm).store()
    except NoSwarm as error:
        if is_there and swarm is None and not error.known:
            return Store(common)
        raise


def _store(swarm: str | None, repo: Path, file: Path | None) -> Store:
    if file is None:
        return _of_repository(Repository.open(repo), swarm)
    if swarm is not None:
        raise click.UsageError("name a swarm or a file, not both")
    if file.is_dir() and not (file / "state.db").exists():
        raise Invalid(f"the directory {str(file)!r} without a state.db", "what programs share, or a swarm's directory")
    return Store(file)


def _list(
    store: Store,
    kinds: Sequence[str],
    *,
    as_json: bool,
    columns: Sequence[str],
    cells: Callable[[Primitive], Sequence[object]],
) -> None:
    from prong.harness.shared_state import everything  # noqa: PLC0415  as above

    found = everything(store, *kinds)
    if as_json:
        for one in found:
            click.echo(json.dumps({"kind": one.kind, "name": one.name, **one.statistics}, ensure_ascii=False))
        return
    if not found:
        *others, last = kinds
        click.echo(f"There is no {', '.join(others)}{' or ' if others else ''}{last} here.")
        return
    table(columns, [cells(one) for one in found])


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need, numbers to the right."""
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    texts = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *texts, strict=True)]
    right = [all(isinstance(row[n], int | None) for row in rows) for n in range(len(columns))]
    for row in (columns, *texts):
        cells = [
            text.rjust(width) if to_the_right else text.ljust(width)
            for text, width, to_the_right in zip(row, widths, right, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _lock_cells(one: Primitive, now: float) -> Sequence[object]:
    told = one.statistics
    if one.kind == "semaphore":
        held = len(told["permits"])
        by = f"{held} of {held + told['value']} permits" if held else "nobody"
        return one.kind, one.name, by, "", None, told["waiting"]
    shared = told["shared_by"]
    by = f"{', '.join(shared)} (shared)" if shared else told["holder"] or "nobody"
    until = f"{max(0.0, told['expires_at'] - now):.0f} s" if told["expires_at"] is not None else ""
    return one.kind, one.name, by, until, told["fence"], told["waiting"]


def _map_cells(one: Primitive) -> Sequence[object]:
    told = one.statistics
    entries = {"map": "keys", "list": "length"}.get(one.kind)
    writes = {"map": "writes", "atomic": "version"}.get(one.kind)
    return (
        one.kind, one.name, told[entries] if entries else 1, told[writes] if writes else None, told.get("waiting", 0)
    )  # fmt: skip


def _queue_cells(told: dict[str, Any]) -> Sequence[object]:
    room = told["maxsize"] - told["queued"] if told["maxsize"] else None
    order = told["discipline"] + (", closed" if told["closed"] else "")
    return order, told["queued"], told["delivered"], told["dead"], room, told["waiting"], told["waiting_to_put"]


def _tell_thing(thing: Thing, *, as_json: bool) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    if as_json:
        click.echo(masked(json.dumps(thing.as_json(), ensure_ascii=False)))
        return
    click.echo(f"{thing.kind} {thing.id}")
    for name, value in thing.facts.items():
        if name in _UNTOLD or value == 0 or (name == "held_by" and not thing.facts.get("held")):
            continue
        title = f"  {name.replace('_', ' '):<16} "
        if isinstance(value, str) and "\n" not in value:
            click.echo(printable(title + value))
        elif name.endswith("_at") or name == "at":
            click.echo(title + _moment(value))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
            for n, each in enumerate(text.splitlines()):
                click.echo(printable((title if n == 0 else " " * len(title)) + each))
    for name, ones in thing.lists.items():
        click.echo(f"  {name.replace('_', ' ')}")
        for one in ones:
            click.echo(printable(f"    {one}"))


def _tell(one: Primitive, now: float) -> None:
    from prong.harness.cli.display import printable  # noqa: PLC0415  as above

    click.echo(printable(f"{one.kind} {one.name}"))
    for key, value in one.statistics.items():
        text = _moment(value) if key.endswith("_at") and value is not None else json.dumps(value, ensure_ascii=False)
        click.echo(printable(f"  {key.replace('_', ' '):<16} {text}"))
    for title, lines in (
        ("contents", [json.dumps(entry, ensure_ascii=False) for entry in one.contents]),
        ("in line", [f"{wait.who} for {now - wait.since_at:.1f} s ({wait.kind})" for wait in one.waiting]),
        ("last", [f"{_moment(last.at)}  {last.who or ''}  {last.kind} {json.dumps(last.data)}" for last in one.last]),
    ):
        if lines:
            click.echo(f"  {title}")
        for line in lines:
            click.echo(printable(f"    {line}"))


def _moment(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
