"""Where the result of a swarm is, and what each of its tasks has changed.

a swarm    what it started from ... its integration branch
a task     merged: its commit on the branch
           kept:   the branch of its own that it stands on
           else:   what lies in its workspace now, or what it has handed in
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from prong.harness.repository.cloning import Places, harness_variables
from prong.harness.repository.git import AGENT, GitFailed, RepositoryError, git
from prong.harness.repository.merging import TASK_TRAILER, NoIntegration
from prong.harness.repository.repository import BranchExists, Repository
from prong.harness.repository.workspaces import NotAWorkspace, Workspace
from prong.harness.swarms import Swarm
from prong.primitives.errors import UnknownTask
from prong.primitives.task import FINAL
from prong.state import Row, Store

Where = Literal["branch", "merged", "kept", "workspace", "handed in"]

SHAPES = {"patch": ("-p",), "stat": ("--stat=100",), "numbers": ("--numstat", "-z")}
"""How a change is shown, as options of git."""


@dataclass(eq=False)
class NoChange(RepositoryError):
    """A task has changed nothing that could be shown."""

    task: int
    state: str

    def __str__(self) -> str:
        if self.state == "done":
            return f"task {self.task} is done and has changed no file. See what it said with: prong tasks"
        return f"task {self.task} is {self.state} and has changed no file so far. See where it stands with: prong why"


@dataclass(eq=False)
class NotABranchName(RepositoryError):
    """A name that a branch of a person's cannot have."""

    name: str

    def __str__(self) -> str:
        if self.name.startswith("prong/"):
            return f"{self.name!r} would be a branch of Prong's; give yours a name that does not begin with prong/."
        return f"{self.name!r} cannot be the name of a branch. Take one of letters, digits, '-' and '/'."


@dataclass(eq=False)
class AtWork(RepositoryError):
    """A task's work changes while an agent works on it."""

    task: int

    def __str__(self) -> str:
        return f"task {self.task} has not ended, so its work still changes. Wait for it, or end it with prong cancel."


@dataclass(frozen=True, slots=True)
class Delta:
    """A change: between which commits it lies, where that is, and the workspace whose git knows them, if it is one."""

    base: str
    commit: str
    where: Where
    workspace: Path | None = None


def of_swarm(swarm: Swarm) -> Delta:
    """What the swarm changed against where it started; raises `NoIntegration` where its branch is gone."""
    tip = swarm.repository.read_ref(f"refs/heads/{swarm.branch}")
    if tip is None:
        raise NoIntegration(swarm.branch, str(swarm.repository.root))
    return Delta(swarm.base_commit, tip, "branch")


def of_task(swarm: Swarm, store: Store, task: int) -> Delta:
    """What one task changed; raises `UnknownTask` or `NoChange`."""
    row = store.row("select * from task where id = :task", task=task)
    if row is None:
        raise UnknownTask(task)
    found = _merged(swarm, row)
    if found is None and row["state"] not in FINAL:
        found = _in_workspace(swarm, row)
    found = found or _kept(swarm, row) or _in_workspace(swarm, row) or _handed_in(swarm, row)
    if found is None:
        raise NoChange(task, row["state"])
    return found


def show(swarm: Swarm, delta: Delta, shape: Sequence[str], into: IO[bytes]) -> None:
    """Write the change as git tells it, with options of `git diff-tree`, into an open file."""
    options = ("diff-tree", "-r", "-M", "--no-ext-diff", "--no-textconv", *shape, delta.base, delta.commit, "--")
    if delta.workspace is None:
        variables = {"GIT_DIR": str(swarm.repository.git_dir)}
        git(*options, cwd=swarm.repository.root, env=variables, stdout=into)
    else:
        variables = harness_variables(Places(delta.workspace).private, delta.workspace)
        git(*options, cwd=delta.workspace, env=variables, stdout=into)


def tree_of(delta: Delta) -> str:
    """The tree of what lies in a workspace."""
    assert delta.workspace is not None, "others have a repository to ask"
    variables = harness_variables(Places(delta.workspace).private, delta.workspace)
    return git("rev-parse", f"{delta.commit}^{{tree}}", cwd=delta.workspace, env=variables)


@dataclass(frozen=True, slots=True)
class FileChange:
    """How many lines of a file were added and deleted; None: it is binary."""

    path: str
    added: int | None
    deleted: int | None


def files(swarm: Swarm, delta: Delta) -> list[FileChange]:
    """The files of a change; of a renamed one the new name."""
    with tempfile.TemporaryFile() as told:
        show(swarm, delta, SHAPES["numbers"], told)
        told.seek(0)
        fields = iter(told.read().decode("utf-8", "surrogateescape").split("\0"))
    found = []
    for field in fields:
        if not field:
            continue
        added, deleted, path = field.split("\t", 2)
        if not path:  # renamed: the old and the new name follow
            next(fields)
            path = next(fields)
        counts = [None if count == "-" else int(count) for count in (added, deleted)]
        found.append(FileChange(path, counts[0], counts[1]))
    return found


