"""Sees that two agents change the same lines before either is merged, and tells both.

    the files of a workspace change --> table `touch`: who has changed what
    two open tasks share a file     --> their lines are compared
    the same lines, or next to them --> table `foreseen`, the event `conflict.foreseen`, and a word to both agents

It is help and no promise: nothing depends on it.  Where the kernel has no watches left, or a workspace has more
folders than are worth watching, that workspace is not seen; what conflicts is then found when it is merged, as ever.
"""

from __future__ import annotations

import difflib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from prong.harness import scopes
from prong.harness.messages import notify
from prong.harness.repository.cloning import Places, harness_variables
from prong.harness.repository.git import GitFailed, RepositoryError, git
from prong.harness.repository.workspaces import NotAWorkspace, Workspace
from prong.harness.swarms import Swarm
from prong.state import ProngError, Store

LOOK_S = 1.0
"""How often what has changed is looked at, in seconds."""

WORKSPACES = 32
"""The most workspaces that are watched at once: each takes one of the 128 handles that Linux gives a user."""

FOLDERS = 2_000
"""The most folders of a workspace that is watched: each takes a watch of the kernel's."""

SHARE = 4
"""Of the kernel's watches at most one in so many is taken."""

FILES = 1_000
"""The most files of one task that are remembered."""

PAIRS = 100
"""The most pairs of files that are compared in one look."""

COMPARED_BYTES = 500_000
COMPARED_LINES = 5_000
"""A larger file is not compared line by line: who changes it changes all of it."""

Lines = tuple[int, int]
"""The first and the last line of a change, as the workspace's base counts them; an insertion has the one before it."""

LEARNT_TOGETHER = 50
"""So many tasks that were merged are looked at in one look."""

_MERGED = """
select seq, event.task, base, commit_id from event join merge on merge.task = event.task
 where seq > :since and kind = 'merge.merged' order by seq limit :most
"""

_OPEN = "select id from task where state in ('running', 'parked') order by id"
_OTHERS = """
select touch.task from touch join task on task.id = touch.task
 where path = :path and touch.task <> :task and task.state in ('running', 'parked') order by touch.task
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What a workspace has made of a file: which lines, and the file as it is now (None: it is gone)."""

    lines: tuple[Lines, ...]
    content: bytes | None


def overlap(one: Iterable[Lines], other: Iterable[Lines]) -> Lines | None:
    """Lines that two changes share, or that lie side by side, which no merge can tell apart.

    >>> overlap([(1, 2), (10, 12)], [(12, 20)]), overlap([(1, 2)], [(3, 4)]), overlap([(1, 2)], [(4, 5)])
    ((10, 20), (1, 4), None)
    """
    theirs = list(other)
    for first, last in one:
        for begins, ends in theirs:
            if first <= ends + 1 and begins <= last + 1:
                return min(first, begins), max(last, ends)
    return None


