"""Brings the result of a swarm into the branch that a person works on: all of it, or nothing.

    fast-forward   the branch is moved to the result, where it has not gone on since
    merge          a merge commit of both
    squash         ONE commit with all changes, without the history of the tasks

What the result would be is made without touching anything.  Then every file that would change is compared with what the
person has there; one that is edited, untracked or ignored is a refusal, and nothing at all has been changed.  Only
after that the files, the index and the branch are moved, while the branch is locked.  Hooks are not run and nothing is
signed: whoever wants either says `git merge` with the same branch.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prong.harness.repository.git import GitFailed, RepositoryError, start
from prong.harness.repository.merging import Conflict, merged_histories
from prong.harness.repository.repository import Repository

SHOWN = 10
"""How many files a refusal names."""

How = Literal["either", "ff-only", "no-ff", "squash"]
"""How a result may come into the branch; either: a fast-forward where that goes, else a merge commit."""

_OWN = "refs/heads/prong/"
_BRANCHES = "refs/heads/"
_IDENTITY = tuple(f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE"))
_LINK = "160000"


@dataclass(eq=False)
class NotLanded(RepositoryError):
    """A result was not merged; nothing was changed.  `then` is what to do."""

    branch: str
    why: str
    then: str

    def __str__(self) -> str:
        return f"{self.branch} was not merged and nothing was changed: {self.why}. {self.then}"


@dataclass(eq=False)
class MovedHalfway(RepositoryError):
    """Files and index were moved, and then the branch could not be."""

    branch: str

    def __str__(self) -> str:
        return (
            f"the files of {self.branch} are in your working tree and staged, but your branch could not be moved. "
            "See what keeps git from writing its references (a full disk?), and merge again."
        )


@dataclass(frozen=True, slots=True)
class Landed:
    """How a result came into a branch: from which commit to which, and how many files that changed."""

    how: Literal["nothing to do", "fast-forward", "merge", "squash"]
    into: str
    before: str
    commit: str
    files: int


@dataclass(frozen=True, slots=True)
class _Change:
    """What happens to one path: mode and object before and after, "" where there is none."""

    path: str
    before: str
    after: str


def land(repository: Repository, *, branch: str, tip: str, how: How, message: str) -> Landed:
    """Merge `tip`, the commit of a swarm's branch, into the branch that is checked out.

    Raises `NotLanded` where that cannot be done without touching what is not committed, or by guessing.
    """
    into = _place(repository, branch)
    head = repository.head()
    name = into.removeprefix(_BRANCHES)
    if repository.is_ancestor(tip, head):
        return Landed("nothing to do", name, head, head, 0)
    forward = repository.is_ancestor(head, tip)
    if how == "ff-only" and not forward:
        raise NotLanded(
            branch, f"{name!r} has commits that the swarm did not start from, so it cannot be a fast-forward",
            "Leave --ff-only out for a merge commit, or take --squash.",
        )  # fmt: skip
    tree = repository.git("rev-parse", f"{tip}^{{tree}}") if forward else _merged(repository, branch, head, tip)
    changes = _changes(repository, head, tree)
    if how == "squash" and not changes:
        return Landed("nothing to do", name, head, head, 0)
    _refuse_overwriting(repository, branch, changes, tree)
    done: Literal["fast-forward", "merge", "squash"]
    if how == "squash":
        done, commit = "squash", _commit(repository, branch, tree, (head,), message)
    elif forward and how != "no-ff":
        done, commit = "fast-forward", tip
    else:
        done, commit = "merge", _commit(repository, branch, tree, (head, tip), message)
    _move(repository, branch, into, commit, head)
    return Landed(done, name, head, commit, len(changes))


def _place(repository: Repository, branch: str) -> str:
    """The reference of the branch that is checked out, where something may be merged into it."""
    try:
        into = repository.git("symbolic-ref", "--quiet", "HEAD")
    except GitFailed:
        raise NotLanded(
            branch, "no branch is checked out here (HEAD is detached)", "Check out the branch that shall have it."
        ) from None
    if what := repository.under_way():
        raise NotLanded(branch, f"{what} is under way here", "End it first, and merge then.")
    if into.startswith(_OWN):
        name = into.removeprefix(_BRANCHES)
        raise NotLanded(branch, f"{name!r}, which is checked out, is Prong's", "Check out a branch of your own.")
    unmerged = [entry.partition("\t")[2] for entry in repository.git("ls-files", "--unmerged", "-z").split("\0")]
    if named := _named(list(dict.fromkeys(path for path in unmerged if path))):
        raise NotLanded(branch, f"files hold conflicts that are not solved: {named}", "Solve them first.")
    return into


def _merged(repository: Repository, branch: str, head: str, tip: str) -> str:
    try:
        found = merged_histories(repository, head, tip)
    except GitFailed as error:
        why = "they have no history in common" if "unrelated histories" in error.stderr else error.stderr
        raise NotLanded(branch, why, "Look at both with git log.") from error
    if isinstance(found, Conflict):
        lines = "\n".join(f"  {_named(clash.paths)}: {clash.kind}" for clash in found.clashes[:SHOWN])
        raise NotLanded(
            branch, f"it conflicts with what your branch has since:\n{lines}\n",
            f"Merge it yourself and solve them ('git merge {branch}'), or start a swarm from your branch as it is now.",
        )  # fmt: skip
    return found


def _changes(repository: Repository, head: str, tree: str) -> list[_Change]:
    fields = repository.git("diff-tree", "-r", "-z", "--raw", "--no-renames", head, tree).split("\0")
    changes = []
    for told, path in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, old, new, _ = told.removeprefix(":").split(" ")
        before, after = (f"{mode} {name}" * (mode != "000000") for mode, name in ((old_mode, old), (new_mode, new)))
        changes.append(_Change(path, before, after))
    return changes


def _refuse_overwriting(repository: Repository, branch: str, changes: Sequence[_Change], tree: str) -> None:
    """Compare every path that is to change with what lies there and what is staged."""
    staged = _staged(repository)
    edited = _edited(repository)
    dirty = [
        change.path
        for change in changes
        if change.path in edited and (edited[change.path] != " " or staged.get(change.path, "") != change.after)
    ]
    if dirty:
        raise NotLanded(
            branch, f"you have changes of your own in files that it changes: {_named(dirty)}",
            "Commit them, or put them aside with git stash, and merge then.",
        )  # fmt: skip
    leaving = {change.path for change in changes if not change.after}
    in_the_way = [
        place
        for change in changes
        if change.after and change.path not in staged
        for place in _in_the_way(repository.root, change.path, set(staged) & leaving, link=change.after[:6] == _LINK)
    ]
    if in_the_way:
        raise NotLanded(
            branch, f"files lie in the way that git does not know: {_named(list(dict.fromkeys(in_the_way)))}",
            "Move them away, and merge then.",
        )  # fmt: skip
    try:
        # Git looks once more, and knows of flags on files that its status does not tell.
        repository.git("read-tree", "-m", "-u", "--dry-run", "HEAD", tree)
    except GitFailed as error:
        raise NotLanded(branch, f"git would not: {error.stderr}", "Mend that, and merge then.") from error


def _staged(repository: Repository) -> dict[str, str]:
    """Mode and object of every path in the index."""
    entries = repository.git("ls-files", "--stage", "-z").split("\0")
    fields = (entry.partition("\t") for entry in entries if entry)
    return {path: told[: told.rindex(" ")] for told, _, path in fields}


def _edited(repository: Repository) -> dict[str, str]:
    """Tracked paths that differ from HEAD, each with a blank where the file is as it is staged."""
    listed = repository.git(
        "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=dirty"
    )
    return {entry[3:]: entry[1] for entry in listed.split("\0") if entry}


def _in_the_way(root: Path, path: str, leaving: set[str], *, link: bool) -> Iterator[str]:
    """What lies where a new file, or a folder above it, shall be."""
    for folder in reversed(Path(path).parents[:-1]):
        if (root / folder).is_symlink() or (os.path.lexists(root / folder) and not (root / folder).is_dir()):
            if str(folder) not in leaving:
                yield str(folder)
            return
    there = root / path
    if not os.path.lexists(there) or path in leaving:
        return
    if there.is_symlink() or not there.is_dir():
        yield path
    elif not link:  # the folder of a submodule may have anything in it
        for place, _, files in os.walk(there):
            inside = (str(Path(place, name).relative_to(root)) for name in files)
            yield from (one for one in inside if one not in leaving)


def _commit(repository: Repository, branch: str, tree: str, parents: Sequence[str], message: str) -> str:
    options = [part for parent in parents for part in ("-p", parent)]
    person = _person()
    try:
        return repository.git("commit-tree", tree, *options, env=person, stdin=message + "\n")
    except GitFailed as error:
        if "ident" not in error.stderr:
            raise
        raise NotLanded(
            branch, "git does not know in whose name to commit", "Tell it with git config user.name and user.email."
        ) from error


def _person() -> dict[str, str]:
    """Who the person is, as the environment says, if it does."""
    return {name: os.environ[name] for name in _IDENTITY if name in os.environ}


def _move(repository: Repository, branch: str, into: str, commit: str, head: str) -> None:
    """Move files, index and branch, while nobody else can move the branch."""
    # The person's own filters write the files, as they do in every checkout.
    variables = {"GIT_LFS_SKIP_SMUDGE": os.environ.get("GIT_LFS_SKIP_SMUDGE", "0")}
    with _locked(repository, branch, commit, head) as finish:
        if repository.git("symbolic-ref", "--quiet", "HEAD") != into:
            raise NotLanded(branch, "another branch was checked out meanwhile", "Merge again.")
        try:
            repository.git("read-tree", "-m", "-u", head, commit, env=variables)
        except GitFailed as error:
            raise NotLanded(branch, f"git would not: {error.stderr}", "Mend that, and merge then.") from error
        finish()


@contextmanager
def _locked(repository: Repository, branch: str, commit: str, head: str) -> Iterator[Callable[[], None]]:
    """Hold the branch that is checked out; it stays where it is unless what is yielded is called."""
    log = repository.configuration().get("core.logallrefupdates", "true")
    place = {"GIT_DIR": str(repository.git_dir), "GIT_WORK_TREE": str(repository.root), **_person()}
    with tempfile.TemporaryFile() as errors:
        process = start(
            "-c", f"core.logAllRefUpdates={log}", "update-ref", "-m", f"prong merge {branch}", "--stdin",
            cwd=repository.root, env=place, stderr=errors,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"start\nupdate HEAD {commit} {head}\nprepare\n".encode())
            process.stdin.flush()
            if (process.stdout.readline(), process.stdout.readline()) != (b"start: ok\n", b"prepare: ok\n"):
                raise NotLanded(branch, "somebody else holds or has just moved your branch", "Merge again.")
            yield lambda: _finish(process, branch)
        finally:
            # Without a word more it lets go of the branch.
            process.stdin.close()
            process.stdout.close()
            process.wait()


def _finish(process: subprocess.Popen[bytes], branch: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"commit\n")
    process.stdin.flush()
    if process.stdout.readline() != b"commit: ok\n":
        raise MovedHalfway(branch)


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(one if one.isprintable() else ascii(one) for one in paths[:SHOWN]) + more