def make_branch(swarm: Swarm, name: str, *, task: int | None) -> str:
    """Make an ordinary branch of the swarm's result, or of what a task that has ended made; returns its commit.

    Raises `NotABranchName`, `BranchExists`, `AtWork`, `NoChange`, `UnknownTask`, `NoIntegration`.
    """
    repository = swarm.repository
    try:
        repository.git("check-ref-format", "--branch", name)
    except GitFailed as error:
        raise NotABranchName(name) from error
    if name.startswith(("prong/", "@", "-")) or name in ("HEAD", "prong"):
        raise NotABranchName(name)
    commit = of_swarm(swarm).commit if task is None else _commit_of(swarm, task)
    log = repository.configuration().get("core.logallrefupdates", "true")
    reason = f"prong branch: of {swarm.branch}" + (f", task {task}" if task is not None else "")
    try:
        repository.git(
            "-c", f"core.logAllRefUpdates={log}", "update-ref", "-m", reason, f"refs/heads/{name}", commit, ""
        )
    except GitFailed as error:
        if repository.read_ref(f"refs/heads/{name}") or "exists" in error.stderr or "cannot lock" in error.stderr:
            raise BranchExists(name, str(repository.root)) from error
        raise
    return commit


def _commit_of(swarm: Swarm, task: int) -> str:
    store = swarm.store()
    delta = of_task(swarm, store, task)
    row = store.row("select state from task where id = :task", task=task)
    if row is not None and row["state"] not in FINAL:
        raise AtWork(task)
    return rescue(swarm, task) if delta.workspace is not None else delta.commit


def rescue(swarm: Swarm, task: int) -> str:
    """Bring what lies in a task's workspace into the repository as one commit, which a pin holds; or `NoChange`."""
    workspace = Workspace.open(swarm.directory / "workspaces" / str(task))
    commit = workspace.commit_all(
        f"What task {task} left in its workspace", AGENT, {"Prong-Swarm": swarm.id, TASK_TRAILER: str(task)}
    )
    if commit is None:
        raise NoChange(task, "ended")
    swarm.repository.adopt(workspace, commit, f"refs/prong/{swarm.id}/task/{task}-left-{commit[:12]}")
    return commit


def free_branch(swarm: Swarm, task: int, commit: str) -> str:
    """Keep a commit as a branch of the task's, beside those that there are; returns its name."""
    branch, repository = f"{swarm.branch}-task-{task}", swarm.repository
    for name in itertools.chain([branch], (f"{branch}-{n}" for n in itertools.count(2))):
        if repository.read_ref(f"refs/heads/{name}") is None and repository.advance(f"refs/heads/{name}", commit, None):
            return name
    raise AssertionError("unreachable")


def _merged(swarm: Swarm, row: Row) -> Delta | None:
    commit = row["merged_commit"]
    if commit is None:
        return None
    told = _log(swarm.repository, commit, "%P%x00%(trailers:key=Prong-Task,key=Prong-Resolver,valueonly)")
    if told is None:
        return None
    parents, _, tasks = told.partition("\0")
    # What was on the branch already is settled with a commit of somebody else's.
    return Delta(parents.split()[0], commit, "merged") if str(row["id"]) in tasks.split() else None


def _kept(swarm: Swarm, row: Row) -> Delta | None:
    ref = f"refs/heads/{row['kept_branch']}" if row["kept_branch"] else None
    commit = swarm.repository.read_ref(ref) if ref else None
    return _of_one(swarm.repository, commit, "kept")


def _handed_in(swarm: Swarm, row: Row) -> Delta | None:
    return _of_one(swarm.repository, row["commit_id"], "handed in")


def _of_one(repository: Repository, commit: str | None, where: Where) -> Delta | None:
    """What a commit changed against its first parent; None where it is gone."""
    parents = _log(repository, commit, "%P") if commit else None
    return Delta(parents.split()[0], commit, where) if commit and parents else None


def _log(repository: Repository, commit: str, form: str) -> str | None:
    try:
        return repository.git("log", "-1", f"--format={form}", commit, "--")
    except GitFailed:
        return None


def _in_workspace(swarm: Swarm, row: Row) -> Delta | None:
    directory = swarm.directory / "workspaces" / str(row["id"])
    try:
        workspace = Workspace.open(directory)
        commit = workspace.snapshot()
    except NotAWorkspace:
        return None
    return Delta(workspace.base, commit, "workspace", directory) if commit != workspace.base else None
