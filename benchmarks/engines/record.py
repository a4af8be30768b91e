"""When each task began and ended, written by the process that ran it into a file that all of them map.

It costs every engine the same few microseconds, and it tells whether the engine did what it was asked to.
"""

from __future__ import annotations

import functools
import mmap
import time
from collections.abc import Sequence
from pathlib import Path

from engines.graph import Task

_ROW = 3
"""Began, ended (nanoseconds of the machine's monotonic clock), and how often."""


class Wrong(Exception):
    """An engine ran a task twice or not at all, before what it needs, or on more workers than it has."""


class Record:
    """Rows of times, one for each task."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._times = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")

    def run(self, index: int, sleep_s: float) -> None:
        """Sleep, and write down when that was."""
        row = index * _ROW
        self._times[row] = time.monotonic_ns()
        if sleep_s:
            time.sleep(sleep_s)
        self._times[row + 2] += 1
        self._times[row + 1] = time.monotonic_ns()

    def began_ns(self, index: int) -> int:
        """When a task began."""
        return self._times[index * _ROW]

    def check(self, tasks: Sequence[Task], workers: int) -> None:
        """Raises `Wrong` unless each ran once, after what it needs, and never more at once than there are workers."""
        changes = []
        for task in tasks:
            began, ended, times = self._times[task.index * _ROW : (task.index + 1) * _ROW]
            if times != 1 or not ended:
                raise Wrong(f"task {task.index} ran {times} times")
            if any(self._times[need * _ROW + 1] > began for need in task.needs):
                raise Wrong(f"task {task.index} began before one that it needs had ended")
            changes += [(began, 1), (ended, -1)]
        running = 0
        for _, change in sorted(changes):
            running += change
            if running > workers:
                raise Wrong(f"more than {workers} tasks ran at once")


def make(path: Path, size: int) -> str:
    """A file for so many tasks; returns its path."""
    path.write_bytes(bytes(size * _ROW * 8))
    path.chmod(0o666)
    return str(path)


@functools.cache
def opened(path: str) -> Record:
    """The record of this path, mapped once by each process."""
    return Record(path)


def work(path: str, index: int, sleep_s: float) -> int:
    """What every task of every engine does."""
    opened(path).run(index, sleep_s)
    return index
