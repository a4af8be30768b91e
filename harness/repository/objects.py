r"""Reads and writes objects and references through git processes that stay, at a line on a pipe each.

    cat-file --batch   <- a name               -> what it stands for
    hash-object -w     <- a file with the tree -> its name, which is known before
    hash-object -w     <- a file with a text   -> the commit
    update-ref --stdin <- new and old commit   -> whether it was moved

A git command of its own for each costs milliseconds, and merging one task needs a dozen.  A process is started when it
is first needed, and again after it has died.  Nobody waits for a tree to be written until all trees of a merge are:
what git will call it is computed here, and compared with what git says in the end.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Protocol, TypeVar

from prong.harness.repository.git import AGENT, Author, GitFailed, identity, start
from prong.harness.repository.repository import Repository

Entry = tuple[bytes, str]
"""Mode and object of one name in a tree."""

Tree = Mapping[bytes, Entry]

KEPT = 4_000
"""How many trees and commits are remembered: an object never changes, and a line of merges reads the same ones."""

PENDING = 32
"""So many trees are written before git's answers are read; each lies in a file of its own meanwhile."""

FOLDER = b"40000"


class Trees(Protocol):
    """What merging trees needs."""

    def read_tree(self, tree: str) -> Tree:
        """The entries of a tree."""

    def write_tree(self, entries: Tree) -> str:
        """The tree with these entries."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says, as far as merging goes."""

    id: str
    tree: str
    parents: tuple[str, ...]


class _Process:
    """One lasting git command."""

    def __init__(self, repository: Repository, *arguments: str) -> None:
        self._repository = repository
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._close: Callable[[], object] = lambda: None

    def ask(self, question: bytes) -> bytes:
        """Say something and read one line of answer, without its end; raises `GitFailed`."""
        if question:
            self.revive()
        self.say(question)
        return self.hear()

    def hear(self) -> bytes:
        """One line of answer to what was said before, without its end; raises `GitFailed`."""
        assert self._process is not None
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer.endswith(b"\n"):
            raise self._failed()
        return answer[:-1]

    def say(self, text: bytes) -> None:
        """Say something that has no answer of its own."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None

    def revive(self) -> None:
        """Where it has died since it answered last, for want of memory say, let the next question start it again."""
        if self._process is not None and self._process.poll() is not None:
            self.close()

    def read(self, count: int) -> bytes:
        """So many bytes of the answer."""
        assert self._process is not None
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise self._failed()
        return data

    def close(self) -> None:
        """End it; the next question starts it again."""
        self._close()
        self._process = None

    def _start(self) -> None:
        place = self._repository.root
        variables = {"GIT_DIR": str(self._repository.git_dir), "GIT_WORK_TREE": str(place)}
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `_end`
        self._process = start(*self._arguments, cwd=place, env=variables, stderr=errors)
        self._errors = errors
        self._close = weakref.finalize(self, _end, self._process, errors)

    def _failed(self) -> GitFailed:
        assert self._process is not None
        assert self._errors is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read(2_000).decode("utf-8", "replace").strip()
        self.close()
        return GitFailed(self._arguments, str(self._repository.root), code, said, "")


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """Without its input it ends by itself."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()
    errors.close()


