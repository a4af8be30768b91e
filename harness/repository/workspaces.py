"""An agent's own clone of the repository, and what is taken out of it.

    create --snapshot----> a commit of what is there now, for a fork
           --commit_all--> ONE commit on the base, for the merge queue

A workspace has two git directories, which both borrow the repository's objects (`cloning` shows where).  The agent
may do what it likes with its own one: delete it, put commands into its configuration, leave locks behind.  The harness
works through the other, which the agent does not know, and asks the agent's only for two things: where HEAD is, and
which ignored files were added on purpose.  What an agent did with git does not matter; the working tree is the truth.

Filters (`filter=lfs` and its like) never run: a file is stored as it lies there, and a pointer stays a pointer.
Left out are empty folders, which git cannot store, and whatever an agent wrote into the folder of a submodule.
"""

import functools
import re
import secrets
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prong.harness.repository import ignored, loose
from prong.harness.repository.cloning import (
    AGENT_BRANCH,
    BASE_REF,
    ISOLATED,
    KNOWN,
    Places,
    build,
    clear,
)
from prong.harness.repository.git import (
    AGENT,
    PRONG,
    Author,
    GitFailed,
    RepositoryError,
    commit_variables,
    git,
    with_trailers,
)
from prong.harness.repository.repository import Repository
from prong.harness.repository.working_tree import WorkingTree, git_in

# An agent that writes while a snapshot is taken can make a file vanish between listing and reading it.
SNAPSHOT_ATTEMPTS = 3


@dataclass(eq=False)
class NotAWorkspace(RepositoryError):
    """There is no complete workspace in the directory."""

    directory: str

    def __str__(self) -> str:
        return f"{self.directory} is not a complete workspace. Create it first; what lies there is left as it is."


@dataclass(eq=False)
class WorkspaceExists(RepositoryError):
    """The directory is in use, by something else or by a workspace with another base."""

    directory: str

    def __str__(self) -> str:
        return f"{self.directory} exists already, with other contents than were asked for. Take another directory."


