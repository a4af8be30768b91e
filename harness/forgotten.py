"""Swarms whose directory is gone, as somebody deletes `.prong`: what git still keeps of them is found by its names.

    prong/SWARM, prong/SWARM-task-N    branches: removed where a branch of the person's contains them
    refs/prong/SWARM/…                 pins: removed where a branch contains them, or their task's merge

What is in no branch stays, and is told of, until it is named: a branch by its name, pins by that of their swarm.
Nothing but the references themselves tells what was merged: a commit of the branch bears its swarm and its task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prong.harness.cleaning import is_contained
from prong.harness.repository import left_locks
from prong.harness.repository.git import GitFailed
from prong.harness.repository.merging import TASK_TRAILER, merged_histories
from prong.harness.repository.repository import Repository
from prong.harness.swarms import FOLDER

SWARM_TRAILER = "Prong-Swarm"

_ID = r"\d{8}-\d{6}-[0-9a-f]{4}"
_NAME = re.compile(rf"refs/(?:heads/prong/(?P<branch>{_ID})(?:-task-[0-9-]+)?|prong/(?P<pin>{_ID})/.+)")
_OF_TASK = re.compile(rf"refs/prong/{_ID}/task/(\d+)-.*")


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference of a swarm's, and whether somebody has it checked out."""

    name: str
    commit: str
    in_use: bool

    @property
    def is_branch(self) -> bool:
        """Whether it is a branch; else it is a pin."""
        return self.name.startswith("refs/heads/")

    @property
    def shown(self) -> str:
        """As `git` names it to people."""
        return self.name.removeprefix("refs/heads/")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is left of a swarm: references that can go, and those that hold what no branch of a person's does.

    Of these the ones that are `named` go as well.
    """

    swarm: str
    merged: tuple[Ref, ...]
    left: tuple[Ref, ...]
    named: tuple[Ref, ...] = ()


def look(repository: Repository) -> list[Forgotten]:
    """What is left of swarms that have no directory in any working tree of the repository; reads only."""
    found: dict[str, list[Ref]] = {}
    for ref, swarm in _listed(repository):
        found.setdefault(swarm, []).append(ref)
    # Whoever makes a swarm makes its directory first, and those were read before we look for that.
    trees = _working_trees(repository) if found else None
    if trees is None:
        return []
    gone = {id_: refs for id_, refs in found.items() if not any((tree / FOLDER / id_).exists() for tree in trees)}
    return [_of(repository, id_, refs) for id_, refs in sorted(gone.items())]


def named(known: Sequence[Forgotten], name: str) -> Forgotten | None:
    """What goes by a name: the only swarm whose id begins so, with all its pins, or a single branch; None for none."""
    for one in known:
        for ref in (*one.merged, *one.left):
            if ref.is_branch and name == ref.shown and not ref.in_use:
                return Forgotten(one.swarm, (), (), (ref,))
    matching = [one for one in known if one.swarm.startswith(name)]
    if len(matching) != 1:
        return None
    one = matching[0]
    pins = tuple(ref for ref in one.left if not ref.is_branch)
    return Forgotten(one.swarm, one.merged, tuple(ref for ref in one.left if ref.is_branch), pins)


def clean(repository: Repository, one: Forgotten) -> list[Ref]:
    """Remove what is merged or named, as far as nobody has moved it since; what is gone."""
    return [ref for ref in (*one.merged, *one.named) if _remove(repository, ref)]


def _remove(repository: Repository, ref: Ref) -> bool:
    left_locks.take_away(repository.common_dir, ref.name)
    with suppress(GitFailed):
        repository.git("update-ref", "-d", ref.name, ref.commit)
        return True
    return False


def _listed(repository: Repository) -> Iterator[tuple[Ref, str]]:
    """The references of swarms, each with the swarm's id."""
    form = "--format=%(refname)%00%(objectname)%00%(worktreepath)"
    for line in repository.git("for-each-ref", form, "refs/prong/", "refs/heads/prong/").splitlines():
        name, commit, worktree = line.split("\0")
        match = _NAME.fullmatch(name)
        if match is not None:
            in_use = bool(worktree) and Path(worktree).exists()
            yield Ref(name, commit, in_use), match["branch"] or match["pin"]


def _working_trees(repository: Repository) -> list[Path] | None:
    """All that there are; None where one is on a disk that is not there, so that nobody can say what is in it."""
    found = []
    for block in repository.git("worktree", "list", "--porcelain", "-z").split("\0\0"):
        lines = block.strip("\0").split("\0")
        path = Path(lines[0].removeprefix("worktree "))
        if path.exists():
            found.append(path)
        elif any(line.startswith("locked") for line in lines):
            return None
    return [*found, repository.root]


def _of(repository: Repository, swarm: str, refs: Sequence[Ref]) -> Forgotten:
    contained = {ref for ref in refs if is_contained(repository, ref.commit, own=not ref.is_branch)}
    rest = [ref for ref in refs if ref not in contained]
    merges = _Merges(repository, swarm) if rest else None
    merged = {ref for ref in rest if merges is not None and merges.hold(ref)} | contained
    return Forgotten(
        swarm,
        tuple(ref for ref in refs if ref in merged and not ref.in_use),
        tuple(ref for ref in refs if ref not in merged or ref.in_use),
    )


class _Merges:
    """What the person's branches have of a swarm that is not there commit by commit."""

    def __init__(self, repository: Repository, swarm: str) -> None:
        self._repository = repository
        self._swarm = swarm
        self._tasks: set[str] = set()
        self._squashed: list[tuple[str, str]] = []
        own = ("--exclude=prong/*", "--branches", f"--grep=^{SWARM_TRAILER}: {swarm}$")
        for commit, parents, tasks in self._commits(*own):
            if tasks:
                self._tasks |= tasks
            elif len(parents) == 1:
                self._squashed.append((commit, parents[0]))

    def hold(self, ref: Ref) -> bool:
        """Whether a delivery of a task that is merged, or a branch that was squashed."""
        if ref.is_branch:
            return self._is_squashed(ref.commit)
        task = _OF_TASK.fullmatch(ref.name)
        return task is not None and task[1] in self._tasks

    def _is_squashed(self, tip: str) -> bool:
        """Whether a single commit has brought just this into a branch; then what was merged there is the person's."""
        for commit, parent in self._squashed:
            with suppress(GitFailed):
                if merged_histories(self._repository, parent, tip) == self._tree(commit):
                    self._tasks |= {task for _, _, tasks in self._commits(tip, f"^{parent}") for task in tasks}
                    return True
        return False

    def _tree(self, commit: str) -> str:
        return self._repository.git("rev-parse", f"{commit}^{{tree}}")

    def _commits(self, *which: str) -> Iterator[tuple[str, list[str], set[str]]]:
        """Commits of the swarm's with their parents and tasks."""
        form = f"%H%x00%P%x00%(trailers:key={SWARM_TRAILER},valueonly)%x00%(trailers:key={TASK_TRAILER},valueonly)%x01"
        for told in self._repository.git("log", f"--format={form}", *which).split("\x01"):
            commit, parents, swarms, tasks = [*told.strip("\n").split("\0"), "", "", "", ""][:4]
            if self._swarm in swarms.split("\n"):
                yield commit, parents.split(), set(tasks.split())
