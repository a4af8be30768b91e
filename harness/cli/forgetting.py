"""What `prong clean` shows and does of swarms whose directory is gone."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from prong.harness import forgotten
from prong.harness.cli.display import printable
from prong.harness.forgotten import Forgotten, Ref
from prong.harness.repository.repository import Repository
from prong.harness.swarms import NoSwarm, Swarm, all_swarms, find

SHOWN = 10
"""So many pins are named one by one."""


def chosen(repository: Repository, names: Sequence[str]) -> tuple[list[Swarm], list[Forgotten]]:
    """The swarms of these names, or all, and those of which only references are left; raises `NoSwarm`."""
    remains = forgotten.look(repository)
    if not names:
        return all_swarms(repository), remains
    swarms: dict[str, Swarm] = {}
    gone: list[Forgotten] = []
    for name in names:
        try:
            one = find(repository, name)
            swarms[one.id] = one
        except NoSwarm:
            left = forgotten.named(remains, name)
            if left is None:
                raise
            gone.append(left)
    return list(swarms.values()), gone


def show(one: Forgotten, *, as_json: bool, only: bool) -> None:
    """Say what would go and what stays; as JSON where that is `only` to be said."""
    if as_json:
        if only:
            click.echo(json.dumps(_told(one)))
        return
    _say(f"{one.swarm}: its directory is gone")
    for refs, of_branch, of_pin in (
        (one.merged, "branch {}, which is merged", "{}, which nothing needs any more"),
        (one.named, "branch {}, which is NOT merged into a branch of yours", "{}, which NO branch holds"),
        (one.left, "but branch {} stays: it is not merged into a branch of yours, or checked out",
         "but {} stays: no branch holds it"),
    ):  # fmt: skip
        for name in (ref.shown for ref in refs if ref.is_branch):
            _say(f"  {of_branch.format(name)}")
        for name in _pins(refs):
            _say(f"  {of_pin.format(name)}")


def clean(repository: Repository, one: Forgotten, *, as_json: bool) -> None:
    """Remove it, and say what was removed."""
    gone = forgotten.clean(repository, one)
    if as_json:
        click.echo(json.dumps({**_told(one), "removed": [ref.shown for ref in gone]}))
        return
    branches = sum(ref.is_branch for ref in gone)
    what = f"{_many(branches, 'branch', 'branches')} and {_many(len(gone) - branches, 'pin', 'pins')}"
    _say(f"removed {what} of swarm {one.swarm}")


def _told(one: Forgotten) -> dict[str, object]:
    return {
        "swarm": one.swarm, "stays": ["its directory is gone"] if not (one.merged or one.named) else [],
        "removed": [ref.shown for ref in (*one.merged, *one.named)], "kept": [ref.shown for ref in one.left],
        "becomes_branch": [], "size_bytes": 0,
    }  # fmt: skip


def _pins(refs: Sequence[Ref]) -> list[str]:
    """The names of the pins; of many only the first, and how many more there are."""
    names = [ref.name for ref in refs if not ref.is_branch]
    return names if len(names) <= SHOWN else [f"{names[0]} and {len(names) - 1} more pins of that kind"]


def _many(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _say(text: str) -> None:
    click.echo(printable(text))
