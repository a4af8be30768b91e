r"""Brings one task's change onto the integration branch, without a checkout.

    base ----> commit        the task's delta
      \
       ...---> onto          what was merged meanwhile
                  \---> merged: onto + (commit - base), ONE commit with the parent onto

Where no file was touched by both sides the merge is one of names (`trees`), else it is git's own three-way merge with
rename detection.  The trailers of a merged commit say which task it is,
and that is the record of what was merged: it is written in the same instant as the merge itself, so a merger that
is killed and restarted can never merge a task twice.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from prong.harness.repository import left_locks
from prong.harness.repository.git import PRONG, Author, GitFailed, RepositoryError, with_trailers
from prong.harness.repository.objects import Objects
from prong.harness.repository.repository import BranchCheckedOut, Repository
from prong.harness.repository.trees import merge_trees

TASK_TRAILER = "Prong-Task"
# So many times in a row others may be faster.  Each time means that one of them got its work merged.
ADVANCE_ATTEMPTS = 100
# The merge of two machines must not depend on what their users like.
_OPTIONS = tuple(
    part
    for option in ("merge.renames=true", "merge.directoryRenames=conflict", "merge.renormalize=false")
    for part in ("-c", option)
)
_CONFLICTED = 1

_KINDS = {
    "contents": "both sides changed the same lines",
    "binary": "both sides changed this binary file",
    "add/add": "both sides added this file, with different contents",
    "modify/delete": "one side changed this file, the other deleted it",
    "rename/rename": "both sides renamed this file, to different names",
    "rename/add": "one side renamed a file to this name, the other added one",
    "rename/delete": "one side renamed this file, the other deleted it",
    "rename involved in collision": "a renamed file collides with another one",
    "file/directory": "one side has a file where the other has a folder",
    "distinct types": "one side has a file where the other has a link or submodule",
    "distinct modes": "both sides changed the mode, to different ones",
    "directory rename split": "a folder was renamed to several names, so files added to it have no clear place",
    "file location": "a file was added to a folder that the other side renamed",
    "submodule": "both sides changed this submodule",
}


@dataclass(frozen=True)
class Clash:
    """One reason why a merge is not clean: what kind it is, in words, and git's own message."""

    paths: tuple[str, ...]
    kind: str
    message: str


@dataclass(frozen=True)
class Conflict:
    """The delta does not fit.  `tree` is the merge with conflict markers, ready to be put before the agent.

    A marker names its side by a commit: `ours` what was merged meanwhile, `theirs` the task's own change.
    """

    paths: tuple[str, ...]
    clashes: tuple[Clash, ...]
    tree: str
    ours: str = ""
    theirs: str = ""

    @property
    def detail(self) -> str:
        """One line for each clash."""
        return "\n".join(f"{', '.join(clash.paths)}: {clash.kind} ({clash.message})" for clash in self.clashes)


@dataclass(frozen=True)
class Merged:
    """The delta is in `commit`: merged just now or before; or it was empty, and `commit` is what it was to go onto."""

    commit: str
    how: Literal["merged", "already merged", "empty"]


@dataclass(eq=False)
class IntegrationBusy(RepositoryError):
    """Others kept advancing the branch."""

    branch: str

    def __str__(self) -> str:
        return f"{self.branch!r} was advanced by others {ADVANCE_ATTEMPTS} times during one merge. Merge again later."


@dataclass(eq=False)
class NoIntegration(RepositoryError):
    """The branch to merge onto is gone."""

    branch: str
    root: str

    def __str__(self) -> str:
        return f"there is no branch {self.branch!r} in {self.root}. Create it again at the commit it was at."


def merge_delta(
    repository: Repository,
    *,
    base: str,
    commit: str,
    onto: str,
    message: str,
    author: Author,
    trailers: Mapping[str, str],
    objects: Objects | None = None,
) -> Merged | Conflict:
    """The change from base to commit as one new commit on `onto`, which no reference points to yet.

    All three commits have to be in the repository; base need not be an ancestor of onto, nor of commit.  `objects`
    saves the start of processes where many are merged.
    """
    objects = objects or Objects(repository)
    tree = merged_tree(repository, objects, base=base, commit=commit, onto=onto)
    if isinstance(tree, Conflict):
        return tree
    target = objects.known_commit(onto)
    if tree == target.tree:
        return Merged(target.id, "empty")
    text = with_trailers(message, trailers) + "\n"
    return Merged(objects.write_commit(tree, (target.id,), text, author=author, committer=PRONG), "merged")


