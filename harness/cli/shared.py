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
from prong.harness.swarms import find
from prong.state import Invalid, Store

if TYPE_CHECKING:
    from prong.harness.shared_state import Primitive

_OPTIONS = (
    REPO,
    click.option(
        "--file",
        type=click.Path(exists=True, path_type=Path),
        help="Not a swarm of a repository, but what programs share in this file or directory.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line and nothing else."),
)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(epilog="Example: prong locks")
@click.argument("swarm", required=False)
@_with_options
def locks(swarm: str | None, *, repo: Path, file: Path | None, as_json: bool) -> None:
    """List locks and semaphores: who holds them, until when, and how many wait."""
    store = _store(swarm, repo, file)
    _list(
        store,
        ("lock", "semaphore"),
        as_json=as_json,
        columns=("kind", "name", "held by", "expires in", "fence", "waiting"),
        cells=lambda one: _lock_cells(one, store.clock.now()),
    )


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

    Its state, its contents, who waits for it, and what happened to it last.
    """
    from prong.harness.shared_state import named  # noqa: PLC0415  each command imports what it needs

    store = _store(swarm, repo, file)
    for one in named(store, name):
        if as_json:
            click.echo(json.dumps(asdict(one), ensure_ascii=False))
        else:
            _tell(one, store.clock.now())


COMMANDS = (locks, maps, queues, show)


def _store(swarm: str | None, repo: Path, file: Path | None) -> Store:
    if file is None:
        return find(Repository.open(repo), swarm).store()
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
        click.echo(f"There is no {' or '.join(kinds)} here.")
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