class Objects:
    """The objects and references of a repository, for one thread at a time."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._hash = hashlib.sha256 if repository.object_format == "sha256" else hashlib.sha1
        self._hash_bytes = self._hash().digest_size
        self._reader = _Process(repository, "cat-file", "--batch", "-z")
        # Literally: what an old repository's trees have in them is not ours to judge.
        self._trees = _Process(repository, "hash-object", "-t", "tree", "-w", "--literally", "--stdin-paths")
        self._commits = _Process(repository, "hash-object", "-t", "commit", "-w", "--no-filters", "--stdin-paths")
        self._references = _Process(repository, "update-ref", "--stdin")
        self._known_trees: dict[str, Tree] = {}
        self._known_commits: dict[str, Commit] = {}
        self._pending: list[str] = []
        self._texts: list[IO[bytes]] = []

    def close(self) -> None:
        """End the processes; they are started again when they are needed."""
        self._forget_pending()
        for process in (self._reader, self._trees, self._commits, self._references):
            process.close()

    def find(self, name: str) -> tuple[str, str, bytes] | None:
        """The object that a name stands for, its kind and its content; None where there is none."""
        header = self._reader.ask(os.fsencode(name) + b"\0")
        if header.endswith((b" missing", b" ambiguous")):
            return None
        fields = header.split(b" ")
        content = self._reader.read(int(fields[2]) + 1)[:-1]
        return fields[0].decode(), fields[1].decode(), content

    def commit(self, name: str) -> Commit | None:
        """The commit that a name stands for; None where there is none."""
        found = self.find(name)
        if found is None or found[1] != "commit":
            return None
        lines = found[2].split(b"\n\n", 1)[0].decode("utf-8", "replace").split("\n")
        tree = lines[0].removeprefix("tree ")
        parents = tuple(line.removeprefix("parent ") for line in lines[1:] if line.startswith("parent "))
        return Commit(found[0], tree, parents)

    def known_commit(self, name: str) -> Commit:
        """The commit that must be there; raises `GitFailed`."""
        found = self._known_commits.get(name) or self.commit(name)
        if found is None:
            raise GitFailed(("cat-file", "commit", name), str(self._repository.root), -1, f"no commit {name!r}", "")
        return _keep(self._known_commits, found.id, found)

    def read_tree(self, tree: str) -> Tree:
        """The entries of a tree; raises `GitFailed` where it is not there."""
        known = self._known_trees.get(tree)
        if known is not None:
            return known
        found = self.find(tree)
        if found is None or found[1] != "tree":
            raise GitFailed(("cat-file", "tree", tree), str(self._repository.root), -1, f"no tree {tree!r}", "")
        content, at = found[2], 0
        entries: dict[bytes, Entry] = {}
        while at < len(content):
            end = content.index(b"\0", at)
            mode, _, name = content[at:end].partition(b" ")
            at = end + 1 + self._hash_bytes
            entries[name] = (mode, content[end + 1 : at].hex())
        return _keep(self._known_trees, tree, entries)

    def write_tree(self, entries: Tree) -> str:
        """The tree with these entries, whose objects must be there; it is written only after `settle`."""
        ordered = sorted(entries.items(), key=_place)
        parts = (b"%s %s\0%s" % (mode.lstrip(b"0"), name, bytes.fromhex(sha)) for name, (mode, sha) in ordered)
        content = b"".join(parts)
        tree = self._hash(b"tree %d\0%s" % (len(content), content)).hexdigest()
        if not self._pending:
            self._trees.revive()
        try:
            self._trees.say(self._file(1 + len(self._pending), content))
        except GitFailed:
            self._forget_pending()
            raise
        _keep(self._known_trees, tree, dict(ordered))
        self._pending.append(tree)
        if len(self._pending) >= PENDING:
            self.settle()
        return tree

    def settle(self) -> None:
        """Wait until all trees are written; raises `GitFailed` where one was not, and then none counts as known."""
        meant, written = list(self._pending), []
        try:
            written = [self._trees.hear().decode() for _ in meant]
        finally:
            if written != meant:
                self._forget_pending()
        if written != meant:
            why = f"it wrote {written} where {meant} were meant"
            raise GitFailed(("hash-object", "-t", "tree"), str(self._repository.root), -1, why, "")
        self._pending.clear()

    def _forget_pending(self) -> None:
        """What nobody has waited for may not be there."""
        for tree in self._pending:
            self._known_trees.pop(tree, None)
        self._pending.clear()

    def write_commit(self, tree: str, parents: tuple[str, ...], text: str, *, author: Author, committer: Author) -> str:
        """A new commit that no reference points to yet."""
        now = int(time.time())  # a commit bears the wall clock's time, as git's own do
        zone = time.strftime("%z", time.localtime(now)) or "+0000"
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        for role, person in (("author", author), ("committer", committer)):
            name, email = identity(person.name) or AGENT.name, identity(person.email) or AGENT.email
            when = f"{now} {zone}" if person.at is None else f"{person.at} +0000"
            lines.append(f"{role} {name} <{email}> {when}")
        content = ("\n".join(lines) + "\n\n" + text).encode("utf-8", "surrogateescape")
        return self._commits.ask(self._file(0, content)).decode()

    def _file(self, number: int, content: bytes) -> bytes:
        """A line with the name of a file that holds this, which is on no disk and ends with us."""
        while len(self._texts) <= number:
            made = os.fdopen(os.memfd_create("prong-object"), "r+b", buffering=0)
            weakref.finalize(self, made.close)
            self._texts.append(made)
        file = self._texts[number]
        file.seek(0)
        file.truncate()
        file.write(content)
        return b"/proc/%d/fd/%d\n" % (os.getpid(), file.fileno())

    def move(self, ref: str, new: str, old: str) -> None:
        """Set a reference from one commit to another, atomically; raises `GitFailed` where it is not at `old`."""
        began = self._references.ask(f"start\nupdate {ref} {new} {old}\ncommit\n".encode())
        if (began, self._references.ask(b"")) != (b"start: ok", b"commit: ok"):
            why = "it did not answer as it should"
            raise GitFailed(("update-ref", ref), str(self._repository.root), -1, why, "")


Known = TypeVar("Known")


def _keep(known: dict[str, Known], name: str, what: Known) -> Known:
    """Remember something, and forget the oldest where there is too much."""
    if len(known) >= KEPT:
        del known[next(iter(known))]
    known[name] = what
    return what


def _place(entry: tuple[bytes, Entry]) -> bytes:
    """Git orders a folder as if its name ended in a slash."""
    name, (mode, _) = entry
    return name + b"/" if mode.lstrip(b"0") == FOLDER else name