def merged_tree(repository: Repository, objects: Objects, *, base: str, commit: str, onto: str) -> str | Conflict:
    """The tree of `onto` with the change from base to commit."""
    target, before, change = (objects.known_commit(name) for name in (onto, base, commit))
    tree = merge_trees(objects, before.tree, target.tree, change.tree)
    objects.settle()
    if tree is not None:
        return tree
    # Git merges commits and finds the base itself, so both sides are given the one parent that it shall find.
    left = _commit_on(objects, before.id, target.tree)
    right = change.id if change.parents == (before.id,) else _commit_on(objects, before.id, change.tree)
    return _merge_trees(repository, left, right, attributes_of=target.id)


def _commit_on(objects: Objects, parent: str, tree: str) -> str:
    """A commit that only serves the merge; always the same for the same merge, so repeating it leaves nothing new."""
    nobody = Author(PRONG.name, PRONG.email, 0)
    return objects.write_commit(tree, (parent,), "merge side\n", author=nobody, committer=nobody)


def merged_histories(repository: Repository, ours: str, theirs: str) -> str | Conflict:
    """The tree that a merge of two commits gives, from where their histories part."""
    return _merge_trees(repository, ours, theirs, attributes_of=ours)


def _merge_trees(repository: Repository, left: str, right: str, *, attributes_of: str) -> str | Conflict:
    """The tree that holds both sides' changes."""
    with tempfile.TemporaryDirectory(prefix="prong-merge-") as folder:
        # The working tree decides whose .gitattributes count, and the user's present one must not.
        _check_out_attributes(repository, attributes_of, Path(folder))
        try:
            answer = repository.git(*_OPTIONS, "merge-tree", "--write-tree", "-z", left, right, work_tree=Path(folder))
        except GitFailed as error:
            if error.exit_code != _CONFLICTED:
                raise
            return replace(_conflict(error.output), ours=left, theirs=right)
    return answer.partition("\0")[0]


