"""The user's repository: read freely, written only where Prong owns it.

    objects/                  new objects are added, none is removed
    refs/heads/prong/…        integration branches and kept work
    refs/prong/<swarm>/…      pins: they keep commits alive that workspaces and agents still need

Nothing else in it is ever changed: not the working tree, index, HEAD, branches, stashes, configuration
or hooks.  All methods may be called by several processes at once.
"""

import functools
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from filelock import FileLock, Timeout

from prong.harness.repository import left_locks
from prong.harness.repository.git import GitFailed, RepositoryError, git

OLDEST_GIT = (2, 38)
# Every adopted commit is a pack, and every git process looks into all of them; from so many on they are put together.
PACKS = 50
# So often is it tried to bring a commit into a repository that a person is just cleaning up.
ADOPT_ATTEMPTS = 3
OWN_REFS = ("refs/prong/", "refs/heads/prong/")


@dataclass(eq=False)
class NotARepository(RepositoryError):
    """The path is in no git repository."""

    path: str

    def __str__(self) -> str:
        return f"{self.path} is not inside a git repository. Go to one, or make one here with 'git init'."


@dataclass(eq=False)
class BareRepository(RepositoryError):
    """The repository has no working tree."""

    path: str

    def __str__(self) -> str:
        return f"{self.path} is a bare repository. Make a clone of it with 'git clone' and run Prong there."


@dataclass(eq=False)
class NoCommit(RepositoryError):
    """The repository is empty, so there is nothing to start from."""

    path: str

    def __str__(self) -> str:
        return f"the repository {self.path} has no commit yet. Make a first commit; agents start from it."


@dataclass(eq=False)
class NotYours(RepositoryError):
    """The repository belongs to another user of the machine."""

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} belongs to another user, and git does not run in it unless you say that you trust its owner. "
            f"If you do: git config --global --add safe.directory {self.path}"
        )


@dataclass(eq=False)
class ReadOnly(RepositoryError):
    """Nothing can be written into the repository."""

    path: str

    def __str__(self) -> str:
        return (
            f"you may not write to {self.path}, where the results and the swarm itself are kept. Let Prong make a "
            "clone of its own: give --repo the address, as file:///path/to/it"
        )


@dataclass(eq=False)
class PartialClone(RepositoryError):
    """The repository lacks objects that git would download on demand."""

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} is a partial clone: it lacks objects that agents will need. "
            "Make a full clone ('git clone' without '--filter') and run Prong there."
        )


@dataclass(eq=False)
class NoSuchCommit(RepositoryError):
    """A name or abbreviation stands for no commit."""

    revision: str
    root: str

    def __str__(self) -> str:
        return f"{self.revision!r} is no commit of {self.root}. Name a branch, a tag or a commit that 'git log' shows."


@dataclass(eq=False)
class GitTooOld(RepositoryError):
    """The installed git cannot merge without a checkout."""

    version: str

    def __str__(self) -> str:
        oldest = ".".join(map(str, OLDEST_GIT))
        return f"the installed git says {self.version!r}, but {oldest} or newer is needed. Update git."


@dataclass(eq=False)
class BranchExists(RepositoryError):
    """The name of a new branch is taken, or is a folder of branches."""

    branch: str
    root: str

    def __str__(self) -> str:
        return f"a branch {self.branch!r} exists already in {self.root}. Take another name for the new one."


@dataclass(eq=False)
class BranchCheckedOut(RepositoryError):
    """A branch would move under the feet of whoever has it checked out."""

    branch: str
    worktree: str

    def __str__(self) -> str:
        return (
            f"the branch {self.branch!r} is checked out in {self.worktree}, so Prong does not move it. "
            "Switch to another branch there, and merging goes on."
        )


@dataclass(eq=False)
class ForeignRef(RepositoryError):
    """A reference is not Prong's to write."""

    ref: str

    def __str__(self) -> str:
        return f"{self.ref!r} is not Prong's to write; it writes only under {' and '.join(OWN_REFS)}."


class HoldsObjects(Protocol):
    """What a repository can adopt commits from: a workspace."""

    @property
    def base(self) -> str:
        """The commit it started from, which the repository has."""

    def pack(self, commit: str) -> IO[bytes]:
        """Objects of the commit that are not objects of the base, as an open pack file."""


