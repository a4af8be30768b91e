"""Removes what a swarm has left and nobody needs any more, and never work that is in no branch of a person's.

    merged       the integration branch, and branches of kept work, that a branch of the person's contains: removed
    not merged   stays; what lies in a workspace and nowhere else becomes a branch first
    the rest     workspaces, database, logs and pins: removed when nothing depends on them

A swarm that nobody named is cleaned only where all that it made is merged.  One that is named is cleaned in any case
but while it runs; then its work that is not merged stays as branches.  Killed at any point, it goes on the next time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from prong.harness import results
from prong.harness.remains import end_remains
from prong.harness.repository import left_locks
from prong.harness.repository.git import GitFailed, RepositoryError
from prong.harness.repository.repository import Repository
from prong.harness.repository.workspaces import NotAWorkspace, Workspace
from prong.harness.status import is_supervised
from prong.harness.swarms import FOLDER, Swarm
from prong.state import Store

REMOVED = ".removed"
"""Where a swarm's directory is while it is being deleted."""


@dataclass(eq=False)
class Unreadable(RepositoryError):
    """A workspace holds work that cannot be taken out of it."""

    swarm: str
    task: int
    why: str

    def __str__(self) -> str:
        return (
            f"swarm {self.swarm} is left as it is, because the workspace of task {self.task} cannot be read:"
            f" {self.why}. Save what you need of it and remove that folder, and clean then."
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What cleaning a swarm would do.

    `reasons` say why it stays as it is, if it does.  `removed` and `kept` are branches, `rescued` the tasks whose work
    lies in their workspace only and becomes a branch; `size_bytes` is what its directory takes.
    """

    swarm: Swarm
    reasons: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    rescued: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was done: branches that are gone, those that hold work that is not merged, and bytes that are free now."""

    swarm: str
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    freed_bytes: int


def plan(swarm: Swarm, *, named: bool) -> Plan:
    """What `clean` would do; reads only."""
    with closing(swarm.store()) as store:
        merged, left = _branches(swarm, store)
        if is_supervised(store):
            return Plan(swarm, ("it runs just now",), (), (*merged, *left), (), size_bytes(swarm.directory))
        rescued = tuple(_only_in_workspaces(swarm, store))
        reasons = () if named else tuple(_reasons(swarm, store, left, rescued))
    return Plan(swarm, reasons, tuple(merged), tuple(left), rescued, size_bytes(swarm.directory))


def clean(swarm: Swarm, *, named: bool) -> Cleaned | Plan:
    """Remove what can be; the plan where there is a reason not to.

    Raises `AlreadySupervised` while the swarm runs, `Unreadable` where work cannot be taken out of a workspace.
    """
    from prong.harness.supervisor import alone  # noqa: PLC0415  it has much to import

    with alone(swarm):
        end_remains(swarm.directory)
        planned = plan(swarm, named=named)
        if planned.reasons:
            return planned
        with closing(swarm.store()) as store:
            kept = [*planned.kept, *(_keep_as_branch(swarm, store, task) for task in planned.rescued)]
            pins = list(_needless_pins(swarm, store))
        removed = [branch for branch in planned.removed if _remove(swarm, branch)]
        swarm.repository.unpin(*pins)
        gone = swarm.directory.parent / REMOVED / swarm.id
        gone.parent.mkdir(exist_ok=True)
        swarm.directory.rename(gone)  # from here on there is no swarm of this name
    sweep(swarm.repository)
    return Cleaned(swarm.id, tuple(removed), tuple(kept), planned.size_bytes)


def sweep(repository: Repository) -> None:
    """Delete the directories of swarms that are cleaned, those too that somebody who was killed has left."""
    shutil.rmtree(repository.root / FOLDER / REMOVED, ignore_errors=True)


def is_contained(repository: Repository, commit: str, *, own: bool = False) -> bool:
    """Whether a branch of the person's contains the commit; with `own` Prong's branches count as well."""
    others = () if own else ("--exclude=prong/*",)
    return not repository.git("rev-list", "--max-count=1", commit, "--not", *others, "--branches")


def size_bytes(directory: Path) -> int:
    """What a directory takes on the disk."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(Path(place, name)).st_blocks * 512
            except OSError:  # gone meanwhile
                continue
    return total


def _branches(swarm: Swarm, store: Store) -> tuple[list[str], list[str]]:
    """The swarm's branches that are merged, and those that are not, or that somebody has checked out."""
    merged: list[str] = []
    left: list[str] = []
    squashed = set(_squashed(swarm, store))
    for branch, commit, in_use in _listed(swarm):
        done = commit in squashed or is_contained(swarm.repository, commit)
        (merged if done and not in_use else left).append(branch)
    return merged, left


def _listed(swarm: Swarm) -> Iterator[tuple[str, str, bool]]:
    """Each branch of the swarm, its commit, and whether somebody has it checked out."""
    form = "--format=%(refname)%00%(objectname)%00%(worktreepath)"
    patterns = (f"refs/heads/{swarm.branch}", f"refs/heads/{swarm.branch}-task-*")
    for line in swarm.repository.git("for-each-ref", form, *patterns).splitlines():
        ref, commit, worktree = line.split("\0")
        yield ref.removeprefix("refs/heads/"), commit, bool(worktree) and Path(worktree).exists()


def _squashed(swarm: Swarm, store: Store) -> Iterator[str]:
    """The tips that `prong merge --squash` has brought into a branch of the person's, as one commit that is in it."""
    for row in store.rows("select data from event where kind = 'command.merge'"):
        told = json.loads(row["data"])
        if told["how"] != "squash":
            continue
        with suppress(GitFailed):  # then the commit is gone
            if is_contained(swarm.repository, told["commit"]):
                yield told["tip"]


def _only_in_workspaces(swarm: Swarm, store: Store) -> Iterator[int]:
    """The tasks whose work no branch holds."""
    for row in store.rows("select id, commit_id from task where state <> 'done' order by id"):
        try:
            if _work(swarm, row["id"], row["commit_id"]) is not None:
                yield row["id"]
        except (RepositoryError, OSError) as error:
            raise Unreadable(swarm.id, row["id"], str(error)) from error


def _work(swarm: Swarm, task: int, handed_in: str | None) -> str | None:
    """What a task has made that no branch holds: a commit of the repository's, or "" where it must become one."""
    try:
        workspace = Workspace.open(swarm.directory / "workspaces" / str(task))
    except NotAWorkspace:
        known = None if handed_in is None else _commit(swarm.repository, handed_in)
    else:
        commit = workspace.snapshot()
        if commit == workspace.base:
            return None
        tree = results.tree_of(results.Delta(workspace.base, commit, "workspace", workspace.directory))
        known = _with_tree(swarm, task, tree, workspace.base)
        if known is None:
            return ""
    if known is None or is_contained(swarm.repository, known, own=True):
        return None
    return known


def _commit(repository: Repository, commit: str) -> str | None:
    try:
        return repository.resolve(commit)
    except RepositoryError:
        return None


def _with_tree(swarm: Swarm, task: int, tree: str, base: str) -> str | None:
    """The commit of the task's that holds just this change, if it has been made a commit before."""
    refs = (f"refs/heads/{swarm.branch}-task-{task}", f"refs/heads/{swarm.branch}-task-{task}-*")
    pins = f"refs/prong/{swarm.id}/task/{task}-*"
    form = "--format=%(objectname) %(tree) %(parent)"
    for line in swarm.repository.git("for-each-ref", form, *refs, pins).splitlines():
        commit, *rest = line.split(" ")
        if rest == [tree, base]:
            return commit
    return None


def _keep_as_branch(swarm: Swarm, store: Store, task: int) -> str:
    row = store.row("select commit_id from task where id = :task", task=task)
    assert row is not None, "it was found before"
    commit = _work(swarm, task, row["commit_id"]) or results.rescue(swarm, task)
    return results.free_branch(swarm, task, commit)


def _reasons(swarm: Swarm, store: Store, left: Sequence[str], rescued: Sequence[int]) -> Iterator[str]:
    """Why a swarm that nobody named stays."""
    open_ = store.row("select count(*) as count from task where state not in ('done', 'failed', 'cancelled')")
    if open_ is not None and open_["count"]:
        yield f"{open_['count']} of its tasks {'has' if open_['count'] == 1 else 'have'} not ended"
    if left:
        yield f"not merged into a branch of yours, or checked out: {', '.join(left)}"
    if rescued:
        yield f"work lies only in the workspaces of {', '.join(f'task {task}' for task in rescued)}"
    merged = store.row("select 1 from task where merged_commit is not null limit 1")
    if merged is not None and swarm.repository.read_ref(f"refs/heads/{swarm.branch}") is None:
        yield f"its branch {swarm.branch} is gone, so nobody can say whether its work is merged"
    if any(path.is_file() for path in (swarm.directory / "shared").rglob("*")):
        yield f"its agents left files in {swarm.directory / 'shared'}; with them it goes by: prong clean {swarm.id}"


def _needless_pins(swarm: Swarm, store: Store) -> Iterator[str]:
    """Pins of what a branch holds or is merged otherwise; former states of work that was not merged stay."""
    unmerged = {str(row["id"]) for row in store.rows("select id from task where state <> 'done'")}
    form = "--format=%(refname) %(objectname)"
    for line in swarm.repository.git("for-each-ref", form, f"refs/prong/{swarm.id}").splitlines():
        ref, commit = line.split(" ")
        kind, _, which = ref.removeprefix(f"refs/prong/{swarm.id}/").partition("/")
        needed = bool(unmerged) if kind == "fork" else kind == "task" and which.partition("-")[0] in unmerged
        if not needed or is_contained(swarm.repository, commit, own=True):
            yield ref


def _remove(swarm: Swarm, branch: str) -> bool:
    """Delete a branch that is merged, unless it was moved or is gone."""
    for name, commit, in_use in _listed(swarm):
        if name == branch and not in_use:
            left_locks.take_away(swarm.repository.common_dir, f"refs/heads/{branch}")
            with suppress(GitFailed):
                swarm.repository.git("update-ref", "-d", f"refs/heads/{branch}", commit)
                return True
    return False
