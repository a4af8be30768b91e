"""The floor: `ProcessPoolExecutor`, which forgets everything with its process."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from engines.engine import Driven
from engines.graph import Task
from engines.record import work


class Floor(Driven):
    """A pool of forked processes; a future's callback tells of its end."""

    def start(self, workers: int, record: str, _folder: Path) -> None:
        """Make the pool, whose processes are forked with the first tasks."""
        self._record = record
        self._told: queue.SimpleQueue[Future[int]] = queue.SimpleQueue()
        self._pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))

    def submit_all(self, tasks: Sequence[Task]) -> None:
        """Submit each."""
        for task in tasks:
            self._pool.submit(work, self._record, task.index, task.sleep_s).add_done_callback(self._told.put)

    def ended(self) -> Sequence[int]:
        """The next that ended."""
        return [self._told.get().result()]

    def stop(self) -> None:
        """End the processes."""
        self._pool.shutdown()