@dataclass(frozen=True)
class Workspace:
    """One agent's clone; made by `Workspace.create`, found again by `Workspace.open`."""

    directory: Path
    base: str

    @classmethod
    def create(cls, repository: Repository, directory: Path | str, commit: str) -> "Workspace":
        """A workspace of the commit in a directory that does not exist yet, or the same workspace again.

        A creator may be killed at any instant: what it left is cleared away by the next one.  The commit has to be
        reachable from a reference of the repository (see `Repository.pin`) for as long as the workspace lives.
        Raises `WorkspaceExists` if something else is there.
        """
        if not _FULL_NAME.fullmatch(commit):
            commit = repository.resolve(commit)
        places = Places(Path(directory).absolute())
        places.directory.parent.mkdir(parents=True, exist_ok=True)
        with places.locked():
            clear(places.partial)
            if places.is_complete():
                workspace = cls.open(directory)
                if workspace.base != commit:
                    raise WorkspaceExists(str(directory))
                return workspace
            if places.directory.exists() and any(places.directory.iterdir()):
                raise WorkspaceExists(str(directory))
            build(repository, commit, places)
        return cls(places.directory, commit)

    @classmethod
    def open(cls, directory: Path | str) -> "Workspace":
        """The complete workspace in the directory; `NotAWorkspace` if there is none."""
        places = Places(Path(directory).absolute())
        if not places.is_complete():
            raise NotAWorkspace(str(directory))
        return cls(places.directory, (places.private / BASE_REF).read_text().strip())

    def head(self) -> str:
        """The commit that the agent has checked out; the base, if its own git cannot tell or is of another history."""
        if (self._places.private / _DISTRUSTED).exists():
            return self.base
        if self._is_at_base():
            return self.base
        try:
            head = git(
                "rev-parse", "--verify", "--quiet", "HEAD^{commit}", cwd=self.directory, env=self._agent_variables
            )
            if head != self.base:
                self._git("merge-base", head, self.base)
        except GitFailed:
            return self.base
        return head

    def _is_at_base(self) -> bool:
        """Whether the agent is where it began, as a look at two files tells without a process."""
        own = self.directory / ".git"
        try:
            if (own / "HEAD").read_bytes() != f"ref: refs/heads/{AGENT_BRANCH}\n".encode():
                return False
            return (own / "refs/heads" / AGENT_BRANCH).read_bytes() == f"{self.base}\n".encode()
        except OSError:
            return False

    def snapshot(self) -> str:
        """A commit of the present working tree on top of the agent's HEAD, or HEAD itself if it is the same.

        Contains edits, deletions, modes, links and all untracked files that are not ignored.  A repository that the
        agent made inside is taken in as plain files, without its .git, even if the agent committed it as a link.
        Ignored files are contained if the agent added or committed them.  Nothing in the workspace changes, and the
        same state gives the same commit.
        """
        if (self._places.private / KNOWN).exists():
            head, tree = self._present()
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="base") as beside:
                beside.submit(self._tree_and_time, self.base)  # mostly that is the head, and it is known in time
                head, tree = self._present()
        if tree is None:
            return head
        before, when = self._tree_and_time(head)
        if tree == before:
            return head
        return loose.write_commit(
            self._places.private / "objects", tree=tree, parent=head, message="A snapshot of uncommitted work",
            author=AGENT, at=int(when),
        )  # fmt: skip

    def snapshot_with_ignored(self) -> str:
        """The same, always a commit of its own, to which the ignored files belong as they are now: see `ignored`.

        A workspace that is created of this commit begins with them; nothing of them is ever committed.
        """
        head, tree = self._present()
        before, when = self._tree_and_time(head)
        text = f"A snapshot with the ignored files\n\nof {secrets.token_hex(8)}"
        commit = self._commit(tree or before, head, text, Author(AGENT.name, AGENT.email, int(when)))
        listed = self._git("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
        ignored.keep(self.directory, listed.split("\0"), self._places.ignored(commit))
        return commit

    def _tree_and_time(self, commit: str) -> list[str]:
        """Tree and commit time, which are remembered for the last commit that was asked for."""
        note = self._places.private / KNOWN
        with suppress(OSError):
            known, *rest = note.read_text().split(" ")
            if known == commit:
                return rest
        told = self._git("log", "-1", "--format=%H %T %ct", commit)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, prefix="known-", delete=False) as partial:
            partial.write(told)
        Path(partial.name).replace(note)
        return told.split(" ")[1:]

    def commit_all(self, message: str, author: Author, trailers: Mapping[str, str]) -> str | None:
        """ONE commit on the base with the present working tree, or None if that is the base's.

        The agent's own commits, branches and half-done merges end up in it, whatever state they are in.
        """
        head, tree = self._present()
        if tree is None and head == self.base:
            return None
        before, after = self._git("rev-parse", f"{self.base}^{{tree}}", tree or f"{head}^{{tree}}").split("\n")
        if after == before:
            return None
        return self._commit(after, self.base, with_trailers(message, trailers), author, PRONG)

    def pack(self, commit: str) -> IO[bytes]:
        """Objects of the commit that are not objects of the base, as an open pack file.

        `GitFailed` when one of them is gone; then the next snapshot stores every changed file anew.
        """
        # Gone when it is closed.  Git moves the place in the file, of which a buffer would know nothing.
        pack = tempfile.TemporaryFile(buffering=0, dir=self._places.private)  # noqa: SIM115  the caller closes it
        options = ("--revs", "--thin", "--delta-base-offset", "--stdout", "-q")
        try:
            self._git("pack-objects", *options, stdin=f"{commit}\n^{self.base}\n", stdout=pack)
        except GitFailed:
            pack.close()
            self._distrust()
            raise
        pack.seek(0)
        return pack

    def remove(self) -> None:
        """Delete the workspace with all that is in it; what was not adopted by the repository is lost."""
        with self._places.locked():
            partial = self._places.partial
            away = Path(tempfile.mkdtemp(dir=_made(partial)))
            for number, place in enumerate((self.directory, self._places.private)):
                if place.exists():
                    place.rename(away / str(number))
            clear(partial)

    @functools.cached_property
    def _places(self) -> Places:
        return Places(self.directory)

    @property
    def _agent_variables(self) -> dict[str, str]:
        return ISOLATED | {"GIT_DIR": str(self.directory / ".git"), "GIT_WORK_TREE": str(self.directory)}

    def _git(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None,
        stdout: IO[bytes] | None = None, forbidden: str | None = None,
    ) -> str:  # fmt: skip
        return git_in(self._places, *arguments, env=env, stdin=stdin, stdout=stdout, forbidden=forbidden)

    def _commit(self, tree: str, parent: str, message: str, author: Author, committer: Author | None = None) -> str:
        variables = commit_variables(author, committer or author)
        return self._git("commit-tree", tree, "-p", parent, env=variables, stdin=message + "\n")

    def _present(self) -> tuple[str, str | None]:
        """HEAD, and the tree that the working tree amounts to: None if nothing differs from HEAD's."""
        if not self._places.is_complete():
            raise NotAWorkspace(str(self.directory))
        with self._places.locked():
            for _ in range(SNAPSHOT_ATTEMPTS - 1):
                try:
                    return self._read_working_tree()
                except GitFailed:
                    # Somebody writes there right now; if it was something else, the last try tells.
                    continue
            self._distrust()
            return self._read_working_tree()

    def _read_working_tree(self) -> tuple[str, str | None]:
        head = self.head()
        return head, WorkingTree(self._places, self.base).on(head)

    def _distrust(self) -> None:
        """Count from the base from now on, without what is remembered: an object that an agent's commit names is gone.

        Git does not store again what it finds in the user's repository; where nothing there needed it, a person's
        `git gc` may have deleted it since.  The working tree still has all.
        """
        private = self._places.private
        (private / _DISTRUSTED).touch()
        for index in private.glob("index-*"):
            index.unlink()


_FULL_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DISTRUSTED = "distrusted"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
