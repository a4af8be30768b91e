"""What `--repo` takes, from where a run starts, and where its result is pushed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prong.harness.repository import remote
from prong.harness.repository.git import RepositoryError

if TYPE_CHECKING:
    from prong.harness.repository.repository import Repository
    from prong.harness.swarms import Swarm

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LEFT_OUT_SHOWN = 5


class _Place(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers only
    """A folder in a repository, or the address of one: then it is the folder of its clone."""

    name = "path or url"

    def __init__(self, clone: Callable[[str], Path]) -> None:
        self._clone = clone

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002  click's
        """The folder; raises what the clone was refused with."""
        if not isinstance(value, str):
            return value
        if remote.is_address(value):
            return self._clone(value)
        path = Path(value)
        return self._clone(str(path.resolve())) if remote.is_bare(path) else path


def _fetched(address: str) -> Path:
    place, what = remote.fetch_clone(address)
    click.echo(f"note: {what}", err=True)
    return place


REPOSITORY = _Place(remote.find_clone)
"""The type of `--repo` for a swarm that has run."""

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object (or one a line) and nothing else.")
"""The option of what prints data."""

SWARM = click.argument("swarm", required=False)
"""Which swarm; the newest if left out."""

REPO = click.option(
    "--repo", type=REPOSITORY, default=".", show_default="here", help="The repository, a folder in it, or its address."
)
"""The option by which every command but `run` finds the repository of a swarm."""

NEW_REPOSITORY = _Place(_fetched)
"""The type of `--repo` for a swarm that begins: what is elsewhere is cloned, or its clone brought up to date."""


def starting(command: _Command) -> _Command:
    """The options that say from where a run starts and where its result goes."""
    for option in (
        click.option("--push", is_flag=True, help="At the end push the swarm's branch to the remote; no other branch."),
        click.option("--include-dirty", is_flag=True, help="Start from your working tree, not from its last commit."),
    ):
        command = option(command)
    return command


def starting_commit(repository: Repository, *, include_dirty: bool, push: bool) -> str:
    """The commit that a swarm starts from, with notes on standard error of what a person should know about it."""
    repository.check_writable()
    if push:
        remote.check_remote(repository)
    if what := repository.under_way():
        click.echo(f"note: {what} is under way here; the swarm starts from where it stands now", err=True)
    if include_dirty:
        return _snapshot(repository)
    if repository.has_uncommitted_changes():
        click.echo(
            "note: the swarm starts from the last commit; your uncommitted changes are not in it"
            " (--include-dirty takes them in)",
            err=True,
        )
    return repository.head()


def _snapshot(repository: Repository) -> str:
    from prong.harness.repository.dirty import snapshot  # noqa: PLC0415  only where it is asked for

    taken = snapshot(repository)
    click.echo(
        f"note: the swarm starts from a snapshot of your working tree, {taken.commit[:12]}: {taken.changed} changed and"
        f" {taken.untracked} untracked files",
        err=True,
    )
    if taken.left_out:
        names = ", ".join(taken.left_out[:_LEFT_OUT_SHOWN])
        click.echo(f"note: repositories inside yours are not in it: {names}", err=True)
    return taken.commit


def pushed(swarm: Swarm) -> bool:
    """Push what a swarm made, and tell on standard error how that went; whether nothing is left to be pushed."""
    if swarm.repository.resolve(f"refs/heads/{swarm.branch}") == swarm.base_commit:
        click.echo("note: nothing was merged, so there is nothing to push", err=True)
        return True
    try:
        said = remote.push(swarm.repository, swarm.id, swarm.branch)
    except RepositoryError as error:
        click.echo(f"prong: {error} Nothing is lost; push again with: prong resume {swarm.id}", err=True)
        return False
    with swarm.store().transaction(None) as tx:
        tx.event("swarm.pushed", object=swarm.id, branch=swarm.branch, said=said)
    click.echo(f"note: {said}", err=True)
    return True