class Foresight:
    """Knows who has changed which files of a swarm, for one thread; `note` may be called by any."""

    def __init__(self, swarm: Swarm, store: Store) -> None:
        self._swarm = swarm
        self._store = store
        self._lock = threading.Lock()
        self._noted: dict[tuple[int, str], None] = {}
        self._counts: dict[int, int] = {}

    def note(self, task: int, path: str) -> None:
        """A file of a task's workspace has changed."""
        with self._lock:
            if len(self._noted) < FILES * WORKSPACES:
                self._noted[task, path] = None

    def look(self) -> None:
        """Write down what was noted, and compare what several have changed."""
        with self._lock:
            noted, self._noted = list(self._noted), {}
        fresh = [one for one in noted if self._counts.setdefault(one[0], 0) < FILES]
        if not fresh:
            return
        with self._store.transaction(None) as tx:
            for task, path in fresh:
                self._counts[task] += tx.execute(
                    "insert into touch (task, path, at) values (:task, :path, :now)"
                    " on conflict (task, path) do update set at = excluded.at",
                    task=task, path=path, now=tx.now,
                )  # fmt: skip
        pairs = {
            (min(task, row["task"]), max(task, row["task"]), path): None
            for task, path in fresh
            for row in self._store.rows(_OTHERS, task=task, path=path)
        }
        for one, other, path in list(pairs)[:PAIRS]:
            self._compare(one, other, path)

    def _compare(self, one: int, other: int, path: str) -> None:
        known = self._store.row(
            "select 1 from foreseen where path = :path and one = :one and other = :other",
            path=path, one=one, other=other,
        )  # fmt: skip
        if known is not None:
            return
        mine, theirs = (change(self._workspace(task), path) for task in (one, other))
        if mine is None or theirs is None or mine.content == theirs.content:
            return
        shared = overlap(mine.lines, theirs.lines)
        if shared is not None:
            self._tell({one: mine, other: theirs}, path, shared)

    def _workspace(self, task: int) -> Path:
        return self._swarm.directory / "workspaces" / str(task)

    def _tell(self, changes: Mapping[int, Change], path: str, shared: Lines) -> None:
        one, other = sorted(changes)
        lines = in_words([shared])
        with self._store.transaction(None) as tx:
            told = tx.execute(
                "insert into foreseen (path, one, other, lines, at) values (:path, :one, :other, :lines, :now)"
                " on conflict (path, one, other) do nothing",
                path=path, one=one, other=other, lines=lines, now=tx.now,
            )  # fmt: skip
            if not told:
                return
            tx.event("conflict.foreseen", object=path, tasks=[one, other], path=path, lines=lines)
            for task, them in ((one, other), (other, one)):
                title = tx.value("select title from task where id = :task", task=them)
                notify(
                    tx, task,
                    f"Task {them} ({title}) is changing {path} in its clone at {in_words(changes[them].lines)}, and you"
                    f" are changing it at {in_words(changes[task].lines)}. Whoever of you is merged second has to make"
                    f" both fit. Agree with it through message_queue inbox/task-{them}, keep to your own lines, or go"
                    " on if both are needed.",
                )  # fmt: skip


def in_words(lines: Iterable[Lines]) -> str:
    """Lines as people name them.

    >>> in_words([(3, 3), (10, 12)])
    'line 3 and lines 10-12'
    """
    named = [f"line {first}" if first == last else f"lines {first}-{last}" for first, last in lines]
    return " and ".join(named[:5]) + (" and more" if len(named) > 5 else "")  # noqa: PLR2004  what a sentence bears


def change(directory: Path, path: str) -> Change | None:
    """What a workspace has made of a file; None where it is as it was, is ignored, or no file."""
    try:
        workspace = Workspace.open(directory)
        now = _content(directory / path)
        before = _before(workspace, path)
        if now == before or (before is None and _is_ignored(workspace, path)):
            return None
    except (OSError, RepositoryError):
        return None
    return Change(_lines(before, now), now)