@dataclass(frozen=True)
class Repository:
    """One git repository with a working tree; made by `Repository.open`."""

    root: Path
    git_dir: Path = field(repr=False)
    common_dir: Path = field(repr=False)
    _trees: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path | str) -> "Repository":
        """The repository that the path lies in, be it a linked worktree, shallow, or with a detached HEAD.

        Raises `NotARepository`, `BareRepository`, `NoCommit`, `PartialClone`, `GitTooOld` or `GitMissing`.
        """
        here = Path(path).absolute()
        _refuse_old_git(here)
        if _ask(here, "--is-bare-repository") == "true":
            raise BareRepository(str(path))
        root, git_dir, common_dir = (
            Path(_ask(here, flag)) for flag in ("--show-toplevel", "--git-dir", "--git-common-dir")
        )
        repository = cls(root, git_dir, common_dir)
        repository.head()
        if any(key == "extensions.partialclone" or key.endswith(".promisor") for key in repository.configuration()):
            raise PartialClone(str(root))
        return repository

    def git(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | IO[bytes] | None = None,
        work_tree: Path | None = None,
    ) -> str:
        """Run git on this repository, as if `work_tree` were its working tree if one is given."""
        place = work_tree or self.root
        variables = {"GIT_DIR": str(self.git_dir), "GIT_WORK_TREE": str(place)}
        return git(*arguments, cwd=place, env={**variables, **(env or {})}, stdin=stdin)

    @property
    def objects(self) -> Path:
        """The folder of its objects, which workspaces borrow."""
        return self.common_dir / "objects"

    def head(self) -> str:
        """The commit that is checked out."""
        return self.resolve("HEAD")

    def resolve(self, revision: str) -> str:
        """The commit that a branch, tag or abbreviation means."""
        wanted = ("--end-of-options", f"{revision}^{{commit}}", "--")
        try:
            commit, _, rest = self.git("log", "-1", "--format=%H %T %ct", *wanted).partition(" ")
        except GitFailed as error:
            if revision == "HEAD":
                raise NoCommit(str(self.root)) from error
            raise NoSuchCommit(revision, str(self.root)) from error
        self._trees[commit] = rest
        return commit

    def tree_and_time(self, commit: str) -> str | None:
        """Tree and time (in seconds since 1970) of a commit that `resolve` has told, with a blank; None of others."""
        return self._trees.get(commit)

    def check_writable(self) -> None:
        """Raise `ReadOnly` unless Prong may write what it has to."""
        for place in (self.root, self.objects, self.common_dir / "refs"):
            if not os.access(place, os.W_OK | os.X_OK):
                raise ReadOnly(str(place))

    def under_way(self) -> str | None:
        """What the person is in the middle of: "a rebase", "a merge", …, or None."""
        signs = {
            "rebase-merge": "a rebase",
            "rebase-apply": "a rebase",
            "MERGE_HEAD": "a merge",
            "CHERRY_PICK_HEAD": "a cherry-pick",
            "REVERT_HEAD": "a revert",
            "BISECT_LOG": "a bisection",
        }
        return next((what for sign, what in signs.items() if (self.git_dir / sign).exists()), None)

    def has_uncommitted_changes(self) -> bool:
        """Whether the working tree holds what agents, who start from a commit, would not see."""
        # Untracked files count, ignored ones do not; submodules are compared by their commit only.
        return bool(self.git("status", "--porcelain", "-z", "--ignore-submodules=dirty"))

    @functools.cached_property
    def object_format(self) -> str:
        """The hash that names objects: sha1 or sha256."""
        return self.configuration().get("extensions.objectformat", "sha1")

    def configuration(self) -> Mapping[str, str]:
        """What git is configured to do here, by the system, the user and the repository together; read once."""
        return self._configuration

    @functools.cached_property
    def _configuration(self) -> dict[str, str]:
        entries = self.git("config", "--list", "-z").split("\0")
        pairs = (entry.partition("\n") for entry in entries if entry)
        # A key without a value is git's short way to say true.
        return {key: value if equals else "true" for key, equals, value in pairs}

    def read_ref(self, ref: str) -> str | None:
        """The commit that a full reference name stands for, or None when there is none."""
        return self._read_ref(ref)[0]

    def _read_ref(self, ref: str) -> tuple[str | None, str]:
        """The commit of a reference, and the working tree that has it checked out ("" for none)."""
        # A pattern also matches what lies below it, but references cannot lie below another one.
        shown = self.git("for-each-ref", "--format=%(objectname)%00%(refname)%00%(worktreepath)%00", ref)
        commit, name, worktree = [*shown.split("\0"), "", "", ""][:3]
        return (commit, worktree) if name == ref else (None, "")

    def create_integration(self, branch: str, commit: str) -> str:
        """Make the branch that finished work is merged onto, and return its reference; or `BranchExists`."""
        ref = _own(f"refs/heads/{branch}")
        for taken in (branch, *map(str, PurePosixPath(branch).parents[:-1])):
            # Git keeps branches as files in folders: next to a branch `prong` there is no room for `prong/one`.
            if self.read_ref(f"refs/heads/{taken}"):
                raise BranchExists(taken, str(self.root))
        if self.advance(ref, commit, None):
            return ref
        raise BranchExists(branch, str(self.root))

    def advance(self, ref: str, new: str, old: str | None) -> bool:
        """Set the reference to `new` if it is at `old` (None: if it does not exist), atomically; else False.

        Raises `BranchCheckedOut` when somebody works on that branch.
        """
        _own(ref)
        worktree = self._read_ref(ref)[1]
        # A folder that was deleted without a word to git is still on its list.
        if worktree and Path(worktree).exists():
            raise BranchCheckedOut(ref.removeprefix("refs/heads/"), worktree)
        left_locks.take_away(self.common_dir, ref)
        try:
            self.git("update-ref", ref, new, old or "")
        except GitFailed:
            if self.read_ref(ref) != old:
                return False
            raise
        return True

    def pin(self, ref: str, commit: str) -> None:
        """Keep the commit from garbage collection, whatever the reference pointed to before."""
        left_locks.take_away(self.common_dir, _own(ref))
        self.git("update-ref", ref, commit)

    def unpin(self, *refs: str) -> None:
        """Remove pins, at once; what only they kept may then be collected."""
        for ref in refs:
            if not ref.startswith("refs/prong/"):
                raise ForeignRef(ref)
            left_locks.take_away(self.common_dir, ref)
        if refs:
            self.git("update-ref", "-z", "--stdin", stdin="".join(f"delete {ref}\0\0" for ref in refs))

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether the newer commit contains the older one (a commit contains itself)."""
        try:
            self.git("merge-base", "--is-ancestor", older, newer)
        except GitFailed as error:
            if error.exit_code == 1:
                return False
            raise
        return True

    def adopt(self, workspace: HoldsObjects, commit: str, ref: str) -> None:
        """Bring a workspace's commit into the repository and point the reference to it.

        The reference is set only when all objects are there; a caller that is killed leaves, at worst, objects
        that nothing refers to.  A person may clean up meanwhile, be it with `git gc --prune=now`.
        """
        _own(ref)
        with workspace.pack(commit) as pack:
            for _ in range(ADOPT_ATTEMPTS - 1):
                try:
                    self._adopt(pack, commit, ref, workspace.base)
                except GitFailed:
                    # Who cleans up deletes others' temporary files, too; if it was something else, the last try tells.
                    continue
                break
            else:
                self._adopt(pack, commit, ref, workspace.base)
        self._gather_packs()

    def _adopt(self, pack: IO[bytes], commit: str, ref: str, base: str) -> None:
        """Add the pack and set the reference.

        A collector that began before the reference was set would delete objects that lie there one by one, but a pack
        with a .keep beside it is left alone by everybody.
        """
        pack.seek(0)
        said = self.git("index-pack", "--stdin", "--fix-thin", "--keep=prong adopts a commit", stdin=pack)
        self.git("rev-list", "--objects", "--quiet", commit, "--not", base)
        self.pin(ref, commit)
        (self.objects / "pack" / f"pack-{said.split()[-1]}.keep").unlink(missing_ok=True)

    def _gather_packs(self) -> None:
        """Put small packs together, as `git gc --auto` would; no object is dropped."""
        if sum(1 for _ in (self.objects / "pack").glob("*.pack")) <= PACKS:
            return
        settings = ("-c", "repack.writeBitmaps=false", "-c", "repack.updateServerInfo=false")
        with suppress(Timeout, GitFailed), FileLock(self.objects / "info" / "prong-gathers-packs", timeout=0):
            self.git(*settings, "repack", "--geometric=2", "-d", "-l", "-q")


def _own(ref: str) -> str:
    if not ref.startswith(OWN_REFS):
        raise ForeignRef(ref)
    return ref


def _refuse_old_git(here: Path) -> None:
    if not here.is_dir():
        raise NotARepository(str(here))
    version = git("version", cwd=here)
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if not numbers or tuple(map(int, numbers.groups())) < OLDEST_GIT:
        raise GitTooOld(version)


def _ask(here: Path, flag: str) -> str:
    try:
        return git("rev-parse", "--path-format=absolute", flag, cwd=here)
    except GitFailed as error:
        if found := re.search(r"dubious ownership in repository at '(.*)'", error.stderr):
            raise NotYours(found[1]) from error
        raise NotARepository(os.fspath(here)) from error
