"""Rereading the rules while a swarm runs.

    the file changes -> a ring -> a moment of rest -> read -> is it news? -> changed(rules, or what is wrong in them)

Editors save in many ways: they write into the file, put another in its place, or remove it first.  So the directory is
watched, and a file that is away, empty or wrong is looked at once more before it is believed.  Where the kernel
tells nothing (a network's file system, the target of a link, no watches left), a look each second finds the change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from watchdog.events import (
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from prong.harness.rules.rules import FILE, Rules, RulesInvalid, load

REST_S = 0.1
"""How long a file is left alone after a ring, so that one save is one change, in seconds."""
DOUBT_S = 0.4
"""How long it is left alone once more where it is away, empty or wrong."""
LOOK_S = 1.0
"""How often it is looked at without a ring."""

Changed = Callable[[Rules | RulesInvalid], None]


@contextmanager
def watch(root: Path | str, changed: Changed, *, known: Rules) -> Iterator[None]:
    """Call `changed` whenever the rules are others than `known`, or than it was told last.

    Once for a change, also where it is made before the block begins; for several quick ones at least with the last.  It
    gets `RulesInvalid` for a file that cannot be used: then the rules before it stay in force.  No file is no rules.
    It is called in a thread of its own, one call at a time; if it raises, the watch ends, and the error is raised at
    the end of the block.
    """
    watcher = _Watcher(Path(root), changed, known)
    with _observed(Path(root), watcher), ThreadPoolExecutor(1, thread_name_prefix="rules") as thread:
        watching = thread.submit(watcher.run)
        try:
            yield
        finally:
            watcher.end()
        watching.result()


class _Watcher(FileSystemEventHandler):
    def __init__(self, root: Path, changed: Changed, known: Rules) -> None:
        self._root = root
        self._changed = changed
        self._told: Rules | RulesInvalid = known
        self._seen: tuple[int, ...] = ()
        self._rung = threading.Event()
        self._over = threading.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if FILE in (Path(os.fsdecode(path)).name for path in (event.src_path, event.dest_path)):
            self._rung.set()

    def run(self) -> None:
        while not self._over.is_set():
            if self._rung.is_set() or self._signature() != self._seen:
                self._look()
            self._rung.wait(LOOK_S)

    def end(self) -> None:
        self._over.set()
        self._rung.set()

    def _look(self) -> None:
        for rest in (REST_S, DOUBT_S):
            self._over.wait(rest)
            # In this order: whatever changes after the file was read rings again, or shows at the next look.
            self._rung.clear()
            self._seen = self._signature()
            found = self._read()
            if not isinstance(found, RulesInvalid) and found != Rules.none():
                break
        if self._over.is_set():
            self._rung.set()
        elif not _same(found, self._told):
            self._told = found
            self._changed(found)

    def _read(self) -> Rules | RulesInvalid:
        try:
            return load(self._root)
        except RulesInvalid as error:
            return error

    def _signature(self) -> tuple[int, ...]:
        """What differs when the file does; of the file that a link leads to."""
        try:
            found = (self._root / FILE).stat()
        except OSError:
            return (0,)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _same(one: Rules | RulesInvalid, other: Rules | RulesInvalid) -> bool:
    if isinstance(one, RulesInvalid) or isinstance(other, RulesInvalid):
        return type(one) is type(other) and str(one) == str(other)
    return one == other


@contextmanager
def _observed(root: Path, watcher: _Watcher) -> Iterator[None]:
    """The kernel's word of changes, where it can be had; reading the file is no change."""
    observer = Observer()
    kinds = [FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent]
    with suppress(OSError):  # no watches are left, or the directory is gone
        observer.schedule(watcher, str(root), recursive=False, event_filter=kinds)
        observer.start()
    try:
        yield
    finally:
        if observer.is_alive():
            observer.stop()
            observer.join()