def _content(place: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            return None
        with place.open("rb") as file:
            return file.read(COMPARED_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _git(workspace: Workspace, *arguments: str) -> str:
    private = Places(workspace.directory).private
    return git(*arguments, cwd=workspace.directory, env=harness_variables(private, workspace.directory))


def _before(workspace: Workspace, path: str) -> bytes | None:
    try:
        told = _git(workspace, "cat-file", "blob", f"{workspace.base}:{path}")
    except GitFailed:
        return None
    # The end of the last line was taken off, which a comparison of lines would take for a change.
    size = int(_git(workspace, "cat-file", "-s", f"{workspace.base}:{path}"))
    text = os.fsencode(told)
    return (text + b"\n" * (size - len(text)))[:COMPARED_BYTES]


def _is_ignored(workspace: Workspace, path: str) -> bool:
    try:
        _git(workspace, "check-ignore", "-q", "--no-index", "--", path)
    except GitFailed:
        return False
    return True


def _lines(before: bytes | None, now: bytes | None) -> tuple[Lines, ...]:
    old, new = ((text or b"").split(b"\n") for text in (before, now))
    if before is None or now is None or max(len(old), len(new)) > COMPARED_LINES:
        return ((1, max(len(old), 1)),)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return tuple((first + 1, max(last, first + 1)) for kind, first, last, _, _ in codes if kind != "equal")


class _Handler(FileSystemEventHandler):
    """Passes on which files of one workspace change."""

    def __init__(self, foresight: Foresight, task: int, root: Path) -> None:
        self._foresight, self._task, self._root = foresight, task, root

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.is_directory or event.event_type not in ("created", "modified", "deleted", "moved"):
            return
        for place in (event.src_path, event.dest_path):
            with suppress(ValueError):
                path = Path(os.fsdecode(place)).relative_to(self._root)
                if path.parts and ".git" not in path.parts:
                    self._foresight.note(self._task, str(path))


class Watch:
    """Watches the workspaces of tasks that are worked on."""

    def __init__(self, swarm: Swarm, store: Store, observer: BaseObserver, *, watches: int) -> None:
        """`watches` is how many the kernel gives a user."""
        self._swarm, self._store, self._observer = swarm, store, observer
        self._foresight = Foresight(swarm, store)
        self._watched: dict[int, ObservedWatch] = {}
        self._too_large: set[int] = set()
        self._most = watches // SHARE
        row = store.row("select max(seq) as seq from event")
        self._learnt: int = row["seq"] or 0 if row is not None else 0

    def learn(self) -> None:
        """Remember which files what was merged since has changed, of which kind of task."""
        merged = self._store.rows(_MERGED, since=self._learnt, most=LEARNT_TOGETHER)
        for row in merged:
            names = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", row["base"], row["commit_id"])
            paths = [path for path in self._swarm.repository.git(*names).split("\0") if path]
            with self._store.transaction(None) as tx:
                scopes.learn(tx, row["task"], paths)
            self._learnt = row["seq"]

    def round(self) -> None:
        """Follow the workspaces that there are, and look at what has changed; raises `OSError` with no watches left."""
        working = {row["id"] for row in self._store.rows(_OPEN)}
        for task in self._watched.keys() - working:
            self._observer.unschedule(self._watched.pop(task))
        for task in sorted(working - self._watched.keys() - self._too_large)[: WORKSPACES - len(self._watched)]:
            self._follow(task)
        self._foresight.look()

    def _follow(self, task: int) -> None:
        directory = self._swarm.directory / "workspaces" / str(task)
        try:
            workspace = Workspace.open(directory)
        except NotAWorkspace:
            return
        folders = sum(1 for _ in zip(os.walk(directory), range(FOLDERS + 1), strict=False))
        if folders > FOLDERS or folders * (len(self._watched) + 1) > self._most:
            self._too_large.add(task)
            return
        handler = _Handler(self._foresight, task, directory)
        self._watched[task] = self._observer.schedule(handler, str(directory), recursive=True)
        # What was changed before anybody watched.
        with suppress(RepositoryError):  # its agent writes there just now
            commit = workspace.snapshot()
            for path in _git(workspace, "diff-tree", "-r", "-z", "--name-only", workspace.base, commit).split("\0"):
                if path:
                    self._foresight.note(task, path)


def watches_of_kernel() -> int:
    """How many watches the kernel gives a user; a modest number where it does not say."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    return 8_192


@contextmanager
def foreseeing(swarm: Swarm) -> Iterator[None]:
    """Watch the swarm's workspaces, in a thread beside whoever runs it."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(swarm, over), name="foresight")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(swarm: Swarm, over: threading.Event) -> None:
    with closing(swarm.store()) as store:
        observer = Observer()
        try:
            observer.start()
            watch = Watch(swarm, store, observer, watches=watches_of_kernel())
            while not over.wait(LOOK_S):
                with suppress(RepositoryError):  # an agent writes there just now, or its workspace goes
                    watch.round()
                with suppress(RepositoryError):  # as above
                    watch.learn()
        except (OSError, ProngError) as error:
            with suppress(ProngError), store.transaction(None) as tx:
                tx.event("watch.off", object=swarm.id, reason=str(error)[:300])
        finally:
            with suppress(RuntimeError):  # it was never started
                observer.stop()
                observer.join()
