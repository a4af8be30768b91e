"""A commit of the person's working tree as it is, for a run that shall start from what is not committed yet.

    HEAD <---- the snapshot     edited, deleted and untracked files; not what is ignored

Index and working tree are only read: the work is done on a copy of the index.  The person's own filters (`filter=lfs`
and its like) run as `git add` would run them, so that a large file is stored as the pointer that it is elsewhere.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prong.harness.repository.git import PRONG, GitFailed, RepositoryError, commit_variables
from prong.harness.repository.repository import Repository

# An editor that saves just now can make a file vanish between listing and reading it.
ATTEMPTS = 3


@dataclass(eq=False)
class Unmerged(RepositoryError):
    """Files of the working tree hold conflicts."""

    root: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.root} is in the middle of a merge with conflicts in {', '.join(self.paths[:5])}. Solve them first, "
            "or start from the last commit, without --include-dirty."
        )


@dataclass(frozen=True)
class Dirty:
    """A snapshot: its commit, which is HEAD where nothing differs from it, and what is in it beyond HEAD.

    `left_out` are repositories that lie in the working tree without being its submodules.
    """

    commit: str
    changed: int
    untracked: int
    left_out: tuple[str, ...]


def snapshot(repository: Repository) -> Dirty:
    """A commit of the working tree with HEAD as its parent, which no reference points to yet.

    Raises `Unmerged`, or `GitFailed` when a file cannot be read or a filter fails.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _snapshot(repository)
        except GitFailed:
            continue
    return _snapshot(repository)


def _snapshot(repository: Repository) -> Dirty:
    head = repository.head()
    with tempfile.TemporaryDirectory(prefix="prong-dirty-") as folder:
        index = Path(folder) / "index"
        variables = {"GIT_INDEX_FILE": str(index), "GIT_OPTIONAL_LOCKS": "0"}
        if (repository.git_dir / "index").exists():
            # Git compares a file's time with the index's own to see whether it can trust it; so that is copied, too.
            shutil.copy2(repository.git_dir / "index", index)
        else:
            repository.git("read-tree", head, env=variables)
        changed, untracked, left_out = _listed(repository, variables)
        _update(repository, variables, [*changed, *untracked])
        tree = repository.git(*_PLAIN_INDEX, "write-tree", env=variables)
    if tree == repository.git("rev-parse", f"{head}^{{tree}}"):
        return Dirty(head, 0, 0, left_out)
    text = "The working tree as it was when the swarm began\n"
    made = repository.git("commit-tree", tree, "-p", head, env=commit_variables(PRONG, PRONG), stdin=text)
    return Dirty(made, len(changed), len(untracked), left_out)


# The copy is written as a whole: not as a difference from a file of the person's, and without a helper process.
_PLAIN_INDEX = ("-c", "core.splitIndex=false", "-c", "core.untrackedCache=false", "-c", "index.sparse=false")
_STATUS = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")


def _listed(repository: Repository, index: Mapping[str, str]) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Paths that differ from the index, untracked files, and repositories inside."""
    entries = [entry for entry in repository.git(*_PLAIN_INDEX, *_STATUS, env=index).split("\0") if entry]
    unmerged = tuple(entry[3:] for entry in entries if "U" in entry[:2] or entry[:2] in ("AA", "DD"))
    if unmerged:
        raise Unmerged(str(repository.root), unmerged)
    untracked = [entry[3:] for entry in entries if entry.startswith("??")]
    changed = [entry[3:] for entry in entries if not entry.startswith("??")]
    # Git shows a folder, with a slash, only where it sees another repository.
    inside = tuple(path for path in untracked if path.endswith("/"))
    return changed, [path for path in untracked if path not in inside], inside


def _update(repository: Repository, index: Mapping[str, str], paths: list[str]) -> None:
    """Take the paths into the index as they are, those that are gone first, so that a file can become a folder."""
    here = [path for path in paths if _is_there(repository.root, path)]
    gone = sorted(set(paths).difference(here))
    for options, some in ((("--force-remove",), gone), (("--add", "--remove"), here)):
        if some:
            listing = "\0".join(some) + "\0"
            repository.git(*_PLAIN_INDEX, "update-index", *options, "-z", "--stdin", env=index, stdin=listing)


def _is_there(root: Path, path: str) -> bool:
    """Whether a file or link lies at the path; where a link stands for a folder, nothing lies below it."""
    folders = list(Path(path).parents)[:-1]
    return os.path.lexists(root / path) and not any((root / folder).is_symlink() for folder in folders)