def _check_out_attributes(repository: Repository, commit: str, folder: Path) -> None:
    listed = repository.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    for path in listed:
        if path.rpartition("/")[2] == ".gitattributes":
            text = repository.git("cat-file", "blob", f"{commit}:{path}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(os.fsencode(text))


def _conflict(answer: str) -> Conflict:
    """What `git merge-tree -z` prints for a conflict: the tree, `mode object stage<TAB>path`…, "", then messages."""
    tree, *rest = answer.split("\0")
    end = rest.index("")
    paths = dict.fromkeys(stage.partition("\t")[2] for stage in rest[:end])
    clashes = tuple(_clashes(iter(rest[end + 1 :])))
    paths |= dict.fromkeys(path for clash in clashes for path in clash.paths)
    return Conflict(tuple(paths), clashes, tree)


def _clashes(fields: Iterator[str]) -> Iterator[Clash]:
    """Each message is: how many paths, the paths, the type, the text."""
    while count := next(fields, ""):
        paths = tuple(next(fields) for _ in range(int(count)))
        kind, text = next(fields), next(fields).strip()
        if kind.startswith("CONFLICT"):
            yield Clash(paths, _in_words(kind, text), text)


def _in_words(kind: str, text: str) -> str:
    # The text may be more exact than the type: git files "add/add" under "contents".
    for source in (text, kind):
        found = re.match(r"CONFLICT ?\(([^)]*)\)", source)
        if found and found[1] in _KINDS:
            return _KINDS[found[1]]
    return kind


def find_merged(repository: Repository, branch: str, since: str, trailer: tuple[str, str]) -> str | None:
    """The newest commit after `since` on the branch that bears the trailer, such as ("Prong-Task", "12")."""
    key, value = trailer
    return _merged_since(repository, since, f"refs/heads/{branch}", key).get(" ".join(value.split()))


def _merged_since(repository: Repository, since: str, tip: str, key: str) -> dict[str, str]:
    """Which commit merged what: the trailer's value -> the commit."""
    form = f"--format=%H%x00%(trailers:key={key},valueonly,unfold,separator=%x00)"
    merged: dict[str, str] = {}
    for line in repository.git("log", form, f"{since}..{tip}").split("\n"):
        commit, *values = line.split("\0")
        for value in values:
            # The newest comes first.
            merged.setdefault(value, commit)
    return merged


@dataclass
class Integration:
    """The integration branch of one swarm, which began at the commit `since`; for one thread at a time.

    Several processes may merge onto it at once; each task (by its trailer `Prong-Task`) is merged once only.
    """

    repository: Repository
    branch: str
    since: str
    _objects: Objects | None = field(default=None, init=False, repr=False)
    _known_tip: str = field(default="", init=False, repr=False)
    _merged: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _free_heads: object = field(default=None, init=False, repr=False)

    @property
    def ref(self) -> str:
        """The full name of the branch."""
        return f"refs/heads/{self.branch}"

    @property
    def objects(self) -> Objects:
        """What reads and writes the repository's objects, for as long as it merges."""
        if self._objects is None:
            self._objects = Objects(self.repository)
        return self._objects

    def close(self) -> None:
        """End the processes that it has started; they come again when they are needed."""
        if self._objects is not None:
            self._objects.close()

    def tip(self) -> str:
        """The commit that the branch is at."""
        tip = self.objects.commit(self.ref)
        if tip is None:
            raise NoIntegration(self.branch, str(self.repository.root))
        return tip.id

    def find(self, task: str) -> str | None:
        """The commit that merged the task, if it is merged."""
        return self._merged_at(self.tip()).get(task)

    def merge(
        self, *, base: str, commit: str, message: str, author: Author, trailers: Mapping[str, str]
    ) -> Merged | Conflict:
        """Merge a task's delta and advance the branch to it; again, if somebody else advanced the branch meanwhile.

        Raises `IntegrationBusy`, `BranchCheckedOut`, `NoIntegration`.
        """
        task = _value(trailers)
        for _ in range(ADVANCE_ATTEMPTS):
            tip = self.tip()
            done = self._merged_at(tip).get(task)
            if done:
                return Merged(done, "already merged")
            result = self.prepare(onto=tip, base=base, commit=commit, message=message, author=author, trailers=trailers)
            if isinstance(result, Conflict) or result.how == "empty":
                return result
            if self.advance(result.commit, tip, {task: result.commit}):
                return result
        raise IntegrationBusy(self.branch)

    def prepare(
        self, *, onto: str, base: str, commit: str, message: str, author: Author, trailers: Mapping[str, str]
    ) -> Merged | Conflict:
        """A task's delta as a commit on `onto`, which the branch is not advanced to yet."""
        merge = partial(
            merge_delta, self.repository, base=base, commit=commit, onto=onto, message=message, author=author,
            trailers=trailers, objects=self.objects,
        )  # fmt: skip
        try:
            return merge()
        except GitFailed:  # somebody may have killed a git in the middle of it; if it was the delta, it fails again
            return merge()

    def advance(self, new: str, old: str, merged: Mapping[str, str]) -> bool:
        """Move the branch from `old` to `new`, which merges these tasks, atomically; False where it is elsewhere.

        Raises `BranchCheckedOut` when somebody works on the branch.
        """
        self._refuse_checked_out()
        known = self._merged_at(old)
        left_locks.take_away(self.repository.common_dir, self.ref)
        try:
            self.objects.move(self.ref, new, old)
        except GitFailed:
            if self.tip() != old:
                return False
            raise
        self._merged = {**known, **merged}
        self._known_tip = new
        return True

    def _refuse_checked_out(self) -> None:
        """Git is asked only where a HEAD says something else than when it was asked last."""
        common = self.repository.common_dir
        files = [self.repository.git_dir / "HEAD", common / "HEAD", *sorted(common.glob("worktrees/*/HEAD"))]
        heads = {str(file): file.read_bytes() for file in files if file.is_file()}
        if heads == self._free_heads and b"ref: refs/heads/.invalid\n" not in heads.values():
            return
        shown = self.repository.git("for-each-ref", "--format=%(worktreepath)", self.ref)
        # A folder that was deleted without a word to git is still on its list.
        if shown and Path(shown).exists():
            raise BranchCheckedOut(self.branch, shown)
        self._free_heads = heads

    def _merged_at(self, tip: str) -> dict[str, str]:
        if tip != self._known_tip:
            self._merged = _merged_since(self.repository, self.since, tip, TASK_TRAILER)
            self._known_tip = tip
        return self._merged


def _value(trailers: Mapping[str, str]) -> str:
    return " ".join(trailers[TASK_TRAILER].split())
