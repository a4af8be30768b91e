"""What the benchmark asks of an engine, and the driver of those that know no needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engines.graph import Needs, Task


class Engine(Protocol):
    """One engine in one process tree: started, given tasks, waited for, stopped.

    `record` is the path that `engines.record.work` wants, `folder` an empty directory of its own.
    """

    def start(self, workers: int, record: str, folder: Path) -> None:
        """Begin, with so many worker processes, of which each runs one task at a time."""
        ...

    def submit_graph(self, tasks: Sequence[Task]) -> None:
        """Hand over tasks of which each stands after those that it needs, all of them among these."""
        ...

    def submit(self, task: Task) -> None:
        """Hand over one task that needs nothing."""
        ...

    def wait(self) -> None:
        """Wait until all that was handed over has ended, by the engine's own word."""
        ...

    def stop(self) -> None:
        """End all that it began."""
        ...


class Driven(ABC):
    """An engine that knows no needs: each task is submitted when it is told that those it needs have ended."""

    def __init__(self) -> None:
        self._needs = Needs(())
        self._open = 0

    @abstractmethod
    def submit_all(self, tasks: Sequence[Task]) -> None:
        """Hand over tasks that can begin at once, by the fastest way that the engine has."""

    @abstractmethod
    def ended(self) -> Sequence[int]:
        """Wait until some that were handed over have ended, and return each of them once."""

    def wait_rest(self, size: int) -> None:
        """Wait until all have ended that were handed over and not told yet; nothing needs them."""
        while size:
            size -= len(self.ended())

    def submit_graph(self, tasks: Sequence[Task]) -> None:
        """Hand over what needs nothing; the rest follows in `wait`."""
        self._needs = Needs(tasks)
        self._hand_over([task for task in tasks if not task.needs])

    def submit(self, task: Task) -> None:
        """Hand over one task that needs nothing."""
        self._needs = Needs(())
        self._hand_over([task])

    def wait(self) -> None:
        """Submit what becomes ready until all has ended."""
        while self._needs.blocked:
            told = self.ended()
            self._open -= len(told)
            self._hand_over([task for index in told for task in self._needs.ended(index)])
        self.wait_rest(self._open)
        self._open = 0

    def _hand_over(self, tasks: Sequence[Task]) -> None:
        if tasks:
            self._open += len(tasks)
            self.submit_all(tasks)
