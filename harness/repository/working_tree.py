"""Reads what lies in a workspace as a tree of git's, without changing anything there.

    index of HEAD, kept --status--> what differs --update-index--> index in scratch --write-tree--> tree

Which files need no reading is remembered in an index from one time to the next; only what differs from HEAD is stored.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from prong.harness.repository import settling, special
from prong.harness.repository.cloning import Places, clear, harness_variables, was_not_touched
from prong.harness.repository.git import GitFailed, git

SMALL_BYTES = 1_000_000
"""Up to this size of an index git looks at its files one after the other: starting threads costs more."""


def git_in(
    places: Places, *arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None,
    stdout: IO[bytes] | None = None, forbidden: str | None = None,
) -> str:  # fmt: skip
    """Run git on a workspace with the harness's git directory, which no agent configures."""
    return git(
        *arguments, cwd=places.directory, stdin=stdin, stdout=stdout, forbidden=forbidden,
        env={**harness_variables(places.private, places.directory), **(env or {})},
        stuck=lambda: special.refuse(places.directory),
    )  # fmt: skip


class WorkingTree:
    """The working tree of the workspace with this base, for one reading under the workspace's lock."""

    def __init__(self, places: Places, base: str) -> None:
        self._places = places
        self._directory = places.directory
        self._private = places.private
        self._base = base
        scratch = self._private / "scratch"
        clear(scratch)
        scratch.mkdir(parents=True)
        # A name of its own: git may still write where a process worked that was killed.
        self._index = Path(tempfile.mkdtemp(dir=scratch)) / "index"
        self._covered = {"": False}
        self._variables = {"GIT_INDEX_FILE": str(self._index)}

    def on(self, head: str) -> str | None:
        """The tree that it amounts to, None if nothing differs from the tree of `head`."""
        self._prepare(head)
        before, looked_at = self._index.stat().st_ino, time.time()
        changed, deleted = self._changed()
        paths = [*self._within_nested(changed), *self._added_on_purpose()]
        # Where git has written down nothing new there is nothing from this second.
        is_new = self._index.stat().st_ino != before
        if not is_new or settling.is_sure(self._index, looked_at, name_bytes=len(self._base) // 2):
            self._keep(head)
        else:
            for old in self._private.glob("index-*"):
                old.unlink()
        if not paths and not deleted:
            return None
        # What has made room for others goes first; where a link stands now, git would not look for files behind it.
        replaced = {path for path in deleted if self._is_replaced(path)}
        self._update("--force-remove", paths=sorted(replaced))
        self._update("--add", "--remove", paths=[*paths, *(path for path in deleted if path not in replaced)])
        # Nobody needs this index any more.  Of one without a time git does not ask whether files are as young as it,
        # which would be read once more.
        os.utime(self._index, (0, 0))
        return self._git("write-tree", env=self._variables)

    def _git(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str | None = None,
        forbidden: str | None = None,
    ) -> str:  # fmt: skip
        return git_in(self._places, *arguments, env=env, stdin=stdin, forbidden=forbidden)

    def _is_replaced(self, path: str) -> bool:
        """Whether there is a folder where a file was, or something that is no folder where one of its folders was."""
        return os.path.lexists(os.path.join(self._directory, path)) or self._is_covered(os.path.dirname(path))  # noqa: PTH118, PTH120  there may be thousands

    def _is_covered(self, folder: str) -> bool:
        known = self._covered.get(folder)
        if known is None:
            place = self._directory / folder
            known = place.is_symlink() or (os.path.lexists(place) and not place.is_dir())
            known = known or self._is_covered(os.path.dirname(folder))  # noqa: PTH120  as above
            self._covered[folder] = known
        return known

    def _update(self, *options: str, paths: list[str]) -> None:
        if paths:
            # Git leaves out a name that it takes for its own, such as .GIT or git~1, and only says so.
            listing = "\0".join(paths) + "\0"
            self._git(
                "update-index", *options, "-z", "--stdin", env=self._variables, stdin=listing,
                forbidden="Ignoring path",
            )  # fmt: skip

    def _prepare(self, head: str) -> None:
        """An index of HEAD's tree that remembers, from last time, which files need no reading."""
        kept = self._private / f"index-{head}"
        nearest = kept if kept.exists() else next(self._private.glob("index-*"), None)
        if nearest:
            settling.settle(self._private, nearest, self._directory)
            # Git compares a file's time with the index's own to see whether it can trust it; so that is copied, too.
            shutil.copy2(nearest, self._index)
        if nearest == kept:
            return
        self._git("read-tree", "--reset", head, env=self._variables)
        embedded = self._embedded(head)
        if embedded:
            listing = "\0".join(embedded) + "\0"
            self._git("update-index", "--force-remove", "-z", "--stdin", env=self._variables, stdin=listing)

    def _keep(self, head: str) -> None:
        """Remember an index for next time.  A process that is killed here leaves litter, but never a spoilt index."""
        copy = self._index.with_name("kept")
        shutil.copy2(self._index, copy)
        copy.replace(self._private / f"index-{head}")
        for old in self._private.glob("index-*"):
            if old.name != f"index-{head}":
                old.unlink()

    def _embedded(self, head: str) -> list[str]:
        """Repositories that the agent committed as mere links, so that their files are in no commit."""
        # Alternately ":mode mode object object letter" and the path.
        fields = self._git("diff-tree", "-r", "-z", "--raw", "--no-renames", self._base, head).split("\0")
        pairs = zip(fields[::2], fields[1::2], strict=False)
        return [path for change, path in pairs if change[8:14] == _LINK_MODE and change[1:7] != _LINK_MODE]

    def _changed(self) -> tuple[list[str], list[str]]:
        """Paths that are new or differ from the index, and paths that are gone."""
        # This also brings the index's file times up to date, so it may take the lock of that index, which is ours.
        variables = {**self._variables, "GIT_OPTIONAL_LOCKS": "1"}
        small = self._index.stat().st_size <= SMALL_BYTES
        options = ("-c", "core.preloadIndex=false") if small else ()
        listed = self._git(*options, *_STATUS, env=variables, forbidden="could not open directory").split("\0")
        # "XY path": X compares the index with the base, which is of no interest, Y the working tree with the index.
        states = [(entry[1:2], entry[3:]) for entry in listed]
        return [path for state, path in states if state in "?MTA" and path], [
            path for state, path in states if state == "D"
        ]

    def _within_nested(self, paths: Iterable[str]) -> Iterator[str]:
        """The paths, with each repository that an agent made inside replaced by the files in it."""
        for path in paths:
            # Git shows a folder, with a slash, only where it sees another repository.
            if not path.endswith("/"):
                yield path
                continue
            files = list(special.files_below(self._directory, path))
            ignored = self._ignored(files)
            yield from (file for file in files if file not in ignored)

    def _ignored(self, files: list[str]) -> set[str]:
        if not files:
            return set()
        try:
            listed = self._git("check-ignore", "-z", "--stdin", "--no-index", stdin="\0".join(files) + "\0")
        except GitFailed as error:
            # 1 means that none is ignored.
            if error.exit_code == 1:
                return set()
            raise
        return set(listed.split("\0"))

    def _added_on_purpose(self) -> list[str]:
        """Ignored files that the agent put into its own index, which says that they belong to its work."""
        ignored = ("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        their_index = self._directory / ".git" / "index"
        if not their_index.is_file() or was_not_touched(their_index, self._places):
            return []
        try:
            theirs = set(self._git(*ignored, env={"GIT_INDEX_FILE": str(their_index)}).split("\0"))
        except GitFailed:
            # It is broken; then nothing was added on purpose.
            return []
        added = theirs - {""}
        if added:
            added -= set(self._git(*ignored, env=self._variables).split("\0"))
        return sorted(path for path in added if os.path.lexists(self._directory / path))


# Submodules are compared by their commit only: looking into them would run git under a configuration of the agent's.
_STATUS = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")

_LINK_MODE = "160000"
